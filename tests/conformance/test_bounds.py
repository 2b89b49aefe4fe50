"""E8, E11: every share is bounded, nobody starves, and nothing is dropped."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from noria.limits import (
    ACCEPTS_PER_TURN_MAX,
    COMPLETION_BYTES_PER_POLL_MAX,
    COMPLETIONS_PER_POLL_MAX,
    RECEIVE_BYTES,
    RECEIVE_BYTES_PER_TURN_MAX,
)
from tests.driver import Driver, Owned, Recorded, close_accepted, fill

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[Owned, socket.socket]
MakePair = "Callable[[], Pair]"


def start(driver: Driver, pairs: list[Pair]) -> list[Recorded]:
    """A multishot receive on every pair."""
    operations = [owned.operation(codes.RECEIVE, size=4096, multishot=True) for owned, _ in pairs]
    for op in operations:
        driver.submit(op)
    driver.settle_down()
    return operations


@pytest.mark.parametrize("count", [COMPLETIONS_PER_POLL_MAX - 1, COMPLETIONS_PER_POLL_MAX, 200])
def test_e11_more_news_than_one_batch_holds(
    driver: Driver, make_pair: Callable[[], Pair], count: int
) -> None:
    pairs = [make_pair() for _ in range(count)]
    operations = start(driver, pairs)
    for _, peer in pairs:
        peer.send(b"x")
    counts = []
    while sum(len(op.events) for op in operations) < count:
        counts.append(driver.poll(1.0))
        assert counts[-1], "a poll with work left must not wait"
    assert max(counts) <= COMPLETIONS_PER_POLL_MAX
    assert all(op.received == b"x" for op in operations)
    waits = driver.statistics().waits
    assert driver.settle_down() == 0
    assert driver.statistics().waits > waits, "and looks at the kernel again afterwards"
    driver.end(*operations)


def test_e11_a_batch_of_large_receives_ends_early(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """What one poll holds in memory is bounded by bytes as well as by count."""
    pairs = [make_pair() for _ in range(12)]
    operations = [
        owned.operation(codes.RECEIVE, size=RECEIVE_BYTES, multishot=True) for owned, _ in pairs
    ]
    for op in operations:
        driver.submit(op)
    totals = [fill(peer) for _, peer in pairs]
    while sum(len(op.received) for op in operations) < sum(totals):
        before = sum(len(op.received) for op in operations)
        driver.poll(1.0)
        moved = sum(len(op.received) for op in operations) - before
        assert moved <= COMPLETION_BYTES_PER_POLL_MAX + RECEIVE_BYTES_PER_TURN_MAX + RECEIVE_BYTES
    driver.end(*operations)


def test_e11_a_firehose_does_not_starve_the_others(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """One peer sends faster than it is read; the quiet ones are served every round."""
    loud, *quiet = [make_pair() for _ in range(4)]
    hose = loud[0].operation(codes.RECEIVE, size=4096, multishot=True)
    driver.submit(hose)
    operations = start(driver, quiet)
    for turn in range(20):
        fill(loud[1])
        for _, peer in quiet:
            peer.send(b"q")
        for _ in range(3):
            fill(loud[1])
            driver.poll()
        assert all(len(op.received) == turn + 1 for op in operations)
    driver.end(hose, *operations)


def test_e11_one_connection_has_a_bounded_share(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    owned, peer = make_pair()
    for sock in (owned.sock, peer):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * RECEIVE_BYTES_PER_TURN_MAX)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * RECEIVE_BYTES_PER_TURN_MAX)
    op = owned.operation(codes.RECEIVE, size=4096, multishot=True)
    driver.submit(op)
    driver.settle_down()
    sizes = []
    total = fill(peer)
    while len(op.received) < total:
        before = len(op.received)
        driver.poll(1.0)
        sizes.append(len(op.received) - before)
        assert sizes[-1] > 0
    # One receive may go beyond it, and one may come from a ring that gives the connection up.
    assert max(sizes) <= RECEIVE_BYTES_PER_TURN_MAX + 2 * 4096
    driver.end(op)


def test_e11_accepting_has_a_bounded_share(driver: Driver, listener: Owned) -> None:
    op = listener.operation(codes.ACCEPT, multishot=True)
    driver.submit(op)
    count = ACCEPTS_PER_TURN_MAX + 20
    clients = [socket.create_connection(listener.sock.getsockname()) for _ in range(count)]
    try:
        counts = []
        while len(op.events) < count:
            counts.append(driver.poll(1.0))
            assert counts[-1], "connections are waiting"
        assert max(counts) <= ACCEPTS_PER_TURN_MAX
    finally:
        driver.end(op)
        for event in op.events:
            if event.result >= 0:
                close_accepted(event.data)
        for client in clients:
            client.close()


def test_e11_a_wake_is_noticed_in_the_middle_of_work(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """Work left over must not hide a wake for ever: every round looks at the kernel."""
    loud = make_pair()
    hose = loud[0].operation(codes.RECEIVE, size=4096, multishot=True)
    driver.submit(hose)
    waits = driver.statistics().waits
    for _ in range(50):
        fill(loud[1])
        driver.poll()
    assert driver.statistics().waits > waits + 10
    driver.end(hose)


def test_e11_completions_of_cancelled_operations_are_all_listed(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    owned, _ = make_pair()
    operations = [owned.operation(codes.RECEIVE, size=10) for _ in range(500)]
    for op in operations:
        driver.submit(op)
    for op in operations:
        driver.engine.cancel(op)
    driver.settle_down(20)
    assert all(len(op.terminal) == 1 for op in operations)
    assert driver.statistics().in_flight == 0


def test_e11_a_cancel_beside_work_is_not_delayed(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    loud = make_pair()
    quiet = make_pair()
    hose = loud[0].operation(codes.RECEIVE, size=4096, multishot=True)
    other = quiet[0].operation(codes.RECEIVE, size=10)
    driver.submit(hose, other)
    fill(loud[1])
    driver.poll()
    driver.engine.cancel(other)
    driver.poll()
    assert len(other.terminal) == 1
    driver.end(hose)


def test_e11_work_in_threads_is_noticed_beside_a_firehose(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    owned, peer = make_pair()
    hose = owned.operation(codes.RECEIVE, size=100, multishot=True)
    work = Recorded(codes.FSYNC, owned.fd)
    driver.submit(hose)
    driver.submit(work)

    def pump() -> bool:
        fill(peer)
        return bool(work.terminal)

    driver.until(pump, "the end of the work")
    driver.end(hose)


def test_a_dead_descriptor_does_not_spin(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    """Nobody reads, the peer is gone: after one look the engine is not told again."""
    owned, peer = make_pair()
    op = owned.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(op)
    driver.end(op)
    peer.close()
    driver.settle_down(3)
    news = driver.statistics().news
    driver.settle_down(10)
    assert driver.statistics().news == news
