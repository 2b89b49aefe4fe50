"""L8: what was sent, begun or closed is news for the next generation, as with asyncio.

Programs, and tests above all, count on one look at I/O for each `sleep(0)` when both ends of a
connection are on one loop. Each scene counts how many it takes, here and on asyncio's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import Recorder, run
from tests.tls import client_context, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import noria

TOO_MANY = 500
LOOPBACK = "127.0.0.1"


async def sleeps(condition: Callable[[], object]) -> int:
    """How many times `sleep(0)` until the condition holds."""
    count = 0
    while not condition():
        await asyncio.sleep(0)
        count += 1
        assert count < TOO_MANY, "it did not come true"
    return count


class Echo(Recorder):
    """Sends back what it gets."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@contextlib.asynccontextmanager
async def connected(server_protocol: type = Recorder, **options: Any) -> AsyncIterator[Any]:
    """A client and the protocol of its server on one loop: (client's protocol, server's)."""
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def factory() -> Any:
        made.append(server_protocol())
        return made[-1]

    theirs: dict[str, Any] = {}
    if options.pop("tls", False):
        theirs["ssl"] = server_context()
        options.update(ssl=client_context(), server_hostname="localhost")
    server = await loop.create_server(factory, LOOPBACK, 0, **theirs)
    _, client = await loop.create_connection(
        Recorder, LOOPBACK, server.sockets[0].getsockname()[1], **options
    )
    await sleeps(lambda: made and made[0].told[:1] == ["made"])
    for _ in range(50):
        await asyncio.sleep(0)  # the tickets of TLS, and whatever else comes by itself
    try:
        yield client, made[0]
    finally:
        server.close()
        for protocol in (client, made[0]):
            if "lost" not in protocol.told:
                protocol.transport.abort()
                await protocol.ended()


async def write() -> list[int]:
    async with connected() as (client, server):
        found = []
        for size in (1, 2, 3):
            client.transport.write(b"x")
            found.append(await sleeps(lambda size=size: len(server.data) == size))  # type: ignore[misc] # its default
        client.transport.writelines([b"y", b"z"])
        found.append(await sleeps(lambda: len(server.data) == 5))
        return found


async def write_much() -> list[int]:
    async with connected() as (client, server):
        client.transport.write(bytes(100_000))
        return [await sleeps(lambda: server.data)]


async def answer() -> list[int]:
    async with connected(Echo) as (client, _):
        found = []
        for size in (1, 2, 3):
            client.transport.write(b"x")
            found.append(await sleeps(lambda size=size: len(client.data) == size))  # type: ignore[misc] # its default
        return found


async def answer_in_tls() -> list[int]:
    async with connected(Echo, tls=True) as (client, _):
        found = []
        for size in (1, 2, 3):
            client.transport.write(b"x")
            found.append(await sleeps(lambda size=size: len(client.data) == size))  # type: ignore[misc] # its default
        return found


async def half_close() -> list[int]:
    async with connected() as (client, server):
        client.transport.write_eof()
        return [
            await sleeps(lambda: "eof" in server.told),
            await sleeps(lambda: "lost" in server.told),
            await sleeps(lambda: "lost" in client.told),
        ]


async def close() -> list[int]:
    async with connected() as (client, server):
        client.transport.close()
        return [
            await sleeps(lambda: "lost" in client.told),
            await sleeps(lambda: "lost" in server.told),
        ]


async def write_and_close() -> list[int]:
    async with connected() as (client, server):
        client.transport.write(b"x")
        client.transport.close()
        return [await sleeps(lambda: server.data), await sleeps(lambda: "lost" in server.told)]


async def abort() -> list[int]:
    async with connected() as (client, server):
        client.transport.abort()
        return [await sleeps(lambda: "lost" in server.told)]


async def read_again() -> list[int]:
    async with connected() as (client, server):
        server.transport.pause_reading()
        client.transport.write(b"x")
        await sleeps_at_least(10)
        server.transport.resume_reading()
        return [await sleeps(lambda: server.data)]


