"""E1, E5, D2 under fire: cancelling, forgetting and closing at every moment of an operation's life.

A seed drives one engine through a few hundred random steps against a model of what each connection
must have received. A failure prints the seed.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from noria.core.catalog import CATALOG, OFFLOAD, operation
from noria.core.operation import MORE
from noria.limits import OFFLOAD_NAMES_THREADS_MAX, OFFLOAD_QUEUE_MAX
from tests.driver import Driver, Owned, Recorded, drain, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.core.operation import Operation

SEEDS = range(12)
STEPS = 250


class Line:
    """One connection of the model: who sent what, who got what."""

    def __init__(self, driver: Driver, random_source: random.Random) -> None:
        left, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.driver = driver
        self.random = random_source
        self.owned = Owned(driver, left)
        self.sent = b""
        self.received: list[Recorded] = []
        self.written = 0
        self.lives: dict[Recorded, int] = {}
        self.free: list[Recorded] = []

    def say(self) -> None:
        """The peer sends."""
        chunk = self.random.randbytes(self.random.choice((1, 10, 3000)))
        try:
            count = self.peer.send(chunk)
        except BlockingIOError:
            return
        self.sent += chunk[:count]

    def start(self) -> None:
        """A new operation, or an old one that is its owner's again."""
        kind = self.random.random()
        if kind < 0.6 and self.free:
            op = self.free.pop()
        elif kind < 0.8:
            op = self.owned.operation(
                codes.RECEIVE,
                size=self.random.choice((5, 100, 5000)),
                multishot=self.random.random() < 0.5,
            )
        else:
            op = self.owned.operation(codes.SEND, buffer=b"w" * self.random.choice((1, 200_000)))
        self.lives[op] = self.lives.get(op, 0) + 1
        if op not in self.received:
            self.received.append(op)
        self.driver.submit(op)

    def cancel(self) -> None:
        """Cancel one, in whatever state it is."""
        if self.received:
            self.driver.engine.cancel(self.random.choice(self.received))

    def recycle(self) -> None:
        """What has settled and been delivered is the owner's again."""
        for op in self.received:
            if not op.in_flight and len(op.terminal) == self.lives[op] and op not in self.free:
                self.free.append(op)

    def check(self) -> None:
        """Every life settled once, and every byte arrived once or is still in the kernel."""
        for op in self.received:
            assert len(op.terminal) == self.lives[op]
            assert not op.in_flight
            assert all(event.result >= 0 or not event.flags & MORE for event in op.events)
        assert self.owned.descriptor.leases == 0
        reads = [op for op in self.received if op.code == codes.RECEIVE]
        rest = drain(self.owned.sock)
        got = sum(len(op.received) for op in reads)
        assert got + len(rest) == len(self.sent), "bytes were lost or doubled"
        sends = [op for op in self.received if op.code == codes.SEND]
        moved = sum(event.result for op in sends for event in op.events if event.result > 0)
        assert moved == self.written + len(drain(self.peer))


