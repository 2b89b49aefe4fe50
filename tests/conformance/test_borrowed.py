"""L6, D3: descriptors of the user are watched level-triggered, never kept open, closed any time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from tests.driver import Driver, Owned, drain, fill, make, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Users = tuple[socket.socket, socket.socket]
Pair = tuple[Owned, socket.socket]


@contextlib.contextmanager
def same_number(number: int) -> Iterator[Users]:
    """A new pair whose left socket has the number that was just closed."""
    left, right = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.enter_context(right)
        if left.fileno() != number:
            fresh = left
            os.dup2(fresh.fileno(), number)
            fresh.close()
            left = socket.socket(fileno=number)
        stack.enter_context(left)
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def test_l6_a_watch_reports_as_long_as_there_is_something(driver: Driver, borrowed: Users) -> None:
    left, right = borrowed
    op = watch(codes.WAIT_READABLE, left.fileno())
    driver.submit(op)
    assert driver.settle_down() == 0
    right.send(b"0123456789")
    read = b""
    while len(read) < 10:
        before = len(op.events)
        driver.collect(op, before + 1)
        assert len(op.events) == before + 1, "once a turn"
        read += left.recv(1)
    assert driver.settle_down() == 0
    assert len(op.events) == 10
    driver.end(op)


def test_l6_one_watch_does_not_outdo_the_other(driver: Driver, borrowed: Users) -> None:
    left, right = borrowed
    reader = watch(codes.WAIT_READABLE, left.fileno())
    writer = watch(codes.WAIT_WRITABLE, left.fileno())
    driver.submit(reader)
    driver.submit(writer)
    driver.until(lambda: writer.events)
    assert not reader.events
    right.send(b"x")
    driver.until(lambda: reader.events)
    driver.engine.cancel(writer)
    driver.settle_down()
    count = len(reader.events)
    driver.until(lambda: len(reader.events) > count)
    driver.end(reader)


def test_l6_a_reader_survives_a_writer_that_comes_and_goes(driver: Driver, borrowed: Users) -> None:
    left, right = borrowed
    fill(left)
    reader = watch(codes.WAIT_READABLE, left.fileno())
    driver.submit(reader)
    for _ in range(3):
        writer = watch(codes.WAIT_WRITABLE, left.fileno())
        driver.submit(writer)
        driver.settle_down()
        driver.end(writer)
        assert writer.results == [-errno.ECANCELED]
    right.send(b"x")
    driver.until(lambda: reader.events)
    driver.end(reader)


@pytest.mark.parametrize("with_socket", [True, False])
def test_l6_a_new_wait_needs_new_news(driver: Driver, borrowed: Users, with_socket: bool) -> None:
    """What an earlier wait was told is no news for the next one."""
    left, right = borrowed
    first, second = (watch(codes.WAIT_READABLE, left.fileno(), multishot=False) for _ in range(2))
    if with_socket:
        first.sock = second.sock = left
    driver.submit(first)
    right.send(b"x")
    driver.finish(first)
    assert drain(left) == b"x"
    driver.submit(second)
    assert driver.settle_down() == 0
    right.send(b"y")
    driver.finish(second)


def test_l6_a_wait_behind_a_receive_needs_news_of_its_own(driver: Driver, borrowed: Users) -> None:
    left, right = borrowed
    receive = make(codes.RECEIVE, left, size=100, borrowed=True)
    wait = make(codes.WAIT_READABLE, left, borrowed=True)
    driver.submit(receive)
    driver.submit(wait)
    right.send(b"all of it")
    driver.finish(receive)
    assert driver.settle_down() == 0
    assert not wait.events
    right.send(b"more")
    driver.finish(wait)


def test_l6_a_receive_is_not_stuck_behind_a_watch(driver: Driver, borrowed: Users) -> None:
    """A program may watch a socket and receive from it in the callback."""
    left, right = borrowed
    reader = watch(codes.WAIT_READABLE, left.fileno())
    driver.submit(reader)
    receive = make(codes.RECEIVE, left, size=100, borrowed=True)
    driver.submit(receive)
    right.send(b"data")
    driver.finish(receive)
    assert receive.received == b"data"
    right.send(b"more")
    ready = make(codes.RECEIVE, left, size=100, borrowed=True)
    assert driver.submit(ready), "a watch takes nothing, so there is nothing to queue for"
    assert ready.received == b"more"
    count = len(reader.events)
    right.send(b"for the watch")
    driver.until(lambda: len(reader.events) > count)
    driver.end(reader)


def test_l6_a_half_closed_peer_makes_nothing_writable(driver: Driver, borrowed: Users) -> None:
    """The peer has sent its last byte and reads nothing: an end to read, no room to write."""
    left, right = borrowed
    fill(left)
    reader = watch(codes.WAIT_READABLE, left.fileno())
    writer = watch(codes.WAIT_WRITABLE, left.fileno())
    driver.submit(reader)
    driver.submit(writer)
    right.shutdown(socket.SHUT_WR)
    driver.until(lambda: len(reader.events) > 2)
    assert not writer.events
    drain(right)
    driver.until(lambda: writer.events)
    driver.end(reader, writer)


def test_d3_the_peer_sees_the_end_when_the_user_closes(driver: Driver, borrowed: Users) -> None:
    """No engine keeps the user's file open; the watch stays behind until it is removed."""
    left, right = borrowed
    op = watch(codes.WAIT_READABLE, left.fileno())
    driver.submit(op)
    driver.settle_down()
    left.close()
    assert right.recv(1) == b""
    driver.settle_down()
    driver.end(op)
    assert op.terminal == [-errno.ECANCELED]


