"""Faults at the ring's door: what the kernel may answer seldom, and what must come of it.

A `Faulty` ring stands in for the engine's. Where it is to give another answer than the kernel, it
queues a request that ends at once in place of the real one, so that the kernel and the engine
agree about what is in flight.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core import codes
from noria.engines import uring
from noria.limits import RING_BUFFER_BYTES, UNASKED_CANCELS_MAX
from noria.native.ring import Ring
from tests.driver import Driver, Owned, Recorded, drain
from tests.loops import BROKEN, Reports, Wire, end, pattern, reports, serve_loop, turns, until, wire
from tests.rings import engine_of, needs_uring

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from tests.ledger import Ledger

__all__ = ["reports"]

pytestmark = needs_uring

ASKED_BYTES = 256 * 1024
PATIENCE_SECONDS = 20

Door = Callable[..., asyncio.AbstractEventLoop]


class Faulty(Ring):
    """A ring that answers as a test has written down.

    Attributes:
        receives: answers of the next receives; None is the real thing.
        sends: results of the next sends, as above; a value >= 0 shortens it.
        refusals: so many of the next prepared requests find the queue full.
        entered: answers of the next calls.
    """

    def write_down(self) -> None:
        """Begin without faults; the extension type has no `__init__` to build on."""
        self.receives: list[int | None] = []
        self.sends: list[int | None] = []
        self.refusals = 0
        self.entered: list[int] = []
        self.injected = 0
        self._answers: dict[int, int] = {}

    def _refuses(self) -> bool:
        if self.refusals and self.queued():
            self.refusals -= 1
            self.injected += 1
            return True
        return False

    def _note(self, taken: bool, token: object, result: int) -> bool:
        if taken:
            self._answers[id(token)] = result
            self.injected += 1
        return taken

    def prepare_receive(self, token: object, fd: int) -> bool:
        if self._refuses():
            return False
        result = self.receives.pop(0) if self.receives else None
        if result is None:
            return super().prepare_receive(token, fd)
        return self._note(super().prepare_receive(token, -1), token, result)

    def prepare_send(self, token: object, fd: int, data: bytes, offset: int) -> bool:
        if self._refuses():
            return False
        result = self.sends.pop(0) if self.sends else None
        if result is None:
            return super().prepare_send(token, fd, data, offset)
        if result > 0:
            os.write(fd, data[offset : offset + result])
        return self._note(super().prepare_send(token, -1, data, offset), token, result)

    def enter(self, timeout_ns: int) -> int:
        if self.entered:
            self.injected += 1
            return self.entered.pop(0)
        return super().enter(timeout_ns)

    def take(self) -> bool:
        taken = super().take()
        if taken and id(self.token) in self._answers and self.result == -errno.EBADF:
            self.result = self._answers.pop(id(self.token))
        return taken


@pytest.fixture
def door(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, reports: Reports
) -> Iterator[Callable[..., asyncio.AbstractEventLoop]]:
    """Makes a loop whose ring has these sizes."""
    made: list[Any] = []

    def make(
        entries: int = 256, completions: int = 4096, buffers: int = 64
    ) -> asyncio.AbstractEventLoop:
        def make_ring() -> Ring:
            ring = Faulty(entries, completions)
            ring.write_down()
            assert ring.make_group(1, buffers, RING_BUFFER_BYTES) == 0
            ring.provide(buffers)
            return ring

        monkeypatch.setattr(uring, "make_ring", make_ring)
        served = serve_loop(noria.new_event_loop("uring"), reports)
        made.append(served)
        return next(served)

    yield make
    for each in made:
        next(each, None)


def ring_of(loop: asyncio.AbstractEventLoop) -> Faulty:
    ring = engine_of(loop)._ring
    assert isinstance(ring, Faulty)
    return ring


async def many(count: int) -> list[Wire]:
    return [await wire() for _ in range(count)]


async def hear(wires: list[Wire], size: int) -> None:
    """Wait until each connection has received so much."""
    await until(lambda: all(len(one.protocol.data) >= size for one in wires))


async def talk(wires: list[Wire], rounds: int, size: int) -> None:
    """Every peer sends, every connection answers, and every byte is checked."""
    for number in range(rounds):
        for place, one in enumerate(wires):
            one.protocol.data.clear()
            one.peer.send(pattern(size, number + place))
            one.transport.write(pattern(size, place - number))
        await hear(wires, size)
        for place, one in enumerate(wires):
            assert one.protocol.data == pattern(size, number + place)
            assert await one.take(size) == pattern(size, place - number)


def bounded(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run with a bound on time."""
    loop.run_until_complete(asyncio.wait_for(main, PATIENCE_SECONDS))