def step(lines: list[Line], driver: Driver, chance: random.Random) -> None:
    line = chance.choice(lines)
    action = chance.random()
    if action < 0.25:
        line.say()
    elif action < 0.5:
        line.start()
    elif action < 0.65:
        line.cancel()
    elif action < 0.75:
        line.written += len(drain(line.peer))
    elif action < 0.8:
        driver.engine.forget(line.owned.fd)
    elif action < 0.9:
        driver.engine.poll(0, driver.batch)
        line.cancel()
        line.cancel()
        driver.batch.deliver_all()
    else:
        driver.poll()
    for each in lines:
        each.recycle()


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 600))
def test_e5_many_random_lives(driver: Driver, seed: int) -> None:
    test_e5_random_lives(driver, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_e5_random_lives(driver: Driver, seed: int) -> None:
    chance = random.Random(seed)
    lines = [Line(driver, chance) for _ in range(4)]
    for _ in range(STEPS):
        step(lines, driver, chance)
    for line in lines:
        for op in line.received:
            driver.engine.cancel(op)
    driver.settle_down(30)
    assert driver.statistics().in_flight == 0
    for line in lines:
        line.check()
        line.owned.close()
        line.peer.close()


@pytest.mark.parametrize("moment", ["before", "in flight", "told", "listed", "settled"])
def test_e5_cancel_at_every_moment(
    driver: Driver, users: tuple[socket.socket, socket.socket], moment: str
) -> None:
    left, right = users
    owned = Owned(driver, left)
    others = [Owned(driver, sock) for pair in range(40) for sock in socket.socketpair()]
    if moment == "told":
        # More news than one batch takes: the operation is on the list, but not served yet.
        for one, other in zip(others[::2], others[1::2], strict=True):
            driver.submit(one.operation(codes.RECEIVE, size=1, multishot=True))
            driver.submit(other.operation(codes.RECEIVE, size=1, multishot=True))
            one.sock.send(b"x")
            other.sock.send(b"x")
    op = owned.operation(codes.RECEIVE, size=10)
    if moment == "before":
        driver.engine.cancel(op)
    driver.submit(op)
    if moment == "in flight":
        driver.engine.cancel(op)
        driver.poll()
    right.send(b"bytes")
    if moment in {"told", "listed"}:
        driver.engine.poll(0, driver.batch)
        driver.engine.cancel(op)
        driver.batch.deliver_all()
    driver.settle_down(5)
    if moment == "settled":
        driver.engine.cancel(op)
        driver.settle_down()
    kept = op.received or drain(left)
    assert kept == b"bytes"
    assert len(op.terminal) == 1
    assert op.terminal == ([5] if op.received else [-errno.ECANCELED])
    for one in others:
        one.close()
    owned.close()


def test_d2_a_close_in_every_state_waits_for_the_lease(driver: Driver) -> None:
    for filled in (False, True):
        left, right = socket.socketpair()
        owned = Owned(driver, left)
        if filled:
            fill(left)
        op = owned.operation(codes.SEND if filled else codes.RECEIVE, size=1, buffer=b"x")
        driver.submit(op)
        assert not owned.descriptor.close()
        with pytest.raises(OSError, match="closing"):
            driver.submit(owned.operation(codes.RECEIVE, size=1))
        driver.engine.forget(owned.fd)
        assert owned.descriptor.closed
        driver.settle_down()
        assert op.results == [-errno.ECANCELED]
        right.close()


BLOCK = 9002


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An operation that blocks its thread until the gate opens."""
    opened = threading.Event()

    @operation(code=BLOCK, lane=OFFLOAD)
    def block(op: Operation) -> int:
        opened.wait(10)
        return op.size

    yield opened
    opened.set()
    del CATALOG[BLOCK]


def blocked(size: int) -> Recorded:
    op = Recorded(BLOCK)
    op.size = size
    return op


def test_e11_a_full_queue_refuses_and_drops_nothing(driver: Driver, gate: threading.Event) -> None:
    operations = [blocked(n) for n in range(OFFLOAD_NAMES_THREADS_MAX + OFFLOAD_QUEUE_MAX + 200)]
    refused = [op for op in operations if driver.submit(op)]
    assert refused, "the queue has a bound"
    assert all(op.results == [-errno.EAGAIN] for op in refused)
    taken = len(operations) - len(refused)
    assert OFFLOAD_QUEUE_MAX <= taken <= OFFLOAD_QUEUE_MAX + OFFLOAD_NAMES_THREADS_MAX
    assert driver.statistics().in_flight == taken
    gate.set()
    driver.finish(*operations)
    assert all(op.results == [op.size] for op in operations if op not in refused)
    again = blocked(1)
    assert not driver.submit(again), "there is room again"
    driver.finish(again)


def test_e5_cancelling_work_in_threads_at_random(driver: Driver, gate: threading.Event) -> None:
    chance = random.Random(5)
    operations = [blocked(n) for n in range(60)]
    for op in operations:
        driver.submit(op)
        if chance.random() < 0.5:
            driver.engine.cancel(chance.choice(operations))
        if chance.random() < 0.2:
            driver.poll()
    gate.set()
    driver.finish(*operations)
    driver.settle_down()
    for op in operations:
        assert op.results in ([op.size], [-errno.ECANCELED])
        assert op.cancelled or op.results == [op.size]
    assert driver.statistics().in_flight == 0


def test_no_thread_is_to_be_had(
    driver: Driver, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first operation is refused; with one thread running the others wait for it."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    first = blocked(1)
    assert driver.submit(first)
    assert first.results == [-errno.EAGAIN]
    assert driver.statistics().in_flight == 0
    monkeypatch.setattr(threading.Thread, "start", start)
    second = blocked(2)
    driver.submit(second)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    third = blocked(3)
    assert not driver.submit(third)
    gate.set()
    driver.finish(second, third)
    assert (second.results, third.results) == ([2], [3])


def test_e12_close_while_threads_work(driver: Driver, gate: threading.Event) -> None:
    operations = [blocked(n) for n in range(OFFLOAD_NAMES_THREADS_MAX + 5)]
    driver.submit(*operations)
    threading.Timer(0.005, gate.set).start()
    driver.close()
    assert all(len(op.terminal) == 1 for op in operations)
    assert driver.statistics().in_flight == 0


def test_a_pipe_closed_under_a_running_read(driver: Driver) -> None:
    """An offloaded read on a number that its owner closes: the lease keeps it open (D2)."""
    from noria.core.descriptor import Descriptor

    reading, writing = os.pipe()
    descriptor = Descriptor(reading)
    op = Recorded(codes.FSYNC, reading)
    op.descriptor = descriptor
    driver.submit(op)
    closed = descriptor.close()
    driver.finish(op)
    assert descriptor.closed
    assert not closed or op.terminal
    assert op.results == [-errno.EINVAL]
    os.close(writing)
