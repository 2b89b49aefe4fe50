"""T2 on the engine `uring`: small writes wait for the end of the turn, never longer."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.limits import DEFERRED_SEND_BYTES_MAX
from tests.loops import BROKEN, Recorder, Reports, Wire, end, pattern, run, serve_loop, turns, wire
from tests.rings import engine_of, in_child, needs_uring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ledger import Ledger

pytestmark = needs_uring


@pytest.fixture
def loop(ledger: Ledger, reports: Reports) -> Iterator[asyncio.AbstractEventLoop]:
    yield from serve_loop(noria.new_event_loop("uring"), reports)


class Marks(Recorder):
    """Notes the marks of the write buffer it was told of."""

    def pause_writing(self) -> None:
        self.events.append(("pause", self.transport.get_write_buffer_size()))


def there(one: Wire, size: int = 1 << 20) -> bytes:
    """What the peer has; empty if nothing has come yet."""
    try:
        return one.peer.recv(size)
    except BlockingIOError:
        return b""


def counters(loop: asyncio.AbstractEventLoop) -> tuple[int, int]:
    """Calls of the ring, and attempts to send or receive outside of it."""
    engine = engine_of(loop)
    return engine._ring.calls, engine.statistics().attempts


def buffered(one: Wire) -> int:
    size: int = one.transport.get_write_buffer_size()
    return size


def test_t2_small_writes_of_a_turn_are_one_send(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        await turns()
        calls, attempts = counters(loop)
        for number in range(20):
            one.transport.write(b"%02d" % number)
        one.transport.writelines([b"several", b" pieces"])
        assert there(one) == b"", "they wait"
        assert buffered(one) == 54
        assert counters(loop) == (calls, attempts), "no call was made"
        await turns(1)
        assert there(one) == b"".join(b"%02d" % n for n in range(20)) + b"several pieces"
        assert buffered(one) == 0
        assert counters(loop)[1] == attempts, "nothing went past the ring"
        await end(one)

    run(loop, main())


def test_t2_a_turn_with_many_connections_costs_one_call(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        wires = [await wire() for _ in range(100)]
        await turns()
        calls, attempts = counters(loop)
        for number, one in enumerate(wires):
            one.transport.write(b"%03d" % number)
        await turns(1)
        assert counters(loop)[0] - calls <= 2, "not one for each"
        assert counters(loop)[1] == attempts
        assert [there(one) for one in wires] == [b"%03d" % number for number in range(100)]
        await end(*wires)

    run(loop, main())


def test_t2_datagrams_of_a_turn_stay_apart_over_turns(loop: asyncio.AbstractEventLoop) -> None:
    """On a socket that keeps messages apart each turn is one message, in order."""

    async def main() -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        right.setblocking(False)
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda: protocol, sock=left)
        one = Wire(transport, protocol, right)
        found = []
        for number in range(10):
            one.transport.write(b"<%d" % number)
            one.transport.write(b">")
            await turns(1)
            found.append(there(one))
        assert found == [b"<%d>" % number for number in range(10)]
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("how", ["stop", "complete", "raise"])
def test_t2_the_last_callback_of_a_run_leaves_nothing(
    loop: asyncio.AbstractEventLoop, how: str
) -> None:
    one = run(loop, wire())

    def last() -> None:
        one.transport.write(b"on the wire")
        if how == "raise":
            raise KeyboardInterrupt
        loop.stop()

    async def main() -> None:
        one.transport.write(b"on the wire")

    if how == "complete":
        loop.run_until_complete(main())
    else:
        loop.call_soon(last)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            assert how == "raise"
    assert there(one) == b"on the wire"
    assert buffered(one) == 0 or how != "complete"
    one.transport.write(b"between two runs")
    assert there(one) == b"between two runs", "nobody knows when the next turn will be"
    run(loop, end(one))


ENDINGS: dict[str, Callable[[Any], object]] = {
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "write_eof": lambda transport: transport.write_eof(),
}


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_t2_what_was_written_before_the_end_arrives(
    loop: asyncio.AbstractEventLoop, ending: str, method: str, tcp: bool
) -> None:
    """It would have been sent at once on other engines."""

    async def main() -> None:
        one = await wire(tcp=tcp)
        await turns(1)
        if method == "write":
            one.transport.write(b"last ")
            one.transport.write(b"words")
        else:
            one.transport.writelines([b"last ", b"words"])
        ENDINGS[ending](one.transport)
        assert there(one) == b"last words", "not even until the end of the turn"
        assert await one.take_all() == b""
        if ending == "write_eof":
            one.peer.send(b"answer")
            one.peer.close()
        assert await one.protocol.ended() is None
        assert one.protocol.data == (b"answer" if ending == "write_eof" else b"")
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("ending", ENDINGS)
def test_t2_the_end_while_a_send_waits_in_the_kernel(
    loop: asyncio.AbstractEventLoop, ending: str
) -> None:
    """A full socket: `abort` drops what waits, the others wait for it."""

    async def main() -> None:
        one = await wire()
        sock = one.transport.get_extra_info("socket")
        filled = 0
        while True:
            try:
                filled += socket.socket.send(sock._sock, b"f" * 65536)
            except BlockingIOError:
                break
        one.transport.write(b"deferred")
        await turns(2)
        one.transport.write(b", behind")
        assert buffered(one) == 16
        ENDINGS[ending](one.transport)
        await turns(2)
        if ending == "abort":
            assert await one.take_all() == b"f" * filled
        else:
            assert await one.take_all() == b"f" * filled + b"deferred, behind"
        if ending == "write_eof":
            one.transport.close()
        assert await one.protocol.ended() is None
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("size", [DEFERRED_SEND_BYTES_MAX + 1, 100_000, 3_000_000])
@pytest.mark.parametrize("kind", ["write", "writelines"])
def test_t2_small_and_large_writes_keep_their_order(
    loop: asyncio.AbstractEventLoop, size: int, kind: str
) -> None:
    async def main() -> None:
        one = await wire()
        large = pattern(size)
        sent = bytearray()
        for number in range(3):
            pieces = [b"<%d>" % number, large, b"<small>", b"</%d>" % number]
            sent += b"".join(pieces)
            if kind == "write":
                for piece in pieces:
                    one.transport.write(piece)
            else:
                one.transport.write(pieces[0])
                one.transport.writelines(pieces[1:])
            if number == 1:
                await turns(1)
        assert await one.take(len(sent)) == sent
        await turns(2)
        assert buffered(one) == 0
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("sizes", [(1, 16383), (1, 16384), (16384, 1), (8000, 8000, 8000)])
def test_t2_around_the_most_that_may_wait(
    loop: asyncio.AbstractEventLoop, sizes: tuple[int, ...]
) -> None:
    async def main() -> None:
        one = await wire()
        for number, size in enumerate(sizes):
            one.transport.write(pattern(size, number))
            assert buffered(one) <= DEFERRED_SEND_BYTES_MAX
        await turns(1)
        sent = b"".join(pattern(size, number) for number, size in enumerate(sizes))
        assert await one.take(len(sent)) == sent
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("first", [True, False])
def test_d4_a_buffer_may_be_changed_while_its_bytes_wait(
    loop: asyncio.AbstractEventLoop, first: bool
) -> None:
    async def main() -> None:
        one = await wire()
        memory = bytearray(b"aaaa")
        if not first:
            one.transport.write(b"head")
        for data in (memory, memoryview(memory), memoryview(memory)[::2]):
            one.transport.write(data)
        del data
        memory[:] = b"bbbb"
        one.transport.writelines([memory])
        memory.clear()
        await turns(1)
        assert there(one) == (b"" if first else b"head") + b"a" * 10 + b"b" * 4
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("high", [None, 0, 1, 10, 100, 5000, 16384, 100_000])
def test_t3_deferring_alone_pauses_nobody(
    loop: asyncio.AbstractEventLoop, high: int | None
) -> None:
    """The socket takes everything, so the protocol hears of no mark, however low it is."""

    async def main() -> None:
        one = await wire(Marks())
        if high is not None:
            one.transport.set_write_buffer_limits(high=high)
        sent = 0
        for size in (1, 9, 1, 90, 4000, 12_000, 500, 16_384, 1, 16_385, 3):
            before = buffered(one)
            one.transport.write(bytes(size))
            sent += size
            assert buffered(one) in {0, before + size, size}, "bytes that wait are counted"
            assert high is None or buffered(one) <= high
        one.transport.writelines([bytes(3), bytes(4)])
        assert one.protocol.events == ["made"]
        await turns(1)
        assert len(await one.take(sent + 7)) == sent + 7
        assert buffered(one) == 0
        assert one.protocol.events == ["made"]
        await end(one)

    run(loop, main())


def test_t3_marks_set_while_bytes_wait(loop: asyncio.AbstractEventLoop) -> None:
    """The new mark is below what waits; the socket would take it, so nobody is paused."""

    async def main() -> None:
        one = await wire(Marks())
        one.transport.write(b"x" * 100)
        one.transport.set_write_buffer_limits(high=10)
        one.transport.write(b"y" * 5)
        assert one.protocol.events == ["made"]
        await turns(1)
        assert there(one) == b"x" * 100 + b"y" * 5
        assert one.protocol.events == ["made"]
        await end(one)

    run(loop, main())


def test_t3_writers_against_a_full_socket_are_paused(loop: asyncio.AbstractEventLoop) -> None:
    """Many small writes that nobody takes: the pause comes, and every byte arrives once."""

    async def main() -> None:
        one = await wire()
        sent = bytearray()
        for number in range(10_000):
            piece = pattern(400, number)
            sent += piece
            one.transport.write(piece)
            if number % 10 == 0:
                await asyncio.sleep(0)
            if "pause" in one.protocol.events:
                break
        assert one.protocol.told == ["made", "pause"]
        assert buffered(one) > 65536
        assert await one.take(len(sent)) == sent
        await turns(2)
        assert one.protocol.told == ["made", "pause", "resume"]
        await end(one)

    run(loop, main())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_e10_a_fork_hands_over_first(loop: asyncio.AbstractEventLoop) -> None:
    """Both processes would hold the bytes otherwise, and each might send them."""

    async def main() -> None:
        one = await wire()
        await turns(1)
        one.transport.write(b"before")

        def child() -> None:
            assert there(one) == b"before"

        assert in_child(child) == 0
        one.transport.write(b"after")
        await turns(2)
        assert there(one) == b"after"
        one.peer.send(b"still heard")
        await turns(2)
        assert one.protocol.data == b"still heard"
        await end(one)

    run(loop, main())


class Seen(logging.Handler):
    """Notes what a peer has when a record is logged."""

    def __init__(self, look: Callable[[], bytes]) -> None:
        super().__init__()
        self.look = look
        self.found: list[bytes] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "took" in record.getMessage():
            self.found.append(self.look())


def test_t2_a_report_of_a_slow_callback_does_not_delay(loop: asyncio.AbstractEventLoop) -> None:
    one = run(loop, wire())
    seen = Seen(lambda: there(one))
    logger = logging.getLogger("asyncio")
    logger.addHandler(seen)

    def slow() -> None:
        one.transport.write(b"written")
        time.sleep(0.03)
        loop.call_soon(loop.stop)

    try:
        loop.set_debug(True)
        loop.slow_callback_duration = 0.02
        loop.call_soon(slow)
        loop.run_forever()
    finally:
        logger.removeHandler(seen)
        loop.set_debug(False)
    assert seen.found[0] == b"written"
    run(loop, end(one))


def test_write_through_sends_before_write_returns(ledger: Ledger, reports: Reports) -> None:
    made = noria.new_event_loop("uring", write_through=True)

    async def main() -> None:
        one = await wire()
        await turns(1)
        one.transport.write(b"now")
        assert there(one) == b"now"
        one.transport.writelines([b"n", b"ow"])
        assert there(one) == b"now"
        one.peer.send(b"heard")
        await turns(2)
        assert one.protocol.data == b"heard"
        await end(one)

    for each in serve_loop(made, reports):
        run(each, main())


@pytest.mark.parametrize("name", ["epoll", "select"])
def test_write_through_is_what_the_others_do(ledger: Ledger, reports: Reports, name: str) -> None:
    made = noria.new_event_loop(name, write_through=True)

    async def main() -> None:
        one = await wire()
        one.transport.write(b"now")
        assert there(one) == b"now"
        await end(one)

    for each in serve_loop(made, reports):
        run(each, main())


@pytest.mark.parametrize("count", [1, 3])
def test_t5_a_broken_pipe_reaches_connection_lost(
    loop: asyncio.AbstractEventLoop, count: int
) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()  # so that the end of the stream is not what tells
        await turns(2)
        one.peer.close()
        for _ in range(count):
            one.transport.write(b"nobody there")
        assert not one.transport.is_closing()
        assert isinstance(await one.protocol.ended(), BROKEN)
        assert one.protocol.told == ["made", "lost"]
        one.transport.write(b"still nobody")
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("ending", ENDINGS)
def test_t5_a_broken_pipe_and_the_end_at_once(loop: asyncio.AbstractEventLoop, ending: str) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()
        await turns(2)
        one.peer.close()
        one.transport.write(b"nobody there")
        ENDINGS[ending](one.transport)
        reason = await one.protocol.ended()
        assert reason is None if ending == "abort" else isinstance(reason, BROKEN)
        assert one.protocol.told == ["made", "lost"]
        await end(one)

    run(loop, main())


def test_t2_a_write_from_connection_made_and_from_data_received(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Echo(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"hello")

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(data)
            self.transport.write(b"!")

    async def main() -> None:
        one = await wire(Echo())
        assert await one.take(5) == b"hello"
        for number in range(100):
            one.peer.send(b"%d" % number)
            assert await one.take(len(b"%d!" % number)) == b"%d!" % number
        await end(one)

    run(loop, main())


def test_t2_what_waits_when_a_loop_is_closed(ledger: Ledger) -> None:
    """Parking has handed everything over, so nothing is left that closing could drop."""
    made = noria.new_event_loop("uring")

    async def main() -> Wire:
        one = await wire()
        one.transport.write(b"all")
        return one

    def leave() -> bytes:
        one = made.run_until_complete(main())
        made.close()
        with one.peer:
            return there(one)

    assert leave() == b"all"
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("ending", ["close", "abort", "pause_reading", "write"])
def test_e10_a_child_that_ends_a_connection_of_its_parent(
    loop: asyncio.AbstractEventLoop, ending: str
) -> None:
    """A child that cleans up after its parent is refused, or does nothing; it does not crash."""

    async def main() -> None:
        one = await wire()
        await turns(2)

        def child() -> None:
            try:
                getattr(one.transport, ending)(*([b"child"] if ending == "write" else []))
            except noria.ForkedEngineError:
                pass

        code = in_child(child)
        one.transport.write(b"parent")
        one.peer.send(b"peer")
        await turns(2)
        found = there(one)
        await end(one)
        assert found == b"parent"
        assert one.protocol.data == b"peer"
        assert code == 0

    run(loop, main())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_e10_a_fork_by_another_thread_doubles_nothing(loop: asyncio.AbstractEventLoop) -> None:
    """That thread cannot hand over what waits; then the child must not send it."""

    async def main() -> None:
        one = await wire()
        await turns(1)
        one.transport.write(b"once")
        codes: list[int] = []

        def child() -> None:
            try:
                one.transport.abort()
            except noria.ForkedEngineError:
                pass

        thread = threading.Thread(target=lambda: codes.append(in_child(child)))
        thread.start()
        thread.join()
        await turns(2)
        found = there(one)
        await end(one)
        assert found == b"once"
        assert codes == [0]

    run(loop, main())
