"""One io_uring: requests, provided buffers, waits, threads, forks and ends."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from noria.native.ring import Ring
from tests.driver import drain, fill
from tests.ledger import Ledger, ledger
from tests.loops import tcp_pair
from tests.rings import BADF, Token, in_child, needs_uring, open_ring

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ledger"]

pytestmark = needs_uring

Pair = tuple[socket.socket, socket.socket]
MILLISECOND_NS = 1_000_000
PATIENCE_NS = 5_000 * MILLISECOND_NS
NEWS = 7


@pytest.fixture
def ring(ledger: Ledger) -> Iterator[Ring]:
    """A ring of this thread with four buffers of 4 KiB."""
    made = open_ring()
    yield made
    made.close()


@pytest.fixture
def pair(ledger: Ledger) -> Iterator[Pair]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


class Taken:
    """One completion as it was taken."""

    def __init__(self, ring: Ring) -> None:
        self.token = ring.token
        self.tag = ring.tag
        self.result = ring.result
        self.more = ring.more
        self.data = ring.received()


def take_all(ring: Ring) -> list[Taken]:
    """Take what is there."""
    found = []
    while ring.take():
        found.append(Taken(ring))
    return found


def enter_and_take(ring: Ring, count: int) -> list[Taken]:
    """Enter until so many completions were taken."""
    found: list[Taken] = []
    deadline = time.monotonic() + 5
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} completions came"
        ring.enter(100 * MILLISECOND_NS)
        found += take_all(ring)
    return found


def end(ring: Ring, token: Token) -> None:
    """Cancel a request and take its end."""
    assert ring.prepare_cancel(token)
    assert enter_and_take(ring, 1)[-1].result == -errno.ECANCELED


def test_a_receive_goes_on_into_provided_buffers(ring: Ring, pair: Pair) -> None:
    left, right = pair
    token = Token()
    assert ring.prepare_receive(token, left.fileno())
    assert ring.queued() == 1
    assert ring.enter(0) == 0
    assert ring.queued() == 0
    for number in range(3):
        right.send(b"message %d" % number)
        (one,) = enter_and_take(ring, 1)
        assert (one.token, one.tag, one.result, one.more) == (token, 0, 9, True)
        assert one.data == b"message %d" % number
    assert ring.received() is None, "it came once"
    end(ring, token)


def test_buffers_are_returned(ring: Ring, pair: Pair) -> None:
    """Far more messages than buffers, also when nobody looks at what they hold."""
    left, right = pair
    token = Token()
    ring.prepare_receive(token, left.fileno())
    for number in range(50):
        right.send(bytes([number]) * 10)
        ring.enter(PATIENCE_NS)
        assert ring.take()
        assert (ring.result, ring.more) == (10, True)
        if number % 2:
            assert ring.received() == bytes([number]) * 10
        assert not ring.take()
    end(ring, token)


def test_a_message_larger_than_a_buffer_comes_in_pieces(ring: Ring, pair: Pair) -> None:
    left, right = pair
    token = Token()
    right.send(b"a" * 4096 + b"b" * 100)
    ring.prepare_receive(token, left.fileno())
    found = enter_and_take(ring, 2)
    assert [one.result for one in found] == [4096, 100]
    assert b"".join(one.data or b"" for one in found) == b"a" * 4096 + b"b" * 100
    end(ring, token)


def test_a_receive_without_a_buffer_says_enobufs(ledger: Ledger, pair: Pair) -> None:
    left, right = pair
    ring = open_ring(buffers=0)
    first, second = Token(), Token()
    right.send(b"waits")
    ring.prepare_receive(first, left.fileno())
    (one,) = enter_and_take(ring, 1)
    assert (one.token, one.result, one.more, one.data) == (first, -errno.ENOBUFS, False, None)
    assert ring.provide(5) == 1, "as far as there are"
    ring.prepare_receive(second, left.fileno())
    (one,) = enter_and_take(ring, 1)
    assert (one.token, one.data) == (second, b"waits")
    assert ring.buffer_size() == 4096
    end(ring, second)
    ring.close()


def test_buffers_that_are_all_taken(ring: Ring, pair: Pair) -> None:
    """The kernel fills four buffers before anybody takes one; the rest stays in the socket."""
    left, right = pair
    token = Token()
    right.send(b"x" * 4096 * 5)
    ring.prepare_receive(token, left.fileno())
    found = enter_and_take(ring, 5)
    assert [one.result for one in found] == [4096] * 4 + [-errno.ENOBUFS]
    assert [one.more for one in found] == [True] * 4 + [False]
    assert len(left.recv(10_000)) == 4096


def test_the_end_of_a_stream_is_the_last_completion(ring: Ring, pair: Pair) -> None:
    left, right = pair
    token = Token()
    ring.prepare_receive(token, left.fileno())
    right.send(b"last")
    right.shutdown(socket.SHUT_WR)
    found = enter_and_take(ring, 2)
    assert [(one.result, one.more) for one in found] == [(4, True), (0, False)]


def test_a_send_takes_what_lies_behind_the_offset(ring: Ring, pair: Pair) -> None:
    """It is over when the call returns, and has a completion only if it did not send all."""
    left, right = pair
    token = Token(b"0123456789")
    assert ring.prepare_send(token, left.fileno(), token.data, 4)
    ring.enter(0)
    assert right.recv(100) == b"456789"
    assert not ring.send_failed()
    ring.enter(MILLISECOND_NS)
    assert take_all(ring) == []


def test_sends_to_nobody_fail_without_a_signal(ring: Ring, pair: Pair) -> None:
    left, right = pair
    right.close()
    token = Token(b"data")
    ring.prepare_send(token, left.fileno(), token.data, 0)
    ring.prepare_send(token, -1, token.data, 0)
    assert [one.result for one in enter_and_take(ring, 2)] == [-errno.EPIPE, BADF]


def test_a_send_waits_for_nothing(ring: Ring, pair: Pair) -> None:
    """A full socket, also a blocking one, takes nothing; a part of it takes a part."""
    left, right = pair
    fill(left)
    left.setblocking(True)
    first, second = Token(b"first"), Token(bytes(4_000_000))
    ring.prepare_send(first, left.fileno(), first.data, 0)
    ring.enter(0)
    assert ring.send_failed()
    assert not ring.send_failed(), "it is told once"
    (one,) = take_all(ring)
    assert (one.token, one.result, one.more) == (first, -errno.EAGAIN, False)
    drain(right)
    ring.prepare_send(second, left.fileno(), second.data, 0)
    ring.enter(0)
    assert ring.send_failed()
    (one,) = take_all(ring)
    assert one.token is second
    assert 0 < one.result < 4_000_000
    assert len(drain(right)) == one.result


def test_a_poll_carries_a_tag(ring: Ring, pair: Pair) -> None:
    left, right = pair
    assert ring.prepare_poll(NEWS, left.fileno())
    ring.enter(0)
    assert take_all(ring) == []
    right.send(b"x")
    (one,) = enter_and_take(ring, 1)
    assert (one.token, one.tag, one.more) == (None, NEWS, False)
    assert one.result & 1, "POLLIN"
    ring.enter(MILLISECOND_NS)
    assert take_all(ring) == [], "once"


def test_an_accept_goes_on(ring: Ring) -> None:
    token = Token()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        assert ring.prepare_accept(token, listener.fileno())
        ring.enter(0)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        found = enter_and_take(ring, 3)
        for one in found:
            assert (one.token, one.more) == (token, True)
            assert not os.get_blocking(one.result)
            assert not os.get_inheritable(one.result)
            os.close(one.result)
        for client in clients:
            client.close()
        end(ring, token)


def test_e5_cancelling_one_leaves_the_others(ring: Ring, pair: Pair) -> None:
    left, right = pair
    one, other = Token(), Token()
    ring.prepare_receive(one, left.fileno())
    ring.prepare_receive(other, right.fileno())
    ring.enter(0)
    end(ring, one)
    left.send(b"other")
    (found,) = enter_and_take(ring, 1)
    assert (found.token, found.data) == (other, b"other")
    right.send(b"stays")
    assert left.recv(10) == b"stays", "what was cancelled takes nothing any more"
    end(ring, other)


def test_e5_cancelling_what_has_ended(ring: Ring, pair: Pair) -> None:
    """Tells nothing but under a tag that the owner of the ring ignores."""
    token = Token()
    ring.prepare_receive(token, pair[0].fileno())
    ring.enter(0)
    end(ring, token)
    ring.prepare_cancel(token)
    ring.enter(MILLISECOND_NS)
    assert all((one.token, one.tag) == (None, 1) for one in take_all(ring))


def test_e5_cancelling_a_descriptor_and_everything(ring: Ring, pair: Pair) -> None:
    left, right = pair
    tokens = [Token() for _ in range(4)]
    ring.prepare_receive(tokens[0], left.fileno())
    ring.prepare_receive(tokens[1], left.fileno())
    ring.prepare_receive(tokens[2], right.fileno())
    ring.prepare_poll(NEWS, left.fileno())
    ring.enter(0)
    ring.prepare_cancel_fd(left.fileno())
    found = [one for one in enter_and_take(ring, 3) if one.tag != 1]
    assert {one.token for one in found} == {*tokens[:2], None}
    ring.prepare_receive(tokens[3], left.fileno())
    ring.enter(0)
    ring.prepare_cancel_all()
    found = [one for one in enter_and_take(ring, 2) if one.tag != 1]
    assert {one.token for one in found} == set(tokens[2:])
    assert all(one.result == -errno.ECANCELED for one in found)


@pytest.mark.parametrize("timeout_ns", [1, 999, 50_001, 999_999, 1_000_001, 2_500_000, 20_000_000])
def test_e6_a_wait_is_never_too_short(ring: Ring, timeout_ns: int) -> None:
    ring.prepare_poll(NEWS, ring.fileno())  # a call that submits does not say how its wait ended
    for _ in range(5):
        started = time.monotonic_ns()
        assert ring.enter(timeout_ns) == 0
        assert time.monotonic_ns() - started >= timeout_ns
        assert not ring.completed()


def test_e6_waits_are_punctual(ring: Ring) -> None:
    """The median is late by far less than the timer slack and a scheduler's turn would make it."""
    late = []
    for _ in range(30):
        started = time.monotonic_ns()
        ring.enter(3 * MILLISECOND_NS)
        late.append(time.monotonic_ns() - started - 3 * MILLISECOND_NS)
    assert sorted(late)[len(late) // 2] < MILLISECOND_NS, late


def test_e6_not_waiting_does_not_wait(ring: Ring, pair: Pair) -> None:
    token = Token()
    ring.prepare_receive(token, pair[0].fileno())
    started = time.monotonic()
    for _ in range(100):
        ring.enter(0)
    assert time.monotonic() - started < 1.0
    assert ring.calls == 100
    end(ring, token)


def test_e6_a_wait_ends_with_the_first_completion(ring: Ring, pair: Pair) -> None:
    left, right = pair
    token = Token()
    ring.prepare_receive(token, left.fileno())
    for timeout_ns in (-1, PATIENCE_NS):
        timer = threading.Timer(0.02, right.send, (b"now",))
        timer.start()
        started = time.monotonic()
        ring.enter(timeout_ns)
        assert 0.01 < time.monotonic() - started < 2
        assert [one.data for one in take_all(ring)] == [b"now"]
        timer.join()
    end(ring, token)


def test_e3_a_token_lives_until_its_last_completion(ring: Ring, pair: Pair) -> None:
    left, right = pair
    token = Token()
    known = weakref.ref(token)
    ring.prepare_receive(token, left.fileno())
    del token
    ring.enter(0)
    gc.collect()
    assert known() is not None
    right.send(b"x")
    (one,) = enter_and_take(ring, 1)
    assert one.token is known()
    assert one.more
    found = known()
    assert found is not None
    ring.prepare_cancel(found)
    del one, found
    assert known() is not None, "more may come"
    (one,) = enter_and_take(ring, 1)
    assert one.token is known()
    del one
    assert not ring.take()
    assert known() is None, "the ring has let go of it"


@pytest.mark.parametrize("kind", ["receive", "refused", "send", "failed send"])
def test_e3_references_balance(ring: Ring, pair: Pair, kind: str) -> None:
    left, right = pair
    token = Token(b"data")
    before = sys.getrefcount(token)
    for _ in range(20):
        if kind == "receive":
            ring.prepare_receive(token, left.fileno())
            ring.enter(0)
            end(ring, token)
        elif kind == "refused":
            ring.prepare_receive(token, -1)
            assert enter_and_take(ring, 1)[0].result == BADF
        else:
            ring.prepare_send(token, -1 if "failed" in kind else left.fileno(), token.data, 0)
            enter_and_take(ring, 1 if "failed" in kind else 0)
            ring.enter(0)
    assert not ring.take()
    assert sys.getrefcount(token) == before
    right.close()


def test_e3_a_ring_closed_early_lets_go_of_nothing(ledger: Ledger, pair: Pair) -> None:
    """The kernel may use the memory for a while, so the token stays for ever."""
    ring = open_ring()
    token = Token()
    known = weakref.ref(token)
    ring.prepare_receive(token, pair[0].fileno())
    ring.enter(0)
    before = sys.getrefcount(token)
    ring.close()
    del ring
    gc.collect()
    assert sys.getrefcount(token) == before
    del token
    assert known() is not None


def test_e11_a_full_queue_says_so(ledger: Ledger, pair: Pair) -> None:
    left, _ = pair
    ring = open_ring(entries=4)
    token = Token(b"x")
    before = sys.getrefcount(token)
    for _ in range(4):
        assert ring.prepare_receive(token, -1)
    attempts: list[Any] = [
        lambda: ring.prepare_send(token, left.fileno(), token.data, 0),
        lambda: ring.prepare_receive(token, left.fileno()),
        lambda: ring.prepare_accept(token, left.fileno()),
        lambda: ring.prepare_poll(NEWS, left.fileno()),
        lambda: ring.prepare_cancel(token),
        lambda: ring.prepare_cancel_fd(left.fileno()),
        ring.prepare_cancel_all,
    ]
    assert [attempt() for attempt in attempts] == [False] * len(attempts)
    assert ring.queued() == 4
    assert sys.getrefcount(token) == before + 4, "what was refused is not held"
    assert [one.result for one in enter_and_take(ring, 4)] == [BADF] * 4
    assert ring.prepare_poll(NEWS, left.fileno())
    ring.close()


def test_e11_completions_beyond_the_queue_are_not_lost(ledger: Ledger) -> None:
    ring = open_ring(entries=4, completions=4)
    token = Token()
    count = 0
    while ring.enter(0) == 0 and count < 40:
        for _ in range(4):
            assert ring.prepare_receive(token, -1)
        count += 4
    assert count == 40 or not ring.prepare_cancel(token), "what was not submitted is still queued"
    assert ring.overflowed()
    assert [one.result for one in enter_and_take(ring, count)] == [BADF] * count
    assert not ring.overflowed()
    ring.enter(MILLISECOND_NS)
    assert take_all(ring) == []
    ring.close()


def test_a_ring_belongs_to_the_thread_that_enables_it(ledger: Ledger, pair: Pair) -> None:
    """Made by this thread, enabled by another; then only that one may enter, while it lives."""
    ring = Ring(4, 8)
    assert ring.make_group(1, 2, 4096) == 0
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend((ring.enable(), ring.enter(0))))
    thread.start()
    thread.join()
    assert results == [0, 0]
    with pytest.raises(OSError, match="io_uring_enter") as caught:
        ring.enter(0)
    assert caught.value.errno == errno.EEXIST
    ring.close()


