"""asyncio's own streams: the short way to a StreamReader cannot be told from the long one.

Every test runs the `plain` way, with asyncio's own classes, where noria feeds the reader itself,
and the `subclass` way, which takes asyncio's methods; `both` holds either against asyncio's loop.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import Reports, Wire, end, pattern, reset, run, tells_resets, turns, until, wire

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS = ["plain", "subclass"]


class OwnProtocol(asyncio.StreamReaderProtocol):
    """A subclass that changes nothing, and yet has to be called."""


class Streams(Wire):
    """A reader and a writer on one end of a socket pair."""

    def __init__(self, base: Wire, reader: asyncio.StreamReader) -> None:
        super().__init__(base.transport, base.protocol, base.peer)
        self.reader = reader
        self.writer = asyncio.StreamWriter(
            base.transport, base.protocol, reader, asyncio.get_running_loop()
        )

    async def end(self) -> None:
        """Close both ends."""
        self.writer.close()
        await end(self)


async def streams(
    way: str, limit: int = 65536, reader_class: type[asyncio.StreamReader] = asyncio.StreamReader
) -> Streams:
    """Open streams, the short or the long way."""
    loop = asyncio.get_running_loop()
    reader = reader_class(limit=limit, loop=loop)
    kind = asyncio.StreamReaderProtocol if way == "plain" else OwnProtocol
    return Streams(await wire(kind(reader, loop=loop)), reader)


def buffer_of(one: Streams) -> bytearray:
    """What the reader has not given away yet."""
    buffer: bytearray = one.reader._buffer  # type: ignore[attr-defined]
    return buffer


@pytest.mark.parametrize("way", WAYS)
def test_read_methods(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        one = await streams(way)
        one.peer.send(b"line\nexactly 10 rest")
        assert await one.reader.readline() == b"line\n"
        assert await one.reader.readexactly(10) == b"exactly 10"
        assert await one.reader.read(100) == b" rest"
        waiting = asyncio.ensure_future(one.reader.readuntil(b"|"))
        for piece in (b"a", b"b", b"c|d"):
            one.peer.send(piece)
            await turns(2)
        assert await waiting == b"abc|"
        one.peer.shutdown(socket.SHUT_WR)
        assert await one.reader.read() == b"d"
        assert await one.reader.read() == b""
        assert one.reader.at_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await one.reader.readexactly(1)
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [10, 1000, 65536])
def test_t1_the_reader_pauses_and_resumes_the_transport(
    both: asyncio.AbstractEventLoop, way: str, limit: int
) -> None:
    async def main() -> None:
        one = await streams(way, limit)
        sent = pattern(min(300_000, 500 * limit))
        done = 0
        found = bytearray()
        while len(found) < len(sent):
            if done < len(sent):
                try:
                    done += one.peer.send(sent[done : done + 3 * limit])
                except BlockingIOError:
                    pass
            await turns(1)
            assert one.transport.is_reading() is (len(buffer_of(one)) <= 2 * limit)
            while buffer_of(one):
                found += await one.reader.read(limit)
            assert one.transport.is_reading(), "what was read makes room"
        assert found == sent
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_t1_paused_at_twice_the_limit_exactly(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        one = await streams(way, 100)
        one.peer.send(bytes(200))
        await turns()
        assert one.transport.is_reading()
        one.peer.send(bytes(1))
        await turns()
        assert not one.transport.is_reading()
        await one.reader.readexactly(100)
        assert not one.transport.is_reading()
        await one.reader.readexactly(1)
        assert one.transport.is_reading()
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_lines_over_the_limit(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        one = await streams(way, 10)
        one.peer.send(b"x" * 15 + b"\n" + b"short\n")
        await turns(2)
        with pytest.raises(asyncio.LimitOverrunError):
            await one.reader.readuntil(b"\n")
        with pytest.raises(ValueError, match="limit"):
            await one.reader.readline()
        assert await one.reader.readline() == b"short\n"
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_a_waiter_that_was_cancelled_is_not_woken(
    both: asyncio.AbstractEventLoop, way: str
) -> None:
    async def main() -> None:
        one = await streams(way)
        for _ in range(3):
            waiting = asyncio.ensure_future(one.reader.read(10))
            await turns(1)
            waiting.cancel()
            one.peer.send(b"x")
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await turns(2)
            assert await one.reader.read(10) == b"x"
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_two_readers_at_once_are_refused(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        one = await streams(way)
        first = asyncio.ensure_future(one.reader.read(1))
        await turns(1)
        with pytest.raises(RuntimeError, match="already waiting"):
            await one.reader.read(1)
        one.peer.send(b"x")
        assert await first == b"x"
        await one.end()

    run(both, main())


@tells_resets
@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_connection_reaches_the_reader(
    both: asyncio.AbstractEventLoop, way: str
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        kind = asyncio.StreamReaderProtocol if way == "plain" else OwnProtocol
        one = Streams(await wire(kind(reader, loop=loop), tcp=True), reader)
        one.peer.send(b"data")
        assert await reader.read(4) == b"data"
        waiting = asyncio.ensure_future(reader.read(10))
        await turns(1)
        reset(one.peer)
        with pytest.raises(ConnectionResetError):
            await waiting
        assert isinstance(reader.exception(), ConnectionResetError)
        with pytest.raises(ConnectionResetError):
            await one.writer.drain()
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_data_after_feed_eof_ends_the_connection(
    both: asyncio.AbstractEventLoop, reports: Reports, way: str
) -> None:
    """asyncio asserts that nobody feeds a reader after its end."""

    async def main() -> None:
        one = await streams(way)
        one.reader.feed_eof()
        one.peer.send(b"x")
        await until(lambda: reports)
        report = reports.take_one()
        assert isinstance(report["exception"], AssertionError)
        assert str(report["exception"]) == "feed_data after feed_eof"
        assert one.transport.is_closing()
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_that_is_gone_is_not_fed(both: asyncio.AbstractEventLoop, way: str) -> None:
    """A protocol holds its reader weakly once the connection handler has returned."""
    reports: list[Any] = []
    both.set_exception_handler(lambda _, context: reports.append(context))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        kind = asyncio.StreamReaderProtocol if way == "plain" else OwnProtocol
        one = await wire(kind(reader, loop=loop))
        one.protocol._reject_connection = False
        one.protocol._strong_reader = None
        del reader
        gc.collect()
        assert one.protocol._stream_reader is None
        one.peer.send(b"nobody reads this")
        await turns()
        assert not one.transport.is_closing()
        await end(one)

    run(both, main())
    assert not reports


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_of_another_class_is_called(both: asyncio.AbstractEventLoop, way: str) -> None:
    class Counting(asyncio.StreamReader):
        fed = 0

        def feed_data(self, data: Any) -> None:
            self.fed += len(data)
            super().feed_data(data)

    async def main() -> None:
        one = await streams(way, reader_class=Counting)
        one.peer.send(b"hello")
        assert await one.reader.read(10) == b"hello"
        assert one.reader.fed == 5  # type: ignore[attr-defined]
        await one.end()

    run(both, main())


def patch_reader(one: Streams, seen: list[bytes], patcher: pytest.MonkeyPatch) -> None:
    """Patch feed_data of one reader."""
    original = one.reader.feed_data
    patcher.setattr(one.reader, "feed_data", lambda data: (seen.append(data), original(data)))  # type: ignore[func-returns-value] # for its effect


def patch_protocol(one: Streams, seen: list[bytes], patcher: pytest.MonkeyPatch) -> None:
    """Patch data_received of one protocol."""
    original = one.protocol.data_received
    patcher.setattr(one.protocol, "data_received", lambda data: (seen.append(data), original(data)))  # type: ignore[func-returns-value] # for its effect


def patch_reader_class(one: Streams, seen: list[bytes], patcher: pytest.MonkeyPatch) -> None:
    """Patch feed_data of all readers."""
    original = asyncio.StreamReader.feed_data
    patcher.setattr(
        asyncio.StreamReader,
        "feed_data",
        lambda self, data: (seen.append(bytes(data)), original(self, data))[1],  # type: ignore[func-returns-value] # for its effect
    )


def patch_protocol_class(one: Streams, seen: list[bytes], patcher: pytest.MonkeyPatch) -> None:
    """Patch data_received of all protocols."""
    original = asyncio.StreamReaderProtocol.data_received
    patcher.setattr(
        asyncio.StreamReaderProtocol,
        "data_received",
        lambda self, data: (seen.append(bytes(data)), original(self, data))[1],  # type: ignore[func-returns-value] # for its effect
    )


def patch_waking(one: Streams, seen: list[bytes], patcher: pytest.MonkeyPatch) -> None:
    """Patch how all readers wake whoever waits."""
    original = asyncio.StreamReader._wakeup_waiter  # type: ignore[attr-defined]
    patcher.setattr(
        asyncio.StreamReader,
        "_wakeup_waiter",
        lambda self: (seen.append(b"hello"), original(self))[1],  # type: ignore[func-returns-value] # for its effect
    )


@pytest.mark.parametrize(
    "patch",
    [patch_reader, patch_protocol, patch_reader_class, patch_protocol_class, patch_waking],
)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_patched_during_the_connection_is_called(
    both: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    patch: Callable[[Streams, list[bytes], pytest.MonkeyPatch], None],
) -> None:
    """Tracers and tests do that."""
    seen: list[bytes] = []

    async def main() -> None:
        one = await streams(way)
        one.peer.send(b"before")
        assert await one.reader.read(10) == b"before"
        with monkeypatch.context() as patcher:
            patch(one, seen, patcher)
            one.peer.send(b"hello")
            assert await one.reader.read(10) == b"hello"
            assert b"".join(seen) == b"hello"
        one.peer.send(b"after")
        assert await one.reader.read(10) == b"after"
        assert b"".join(seen) == b"hello"
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_a_transport_that_cannot_pause_is_not_asked_again(
    loop: asyncio.AbstractEventLoop, way: str
) -> None:
    """As asyncio's feed_data does it for transports of others."""

    class Unable:
        asked = 0

        def pause_reading(self) -> None:
            self.asked += 1
            raise NotImplementedError

    async def main() -> None:
        one = await streams(way, 10)
        unable = Unable()
        one.reader._transport = unable  # type: ignore[attr-defined]
        for _ in range(3):
            one.peer.send(bytes(100))
            await turns(2)
        assert unable.asked == 1
        assert len(buffer_of(one)) == 300
        await one.end()

    run(loop, main())


