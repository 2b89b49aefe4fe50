"""Micro benchmarks of one contender's loop in a process of its own; JSON lines in and out.

`{"bench": "call_soon"}` is answered by `{"ok": true, "figures": [...]}`: one rate per second, or
for `timer_lateness` one lateness per timer in nanoseconds (negative: early).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from itertools import repeat
from typing import TYPE_CHECKING, Final

from noria.lab import adapters
from noria.lab.client import load_native
from noria.lab.errors import exit_code
from noria.lab.measure import pin

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: Final = 100_000
LINKS: Final = 30_000
TASKS_PER_BATCH: Final = 1000
BATCHES: Final = 30
FAR_AWAY_S: Final = 3600.0
DELAYS_MS: Final = tuple(range(1, 21))


def _nothing() -> None:
    """Cost as little as a callback can."""


def call_soon(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Schedule many callbacks from outside, then run them all."""
    soon = loop.call_soon
    start_ns = time.perf_counter_ns()
    for _ in repeat(None, CALLS):
        soon(_nothing)
    soon(loop.stop)
    loop.run_forever()
    return [CALLS * 1e9 / (time.perf_counter_ns() - start_ns)]


def call_soon_chain(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Let each callback schedule the next."""
    soon, left = loop.call_soon, LINKS

    def link() -> None:
        nonlocal left
        left -= 1
        if left:
            soon(link)
        else:
            loop.stop()

    start_ns = time.perf_counter_ns()
    soon(link)
    loop.run_forever()
    return [LINKS * 1e9 / (time.perf_counter_ns() - start_ns)]


def zero_timer_chain(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Let each timer set the next, without delay."""
    later, left = loop.call_later, LINKS

    def link() -> None:
        nonlocal left
        left -= 1
        if left:
            later(0, link)
        else:
            loop.stop()

    start_ns = time.perf_counter_ns()
    later(0, link)
    loop.run_forever()
    return [LINKS * 1e9 / (time.perf_counter_ns() - start_ns)]


def call_later_cancel(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Set and cancel timers that lie far ahead, and let the loop clear up."""
    later = loop.call_later
    start_ns = time.perf_counter_ns()
    for _ in repeat(None, CALLS):
        later(FAR_AWAY_S, _nothing).cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    return [CALLS * 1e9 / (time.perf_counter_ns() - start_ns)]


def sleep_zero(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Have one task give way again and again."""

    async def body() -> float:
        start_ns = time.perf_counter_ns()
        for _ in repeat(None, LINKS):
            await asyncio.sleep(0)
        return LINKS * 1e9 / (time.perf_counter_ns() - start_ns)

    return [loop.run_until_complete(body())]


def create_task(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Create tasks that end at once, in batches, and await each."""

    async def nothing() -> None:
        pass

    async def body() -> float:
        start_ns = time.perf_counter_ns()
        for _ in range(BATCHES):
            for task in [loop.create_task(nothing()) for _ in range(TASKS_PER_BATCH)]:
                await task
        return BATCHES * TASKS_PER_BATCH * 1e9 / (time.perf_counter_ns() - start_ns)

    return [loop.run_until_complete(body())]


def timer_lateness(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Set one timer after the other on a loop with nothing else to do: how late is each?"""
    late_ns: list[float] = []

    def fire(due_ns: int) -> None:
        late_ns.append(time.monotonic_ns() - due_ns)
        loop.stop()

    for delay_ms in DELAYS_MS:
        due_ns = time.monotonic_ns() + delay_ms * 1_000_000
        loop.call_later(delay_ms / 1000, fire, due_ns)
        loop.run_forever()
    return late_ns


BENCHES: Final[dict[str, Callable[[asyncio.AbstractEventLoop], list[float]]]] = {
    bench.__name__: bench
    for bench in (
        call_soon,
        call_soon_chain,
        call_later_cancel,
        sleep_zero,
        zero_timer_chain,
        create_task,
        timer_lateness,
    )
}


def main(arguments: list[str] | None = None) -> int:
    """Serve commands until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m noria.lab.microbench", description=__doc__)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--core", type=int, default=-1, help="CPU to run on")
    options = parser.parse_args(arguments)
    load_native().end_with_parent()
    if options.core >= 0:
        pin(options.core)
    adapter, option = adapters.load(options.contender)
    loop = adapter.new_event_loop(option)
    asyncio.set_event_loop(loop)
    try:
        print(json.dumps({"ok": True, "facts": adapter.facts(loop)}), flush=True)
        for line in sys.stdin:
            figures = BENCHES[json.loads(line)["bench"]](loop)
            print(json.dumps({"ok": True, "figures": figures}), flush=True)
    except KeyboardInterrupt:
        return 130
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