@pytest.mark.posix
def test_d3_a_closed_number_under_watch_disturbs_nobody(
    driver: Driver, borrowed: Users, pair: Pair
) -> None:
    """Mechanisms that look numbers up at every wait report it, once; the others never know."""
    left, _ = borrowed
    owned, peer = pair
    op = watch(codes.WAIT_READABLE, left.fileno())
    other = owned.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(op)
    driver.submit(other)
    driver.settle_down()
    left.close()
    driver.settle_down(5)
    assert len(op.events) <= 1
    peer.send(b"fine")
    driver.until(lambda: other.events)
    driver.end(op, other)


@pytest.mark.posix
def test_d3_watching_a_closed_number_is_ebadf(driver: Driver, borrowed: Users) -> None:
    left, _ = borrowed
    number = left.fileno()
    left.close()
    op = watch(codes.WAIT_READABLE, number)
    assert driver.submit(op)
    assert op.result == -errno.EBADF
    assert driver.statistics().in_flight == 0


@pytest.mark.posix
def test_d3_a_number_used_again_is_watched_anew(driver: Driver, borrowed: Users) -> None:
    left, _ = borrowed
    number = left.fileno()
    first = watch(codes.WAIT_READABLE, number)
    driver.submit(first)
    left.close()
    with same_number(number) as (_, peer):
        driver.end(first)
        second = watch(codes.WAIT_READABLE, number)
        driver.submit(second)
        assert driver.settle_down() == 0
        peer.send(b"x")
        driver.until(lambda: second.events)
        driver.end(second)
    assert first.results == [-errno.ECANCELED]


@pytest.mark.posix
def test_d3_a_number_used_again_is_watched_though_nobody_cleaned_up(
    driver: Driver, borrowed: Users
) -> None:
    """The first watch is still there; its registration is not, where it belonged to the file."""
    left, _ = borrowed
    number = left.fileno()
    first, second = (watch(codes.WAIT_READABLE, number) for _ in range(2))
    driver.submit(first)
    left.close()
    with same_number(number) as (_, peer):
        driver.submit(second)
        peer.send(b"x")
        driver.until(lambda: second.events)
        driver.end(first, second)


@pytest.mark.posix
@pytest.mark.parametrize("code", [codes.RECEIVE, codes.RECEIVE_INTO, codes.RECEIVE_FROM])
def test_d3_an_old_receive_takes_nothing_from_the_new_file(
    driver: Driver, borrowed: Users, code: int
) -> None:
    """A closes its socket while a receive waits; B gets the number and must get all its bytes."""
    left, _ = borrowed
    number = left.fileno()
    old = make(code, left, size=100, buffer=bytearray(100), borrowed=True)
    driver.submit(old)
    left.close()
    with same_number(number) as (sock, peer):
        new = make(codes.RECEIVE, sock, size=100, borrowed=True)
        peer.send(b"for the new one")
        assert driver.submit(new), "the old one is not in its way"
        assert new.received == b"for the new one"
        again = make(codes.RECEIVE, sock, size=100, borrowed=True)
        driver.submit(again)
        peer.send(b"and this")
        driver.finish(again)
        assert again.received == b"and this"
        driver.end(old)
    assert old.terminal in ([-errno.EBADF], [-errno.ECANCELED])


@pytest.mark.posix
@pytest.mark.parametrize("code", [codes.SEND, codes.SEND_VECTOR, codes.SEND_TO])
def test_d3_an_old_send_writes_nothing_to_the_new_file(
    driver: Driver, borrowed: Users, code: int
) -> None:
    left, _ = borrowed
    number = left.fileno()
    fill(left)
    data = [b"secret"] if code == codes.SEND_VECTOR else b"secret"
    old = make(code, left, buffer=data, borrowed=True)
    old.address = "/nowhere"
    if driver.submit(old):
        pytest.skip("sends to an address on a connected stream socket do not wait here")
    left.close()
    with same_number(number) as (sock, peer):
        new = make(codes.SEND, sock, buffer=b"public", borrowed=True)
        driver.submit(new)
        driver.finish(new)
        ready = make(codes.WAIT_WRITABLE, sock, borrowed=True)
        driver.submit(ready)
        driver.finish(ready)
        driver.settle_down()
        assert drain(peer) == b"public"
        driver.end(old)
    assert old.terminal in ([-errno.EBADF], [-errno.ECANCELED])


