"""T2, T3 and D4: writing through, buffering, water marks, and buffers of the caller."""

from __future__ import annotations

import array
import asyncio
import logging
import socket
from typing import Any

import pytest

from tests.loops import (
    BROKEN,
    POSIX,
    Recorder,
    Reports,
    Wire,
    end,
    handed_over,
    pattern,
    run,
    turns,
    until,
    wire,
)


def buffered(one: Wire) -> int:
    """Bytes that wait in the transport."""
    size: int = one.transport.get_write_buffer_size()
    return size


def test_t2_an_idle_transport_writes_through(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")):
            one.transport.write(data)
            await handed_over()
            assert one.peer.recv(100) == bytes(data), "sent before write() returned"
            assert buffered(one) == 0
        one.transport.writelines([b"several", bytearray(b" pieces"), memoryview(b" at once")])
        await handed_over()
        assert one.peer.recv(100) == b"several pieces at once"
        one.transport.write(b"")
        one.transport.writelines([])
        one.transport.writelines([b"", b""])
        await turns()
        with pytest.raises(BlockingIOError):
            one.peer.recv(1)
        await end(one)

    run(both, main())


@pytest.mark.parametrize("size", [1, 4096, 65536, 65537, 300_000, 5_000_000])
def test_t2_every_byte_arrives_in_order(both: asyncio.AbstractEventLoop, size: int) -> None:
    async def main() -> None:
        one = await wire()
        data = pattern(size)
        one.transport.write(data)
        one.transport.write(b"|")
        one.transport.writelines([data, b"|"])
        found = await one.take(2 * size + 2)
        assert found == data + b"|" + data + b"|"
        await until(lambda: buffered(one) == 0)
        await end(one)

    run(both, main())


def test_t2_thousands_of_small_writes_behind_a_full_socket(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        sent = bytearray(pattern(400_000))
        one.transport.write(bytes(sent))
        for number in range(5000):
            piece = pattern(number % 7 + 1, number)
            sent += piece
            one.transport.write(piece)
        assert await one.take(len(sent)) == sent
        await end(one)

    run(both, main())


def test_t2_the_kernel_gets_what_it_takes_and_the_buffer_the_rest(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        size = 1_000_000
        one.transport.write(bytes(size))
        waiting = buffered(one)
        in_kernel = len(one.peer.recv(size, socket.MSG_PEEK))
        assert 0 < waiting < size
        assert waiting + in_kernel <= size
        await one.take(size)
        await until(lambda: buffered(one) == 0)
        await end(one)

    run(both, main())


@pytest.mark.parametrize("kind", ["bytearray", "memoryview"])
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_d4_a_buffer_may_be_changed_after_the_write(
    loop: asyncio.AbstractEventLoop, kind: str, size: int
) -> None:
    """Whether it was sent at once, or waits, or waits behind another. asyncio sends the change."""

    async def main() -> None:
        one = await wire()
        for _ in range(2):
            memory = bytearray(b"a" * size)
            one.transport.write(memory if kind == "bytearray" else memoryview(memory))
            memory[:] = b"b" * size
            memory.extend(b"c")  # nor does the transport keep it from being resized
        assert set(await one.take(2 * size)) == {ord("a")}
        await end(one)

    run(loop, main())


def test_d4_pieces_of_writelines_may_be_changed_after_it(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        size = 500_000
        pieces = [bytearray(b"a" * size) for _ in range(4)]
        one.transport.writelines(pieces)
        for piece in pieces:
            piece[:] = b"b" * size
            piece.clear()
        assert set(await one.take(4 * size)) == {ord("a")}
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("count", [5, 100_000])
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_d4_views_of_larger_items_are_sent_byte_by_byte(
    loop: asyncio.AbstractEventLoop, count: int, method: str
) -> None:
    """The length of such a view is not its number of bytes; asyncio loses some of them."""

    async def main() -> None:
        one = await wire()
        numbers = array.array("I", range(count))
        grid = memoryview(bytes(range(24))).cast("B", (4, 6))
        views = [memoryview(numbers), grid, memoryview(numbers)[::2]]
        sent = bytearray()
        for _ in range(3):
            for view in views:
                sent += view.tobytes()
                if method == "write":
                    one.transport.write(view)
                else:
                    one.transport.writelines([view])
        assert await one.take(len(sent)) == sent
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("wrong", ["text", None, 5, [b"list"], object()])
def test_only_bytes_can_be_written(both: asyncio.AbstractEventLoop, wrong: Any) -> None:
    async def main() -> None:
        one = await wire()
        with pytest.raises(TypeError):
            one.transport.write(wrong)
        with pytest.raises(TypeError):
            one.transport.writelines([b"right", wrong])
        if wrong is None or isinstance(wrong, int):
            with pytest.raises(TypeError):
                one.transport.writelines(wrong)
        one.transport.write(b"still works")
        assert b"still works" in await one.take(11)
        await end(one)

    if (wrong is None) and isinstance(both, asyncio.SelectorEventLoop):
        pytest.skip("asyncio's writelines takes None for no data")
    run(both, main())


def test_t3_the_default_water_marks(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        transport = one.transport
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        transport.set_write_buffer_limits(high=1e6)  # asyncio takes any number
        assert transport.get_write_buffer_limits() == (250_000, 1e6)
        transport.set_write_buffer_limits(high=10**30, low=0)
        assert transport.get_write_buffer_limits() == (0, 10**30)
        transport.set_write_buffer_limits(high=1000, low=1000)
        assert transport.get_write_buffer_limits() == (1000, 1000)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        for wrong in ({"high": 10, "low": 11}, {"high": -1}, {"low": -1}, {"high": 0, "low": 1}):
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(**wrong)
        assert transport.get_write_buffer_limits() == (0, 0)
        await end(one)

    run(both, main())


class Marked(Recorder):
    """Notes the size of the buffer whenever it is paused and resumed."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[str, int]] = []

    def pause_writing(self) -> None:
        self.sizes.append(("pause", self.transport.get_write_buffer_size()))

    def resume_writing(self) -> None:
        self.sizes.append(("resume", self.transport.get_write_buffer_size()))


@pytest.mark.parametrize("method", ["write", "writelines"])
@pytest.mark.parametrize(("high", "low"), [(None, None), (200_000, 100_000), (0, 0), (1, 1)])
def test_t3_pausing_above_the_high_mark_and_resuming_at_the_low_one(
    loop: asyncio.AbstractEventLoop, method: str, high: int | None, low: int | None
) -> None:
    async def main() -> None:
        one = await wire(Marked())
        transport, sizes = one.transport, one.protocol.sizes
        transport.set_write_buffer_limits(high, low)
        low_mark, high_mark = transport.get_write_buffer_limits()
        sent = 0
        for _ in range(3):
            sizes.clear()
            while not sizes:
                before = buffered(one)
                assert before <= high_mark, "not paused though above the mark"
                if method == "write":
                    transport.write(bytes(10_000))
                else:
                    transport.writelines([bytes(4_000), bytes(6_000)])
                sent += 10_000
            assert sizes == [("pause", buffered(one))]
            assert buffered(one) > high_mark
            transport.write(b"more")
            transport.writelines([b"and", b"more"])
            sent += 11
            assert len(sizes) == 1, "paused twice"
            await one.take(sent)
            sent = 0
            await until(lambda: len(sizes) == 2)
            assert sizes[1][0] == "resume"
            assert sizes[1][1] <= low_mark
        await end(one)

    run(loop, main())


def test_t3_no_pause_at_the_high_mark_exactly(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(Marked())
        one.transport.write(bytes(1_000_000))
        one.protocol.sizes.clear()
        one.transport.set_write_buffer_limits(high=2_000_000)
        await until(lambda: one.protocol.sizes or buffered(one))
        one.protocol.sizes.clear()
        size = buffered(one)
        one.transport.set_write_buffer_limits(high=size + 100)
        one.transport.write(bytes(100))
        assert one.protocol.sizes == []
        await end(one)

    run(both, main())


def test_t3_lower_marks_pause_at_once(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(Marked())
        one.transport.set_write_buffer_limits(high=10_000_000)
        one.transport.write(bytes(2_000_000))
        assert one.protocol.sizes == []
        one.transport.set_write_buffer_limits(high=1000)
        assert [name for name, _ in one.protocol.sizes] == ["pause"]
        await one.take(2_000_000)
        await until(lambda: len(one.protocol.sizes) == 2)
        assert one.protocol.sizes[1] == ("resume", 0)
        await end(one)

    run(both, main())


def test_t3_what_is_sent_at_once_pauses_nobody(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(Marked())
        one.transport.set_write_buffer_limits(high=0)
        for _ in range(10):
            one.transport.write(bytes(1000))
            one.transport.writelines([bytes(500), bytes(500)])
        assert one.protocol.sizes == []
        await end(one)

    run(both, main())


def test_t3_a_paused_protocol_is_resumed_whatever_way_the_data_went(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Also when the socket has room again just before the transport would begin to wait."""

    async def main() -> None:
        one = await wire(Marked())
        engine = loop._engine  # type: ignore[attr-defined]
        engine.direct = False  # the first attempt is made by an operation
        for _ in range(5):
            one.transport.write(bytes(100_000))
            await one.take(100_000)
            await turns(2)
        names = [name for name, _ in one.protocol.sizes]
        assert names.count("pause") == names.count("resume")
        engine.direct = True
        await end(one)

    run(loop, main())


def test_resume_writing_writes_again(both: asyncio.AbstractEventLoop) -> None:
    class Endless(Recorder):
        left = 20

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(bytes(300_000))

    async def main() -> None:
        one = await wire(Endless())
        one.transport.write(bytes(300_000))
        await one.take(21 * 300_000)
        await until(lambda: one.protocol.told.count("resume") == 21)
        assert one.protocol.told == ["made", *["pause", "resume"] * 21]
        await end(one)

    run(both, main())


@pytest.mark.parametrize("action", ["close", "abort"])
def test_t5_resume_writing_ends_the_connection(
    loop: asyncio.AbstractEventLoop, action: str
) -> None:
    """asyncio calls connection_lost twice here, and fails the second time."""

    class Ending(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            getattr(self.transport, action)()

    async def main() -> None:
        one = await wire(Ending())
        one.transport.write(bytes(1_000_000))
        await one.take_all()
        await one.protocol.ended()
        await turns()
        assert one.protocol.told == ["made", "pause", "resume", "lost"]
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_t4_an_error_in_a_flow_method_is_reported_and_no_more(
    both: asyncio.AbstractEventLoop, reports: Reports, method: str
) -> None:
    def fail(_: Any) -> None:
        raise ValueError("of the user")

    async def main() -> None:
        protocol = type("Failing", (Recorder,), {method: fail})()
        one = await wire(protocol)
        one.transport.write(bytes(1_000_000))
        await one.take(1_000_000)
        await until(lambda: reports)
        report = reports.take_one()
        assert report["message"] == f"protocol.{method}() failed"
        assert isinstance(report["exception"], ValueError)
        assert report["transport"] is one.transport
        assert report["protocol"] is protocol
        one.transport.write(b"still works")
        assert await one.take(11) == b"still works"
        await end(one)

    run(both, main())


def test_writing_after_close_is_sent_as_long_as_something_waits(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(bytes(1_000_000))
        one.transport.close()
        one.transport.write(b"the end")
        found = await one.take_all()
        assert len(found) == 1_000_007
        await one.protocol.ended()
        await end(one)

    run(both, main())


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_writing_after_the_loss_warns_from_the_fifth_time_on(
    both: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    if method == "writelines" and isinstance(both, asyncio.SelectorEventLoop):
        pytest.skip("asyncio's own writelines does not count")

    async def main() -> None:
        one = await wire()
        one.transport.abort()
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(4):
                getattr(one.transport, method)(b"x" if method == "write" else [b"x"])
            assert not caplog.records
            for _ in range(3):
                getattr(one.transport, method)(b"x" if method == "write" else [b"x"])
        assert [record.getMessage() for record in caplog.records] == [
            "socket.send() raised exception."
        ] * 3
        await one.protocol.ended()
        one.transport.write(b"after connection_lost")
        await end(one)

    run(both, main())


def test_a_broken_pipe_is_given_to_connection_lost(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()
        one.peer.close()
        one.transport.write(b"into the void")
        await handed_over()
        while not POSIX and not one.transport.is_closing():
            await turns(1)  # on TCP the answer to the first write is what breaks a later one
            one.transport.write(b"into the void")
        assert one.transport.is_closing()
        assert isinstance(await one.protocol.ended(), BrokenPipeError if POSIX else BROKEN)
        await end(one)

    run(both, main())


def test_a_connection_that_breaks_while_data_waits(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()
        one.transport.write(bytes(3_000_000))
        await turns()
        one.peer.close()
        exception = await one.protocol.ended()
        assert isinstance(exception, BROKEN)
        assert buffered(one) == 0
        assert one.protocol.told == ["made", "pause", "lost"]
        await end(one)

    run(both, main())


def test_huge_writes_in_both_directions_with_slow_readers(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        size = 3_000_000
        data, other = pattern(size, 1), pattern(size, 2)
        one.transport.write(data)
        sent, received = 0, bytearray()
        while sent < size or len(received) < size:
            if sent < size:
                try:
                    sent += one.peer.send(other[sent : sent + 50_000])
                except BlockingIOError:
                    pass
            try:
                received += one.peer.recv(30_000)
            except BlockingIOError:
                pass
            await asyncio.sleep(0)
        await until(lambda: len(one.protocol.data) == size)
        assert received == data
        assert one.protocol.data == other
        await end(one)

    run(both, main())


def test_many_transports_share_the_operations_of_the_loop(
    both: asyncio.AbstractEventLoop,
) -> None:
    """A send operation is lent to one transport at a time; here all need one at once."""

    async def main() -> None:
        wires = [await wire(tcp=number % 2 == 0) for number in range(12)]
        sent = []
        for number, one in enumerate(wires):
            data = pattern(1_500_000 + number, number)
            sent.append(data)
            one.transport.write(data[:1_000_000])
            one.transport.writelines([data[1_000_000:1_200_000], data[1_200_000:]])
        found = await asyncio.gather(
            *(one.take(len(data)) for one, data in zip(wires, sent, strict=True))
        )
        assert found == sent
        await end(*wires)

    run(both, main())
