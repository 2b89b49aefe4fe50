"""Sends messages through children's pipes on one contender's loop; JSON lines in and out.

It runs in a process of its own. The children are `cat`, which gives back what it is given.
`{"seconds": 0.4, "size": 1024, "depth": 1}` is answered by `{"ok": true, "result": {...}}` with
`elapsed_ns`, `cpu_ns` of this process, `messages` that came back, and `wrong`: how many pieces had
other bytes than those that were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Final, cast

from noria.lab import adapters
from noria.lab.client import load_native
from noria.lab.errors import LabError, UnableError, exit_code
from noria.lab.measure import pin
from noria.lab.settings import CAT
from noria.lab.spawner import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

START_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 20.0
"""A round that is over awaits the messages under way for so long."""

PIECE_BYTES_MAX: Final = 1 << 20
"""No loop reads more from a pipe at once."""


class Round:
    """What is sent, for how long, and what came of it."""

    __slots__ = ("depth", "end_ns", "message", "messages", "running", "size", "stream", "wrong")

    def __init__(self, size: int, depth: int) -> None:
        self.size = size
        self.depth = depth
        self.message = random.Random(size).randbytes(size)
        self.stream = self.message * (PIECE_BYTES_MAX // size + 2)
        self.messages = 0
        self.wrong = 0
        self.running = 0
        self.end_ns = 0


class Echo(asyncio.SubprocessProtocol):
    """One child: as many messages under way as the round says, all bytes looked at."""

    __slots__ = ("done", "exited", "got", "round", "stdin", "transport", "under_way")

    transport: asyncio.SubprocessTransport
    stdin: asyncio.WriteTransport
    done: asyncio.Future[None]
    round: Round

    def __init__(self) -> None:
        self.exited = asyncio.Event()
        self.got = 0
        self.under_way = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transports."""
        self.transport = cast("asyncio.SubprocessTransport", transport)
        self.stdin = cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))

    def begin(self, played: Round) -> asyncio.Future[None]:
        """Send the first messages of a round; what is done when all have come back."""
        self.round = played
        self.done = asyncio.get_running_loop().create_future()
        self.under_way = played.depth
        for _ in range(played.depth):
            self.stdin.write(played.message)
        return self.done

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Compare, count, and send anew for each message that has come back."""
        played = self.round
        if not played.stream.startswith(data, self.got):
            played.wrong += 1
        self.got += len(data)
        while self.got >= played.size:
            self.got -= played.size
            played.messages += 1
            if time.monotonic_ns() < played.end_ns:
                self.stdin.write(played.message)
                continue
            self.under_way -= 1
            if not self.under_way and not self.done.done():
                self.done.set_result(None)

    def process_exited(self) -> None:
        """Tell of it, and end a round that will not end by itself."""
        self.exited.set()
        if self.under_way and not self.done.done():
            self.done.set_exception(LabError(f"{CAT} has ended in the middle of a round"))


async def start(children: int, core: int) -> list[Echo]:
    """Start the children, on a CPU of their own."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(children):
        transport, protocol = await loop.subprocess_exec(Echo, CAT, stderr=None)
        pid = transport.get_pid()
        if core >= 0 and sys.platform == "linux" and pid is not None:
            os.sched_setaffinity(pid, {core})
        found.append(protocol)
    return found


async def play(echoes: Sequence[Echo], seconds: float, size: int, depth: int) -> dict[str, int]:
    """Run one round."""
    played = Round(size, depth)
    cpu_ns, start_ns = time.process_time_ns(), time.monotonic_ns()
    played.end_ns = start_ns + int(seconds * 1e9)
    async with asyncio.timeout(seconds + ANSWER_TIMEOUT_S):
        await asyncio.gather(*(echo.begin(played) for echo in echoes))
    return {
        "elapsed_ns": time.monotonic_ns() - start_ns,
        "cpu_ns": time.process_time_ns() - cpu_ns,
        "messages": played.messages,
        "wrong": played.wrong,
    }


async def stop(echoes: Sequence[Echo]) -> None:
    """End the children by the end of what they read."""
    for echo in echoes:
        echo.stdin.close()
    async with asyncio.timeout(START_TIMEOUT_S):
        for echo in echoes:
            await echo.exited.wait()
    for echo in echoes:
        echo.transport.close()


def serve_on_loop(contender: str, children: int, core: int) -> None:
    """Send messages on the contender's loop until stdin ends.

    Raises:
        LabError: the contender cannot run here.
        UnableError: its loop does not implement what it takes.
    """
    adapter, option = adapters.load(contender)
    loop = adapter.new_event_loop(option)
    facts = adapter.facts(loop)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            echoes = runner.run(start(children, core))
        except NotImplementedError as error:
            raise UnableError(
                "its loop does not implement subprocesses (NotImplementedError)"
            ) from error
        gc.collect()

        def run(seconds: float, size: int, depth: int) -> dict[str, int]:
            return runner.run(play(echoes, seconds, size, depth))

        try:
            serve(facts, run)
        finally:
            runner.run(stop(echoes))


def main(arguments: list[str] | None = None) -> int:
    """Serve commands until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m noria.lab.piper", description=__doc__)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--children", type=int, default=1)
    parser.add_argument("--core", type=int, default=-1, help="CPU to run on")
    parser.add_argument("--child-core", type=int, default=-1, help="CPU of the children")
    options: Any = parser.parse_args(arguments)
    load_native().end_with_parent()
    if options.core >= 0:
        pin(options.core)
    try:
        serve_on_loop(options.contender, options.children, options.child_core)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
