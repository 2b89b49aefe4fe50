"""A restricted ring: sockets work as ever, files go by threads, and nothing can widen it again."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

import noria
from noria.core import codes
from noria.core.operation import BACKEND
from noria.loop.waits import FutureOperation
from tests.loops import Recorder, end, run, turns, until, wire
from tests.rings import engine_of, needs_uring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ledger import Ledger


@pytest.fixture(params=[pytest.param("uring", marks=needs_uring), "epoll", "select"])
def loop(request: pytest.FixtureRequest, ledger: Ledger) -> Iterator[noria.Loop]:
    made = noria.new_event_loop(request.param, restricted=True)
    yield made
    made.close()


@pytest.mark.parametrize("size", [1, 5_000, 300_000])
def test_connections(loop: noria.Loop, size: int) -> None:
    async def main() -> None:
        wires = [await wire(Recorder()) for _ in range(5)]
        for one in wires:
            one.transport.write(b"x" * size)
            one.peer.send(b"y" * min(size, 60_000))
        await until(lambda: all(len(one.protocol.data) == min(size, 60_000) for one in wires))
        for one in wires:
            one.transport.close()
            assert await one.take_all() == b"x" * size
            await end(one)

    for _ in range(2):
        run(loop, main())


def test_servers_watches_and_threads(loop: noria.Loop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"over the net")
        assert await reader.read() == b"over the net"
        writer.close()
        server.close()
        await server.wait_closed()
        left, right = socket.socketpair()
        seen = asyncio.Event()
        asyncio.get_running_loop().add_reader(left, seen.set)
        right.send(b"x")
        await seen.wait()
        asyncio.get_running_loop().remove_reader(left)
        left.close()
        right.close()
        assert await asyncio.to_thread(int, "7") == 7
        await turns(2)

    run(loop, main())
    again = threading.Thread(target=run, args=(loop, main()))
    again.start()
    again.join()


def test_files_go_by_threads(loop: noria.Loop) -> None:
    async def main() -> None:
        op = FutureOperation(codes.STATUS_AT, -1, None, loop.create_future())
        op.buffer = "/"
        assert not loop.submit(op)
        assert (await op.future).st_ino == os.stat("/").st_ino  # noqa: PTH116
        assert op.route == BACKEND

    run(loop, main())


@needs_uring
def test_the_ring_refuses_the_rest(ledger: Ledger) -> None:
    made = noria.new_event_loop("uring", restricted=True)
    made.run_until_complete(asyncio.sleep(0))
    assert engine_of(made)._ring.bound_workers(1) == -errno.EACCES
    assert not engine_of(made)._ring.supports(0)
    made.close()
