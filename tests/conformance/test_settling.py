"""E1-E5: an operation settles exactly once, with a number, and what it held is given back."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from noria.core.operation import IDLE, MORE, READINESS, SETTLED
from tests.driver import Driver, Owned, drain, fill, make
from tests.loops import tells_resets

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[Owned, socket.socket]


def test_e1_a_ready_operation_settles_in_submit(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    peer.send(b"hello")
    op = owned.operation(codes.RECEIVE, size=100)
    assert driver.submit(op)
    assert (op.state, op.result, op.buffer, op.route) == (SETTLED, 5, b"hello", READINESS)
    assert driver.settle_down() == 0, "what submit has settled must not come out of poll"
    assert op.terminal == [5]


def test_e1_a_waiting_operation_settles_in_poll_once(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=100)
    assert not driver.submit(op)
    assert driver.settle_down() == 0
    peer.send(b"late")
    driver.finish(op)
    assert driver.settle_down() == 0
    assert op.events == [(4, 0, b"late")]
    assert driver.statistics().in_flight == 0


def test_e1_an_operation_can_be_used_again(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=1)
    assert op.state == IDLE
    for number in range(5):
        assert not driver.submit(op)
        peer.send(bytes([number]))
        driver.collect(op, number + 1)
        assert len(op.events) == number + 1
    assert op.received == bytes(range(5))


@pytest.mark.parametrize("how", ["cancel", "forget", "close"])
def test_e1_the_end_settles_everything_once(driver: Driver, pair: Pair, how: str) -> None:
    owned, _ = pair
    fill(owned.sock)
    operations = [
        owned.operation(codes.RECEIVE, size=10),
        owned.operation(codes.RECEIVE, size=10, multishot=True),
        owned.operation(codes.WAIT_READABLE),
        owned.operation(codes.SEND, buffer=b"more"),
        owned.operation(codes.SEND, buffer=b"and more"),
    ]
    assert not any(driver.submit(op) for op in operations)
    assert driver.statistics().in_flight == len(operations)
    if how == "cancel":
        for op in operations:
            driver.engine.cancel(op)
    elif how == "forget":
        driver.engine.forget(owned.fd)
    else:
        driver.close()
    if how != "close":
        driver.settle_down()
    assert [op.events for op in operations] == [[(-errno.ECANCELED, 0, None)]] * len(operations)
    assert driver.statistics().in_flight == 0
    assert owned.descriptor.leases == 0


def test_e1_operations_of_one_lane_are_all_served(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    operations = [owned.operation(codes.RECEIVE, size=2) for _ in range(4)]
    for op in operations:
        driver.submit(op)
    peer.send(b"aabbccdd")
    driver.finish(*operations)
    assert sorted(op.received for op in operations) == [b"aa", b"bb", b"cc", b"dd"]


def test_e2_submit_does_not_wait(driver: Driver, pair: Pair) -> None:
    owned, _ = pair
    fill(owned.sock)
    waits = driver.statistics().waits
    for code in (codes.RECEIVE, codes.SEND, codes.WAIT_READABLE, codes.WAIT_WRITABLE):
        assert not driver.submit(owned.operation(code, size=10, buffer=b"data"))
    assert driver.statistics().waits == waits


def test_e3_the_engine_leases_the_descriptor(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    assert owned.descriptor.leases == 1
    peer.send(b"x")
    driver.finish(op)
    assert owned.descriptor.leases == 0


def test_e3_a_close_waits_for_the_last_operation(driver: Driver, pair: Pair) -> None:
    owned, _ = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    closed: list[int] = []
    assert not owned.descriptor.close(lambda: closed.append(1))
    assert owned.sock.fileno() == owned.fd
    driver.engine.cancel(op)
    assert closed == [1]
    assert owned.sock.fileno() == -1
    driver.settle_down()
    assert op.results == [-errno.ECANCELED]


def test_e3_memory_is_pinned_while_in_flight(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    memory = bytearray(8)
    op = owned.operation(codes.RECEIVE_INTO, buffer=memoryview(memory))
    driver.submit(op)
    with pytest.raises(BufferError):
        memory.extend(b"more")
    peer.send(b"12345")
    driver.finish(op)
    assert memory == b"12345\0\0\0"
    assert op.events[0].result == 5
    op.buffer = None
    op.events.clear()
    memory.extend(b"more")


def test_e3_a_closing_descriptor_takes_no_operation(driver: Driver, pair: Pair) -> None:
    owned, _ = pair
    waiting = owned.operation(codes.RECEIVE, size=10)
    driver.submit(waiting)
    owned.descriptor.close()
    for attributes in ({}, {"expectant": True}):
        op = owned.operation(codes.RECEIVE, size=10, **attributes)
        with pytest.raises(OSError, match="closing") as caught:
            driver.submit(op)
        assert caught.value.errno == errno.EBADF
        assert op.state == IDLE, "a refusal comes before any change"
    writer = owned.operation(codes.SEND, buffer=b"no")
    with pytest.raises(OSError, match="closing"):
        driver.submit(writer)
    driver.end(waiting)
    assert driver.statistics().in_flight == 0


def test_e3_a_closing_descriptor_does_not_disturb_its_successor(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """Its number may have a new owner, whom an old operation must not evict."""
    old, _ = make_pair()
    stale = old.operation(codes.RECEIVE, size=10)
    number = old.fd
    old.close()
    new, peer = make_pair()
    if new.fd != number:
        pytest.skip(f"the number {number} was not used again")
    op = new.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    with pytest.raises(OSError, match="closing"):
        driver.submit(stale)
    peer.send(b"mine")
    driver.finish(op)
    assert op.received == b"mine"


@pytest.mark.posix
def test_d2_a_successor_is_served_though_nobody_forgot_the_number(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """A close without a forget: what is known of the old life must not be believed of the new."""
    old, old_peer = make_pair()
    first = old.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(first)
    old_peer.send(b"x")
    driver.collect(first, 1)
    driver.end(first)
    number = old.fd
    old.descriptor.close()
    left, right = socket.socketpair()
    if left.fileno() != number:
        os.dup2(left.fileno(), number)
        left.close()
        left = socket.socket(fileno=number)
    new = Owned(driver, left)
    op = new.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(op)
    assert driver.settle_down() == 0
    right.send(b"new")
    driver.collect(op, 1)
    assert op.received == b"new"
    driver.end(op)
    new.close()
    right.close()


def test_e4_a_failure_is_minus_errno(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    peer.close()
    for _ in range(10):  # where a socket pair is a TCP connection, the first one still succeeds
        op = owned.operation(codes.SEND, buffer=b"into the void")
        driver.submit(op)
        driver.finish(op)
        if op.result < 0:
            break
    assert op.result in {-errno.EPIPE, -errno.ECONNRESET, -errno.ECONNABORTED}


@tells_resets
def test_e4_a_failure_in_poll_is_minus_errno(driver: Driver, listener: Owned) -> None:
    with socket.create_connection(listener.sock.getsockname()) as client:
        accepted, _ = listener.sock.accept()
        owned = Owned(driver, accepted)
        op = owned.operation(codes.RECEIVE, size=10)
        driver.submit(op)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    driver.finish(op)
    assert op.results == [-errno.ECONNRESET]
    owned.close()


def test_e4_the_end_of_a_stream_is_zero(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    peer.close()
    driver.finish(op)
    assert op.events == [(0, 0, b"")]


def test_e5_cancelling_twice_is_cancelling_once(driver: Driver, pair: Pair) -> None:
    owned, _ = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    driver.engine.cancel(op)
    driver.engine.cancel(op)
    driver.settle_down()
    driver.engine.cancel(op)
    assert driver.settle_down() == 0
    assert op.results == [-errno.ECANCELED]
    assert op.cancelled


def test_e5_cancel_before_submit_does_nothing(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.engine.cancel(op)
    assert op.state == IDLE
    assert not op.cancelled
    driver.submit(op)
    peer.send(b"fine")
    driver.finish(op)
    assert op.results == [4]


def test_e5_cancel_loses_to_completion(driver: Driver, pair: Pair) -> None:
    """Settled but not yet delivered: the bytes are out of the kernel and have to arrive."""
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    peer.send(b"bytes")
    driver.until(lambda: driver.engine.poll(0, driver.batch))
    driver.engine.cancel(op)
    driver.batch.deliver_all()
    assert driver.settle_down() == 0
    assert op.events == [(5, 0, b"bytes")]


def test_e5_cancelling_a_multishot_keeps_what_it_collected(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=100, multishot=True)
    driver.submit(op)
    peer.send(b"bytes")
    driver.until(lambda: driver.engine.poll(0, driver.batch))
    driver.engine.cancel(op)
    driver.batch.deliver_all()
    driver.settle_down()
    assert op.events == [(5, MORE, b"bytes"), (-errno.ECANCELED, 0, None)]


def test_e5_after_cancel_nothing_is_taken_from_the_kernel(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=100, multishot=True)
    driver.submit(op)
    driver.engine.cancel(op)
    peer.send(b"stays")
    driver.settle_down()
    assert op.results == [-errno.ECANCELED]
    assert drain(owned.sock) == b"stays"


def test_e5_the_completion_of_a_cancel_does_not_wait(driver: Driver, pair: Pair) -> None:
    owned, _ = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    driver.engine.cancel(op)
    assert driver.poll(60.0) == 1


def test_e5_the_next_in_the_lane_moves_up(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    first, second, third = (owned.operation(codes.RECEIVE, size=100) for _ in range(3))
    driver.submit(first, second, third)
    driver.engine.cancel(first)
    driver.engine.cancel(third)
    peer.send(b"for the second")
    driver.finish(first, second, third)
    assert second.received == b"for the second"
    assert first.results == third.results == [-errno.ECANCELED]


def test_nowait_settles_instead_of_waiting(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10, nowait=True)
    assert driver.submit(op)
    assert op.result == -errno.EAGAIN
    waiting = owned.operation(codes.RECEIVE, size=10)
    driver.submit(waiting)
    behind = owned.operation(codes.RECEIVE, size=10, nowait=True)
    assert driver.submit(behind), "nowait must not queue behind another operation either"
    assert behind.result == -errno.EAGAIN
    peer.send(b"x")
    driver.finish(waiting)
    assert waiting.received == b"x"


def test_expectant_waits_for_news_first(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    peer.send(b"there already")
    attempts = driver.statistics().attempts
    op = owned.operation(codes.RECEIVE, size=100, expectant=True)
    assert not driver.submit(op)
    assert driver.statistics().attempts == attempts
    driver.finish(op)
    assert op.received == b"there already"


def test_a_state_left_over_does_not_show_in_the_next_life(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    driver.end(op)
    peer.send(b"again")
    assert driver.submit(op)
    assert (op.result, op.cancelled) == (5, False)


def test_an_operation_cannot_be_submitted_twice(driver: Driver, pair: Pair) -> None:
    owned, _ = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    with pytest.raises(AssertionError, match="in flight"):
        driver.submit(op)
    assert owned.descriptor.leases == 1
    driver.end(op)


def test_make_gives_plain_operations_for_users_sockets(
    driver: Driver, borrowed: tuple[socket.socket, socket.socket]
) -> None:
    left, right = borrowed
    op = make(codes.RECEIVE, left, size=10, borrowed=True)
    driver.submit(op)
    right.send(b"user")
    driver.finish(op)
    assert op.received == b"user"
    assert op.descriptor is None