def test_a_disabled_ring_refuses(ledger: Ledger) -> None:
    ring = Ring(4, 8)
    with pytest.raises(OSError, match="io_uring_enter") as caught:
        ring.enter(0)
    assert caught.value.errno == errno.EBADFD
    assert ring.enable() == 0
    assert ring.enable() == -errno.EBADFD, "once"
    ring.close()


def test_a_ring_is_closed_once(ledger: Ledger) -> None:
    ring = open_ring()
    number = ring.fileno()
    assert not os.get_inheritable(number)
    ring.close()
    assert ring.fileno() == -1
    stranger = os.dup(0)
    ring.close()
    ring.abandon()
    del ring
    os.fstat(stranger)
    os.close(stranger)


def test_a_forgotten_ring_is_closed(ledger: Ledger) -> None:
    ring = open_ring()
    number = ring.fileno()
    del ring
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_hundreds_of_rings_in_a_row(ledger: Ledger) -> None:
    """The kernel takes a ring apart later; that must not add up to a lack of anything."""
    left, right = socket.socketpair()
    for _ in range(300):
        ring = open_ring(256, 4096, 1024)
        token = Token(b"x")
        ring.prepare_send(token, left.fileno(), token.data, 0)
        ring.prepare_receive(token, left.fileno())
        ring.enter(0)
        end(ring, token)
        ring.close()
        assert right.recv(10) == b"x"
    left.close()
    right.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_e10_a_forked_child_abandons_its_copy(ring: Ring, pair: Pair) -> None:
    """The number is closed there, or the ring is just let go; the parent's requests stay."""
    left, right = pair
    token = Token()
    ring.prepare_receive(token, left.fileno())
    ring.enter(0)
    holder = [ring]

    def abandon() -> None:
        number = ring.fileno()
        ring.abandon()
        assert ring.fileno() == -1
        ring.abandon()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)

    assert in_child(abandon) == 0
    assert in_child(holder.clear) == 0
    right.send(b"parent")
    (one,) = enter_and_take(ring, 1)
    assert one.data == b"parent"
    end(ring, token)