@pytest.mark.parametrize("way", WAYS)
def test_drain_waits_for_the_low_mark(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        one = await streams(way)
        one.writer.write(bytes(3_000_000))
        draining = asyncio.ensure_future(one.writer.drain())
        await turns()
        assert not draining.done()
        await one.take(3_000_000)
        await draining
        assert one.transport.get_write_buffer_size() <= 16384
        one.writer.writelines([b"a", b"b"])
        await one.writer.drain()
        assert await one.take(2) == b"ab"
        await one.end()

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_writer_methods(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        one = await streams(way)
        assert one.writer.can_write_eof()
        one.writer.write(b"data")
        one.writer.write_eof()
        assert await one.take_all() == b"data"
        assert not one.writer.is_closing()
        one.writer.close()
        assert one.writer.is_closing()
        await one.writer.wait_closed()
        with pytest.raises((ConnectionResetError, RuntimeError)):  # noqa: PT012 - either may
            one.writer.write(b"x")
            await one.writer.drain()
        await end(one)

    run(both, main())


@pytest.mark.parametrize("way", WAYS)
def test_streams_stay_open_after_the_end_of_the_peer(
    both: asyncio.AbstractEventLoop, way: str
) -> None:
    async def main() -> None:
        one = await streams(way)
        one.peer.send(b"request")
        one.peer.shutdown(socket.SHUT_WR)
        assert await one.reader.read() == b"request"
        await turns()
        one.writer.write(b"answer")
        assert await one.take(6) == b"answer"
        one.writer.close()
        await one.writer.wait_closed()
        await end(one)

    run(both, main())


def test_a_server_and_many_clients(both: asyncio.AbstractEventLoop) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.readline():
            writer.write(data.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for step in range(20):
            writer.write(b"client %d step %d\n" % (number, step))
            assert await reader.readline() == b"CLIENT %d STEP %d\n" % (number, step)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*(client(port, number) for number in range(30)))
        server.close()
        await server.wait_closed()
        await turns()

    run(both, main())


@pytest.mark.posix
def test_unix_streams(both: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async def main() -> None:
        path = str(tmp_path / "socket")
        server = await asyncio.start_unix_server(handle, path)
        reader, writer = await asyncio.open_unix_connection(path)
        data = pattern(1_000_000)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await turns()

    run(both, main())


def test_a_handler_that_fails_is_reported(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise ValueError("of the user")

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            await until(lambda: reports)
            assert isinstance(reports.take_one()["exception"], ValueError)
            server.close()
            await turns()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # older versions leave it to the collector
        run(both, main())
        gc.collect()
    run(both, turns())
