"""The engine `uring`: threads it runs in, and the two ways it receives."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import threading
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import noria
from noria.core import codes
from noria.engines.uring import UringEngine
from noria.limits import (
    RECEIVE_BYTES_PER_TURN_MAX,
    RING_BUFFER_BYTES,
    RING_BUFFERS_MAX,
    RING_ENTRIES,
    SMALL_RECEIVES_MIN,
)
from tests.driver import Driver, Owned, Recorded
from tests.ledger import Ledger, ledger
from tests.loops import (
    Recorder,
    Reports,
    end,
    fill,
    pattern,
    reports,
    run,
    serve_loop,
    turns,
    until,
    wire,
)
from tests.rings import engine_of, in_child, needs_uring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ledger", "reports"]

pytestmark = needs_uring

T = TypeVar("T")
ASKED_BYTES = 256 * 1024


@pytest.fixture
def loop(ledger: Ledger, reports: Reports) -> Iterator[asyncio.AbstractEventLoop]:
    yield from serve_loop(noria.new_event_loop("uring"), reports)


@pytest.fixture
def driver(ledger: Ledger) -> Driver:
    """An engine driven by hand."""
    engine = UringEngine()
    ledger.watch(engine)
    return Driver(engine)


def in_thread(function: Callable[[], T]) -> T:
    """Call it in a thread of its own."""
    results: list[T] = []
    failures: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def attempts(loop: asyncio.AbstractEventLoop) -> int:
    """Attempts to receive or send outside of the ring so far."""
    count: int = engine_of(loop).statistics().attempts
    return count


async def hear(one: Any, size: int) -> None:
    """Wait until a connection has received so much."""
    await until(lambda: len(one.protocol.data) >= size)


# -- parking --------------------------------------------------------------------------------


def test_e12_a_loop_moves_from_thread_to_thread(ledger: Ledger) -> None:
    made = noria.new_event_loop("uring")
    wires = in_thread(lambda: made.run_until_complete(many(30)))
    sent = bytearray()
    for number in range(4):
        for one in wires:
            one.peer.send(b"<%d>" % number)
        sent += b"<%d>" % number
        in_thread(lambda: made.run_until_complete(turns(3)))
        for one in wires:
            assert one.protocol.data == sent
            one.transport.write(b"answer")
            assert one.peer.recv(100) == b"answer"
    for one in wires:
        one.peer.send(b"unread")
    in_thread(lambda: made.run_until_complete(turns(3)))
    in_thread(lambda: made.run_until_complete(end(*wires)))
    in_thread(made.close)
    assert all(one.protocol.told == ["made", "lost"] for one in wires)


async def many(count: int, *, tcp: bool = False) -> list[Any]:
    """Make so many connections."""
    return [await wire(tcp=tcp) for _ in range(count)]


@pytest.mark.parametrize("size", [1, 3000, 100_000])
def test_t1_data_between_two_runs_comes_with_the_next(
    loop: asyncio.AbstractEventLoop, size: int
) -> None:
    wires = run(loop, many(5))
    for _ in range(3):
        for one in wires:
            one.peer.send(pattern(size))
            assert not one.protocol.data, "nobody runs"
        run(loop, until(lambda: all(len(one.protocol.data) >= size for one in wires)))
        for one in wires:
            assert one.protocol.data == pattern(size)
            one.protocol.data.clear()
    run(loop, end(*wires))


def test_t1_nothing_stays_in_the_kernels_hands_between_two_runs(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Between two runs a byte is in the socket, where its user finds it, or with the engine."""

    async def main() -> None:
        await turns(2)
        for one in wires:
            one.peer.send(b"while it runs ")

    wires = run(loop, many(10))
    loop.run_until_complete(main())
    for one in wires:
        one.peer.send(b"while it does not")
        sock = one.transport.get_extra_info("socket")
        left = socket.socket.recv(sock._sock, 100, socket.MSG_PEEK)
        assert left.endswith(b"while it does not")
    run(loop, turns(3))
    assert all(one.protocol.data == b"while it runs while it does not" for one in wires)
    run(loop, end(*wires))