class Interrupted(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize("timeout_ns", [-1, PATIENCE_NS])
def test_e6_what_a_signal_handler_raises_comes_out(ring: Ring, pair: Pair, timeout_ns: int) -> None:
    left, right = pair
    token = Token()
    ring.prepare_receive(token, left.fileno())

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Interrupted):
            ring.enter(timeout_ns)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    right.send(b"as if nothing had been")
    (one,) = enter_and_take(ring, 1)
    assert one.data == b"as if nothing had been"
    end(ring, token)


def test_e6_a_quiet_signal_handler_shortens_no_wait(ring: Ring) -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        started = time.monotonic_ns()
        assert ring.enter(60 * MILLISECOND_NS) == 0
        waited = time.monotonic_ns() - started
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert waited >= 60 * MILLISECOND_NS
    assert waited < 2_000 * MILLISECOND_NS
    assert len(calls) > 3


def test_tcp_messages_come_one_by_one(ring: Ring) -> None:
    left, right = tcp_pair()
    token = Token()
    ring.prepare_receive(token, left.fileno())
    for number in range(20):
        right.send(b"%03d" % number)
        (one,) = enter_and_take(ring, 1)
        assert one.data == b"%03d" % number
    end(ring, token)
    left.close()
    right.close()


def test_what_cannot_be_made_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(OSError, match="io_uring_setup"):
        Ring(0, 0)
    ring = Ring(4, 8)
    assert ring.make_group(1, 3, 4096) == -errno.EINVAL, "no power of two"
    assert ring.make_group(1, 4, 4096) == 0
    ring.close()