async def sleeps_at_least(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def connect() -> list[int]:
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    task = asyncio.ensure_future(loop.create_connection(Recorder, LOOPBACK, port))
    found = await sleeps(lambda: task.done() and made and "made" in made[0].told)
    server.close()
    task.result()[0].abort()
    await made[0].ended()
    return [found]


async def datagrams() -> list[int]:
    loop = asyncio.get_running_loop()
    received: list[bytes] = []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.append(data)

    left, _ = await loop.create_datagram_endpoint(Receiver, local_addr=(LOOPBACK, 0))
    right, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=left.get_extra_info("sockname")
    )
    await sleeps_at_least(10)
    found = []
    for size in (1, 2):
        right.sendto(b"x")
        found.append(await sleeps(lambda size=size: len(received) == size))  # type: ignore[misc] # its default
    left.abort()
    right.abort()
    await sleeps_at_least(10)
    return found


async def sock_methods() -> list[int]:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        found = []
        for _ in range(3):
            task = asyncio.ensure_future(loop.sock_recv(right, 10))
            await sleeps_at_least(10)
            await loop.sock_sendall(left, b"x")
            found.append(await sleeps(task.done))
        return found


async def watches() -> list[int]:
    """The user's own calls in callbacks of `add_reader`: nothing goes through the loop."""
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(5)]
    for number in range(4):
        source, target = pairs[number][1], pairs[number + 1][0]
        source.setblocking(False)
        loop.add_reader(source, lambda s=source, t=target: t.send(s.recv(10)))  # type: ignore[misc] # its default
    last = pairs[-1][1]
    seen: list[bytes] = []
    last.setblocking(False)
    loop.add_reader(last, lambda: seen.append(last.recv(10)))
    pairs[0][0].setblocking(False)
    await sleeps_at_least(10)
    await loop.sock_sendall(pairs[0][0], b"x")
    found = await sleeps(lambda: seen)
    for pair in pairs:
        loop.remove_reader(pair[1])
        for sock in pair:
            sock.close()
    return [found]


async def streams() -> list[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await sleeps_at_least(20)
    found = []
    for _ in range(3):
        task = asyncio.ensure_future(reader.readline())
        writer.write(b"line\n")
        found.append(await sleeps(task.done))
    writer.close()
    server.close()
    await writer.wait_closed()
    await sleeps_at_least(20)
    return found


async def pipes() -> list[int]:
    loop = asyncio.get_running_loop()
    reader, writer = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    protocol = Recorder()
    source, _ = await loop.connect_read_pipe(lambda: protocol, reader)
    sink, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writer)
    await sleeps_at_least(10)
    sink.write(b"x")
    found = [await sleeps(lambda: protocol.data)]
    sink.close()
    found.append(await sleeps(lambda: "lost" in protocol.told))
    source.close()
    await sleeps_at_least(10)
    return found


SCENES: tuple[Callable[[], Awaitable[list[int]]], ...] = (
    write,
    write_much,
    answer,
    answer_in_tls,
    half_close,
    close,
    write_and_close,
    abort,
    read_again,
    connect,
    datagrams,
    sock_methods,
    watches,
    streams,
    pytest.param(pipes, marks=pytest.mark.posix),  # type: ignore[assignment]
)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("scene", SCENES)
def test_l8_as_few_sleeps_as_with_asyncio(
    loop: noria.Loop, scene: Callable[[], Any], debug: bool
) -> None:
    theirs = asyncio.SelectorEventLoop()
    loop.set_debug(debug)
    try:
        expected = run(theirs, scene())
    finally:
        theirs.close()
    found = run(loop, scene())
    assert all(ours <= other for ours, other in zip(found, expected, strict=True)), (
        f"{found} instead of {expected}"
    )


def test_l8_callbacks_that_send_nothing_cost_no_look(loop: noria.Loop) -> None:
    async def main() -> int:
        await sleeps_at_least(100)
        before: int = loop._engine.statistics().polls
        await sleeps_at_least(640)
        return loop._engine.statistics().polls - before

    assert run(loop, main()) < 100