def test_five_hundred_runs_with_an_idle_connection(loop: asyncio.AbstractEventLoop) -> None:
    one = run(loop, wire())
    started = time.monotonic()
    for _ in range(500):
        loop.run_until_complete(asyncio.sleep(0))
    assert time.monotonic() - started < 10
    one.peer.send(b"still there")
    run(loop, turns(2))
    assert one.protocol.data == b"still there"
    run(loop, end(one))


def test_hundreds_of_loops_in_a_row(ledger: Ledger) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(b"x")
        assert await one.take(1) == b"x"
        await end(one)

    for _ in range(300):
        made = noria.new_event_loop("uring")
        made.run_until_complete(main())
        made.close()


@pytest.mark.parametrize("ran", [False, True])
def test_a_loop_is_closed_in_another_thread(ledger: Ledger, ran: bool) -> None:
    made = noria.new_event_loop("uring")
    if ran:
        made.run_until_complete(asyncio.sleep(0))
    in_thread(made.close)
    assert made.is_closed()
    made.close()


def test_a_run_that_gets_no_ring_can_be_repeated(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread needs a ring of its own; without one it says so, and nothing is lost."""
    from noria.engines import uring

    def refuse() -> Any:
        raise OSError(24, "Too many open files")

    one = run(loop, wire())
    one.peer.send(b"waits")
    with monkeypatch.context() as patch:
        patch.setattr(uring, "make_ring", refuse)
        idle = asyncio.sleep(0)
        with pytest.raises(OSError, match="Too many open files"):
            in_thread(lambda: loop.run_until_complete(idle))
        assert not loop.is_running()
    in_thread(lambda: run(loop, turns(2)))
    assert one.protocol.data == b"waits"
    run(loop, end(one))


@pytest.mark.parametrize("count", [RING_ENTRIES - 1, RING_ENTRIES, RING_ENTRIES + 1])
def test_e7_a_wake_while_the_queue_is_just_full(driver: Driver, count: int) -> None:
    """The requests of one turn fill the queue, and the poll of the epoll set needs an entry too."""
    pairs = [socket.socketpair() for _ in range(count)]
    owned = [Owned(driver, left) for left, _ in pairs]
    operations = [receive_on(one) for one in owned]
    driver.submit(*operations)
    timer = threading.Timer(0.05, driver.engine.wake)
    timer.start()
    started = time.monotonic()
    driver.poll(2.0)
    waited = time.monotonic() - started
    timer.join()
    for one, (_, right) in zip(owned, pairs, strict=True):
        one.close()
        right.close()
    driver.settle_down()
    assert waited < 1.5, "the wake did not end the wait"


def receive_on(owned: Owned) -> Recorded:
    """The receive of a transport."""
    return owned.operation(codes.RECEIVE, size=ASKED_BYTES, multishot=True)


def test_statistics_count_what_the_kernel_has(driver: Driver) -> None:
    left, right = socket.socketpair()
    owned = Owned(driver, left)
    op = receive_on(owned)
    driver.submit(op)
    driver.settle_down()
    in_flight = driver.statistics().in_flight
    driver.end(op)
    after = driver.statistics().in_flight
    owned.close()
    right.close()
    assert (in_flight, after) == (1, 0)


# -- small and large messages ---------------------------------------------------------------


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


SIZES = (1, 100, 4095, 4096, 4097, 8192, 10_000, 16_384, 16_385, 65_536, 200_001, 1 << 20)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("size", SIZES)
def test_t1_messages_of_every_size_come_back(
    loop: asyncio.AbstractEventLoop, size: int, tcp: bool
) -> None:
    async def main() -> None:
        one = await wire(Echo(), tcp=tcp)
        for number in range(3):
            await exchange(one, pattern(size, number))
        await end(one)

    run(loop, main())


async def exchange(one: Any, data: bytes) -> None:
    """Send a message and have it echoed, however little fits a socket."""
    found = bytearray()
    sent = 0
    deadline = time.monotonic() + 10
    while len(found) < len(data):
        assert time.monotonic() < deadline, f"{len(found)} of {len(data)} bytes came back"
        try:
            sent += one.peer.send(data[sent : sent + 65_536])
        except BlockingIOError:
            pass
        try:
            found += one.peer.recv(1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0)
    assert found == data


def test_t1_sizes_at_random(loop: asyncio.AbstractEventLoop) -> None:
    chance = random.Random(11)

    async def main() -> None:
        wires = [await wire(Echo(), tcp=number % 2 == 0) for number in range(6)]
        for number in range(300):
            size = chance.choice((1, 10, 100, 3000, 4095, 4096, 5000, 20_000, 100_000))
            await exchange(chance.choice(wires), pattern(size, number))
        await end(*wires)

    run(loop, main())


def test_large_messages_leave_the_ring_and_small_ones_return(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        await turns(2)

        async def tell(data: bytes) -> int:
            before = attempts(loop)
            one.protocol.data.clear()
            one.peer.send(data)
            await hear(one, len(data))
            await turns(2)
            assert one.protocol.data == data
            return attempts(loop) - before

        small, large = b"small", pattern(3 * RING_BUFFER_BYTES)
        for _ in range(3):
            for _ in range(5):
                assert await tell(small) == 0, "the ring receives"
            await tell(large)
            assert await tell(large) > 0, "by readiness"
            for _ in range(SMALL_RECEIVES_MIN):
                assert await tell(small) > 0, "not a few small ones bring it back"
            assert await tell(small) == 0, "the ring receives again"
        await tell(large)
        for _ in range(3):
            for _ in range(SMALL_RECEIVES_MIN - 2):
                assert await tell(small) > 0
            assert await tell(large) > 0, "a large one begins the count anew"
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("size", [10, RING_BUFFER_BYTES, 50_000])
def test_t1_the_end_of_the_stream_behind_data(loop: asyncio.AbstractEventLoop, size: int) -> None:
    async def main() -> None:
        wires = await many(20)
        await turns(2)
        for one in wires:
            one.peer.send(pattern(size))
            one.peer.close()
        for one in wires:
            assert await one.protocol.ended() is None
            assert one.protocol.data == pattern(size)
            assert one.protocol.told == ["made", "eof", "lost"]
        await end(*wires)

    run(loop, main())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_t1_a_send_that_waits_among_many_receives(count: int) -> None:
    """More completions than a poll takes: its operation is used again before all are taken.

    In a child, because a loop that is broken by it cannot be cleaned up.
    """

    def child() -> None:
        made = noria.new_event_loop("uring")
        run(made, wait_among_receives(count))
        made.close()

    assert in_child(child) == 0


async def wait_among_receives(count: int) -> None:
    blocked = await wire()
    wires = await many(count)
    await turns(2)
    sock = blocked.transport.get_extra_info("socket")._sock
    for number in range(5):
        filled = fill_through(sock)
        for one in wires:
            one.protocol.data.clear()
            one.peer.send(b"data %d" % number)
        blocked.transport.write(b"waits %d" % number)
        await turns(1)
        blocked.transport.write(b", behind")
        await turns(8)
        assert all(one.protocol.data == b"data %d" % number for one in wires)
        assert await blocked.take(filled) == bytes(filled)
        assert await blocked.take(15) == b"waits %d, behind" % number
        await turns(2)
        assert blocked.transport.get_write_buffer_size() == 0
    await end(blocked, *wires)


def fill_through(sock: socket.socket) -> int:
    """Fill a transport's socket past its back; zeros."""
    total = 0
    while True:
        try:
            total += socket.socket.send(sock, bytes(65_536))
        except BlockingIOError:
            return total


# -- pausing --------------------------------------------------------------------------------


def room_of_a_pair() -> int:
    """Bytes that a pair takes if nobody reads."""
    left, right = socket.socketpair()
    right.setblocking(False)
    with left, right:
        return right.send(pattern(2000)) + fill(right, bytes(RING_BUFFER_BYTES))


def test_t1_a_thousand_paused_connections_take_little(loop: asyncio.AbstractEventLoop) -> None:
    """Flooded before and after the pause: each takes at most what was on its way already."""

    async def main() -> tuple[list[Any], list[int]]:
        wires = await many(1000)
        await turns(2)
        sent = [one.peer.send(pattern(2000)) for one in wires]
        for one in wires:
            one.transport.pause_reading()
        for _ in range(3):
            for number, one in enumerate(wires):
                sent[number] += fill(one.peer, bytes(RING_BUFFER_BYTES))
            await turns(2)
        return wires, sent

    wires, sent = run(loop, main())
    room = room_of_a_pair()
    for one, size in zip(wires, sent, strict=True):
        assert len(one.protocol.data) in {0, 2000}
        assert size <= 2 * room + RECEIVE_BYTES_PER_TURN_MAX
        with pytest.raises(BlockingIOError):
            one.peer.send(b"x" * RING_BUFFER_BYTES)
    assert sum(sent) - 1000 * room <= 2 * RING_BUFFERS_MAX * RING_BUFFER_BYTES

    async def resume() -> None:
        for one in wires:
            one.transport.resume_reading()
        for one, size in zip(wires, sent, strict=True):
            await hear(one, size)
            assert one.protocol.data == pattern(2000) + bytes(size - 2000)
        await end(*wires)

    run(loop, resume())


def test_t1_pausing_and_resuming_at_random(loop: asyncio.AbstractEventLoop) -> None:
    chance = random.Random(5)

    async def main() -> None:
        wires = await many(8)
        sent = [bytearray() for _ in wires]
        for number in range(3000):
            place = chance.randrange(len(wires))
            one = wires[place]
            action = chance.random()
            if action < 0.4:
                piece = pattern(chance.choice((1, 50, 4096, 9000)), number)
                try:
                    sent[place] += piece[: one.peer.send(piece)]
                except BlockingIOError:
                    pass
            elif action < 0.6:
                one.transport.pause_reading()
            elif action < 0.8:
                one.transport.resume_reading()
            else:
                await turns(chance.choice((0, 1)))
        for one, data in zip(wires, sent, strict=True):
            one.transport.resume_reading()
            await hear(one, len(data))
            assert one.protocol.data == data
        await end(*wires)

    run(loop, main())


# -- forks and forgotten loops --------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("running", [False, True])
def test_e10_a_child_makes_its_own_loop(loop: asyncio.AbstractEventLoop, running: bool) -> None:
    def child() -> None:
        asyncio._set_running_loop(None)
        with pytest.raises(noria.ForkedEngineError):
            engine_of(loop).poll(0, None)
        if not running:
            idle = asyncio.sleep(0)
            with pytest.raises(noria.ForkedEngineError):
                loop.run_until_complete(idle)
            idle.close()
            loop.close()
        fresh = noria.new_event_loop("uring")
        fresh.run_until_complete(talk())
        fresh.close()

    async def talk() -> None:
        one = await wire(Echo())
        await exchange(one, b"own loop")
        await end(one)

    async def main() -> None:
        assert in_child(child) == 0

    wires = run(loop, many(3))
    if running:
        run(loop, main())
    else:
        assert in_child(child) == 0
    for one in wires:
        one.peer.send(b"parent")
    run(loop, turns(3))
    assert all(one.protocol.data == b"parent" for one in wires)
    run(loop, end(*wires))


@pytest.mark.parametrize("ran", [False, True])
def test_a_forgotten_loop_warns_and_goes(ledger: Ledger, ran: bool) -> None:
    numbers: list[int] = []

    def make() -> weakref.ref[Any]:
        made = noria.new_event_loop("uring")
        if ran:
            made.run_until_complete(asyncio.sleep(0))
        numbers.append(engine_of(made)._ring.fileno())
        return weakref.ref(made)

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        known = make()
    gc.collect()
    assert known() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers[0])


def test_a_forgotten_loop_with_connections_goes(ledger: Ledger) -> None:
    made = noria.new_event_loop("uring")
    wires = made.run_until_complete(many(3))
    peers = [one.peer for one in wires]
    known = [weakref.ref(made), *(weakref.ref(one.protocol) for one in wires)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del made, wires
        gc.collect()
    assert [one() for one in known] == [None] * 4
    for peer in peers:
        assert peer.recv(1) == b""
        peer.close()
