"""Multishot operations: one submission, many completions, every byte and connection once."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from noria.core.operation import MORE
from noria.limits import RECEIVE_BYTES
from tests.driver import Driver, Owned, Recorded, close_accepted, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pair = tuple[Owned, socket.socket]


@pytest.fixture(params=[True, False], ids=["direct", "catalog"])
def any_way(request: pytest.FixtureRequest, driver: Driver) -> Driver:
    """A driver with and without the short cuts for receive and send."""
    setattr(driver.engine, "direct", request.param)  # noqa: B010 - Engine itself has no short cuts
    return driver


@pytest.fixture
def receiving(any_way: Driver, pair: Pair) -> Iterator[tuple[Recorded, socket.socket]]:
    """A multishot receive in flight, and the peer of its socket."""
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=RECEIVE_BYTES, multishot=True)
    assert not any_way.submit(op)
    yield op, peer
    if op.in_flight:
        any_way.end(op)


def test_e1_a_multishot_receive_lists_much_and_settles_once(
    any_way: Driver, receiving: tuple[Recorded, socket.socket]
) -> None:
    op, peer = receiving
    for number in range(5):
        peer.send(b"%d" % number)
        any_way.collect(op, number + 1)
        assert op.in_flight
    peer.close()
    any_way.finish(op)
    assert any_way.settle_down() == 0
    assert op.received == b"01234"
    assert [event.flags for event in op.events] == [MORE] * 5 + [0]
    assert op.terminal == [0]


def test_data_and_end_that_come_together(
    any_way: Driver, receiving: tuple[Recorded, socket.socket]
) -> None:
    """A half-close right behind the last bytes: first the bytes, then the end, in every mode."""
    op, peer = receiving
    peer.send(b"last words")
    peer.shutdown(socket.SHUT_WR)
    any_way.finish(op)
    assert op.received == b"last words"
    assert op.events[-1] == (0, 0, b"")


def test_data_and_end_that_come_together_by_tcp(
    any_way: Driver, make_connection: Callable[[], Pair]
) -> None:
    owned, client = make_connection()
    op = owned.operation(codes.RECEIVE, size=RECEIVE_BYTES, multishot=True)
    any_way.submit(op)
    client.send(b"last words")
    client.shutdown(socket.SHUT_WR)
    any_way.finish(op)
    assert op.received == b"last words"
    assert op.terminal == [0]


def test_the_end_that_comes_later(
    any_way: Driver, receiving: tuple[Recorded, socket.socket]
) -> None:
    op, peer = receiving
    peer.send(b"words")
    any_way.until(lambda: op.events)
    peer.shutdown(socket.SHUT_WR)
    any_way.finish(op)
    assert op.received == b"words"
    assert op.terminal == [0]


def test_data_that_was_there_before(any_way: Driver, pair: Pair) -> None:
    owned, peer = pair
    peer.send(b"early")
    op = owned.operation(codes.RECEIVE, size=100, multishot=True)
    assert not any_way.submit(op), "a multishot operation stays in flight"
    any_way.until(lambda: op.events)
    peer.send(b"later")
    any_way.until(lambda: len(op.events) == 2)
    any_way.end(op)
    assert op.received == b"earlylater"


def test_a_multishot_that_waits_for_nothing_still_stays(any_way: Driver, pair: Pair) -> None:
    owned, peer = pair
    peer.send(b"early")
    op = owned.operation(codes.RECEIVE, size=100, multishot=True, expectant=False)
    assert not any_way.submit(op)
    any_way.until(lambda: op.events)
    assert op.in_flight
    any_way.end(op)


def test_half_a_stream_read_before_the_multishot(any_way: Driver, pair: Pair) -> None:
    """Edges that came while something else read must not be waited for."""
    owned, peer = pair
    first = owned.operation(codes.RECEIVE, size=3)
    any_way.submit(first)
    peer.send(b"abcdef")
    any_way.finish(first)
    op = owned.operation(codes.RECEIVE, size=100, multishot=True)
    any_way.submit(op)
    any_way.until(lambda: op.events)
    assert (first.received, op.received) == (b"abc", b"def")
    any_way.end(op)


def test_stopping_and_starting_loses_nothing(any_way: Driver, pair: Pair) -> None:
    """Pause and resume of a transport, at every point of a stream."""
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=4, multishot=True)
    sent = b""
    for number in range(40):
        any_way.submit(op)
        chunk = bytes([number]) * 7
        sent += chunk
        peer.send(chunk)
        if number % 3:
            any_way.poll()
        any_way.engine.cancel(op)
        any_way.settle_down()
    any_way.submit(op)
    any_way.until(lambda: len(op.received) == len(sent))
    any_way.end(op)
    assert op.received == sent


@pytest.mark.parametrize("size", [1000, RECEIVE_BYTES, 4 * RECEIVE_BYTES])
def test_a_large_stream_arrives_in_order(any_way: Driver, pair: Pair, size: int) -> None:
    owned, peer = pair
    data = os.urandom(3_000_000)
    op = owned.operation(codes.RECEIVE, size=size, multishot=True)
    any_way.submit(op)
    position = 0

    def pump() -> bool:
        nonlocal position
        try:
            position += peer.send(data[position : position + 100_000])
        except BlockingIOError:
            pass
        return sum(event.result for event in op.events) == len(data)

    any_way.until(pump, "all data")
    any_way.end(op)
    assert op.received == data


@pytest.mark.parametrize("size", [RECEIVE_BYTES, RECEIVE_BYTES + 1, 8 * RECEIVE_BYTES])
def test_a_burst_larger_than_one_receive(any_way: Driver, pair: Pair, size: int) -> None:
    """Everything is there before the first look, and nothing comes after it: no second edge."""
    owned, peer = pair
    for sock in (owned.sock, peer):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    total = fill(peer)
    op = owned.operation(codes.RECEIVE, size=size, multishot=True)
    any_way.submit(op)
    any_way.until(lambda: sum(event.result for event in op.events) == total)
    any_way.end(op)
    assert len(op.received) == total


def test_every_event_keeps_its_own_data(
    any_way: Driver, receiving: tuple[Recorded, socket.socket]
) -> None:
    """A batch is delivered after it was filled: no entry may be overwritten by a later one."""
    op, peer = receiving
    peer.send(b"a" * 10)
    any_way.until(lambda: any_way.engine.poll(0, any_way.batch))
    assert any_way.batch.count == 1
    any_way.batch.deliver_all()
    first = op.events[0].data
    peer.send(b"b" * 10)
    any_way.until(lambda: len(op.events) == 2)
    assert (first, op.events[1].data) == (b"a" * 10, b"b" * 10)
    assert op.buffer is None, "the engine keeps nothing that was handed over"


def test_accept_lists_every_connection(driver: Driver, listener: Owned) -> None:
    op = listener.operation(codes.ACCEPT, multishot=True)
    driver.submit(op)
    clients = [socket.create_connection(listener.sock.getsockname()) for _ in range(10)]
    try:
        driver.until(lambda: len(op.events) == 10)
        assert op.in_flight
        numbers = [event.result for event in op.events]
        assert len(set(numbers)) == 10
        assert [event.data[0] for event in op.events] == numbers
    finally:
        driver.end(op)
        for event in op.events[:10]:
            close_accepted(event.data)
        for client in clients:
            client.close()


def test_accepted_connections_do_not_block(driver: Driver, listener: Owned) -> None:
    op = listener.operation(codes.ACCEPT)
    driver.submit(op)
    with socket.create_connection(listener.sock.getsockname()):
        driver.finish(op)
        number, sock, _ = op.events[0].data
        assert number == op.result
        accepted = socket.socket(fileno=number) if sock is None else sock
        with accepted:
            if hasattr(os, "get_blocking"):
                assert not os.get_blocking(accepted.fileno())
                assert not os.get_inheritable(accepted.fileno())
            accepted.setblocking(False)
            with pytest.raises(BlockingIOError):
                accepted.recv(1)


def test_e12_an_accept_nobody_takes_is_closed(driver: Driver, listener: Owned) -> None:
    op = listener.operation(codes.ACCEPT, multishot=True)
    driver.submit(op)
    with socket.create_connection(listener.sock.getsockname()) as client:
        driver.until(lambda: driver.engine.poll(0, driver.batch))
        driver.batch.discard_all()
        driver.engine.close(driver.batch)
        driver.batch.discard_all()
        client.settimeout(5)
        assert client.recv(1) == b""
    assert op.results[-1] == -errno.ECANCELED


def test_a_failed_multishot_is_over(any_way: Driver, listener: Owned) -> None:
    """Accepting on a socket that does not listen any more."""
    op = listener.operation(codes.ACCEPT, multishot=True)
    any_way.submit(op)
    try:
        listener.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pytest.skip("this system does not shut listening sockets down")
    any_way.finish(op)
    assert len(op.terminal) == 1
    assert op.terminal[0] < 0


def test_urgent_data_does_not_hide_what_follows(
    any_way: Driver, make_connection: Callable[[], Pair]
) -> None:
    """A receive stops short at the urgent mark, though the socket is not empty (tcp(7))."""
    owned, client = make_connection()
    op = owned.operation(codes.RECEIVE, size=RECEIVE_BYTES, multishot=True)
    any_way.submit(op)
    for _ in range(3):
        client.send(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.send(b"after")
        count = len(op.received)
        any_way.receive(op, count + 11)
    any_way.end(op)
    assert op.received == b"beforeafter" * 3


@pytest.mark.posix
def test_descriptors_that_come_along_do_not_hide_what_follows(any_way: Driver, pair: Pair) -> None:
    """A receive on a Unix socket stops short behind data that carried descriptors (unix(7))."""
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=RECEIVE_BYTES, multishot=True)
    any_way.submit(op)
    for _ in range(3):
        peer.send(b"one")
        socket.send_fds(peer, [b"two"], [peer.fileno()])
        peer.send(b"three")
        count = len(op.received)
        any_way.receive(op, count + 11)
    any_way.end(op)
    assert op.received == b"onetwothree" * 3
