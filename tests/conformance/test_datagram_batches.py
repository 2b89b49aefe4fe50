"""RECEIVE_DATAGRAMS: one submission, many batches; every datagram once, whatever the engine."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.core.operation import MORE
from noria.limits import DATAGRAMS_PER_RECEIVE_MAX, DATAGRAMS_PER_TURN_MAX
from noria.native.datagrams import Endpoint
from tests.driver import Driver, Owned, Recorded

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[True, False], ids=["direct", "catalog"])
def any_way(request: pytest.FixtureRequest, driver: Driver) -> Driver:
    """A driver with and without the short cuts."""
    setattr(driver.engine, "direct", request.param)  # noqa: B010 - Engine itself has no short cuts
    return driver


@pytest.fixture
def receiver(any_way: Driver) -> Iterator[Owned]:
    """An owned UDP socket."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    sock.bind(("127.0.0.1", 0))
    owned = Owned(any_way, sock)
    yield owned
    owned.close()


@pytest.fixture
def sender(receiver: Owned) -> Iterator[socket.socket]:
    """A socket that is connected to it."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(receiver.sock.getsockname())
        yield sock


def batches(receiver: Owned, **attributes: Any) -> Recorded:
    """Such an operation, multishot unless told otherwise."""
    given = {
        "size": DATAGRAMS_PER_RECEIVE_MAX,
        "multishot": True,
        "address": Endpoint(socket.AF_INET),
    }
    return receiver.operation(codes.RECEIVE_DATAGRAMS, **given | attributes)


def data_of(op: Recorded) -> list[bytes]:
    """What was received."""
    return [item for event in op.events if event.result > 0 for item in event.data[::2]]


def test_e1_many_batches_and_one_end(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    op = batches(receiver)
    assert not any_way.submit(op)
    for number in range(5):
        sender.send(b"%d" % number)
        any_way.until(lambda number=number: len(data_of(op)) > number)  # type: ignore[misc] # bound
        assert op.in_flight
    assert all(event.flags == MORE for event in op.events)
    any_way.end(op)
    assert data_of(op) == [b"%d" % number for number in range(5)]
    assert op.terminal == [-errno.ECANCELED]


def test_the_result_counts_datagrams_also_empty_ones(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    for _ in range(3):
        sender.send(b"")
    op = batches(receiver)
    any_way.submit(op)
    any_way.until(lambda: sum(op.results) == 3)
    any_way.end(op)
    assert data_of(op) == [b""] * 3


@pytest.mark.parametrize("size", [0, 100, 8000])
def test_a_burst_that_was_there_before(
    any_way: Driver, receiver: Owned, sender: socket.socket, size: int
) -> None:
    """Nothing comes after it: an edge-triggered poller tells it once."""
    count = 90 if size < 8000 else 20
    for number in range(count):
        sender.send(bytes([number]) * size)
    op = batches(receiver)
    any_way.submit(op)
    any_way.until(lambda: len(data_of(op)) == count)
    any_way.end(op)
    assert data_of(op) == [bytes([number]) * size for number in range(count)]


def test_e11_a_busy_endpoint_lets_others_have_their_turn(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    count = 3 * DATAGRAMS_PER_TURN_MAX
    for _ in range(count):
        sender.send(b"x")
    op = batches(receiver)
    any_way.submit(op)
    any_way.until(lambda: any_way.engine.poll(0, any_way.batch))
    any_way.batch.deliver_all()
    assert len(data_of(op)) <= DATAGRAMS_PER_TURN_MAX + DATAGRAMS_PER_RECEIVE_MAX
    any_way.until(lambda: len(data_of(op)) == count)
    any_way.end(op)


def test_stopping_and_starting_loses_nothing(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    op = batches(receiver, size=2)
    for number in range(60):
        any_way.submit(op)
        sender.send(b"%d" % number)
        if number % 3:
            any_way.poll()
        any_way.engine.cancel(op)
        any_way.settle_down()
    any_way.submit(op)
    any_way.until(lambda: len(data_of(op)) == 60)
    any_way.end(op)
    assert data_of(op) == [b"%d" % number for number in range(60)]


def test_one_batch_without_multishot(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    op = batches(receiver, multishot=False)
    assert not any_way.submit(op)
    sender.send(b"data")
    any_way.finish(op)
    assert data_of(op) == [b"data"]
    sender.send(b"more")
    op.events.clear()
    any_way.submit(op)
    any_way.finish(op)
    assert data_of(op) == [b"more"]


@pytest.mark.posix
def test_after_an_error_it_can_be_submitted_again(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    """A refused port ends the operation; what came in the meantime is not lost."""
    peer = sender.getsockname()
    receiver.sock.connect(peer)
    op = batches(receiver)
    any_way.submit(op)
    sender.close()
    receiver.sock.send(b"to nobody")
    any_way.finish(op)
    assert op.terminal == [-errno.ECONNREFUSED]
    with socket.socket(type=socket.SOCK_DGRAM) as again:
        again.bind(peer)
        again.sendto(b"data", receiver.sock.getsockname())
        op.events.clear()
        any_way.submit(op)
        any_way.until(lambda: data_of(op) == [b"data"])
    any_way.end(op)


def test_e4_what_is_no_endpoint_is_told_as_a_number(
    any_way: Driver, receiver: Owned, sender: socket.socket
) -> None:
    op = batches(receiver, address=None)
    any_way.submit(op)
    sender.send(b"data")
    any_way.finish(op)
    assert op.terminal == [-errno.EINVAL]
