"""What a steady state costs, counted in calls: waits, attempts and changes of interest."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from noria.core import codes
from noria.limits import RECEIVE_BYTES
from tests.driver import Driver, Owned, fill

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[Owned, socket.socket]


def test_a_steady_echo(driver: Driver, make_connection: Callable[[], Pair]) -> None:
    """One wait per batch, one receive and one send per message, and no change of interest."""
    pairs = [make_connection() for _ in range(10)]
    receives = [
        owned.operation(codes.RECEIVE, size=RECEIVE_BYTES, multishot=True) for owned, _ in pairs
    ]
    sends = [owned.operation(codes.SEND, nowait=True) for owned, _ in pairs]
    for op in receives:
        driver.submit(op)
    driver.settle_down()

    def turn(number: int) -> None:
        for _, peer in pairs:
            peer.send(b"ping %d" % number)
        assert driver.poll(5.0) == len(pairs)
        for receive, send in zip(receives, sends, strict=True):
            send.buffer = receive.events[-1].data
            assert driver.submit(send)
        assert all(peer.recv(100) == b"ping %d" % number for _, peer in pairs)

    turn(0)
    before = driver.statistics()
    for number in range(1, 21):
        turn(number)
    after = driver.statistics()
    assert after.waits - before.waits == 20
    calls = 1 if driver.engine.name == "uring" else 2  # a ring receives without a call of its own
    assert after.attempts - before.attempts == 20 * len(pairs) * calls
    assert after.not_ready - before.not_ready == 0
    assert after.interest_changes - before.interest_changes == 0
    assert after.news - before.news == 20 * len(pairs)
    driver.end(*receives)


def test_an_idle_engine_is_not_woken(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    """Idle connections, written to and read from before, tell nothing."""
    pairs = [make_pair() for _ in range(5)]
    operations = []
    for owned, peer in pairs:
        op = owned.operation(codes.RECEIVE, size=100, multishot=True)
        driver.submit(op)
        driver.submit(owned.operation(codes.SEND, buffer=b"hello"))
        peer.send(b"hello")
        operations.append(op)
    driver.until(lambda: all(op.events for op in operations))
    driver.settle_down()
    before = driver.statistics()
    driver.poll(0.005)
    after = driver.statistics()
    assert (after.waits - before.waits, after.news - before.news) == (1, 0)
    driver.end(*operations)


def test_a_writer_that_is_done_is_disarmed(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    owned, peer = make_pair()
    fill(owned.sock)
    op = owned.operation(codes.SEND, buffer=b"more")
    driver.submit(op)
    peer.setblocking(False)

    def drain() -> bool:
        try:
            peer.recv(1 << 20)
        except BlockingIOError:
            pass
        return bool(op.terminal)

    driver.until(drain)
    driver.settle_down()
    news = driver.statistics().news
    driver.settle_down(5)
    assert driver.statistics().news == news


def test_reading_stopped_costs_one_piece_of_news(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """The interest is dropped when unwanted news arrive, not before and not twice."""
    owned, peer = make_pair()
    op = owned.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(op)
    driver.settle_down()
    changes = driver.statistics().interest_changes
    driver.end(op)
    assert driver.statistics().interest_changes == changes, "disarming is lazy"
    peer.send(b"unwanted")
    driver.settle_down(5)
    after = driver.statistics()
    assert after.interest_changes - changes <= 1
    driver.settle_down(5)
    assert driver.statistics().news == after.news


def test_a_protocol_that_reads_by_itself(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    """Waiting for readability again and again, without spinning between the messages."""
    owned, peer = make_pair()
    op = owned.operation(codes.WAIT_READABLE)
    for number in range(5):
        driver.submit(op)
        assert driver.settle_down() == 0, "nothing has come yet"
        peer.send(b"%d" % number)
        driver.collect(op, number + 1)
        assert owned.sock.recv(100) == b"%d" % number


def test_a_wait_after_reading_a_part(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    """What is still there is readable, edge or no edge."""
    owned, peer = make_pair()
    op = owned.operation(codes.WAIT_READABLE)
    peer.send(b"abc")
    for expected in (b"a", b"b", b"c"):
        count = len(op.events)
        driver.submit(op)
        driver.collect(op, count + 1)
        assert owned.sock.recv(1) == expected


def test_a_wait_for_room_after_a_part_was_taken(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    owned, peer = make_pair()
    fill(owned.sock)
    op = owned.operation(codes.WAIT_WRITABLE)
    driver.submit(op)
    assert driver.settle_down() == 0
    while not op.events:
        peer.recv(1 << 16)
        driver.poll(0.001)
    assert owned.sock.send(b"x") == 1
    driver.submit(op)
    driver.until(lambda: len(op.events) == 2)