@pytest.mark.parametrize("size", [40, RING_BUFFER_BYTES, 9000])
def test_two_buffers_for_a_thousand_connections(door: Door, size: int) -> None:
    loop = door(buffers=2)

    async def main() -> None:
        wires = await many(1000)
        await turns(2)
        await talk(wires, 2, size)
        await end(*wires)

    bounded(loop, main())
    assert size > 1000 or engine_of(loop).retried > 0, "buffers ran out"


@pytest.mark.parametrize("sizes", [(1, 2), (4, 8), (4, 4096), (256, 256)])
@pytest.mark.parametrize("size", [40, RING_BUFFER_BYTES])
def test_e11_small_queues_lose_nothing(door: Door, sizes: tuple[int, int], size: int) -> None:
    """Requests for which the queue is full, and more completions than their queue takes."""
    loop = door(*sizes)

    async def main() -> None:
        wires = await many(1000 if sizes[1] > 100 else 250)  # a call for each request takes long
        await turns(2)
        await talk(wires, 2, size)
        for one in wires:
            one.transport.pause_reading()
        await turns(2)
        for one in wires:
            one.protocol.data.clear()
            one.peer.send(b"behind a pause")
            one.transport.resume_reading()
        await hear(wires, 14)
        await end(*wires)

    bounded(loop, main())


@pytest.mark.parametrize("sizes", [(1, 2), (4, 8), (16, 16)])
def test_e12_small_queues_and_many_runs(door: Door, sizes: tuple[int, int]) -> None:
    """Parking takes everything back, however little fits the queues."""
    loop = door(*sizes)
    wires: list[Wire] = []

    async def begin() -> None:
        wires.extend(await many(60))

    bounded(loop, begin())
    sent = bytearray()
    for number in range(20):
        for one in wires:
            one.peer.send(b"<%d>" % number)
        sent += b"<%d>" % number
        bounded(loop, hear(wires, len(sent)))
    assert all(one.protocol.data == sent for one in wires)
    bounded(loop, end(*wires))


@pytest.mark.parametrize("refusals", [1, 3, 20])
def test_e11_a_queue_that_is_full_now_and_then(door: Door, refusals: int) -> None:
    loop = door()

    async def main() -> None:
        wires = await many(10)
        await turns(2)
        for _ in range(5):
            ring_of(loop).refusals = refusals
            await talk(wires, 1, 100)
        await end(*wires)

    bounded(loop, main())
    assert ring_of(loop).injected >= 5


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
@pytest.mark.parametrize("count", [1, 5, 30])
def test_e4_a_call_that_cannot_submit_now(door: Door, number: int, count: int) -> None:
    loop = door(entries=4)

    async def main() -> None:
        wires.extend(await many(20))
        await turns(2)
        for _ in range(5):
            ring_of(loop).entered = [-number] * count
            await talk(wires, 1, 100)
        for one in wires:
            one.protocol.data.clear()
            one.peer.send(b"next run")
        ring_of(loop).entered = [-number] * count  # parking has to get over it

    async def later() -> None:
        await hear(wires, 8)
        await end(*wires)

    wires: list[Wire] = []
    bounded(loop, main())
    ring_of(loop).entered = [-number] * count
    bounded(loop, later())
    assert ring_of(loop).injected >= 6 * count


