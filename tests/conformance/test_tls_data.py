"""Data over TLS: every byte once and in order, whatever the pieces, pauses and buffers."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Any

import pytest

from tests.conformance.test_stream_buffered import Buffered
from tests.loops import Recorder, Reports, pattern, run, turns, until
from tests.tls import Secure, finish, secure, stop

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
each_version = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
each_side = pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])


@each_version
@each_side
@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 300_000])
def test_there_and_back(
    both: asyncio.AbstractEventLoop, version: ssl.TLSVersion, server_side: bool, size: int
) -> None:
    async def main() -> None:
        one = await secure(version=version, server_side=server_side)
        data = pattern(size)
        one.transport.write(data)
        assert await one.peer.take(size) == data
        sending = asyncio.ensure_future(one.peer.write(data))
        await until(lambda: len(one.protocol.data) >= size)
        await sending
        assert one.protocol.data == data
        assert one.transport.get_extra_info("ssl_object").version() == one.peer.object.version()
        await finish(one)

    run(both, main())


def test_bytes_come_one_by_one(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        data = pattern(300)
        records = one.peer.encrypted(data[:100]) + one.peer.encrypted(data[100:])
        for position in range(len(records)):
            await one.peer.send_raw(records[position : position + 1])
            await turns(1)
        await until(lambda: len(one.protocol.data) == 300)
        assert one.protocol.data == data
        await finish(one)

    run(both, main())


@each_version
@pytest.mark.parametrize("seed", range(3))
def test_random_pieces_and_pauses(
    both: asyncio.AbstractEventLoop, version: ssl.TLSVersion, seed: int
) -> None:
    dice = random.Random(seed)

    class Fickle(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if dice.random() < 0.3:
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main() -> None:
        one = await secure(Fickle(), version=version)
        total = 600_000
        data = pattern(total, seed)
        records = bytearray()
        done = 0
        while done < total:
            step = dice.choice([1, 10, 1000, 16384, 50_000])
            records += one.peer.encrypted(data[done : done + step])
            done += step
        view = memoryview(records)
        while view:
            step = dice.choice([1, 3, 7, 1000, 8000, 100_000])
            await one.peer.send_raw(bytes(view[:step]))
            view = view[step:]
            if dice.random() < 0.2:
                await turns(1)
        await until(lambda: len(one.protocol.data) >= total)
        assert one.protocol.data == data
        await finish(one)

    run(both, main())


@pytest.mark.parametrize("seed", range(3))
def test_random_writes_against_a_slow_reader(both: asyncio.AbstractEventLoop, seed: int) -> None:
    dice = random.Random(seed)

    async def main() -> None:
        one = await secure(tcp=True)
        total = 3_000_000
        data = pattern(total, seed)
        done = 0
        found = bytearray()
        while done < total:
            step = dice.choice([1, 100, 5000, 16384, 200_000])
            piece = data[done : done + step]
            done += len(piece)
            if dice.random() < 0.3:
                half = len(piece) // 2
                one.transport.writelines([piece[:half], bytearray(piece[half:])])
            else:
                one.transport.write(piece)
            if dice.random() < 0.1 and one.transport.get_write_buffer_size():
                found += await one.peer.read()
        one.transport.close()
        found += await one.peer.take_all()
        assert found == data
        await one.peer.notify()
        assert await one.protocol.ended() is None
        await finish(one)

    run(both, main())


def test_a_mutable_buffer_may_be_changed_after_write(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure(tcp=True)
        expected = bytearray()
        memory = bytearray(500_000)
        for number in range(12):
            memory[:] = pattern(len(memory), number)
            expected += memory
            one.transport.write(memory if number % 2 else memoryview(memory))
            if isinstance(both, asyncio.SelectorEventLoop):
                memory = bytearray(len(memory))  # asyncio keeps what it was given
            else:
                memory[:] = bytes(len(memory))
        assert await one.peer.take(len(expected)) == expected
        await finish(one)

    run(both, main())


def test_what_is_no_bytes_is_refused(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
            one.transport.write("text")
        with pytest.raises(NotImplementedError):
            one.transport.write_eof()
        assert not one.transport.can_write_eof()
        one.transport.write(b"")
        one.transport.writelines([])
        one.transport.write(memoryview(b"abcdef").cast("B", (2, 3)))
        assert await one.peer.take(6) == b"abcdef"
        await finish(one)

    run(both, main())


# -- BufferedProtocol -------------------------------------------------------------------------


class Sized(Buffered):
    """Takes any hint."""

    def get_buffer(self, sizehint: int) -> Any:
        """The whole memory."""
        return self.memory


@each_version
@pytest.mark.parametrize("size", [1, 100, 1000, 16384, 40_000, 1_000_000])
def test_a_buffered_protocol_gets_every_byte(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion, size: int
) -> None:
    """get_buffer returns a bytearray: asyncio delivers zeros in that case (gh-156275)."""

    async def main() -> None:
        one = await secure(Sized(size), version=version)
        data = pattern(min(500_000, 3000 * size))
        sending = asyncio.ensure_future(one.peer.write(data))
        await until(lambda: len(one.protocol.data) >= len(data))
        await sending
        assert one.protocol.data == data
        await finish(one)

    run(loop, main())


def test_a_buffered_protocol_may_resize_its_bytearray(loop: asyncio.AbstractEventLoop) -> None:
    class Resizing(Sized):
        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.memory[:nbytes]
            self.memory += bytes(100)

    async def main() -> None:
        one = await secure(Resizing(100))
        data = pattern(100_000)
        sending = asyncio.ensure_future(one.peer.write(data))
        await until(lambda: len(one.protocol.data) >= len(data))
        await sending
        assert one.protocol.data == data
        await finish(one)

    run(loop, main())


def test_a_buffer_of_other_items_is_filled(loop: asyncio.AbstractEventLoop) -> None:
    class Words(Sized):
        def get_buffer(self, sizehint: int) -> Any:
            return memoryview(self.memory).cast("I")

    async def main() -> None:
        one = await secure(Words(4000))
        data = pattern(10_000)
        await one.peer.write(data)
        await until(lambda: len(one.protocol.data) >= len(data))
        assert one.protocol.data == data
        await finish(one)

    run(loop, main())


def test_an_empty_buffer_ends_the_connection(
    loop: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    async def main() -> None:
        one = await secure(Sized(0))
        await one.peer.write(b"x")
        exc = await one.protocol.ended()
        assert str(exc) == "get_buffer() returned an empty buffer"
        assert "get_buffer() call failed" in reports.take_one()["message"]
        await finish(one)

    run(loop, main())


def test_the_protocol_may_change_its_kind_at_any_time(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        plain, buffered = Recorder(), Sized(50)

        class First(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.set_protocol(buffered)
                assert self.transport.get_protocol() is buffered

        first = First()
        one = await secure(first)
        buffered.connection_made(one.transport)
        plain.connection_made(one.transport)
        await one.peer.write(b"first")
        await until(lambda: first.data == b"first")
        await one.peer.write(b"second" * 20)
        await until(lambda: buffered.data == b"second" * 20)
        one.transport.set_protocol(plain)
        await one.peer.write(b"third")
        await until(lambda: plain.data == b"third")
        await finish(one)

    run(loop, main())


# -- pausing and flow control -----------------------------------------------------------------


def test_pausing_bounds_what_is_taken_in(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        one.transport.pause_reading()
        assert not one.transport.is_reading()
        one.transport.pause_reading()
        taken = 0
        records = one.peer.encrypted(pattern(5_000_000))
        view = memoryview(records)
        for _ in range(50):
            try:
                while True:
                    count = one.peer.sock.send(view[taken : taken + 65536])
                    taken += count
            except BlockingIOError:
                await turns(1)
        assert taken < 3_000_000, "nobody held the peer back"
        assert not one.protocol.data
        sending = asyncio.ensure_future(one.peer.send_raw(bytes(view[taken:])))
        one.transport.resume_reading()
        one.transport.resume_reading()
        await until(lambda: len(one.protocol.data) >= 5_000_000)
        await sending
        assert one.protocol.data == pattern(5_000_000)
        await finish(one)

    run(loop, main())


@pytest.mark.parametrize("high", [None, 0, 1000, 100_000, 3_000_000])
def test_marks_are_told_in_turn_and_truly(
    loop: asyncio.AbstractEventLoop, high: int | None
) -> None:
    async def main() -> None:
        one = await secure()
        one.transport.set_write_buffer_limits(high=high)
        low, top = one.transport.get_write_buffer_limits()
        assert (low, top) == ((high or 0) // 4, high) if high is not None else (131072, 524288)
        data = pattern(8_000_000)
        sizes: list[int] = []

        class Watching:
            def pause_writing(self) -> None:
                assert one.transport.get_write_buffer_size() > top
                sizes.append(1)

            def resume_writing(self) -> None:
                assert one.transport.get_write_buffer_size() <= low
                sizes.append(-1)

        one.protocol.pause_writing = Watching().pause_writing
        one.protocol.resume_writing = Watching().resume_writing
        for start in range(0, len(data), 500_000):
            one.transport.write(data[start : start + 500_000])
        assert sizes == [1]
        assert await one.peer.take(len(data)) == data
        await until(lambda: sizes == [1, -1])
        assert one.transport.get_write_buffer_size() == 0
        await finish(one)

    run(loop, main())


def test_wrong_marks_are_refused(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        with pytest.raises(ValueError, match="must be >= low"):
            one.transport.set_write_buffer_limits(high=1, low=2)
        assert one.transport.get_write_buffer_limits() == (131072, 524288)
        await finish(one)

    run(both, main())


def test_small_writes_are_not_held_back(loop: asyncio.AbstractEventLoop) -> None:
    """Writing again while nothing waits pauses nobody."""

    async def main() -> None:
        one = await secure()
        one.transport.set_write_buffer_limits(high=0)
        for number in range(20):
            one.transport.write(pattern(100, number))
        assert await one.peer.take(2000) == b"".join(pattern(100, n) for n in range(20))
        assert "pause" not in one.protocol.told
        await finish(one)

    run(loop, main())


# -- damage -----------------------------------------------------------------------------------


@each_version
def test_a_damaged_record_ends_the_connection(
    both: asyncio.AbstractEventLoop, version: ssl.TLSVersion, reports: Reports
) -> None:
    async def main() -> None:
        one = await secure(version=version)
        good, bad = one.peer.encrypted(b"good"), bytearray(one.peer.encrypted(b"bad"))
        bad[-1] ^= 1
        await one.peer.send_raw(good)
        await until(lambda: one.protocol.data == b"good")
        await one.peer.send_raw(bytes(bad))
        assert isinstance(await one.protocol.ended(), ssl.SSLError)
        assert one.protocol.data == b"good"
        assert one.protocol.told == ["made", "lost"]
        await finish(one)

    run(both, main())


def test_data_before_a_damaged_record_are_delivered(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        bad = bytearray(one.peer.encrypted(pattern(40_000)) + one.peer.encrypted(b"bad"))
        bad[-1] ^= 1
        await one.peer.send_raw(bytes(bad))
        assert isinstance(await one.protocol.ended(), ssl.SSLError)
        assert one.protocol.data == pattern(40_000)
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await one.peer.read()
        await finish(one)

    run(loop, main())


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\x17\x03\x03\xff\xff" + b"x" * 50])
def test_what_is_no_record_ends_the_connection(
    both: asyncio.AbstractEventLoop, garbage: bytes
) -> None:
    async def main() -> None:
        one = await secure()
        await one.peer.send_raw(garbage)
        assert isinstance(await one.protocol.ended(), ssl.SSLError)
        await finish(one)

    run(both, main())


def test_two_of_noria_speak_to_each_other(loop: asyncio.AbstractEventLoop) -> None:
    from tests.tls import NAME, client_context, server_context

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def one_client(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context(), server_hostname=NAME
        )
        data = pattern(200_000, number)
        writer.write(data)
        await writer.drain()
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*(one_client(port, number) for number in range(10)))
        await stop(server)

    run(loop, main())


def test_many_small_records_come_together(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one: Secure = await secure()
        pieces = [pattern(50, number) for number in range(100)]
        await one.peer.send_raw(b"".join(map(one.peer.encrypted, pieces)))
        await until(lambda: len(one.protocol.data) == 5000)
        assert one.protocol.data == b"".join(pieces)
        assert len(one.protocol.chunks) < 100
        await finish(one)

    run(loop, main())