@pytest.mark.posix
def test_d3_news_of_a_closed_socket_are_not_taken_for_the_next_one(
    driver: Driver, make_pair: Callable[[], Pair], borrowed: Users
) -> None:
    """News are fetched in one poll and served over several; the user may close in between."""
    left, right = borrowed
    number = left.fileno()
    others = [make_pair() for _ in range(80)]
    operations = [owned.operation(codes.RECEIVE, size=1, multishot=True) for owned, _ in others]
    for op in operations:
        driver.submit(op)
    old = make(codes.RECEIVE, left, size=100, borrowed=True)
    driver.submit(old)
    for _, peer in others:
        peer.send(b"x")
    right.send(b"old")
    driver.poll()
    if old.events:
        pytest.skip("the mechanism told of this socket first")
    left.close()
    with same_number(number) as (sock, peer):
        peer.send(b"new")
        driver.settle_down()
        assert drain(sock) == b"new"
    driver.end(old, *operations)


@pytest.mark.posix
def test_d3_an_owner_takes_a_number_over_from_a_user(driver: Driver, borrowed: Users) -> None:
    left, _ = borrowed
    number = left.fileno()
    op = watch(codes.WAIT_READABLE, number)
    driver.submit(op)
    left.close()
    with same_number(number) as (sock, peer):
        owned = Owned(driver, sock)
        receive = owned.operation(codes.RECEIVE, size=10, multishot=True)
        driver.submit(receive)
        peer.send(b"owned")
        driver.until(lambda: receive.events)
        driver.end(receive)
        assert receive.received == b"owned"
        assert op.terminal == [-errno.EBADF], "the old watch ended with its file"
        owned.close()


@pytest.mark.posix
def test_d3_a_user_takes_a_number_over_from_an_owner(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """Edge-triggered for the owner, level-triggered for the user after it."""
    owned, peer = make_pair()
    receive = owned.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(receive)
    peer.send(b"x")
    driver.until(lambda: receive.events)
    driver.end(receive)
    number = owned.fd
    owned.descriptor.close()  # without a forget, as if it had been missed
    with same_number(number) as (_, right):
        op = watch(codes.WAIT_READABLE, number)
        driver.submit(op)
        assert driver.settle_down() == 0
        right.send(b"stays")
        driver.until(lambda: len(op.events) > 3)
        driver.end(op)


@pytest.mark.posix
@pytest.mark.parametrize("code", [codes.WAIT_READABLE, codes.WAIT_WRITABLE])
def test_a_regular_file_cannot_be_watched(driver: Driver, code: int) -> None:
    """It is always ready, so waiting for it is a mistake, on every mechanism."""
    with tempfile.TemporaryFile() as file:
        op = watch(code, file.fileno())
        assert driver.submit(op)
        assert op.result == -errno.EPERM
    assert driver.statistics().in_flight == 0


@pytest.mark.posix
def test_a_pipe_can_be_watched(driver: Driver) -> None:
    reading, writing = os.pipe()
    try:
        reader = watch(codes.WAIT_READABLE, reading)
        writer = watch(codes.WAIT_WRITABLE, writing)
        driver.submit(reader)
        driver.submit(writer)
        driver.until(lambda: writer.events)
        assert not reader.events
        os.write(writing, b"x")
        driver.until(lambda: len(reader.events) > 1)
        os.read(reading, 1)
    finally:
        driver.end(reader, writer)
        os.close(reading)
        os.close(writing)


@pytest.mark.posix
def test_select_refuses_large_numbers(driver: Driver, borrowed: Users) -> None:
    import fcntl
    import resource

    left, right = borrowed
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1100:
        pytest.skip("the limit of descriptors is too low to get a large number")
    number = fcntl.fcntl(left, fcntl.F_DUPFD_CLOEXEC, 1050)
    with socket.socket(fileno=number) as large:
        wait = watch(codes.WAIT_READABLE, number)
        receive = make(codes.RECEIVE, large, size=10, borrowed=True)
        if driver.engine.name == "select":
            assert driver.submit(wait)
            assert driver.submit(receive)
            assert (wait.result, receive.result) == (-errno.EINVAL, -errno.EINVAL)
            right.send(b"x")
            assert driver.submit(receive)
            assert receive.result == 1, "what needs no wait works all the same"
        else:
            right.send(b"x")
            driver.submit(wait)
            driver.until(lambda: wait.events)
            driver.end(wait)
    assert driver.statistics().in_flight == 0