@pytest.mark.parametrize("sizes", [(1,), (0,), (3, 1, 2), (1, 0, 0, 1)])
@pytest.mark.parametrize("behind", [False, True])
def test_t1_short_sends(door: Door, sizes: tuple[int, ...], behind: bool) -> None:
    loop = door()

    async def main() -> None:
        (one,) = await many(1)
        await turns(2)
        for number in range(5):
            ring_of(loop).sends = list(sizes)
            one.transport.write(b"%d: first, " % number)
            one.transport.write(b"second")
            if behind:
                engine_of(loop).flush()
                one.transport.write(b", behind")
            expected = b"%d: first, second" % number + (b", behind" if behind else b"")
            assert await one.take(len(expected)) == expected
            await turns(1)
            assert one.transport.get_write_buffer_size() == 0
        await end(one)

    bounded(loop, main())
    assert ring_of(loop).injected >= 5


@pytest.mark.parametrize("ending", ["close", "write_eof"])
@pytest.mark.parametrize("result", [1, -errno.ECANCELED])
def test_t2_the_end_behind_a_send_that_comes_short(door: Door, ending: str, result: int) -> None:
    loop = door()

    async def main() -> None:
        (one,) = await many(1)
        await turns(2)
        ring_of(loop).sends = [result]
        one.transport.write(b"every byte")
        engine_of(loop).flush()
        getattr(one.transport, ending)()
        assert await one.take_all() == b"every byte"
        one.transport.close()
        assert await one.protocol.ended() is None
        await end(one)

    bounded(loop, main())
    assert ring_of(loop).injected == 1


@pytest.mark.parametrize("sends", [1, 3])
def test_t1_cancellations_that_nobody_asked_for(door: Door, sends: int) -> None:
    """Kernels before 6.14: a request ends so, and is submitted once more."""
    loop = door()

    async def main() -> None:
        wires = []
        for _ in range(10):  # one by one: the same request twice in a row would be too often
            ring_of(loop).receives.append(-errno.ECANCELED)
            wires += await many(1)
            await turns(2)
        for _ in range(3):
            ring_of(loop).sends = [-errno.ECANCELED] * sends
            await talk(wires, 1, 100)
        await end(*wires)

    bounded(loop, main())
    assert engine_of(loop).retried >= 10
    assert ring_of(loop).injected == 10 + 3 * sends


def test_t5_the_kernel_cancels_the_same_receive_again_and_again(door: Door) -> None:
    """Submitting it for ever would spin: the second time in a row the connection is lost."""
    loop = door()

    async def main() -> None:
        ring_of(loop).receives += [-errno.ECANCELED] * 100
        one = (await many(1))[0]
        lost = await one.protocol.ended()
        assert isinstance(lost, OSError)
        assert lost.errno == errno.ECANCELED
        await end(one)

    bounded(loop, main())
    assert ring_of(loop).injected == 1 + UNASKED_CANCELS_MAX


def test_t1_cancellations_that_nobody_asked_for_when_a_run_ends(door: Door) -> None:
    loop = door()

    async def main(number: int) -> None:
        if not number:
            wires.extend(await many(3))
        await hear(wires, 0)
        ring_of(loop).sends = [-errno.ECANCELED] * 3
        for one in wires:
            one.transport.write(b"%d" % number)

    wires: list[Wire] = []
    for number in range(3):
        bounded(loop, main(number))
    bounded(loop, turns(2))
    assert [one.peer.recv(100) for one in wires] == [b"012"] * 3
    bounded(loop, end(*wires))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_receive_that_the_kernel_does_not_know_goes_by_readiness(door: Door, number: int) -> None:
    loop = door()

    async def main() -> None:
        ring_of(loop).receives = [-number] * 10
        wires = await many(10)
        for one in wires:
            one.peer.send(b"early")
        await hear(wires, 5)
        await talk(wires, 3, 100)
        await talk(wires, 3, 9000)
        await end(*wires)

    bounded(loop, main())
    assert ring_of(loop).injected == 10


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ECANCELED, errno.ENOBUFS])
@pytest.mark.parametrize("action", ["pause", "abort"])
def test_e5_a_refused_receive_that_is_cancelled(door: Door, number: int, action: str) -> None:
    """Between its failure and its completion its owner wants no more: then it ends."""
    loop = door()

    async def main() -> None:
        ring = ring_of(loop)
        (one,) = await many(1)
        await turns(2)
        one.transport.pause_reading()
        await turns(2)
        ring.receives = [-number]
        one.transport.resume_reading()
        engine_of(loop).flush()
        if action == "abort":
            one.transport.abort()
        else:
            one.transport.pause_reading()
            await turns(3)
            one.peer.send(b"paused")
            await turns(3)
            assert one.protocol.data == b""
            one.transport.resume_reading()
            await hear([one], 6)
            assert one.protocol.data == b"paused"
            one.transport.abort()
        await one.protocol.ended()
        await end(one)
        assert ring.injected == 1

    bounded(loop, main())


