"""Spawns processes on one contender's loop, in a process of its own; JSON lines in and out.

`{"seconds": 0.4, "parallel": 8}` is answered by `{"ok": true, "result": {...}}` with `elapsed_ns`,
`cpu_ns` of this process, `children_cpu_ns` of the processes that it awaited, `spawned`, and
`failed`: how many ended with another code than 0.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from noria.lab import adapters
from noria.lab.client import load_native
from noria.lab.errors import LabError, UnableError, exit_code
from noria.lab.measure import pin
from noria.lab.settings import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    Round = Callable[..., dict[str, int]]

TRIAL_TIMEOUT_S: Final = 10.0


class Spawned:
    """Counts what a round spawned."""

    __slots__ = ("failed", "spawned")

    def __init__(self) -> None:
        self.spawned = 0
        self.failed = 0

    async def spawn(self) -> None:
        """Spawn once, and await the end."""
        process = await asyncio.create_subprocess_exec(PROGRAM)
        self.failed += await process.wait() != 0
        self.spawned += 1

    async def spawn_until(self, end_ns: int) -> None:
        """Spawn one after the other until the time is over."""
        while time.monotonic_ns() < end_ns:
            await self.spawn()


def children_cpu_ns() -> int:
    """CPU time of all children that were awaited, ns."""
    if sys.platform == "win32":
        raise LabError("the lab runs on Linux only")
    import resource  # noqa: PLC0415 - absent on Windows, where this module is still type-checked

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


async def spawn_for(seconds: float, parallel: int) -> dict[str, int]:
    """Spawn for so long with so many at a time; await them all."""
    counts = Spawned()
    children_ns, cpu_ns = children_cpu_ns(), time.process_time_ns()
    start_ns = time.monotonic_ns()
    end_ns = start_ns + int(seconds * 1e9)
    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(counts.spawn_until(end_ns))
    return {
        "elapsed_ns": time.monotonic_ns() - start_ns,
        "cpu_ns": time.process_time_ns() - cpu_ns,
        "children_cpu_ns": children_cpu_ns() - children_ns,
        "spawned": counts.spawned,
        "failed": counts.failed,
    }


def answer(line: str, run: Round) -> str:
    """Run one round as a line asks for it."""
    return json.dumps({"ok": True, "result": run(**json.loads(line))})


def serve(facts: dict[str, Any], run: Round) -> None:
    """Run rounds until stdin ends."""
    print(json.dumps({"ok": True, "facts": facts}), flush=True)
    for line in sys.stdin:
        print(answer(line, run), flush=True)


def serve_bare() -> None:
    """Spawn without an event loop until stdin ends."""
    native = load_native()

    def run(seconds: float, parallel: int) -> dict[str, int]:
        result: dict[str, int] = native.spawn(PROGRAM, seconds, parallel)
        return result

    serve({"loop": "none"}, run)


def serve_on_loop(contender: str) -> None:
    """Spawn on the contender's loop until stdin ends.

    Raises:
        LabError: the contender cannot run here.
        UnableError: its loop does not implement what it takes.
    """
    adapter, option = adapters.load(contender)
    loop = adapter.new_event_loop(option)
    facts = adapter.facts(loop)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:

        def run(seconds: float, parallel: int) -> dict[str, int]:
            return runner.run(spawn_for(seconds, parallel))

        async def try_it() -> None:
            async with asyncio.timeout(TRIAL_TIMEOUT_S):
                await Spawned().spawn()

        try:
            runner.run(try_it())
        except NotImplementedError as error:
            raise UnableError(
                "its loop does not implement subprocesses (NotImplementedError)"
            ) from error
        gc.collect()
        serve(facts, run)


def main(arguments: list[str] | None = None) -> int:
    """Serve commands until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m noria.lab.spawner", description=__doc__)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--core", type=int, default=-1, help="CPU to run on")
    options = parser.parse_args(arguments)
    load_native().end_with_parent()
    if options.core >= 0:
        pin(options.core)
    try:
        if adapters.is_bare(options.contender):
            serve_bare()
        else:
            serve_on_loop(options.contender)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
