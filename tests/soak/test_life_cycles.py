"""Loops that come and go, and connections that come and go on one loop, leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core.descriptor import open_count
from tests.conftest import DEEP
from tests.ledger import open_descriptors
from tests.loops import Recorder, end, reset, run, run_turns, turns, until, wire

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = 20_000 if DEEP else 1_000
ROUNDS = 20 if DEEP else 4
CONNECTIONS = 2_000 if DEEP else 200

OBJECTS_SLACK = 60
"""Objects that caches of the interpreter may add between two counts."""

MEMORY_SLACK_KIB = 2_048
"""Resident memory that the allocator may keep between two counts."""


def resident_kib() -> int:
    """Resident memory of this process, 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def count_objects() -> int:
    """Objects that the collector knows, after it has done what it can."""
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects())


def check_growth(round_of_work: Callable[[], None]) -> None:
    """Do the same work several times; objects, descriptors and memory do not grow with it."""
    round_of_work()
    round_of_work()
    objects, descriptors, owned = count_objects(), len(open_descriptors()), open_count()
    memory = resident_kib()
    for _ in range(ROUNDS):
        round_of_work()
    grown = count_objects() - objects
    assert grown < OBJECTS_SLACK, f"{grown} objects more after {ROUNDS} rounds"
    assert len(open_descriptors()) == descriptors
    assert open_count() == owned
    assert resident_kib() - memory < MEMORY_SLACK_KIB * ROUNDS / 4


def test_a_thousand_loops(loop: Any) -> None:
    """Made, run a little, and closed; nothing needs the collector."""
    before, owned = open_descriptors(), open_count()
    run_turns(noria_loop := noria.new_event_loop(loop.engine))
    noria_loop.close()
    gc.collect()
    gc.disable()
    try:
        for number in range(LOOPS // 4):
            made = noria.new_event_loop(loop.engine)
            made.call_later(0 if number % 2 else 1000, int)
            made.call_soon(int)
            run_turns(made, 1)
            made.close()
        assert open_descriptors() == before
    finally:
        gc.enable()
    assert open_count() == owned


def test_loops_do_not_grow(loop: Any) -> None:
    def live() -> None:
        for _ in range(10):
            made = noria.new_event_loop(loop.engine)

            async def main() -> None:
                one = await wire(tcp=True)
                server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
                one.peer.send(b"hello")
                await until(lambda: one.protocol.data)
                task = asyncio.ensure_future(asyncio.sleep(1000))
                await turns(1)
                task.cancel()
                server.close()
                await end(one)

            run(made, main())
            made.close()

    check_growth(live)


def test_loops_that_are_forgotten_do_not_grow(loop: Any) -> None:
    def live() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(10):
                made = noria.new_event_loop(loop.engine)
                one = run(made, wire())
                made.call_later(1000, int)
                one.peer.close()
                del made, one
            gc.collect()

    check_growth(live)


def test_connections_do_not_grow(loop: Any) -> None:
    async def talk(number: int) -> None:
        one = await wire(tcp=number % 2 == 0)
        one.peer.send(bytes(1000 * (number % 50)))
        one.transport.write(bytes(1000 * (number % 300)))
        if number % 3 == 0:
            one.transport.pause_reading()
        await asyncio.sleep(0)
        if number % 4 == 0 and number % 2 == 0:
            reset(one.peer)
        one.transport.close() if number % 5 else one.transport.abort()
        one.peer.close()
        await one.protocol.ended()

    async def main() -> None:
        for start in range(0, CONNECTIONS, 50):
            await asyncio.gather(*(talk(start + number) for number in range(50)))
        await turns(2)

    check_growth(lambda: run(loop, main()))
    assert loop._engine.statistics().in_flight == 0


def test_streams_do_not_grow(loop: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for _ in range(CONNECTIONS // 4):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"hello\n")
            assert await reader.read() == b"hello\n"
            writer.close()
            await writer.wait_closed()
        server.close()
        await turns(2)

    check_growth(lambda: run(loop, main()))


def test_cancelled_waits_do_not_grow(loop: Any) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        with left, right:
            for _ in range(CONNECTIONS):
                task = asyncio.ensure_future(loop.sock_recv(left, 10))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                loop.add_reader(left, int)
                loop.remove_reader(left)
            await turns(1)

    check_growth(lambda: run(loop, main()))
    assert loop._engine.statistics().in_flight == 0


def test_timers_and_callbacks_do_not_grow(loop: Any) -> None:
    def work() -> None:
        for number in range(CONNECTIONS * 5):
            handle = loop.call_later(1000, int)
            loop.call_soon(int)
            loop.call_later(0, int)
            if number % 10:
                handle.cancel()
            else:
                loop.call_soon(handle.cancel)
        run_turns(loop, 5)

    check_growth(work)


@pytest.mark.skipif(sys.platform == "win32", reason="takes too long under emulation")
def test_engines_forget_numbers_that_were_closed(loop: Any) -> None:
    """The table of descriptors stays as small as the number of open files."""

    async def main() -> None:
        for _ in range(200):
            one = await wire()
            await end(one)

    run(loop, main())
    assert loop._engine.statistics().descriptors <= 4