@pytest.mark.parametrize(
    "number",
    [
        errno.ECANCELED,
        errno.ENOBUFS,
        errno.ECONNRESET,
        errno.EINVAL,
        errno.EOPNOTSUPP,
    ],
)
def test_e5_a_refused_receive_that_is_cancelled_settles(door: Door, number: int) -> None:
    loop = door()
    driver = Driver(engine_of(loop))
    left, right = socket.socketpair()
    owned = Owned(driver, left)
    op = owned.operation(codes.RECEIVE, size=ASKED_BYTES, multishot=True)
    ring_of(loop).receives = [-number]
    driver.engine.resume()
    driver.submit(op)
    driver.engine.flush()
    driver.engine.cancel(op)
    driver.settle_down(5)
    settled = list(op.terminal)
    owned.close()
    right.close()
    driver.settle_down()
    assert settled in ([-errno.ECANCELED], [-number])


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT])
@pytest.mark.parametrize("kind", ["receives", "sends"])
def test_t5_errors_reach_connection_lost(door: Door, number: int, kind: str) -> None:
    loop = door()

    async def main() -> None:
        ring = ring_of(loop)
        if kind == "receives":
            ring.receives = [-number]
        (one,) = await many(1)
        if kind == "sends":
            await turns(2)
            ring.sends = [-number]
            one.transport.write(b"lost")
        reason = await one.protocol.ended()
        assert isinstance(reason, OSError)
        assert reason.errno == number
        assert one.protocol.told == ["made", "lost"]
        assert number == errno.ETIMEDOUT or isinstance(reason, BROKEN)
        await end(one)

    bounded(loop, main())


def test_t1_a_multishot_receive_that_ends_behind_data(ledger: Ledger, door: Door) -> None:
    """A completion queue without room ends it so; real data, one buffer at a time."""
    loop = door(entries=2, completions=2)

    async def main() -> None:
        wires = await many(100)
        await turns(2)
        sent = bytearray()
        for number in range(30):
            for one in wires:
                one.peer.send(b"[%d]" % number)
            sent += b"[%d]" % number
            if number % 3 == 0:
                await hear(wires, len(sent))
        await hear(wires, len(sent))
        assert all(one.protocol.data == sent for one in wires)
        await end(*wires)

    bounded(loop, main())


def test_e1_forgetting_while_completions_wait(door: Door, ledger: Ledger) -> None:
    """A number is given up though the kernel has told of data on it: nothing comes twice."""
    loop = door(entries=4, completions=4)
    driver = Driver(engine_of(loop))
    pairs = [socket.socketpair() for _ in range(30)]
    owned = [Owned(driver, left) for left, _ in pairs]
    operations: list[Recorded] = []
    for one, (_, right) in zip(owned, pairs, strict=True):
        right.setblocking(False)
        operations.append(one.operation(codes.RECEIVE, size=ASKED_BYTES, multishot=True))
        right.send(b"data")
    driver.submit(*operations)
    driver.poll()
    copies = [one.sock.dup() for one in owned]
    for one in owned:
        one.close()
    driver.settle_down(30)
    for op, copy in zip(operations, copies, strict=True):
        assert len(op.terminal) == 1
        assert op.received + drain(copy) == b"data"
        copy.close()
    for _, right in pairs:
        right.close()
    assert all(one.descriptor.closed for one in owned)
