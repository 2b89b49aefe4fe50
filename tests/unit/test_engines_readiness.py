"""The readiness engine on a poller that does as it is told, without a kernel."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

import noria.operations  # noqa: F401 - enters the rows
from noria.core import codes
from noria.engines.interface import (
    HANGUP,
    READABLE,
    STOPS_SHORT,
    WRITABLE,
    NewsSink,
    Poller,
)
from noria.engines.readiness import ReadinessEngine
from tests.driver import Driver, Owned, drain, make, watch
from tests.ledger import Ledger, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ledger"]

BOTH = READABLE | WRITABLE


class Told(Poller):
    """A poller that reports what a test has written down, and remembers what it was told.

    Attributes:
        interest: what is registered, by descriptor.
        changes: every call of `modify`.
        news: what the next wait reports.
        timeouts: of the waits so far.
        failures: minus errno for the next calls of `modify` that add something.
        error: what the next wait raises, after its news.
    """

    def __init__(self, *, edge: bool) -> None:
        Poller.__init__(self, edge=edge)
        self.interest: dict[int, int] = {}
        self.changes: list[tuple[int, int, int, bool]] = []
        self.news: list[tuple[int, int]] = []
        self.timeouts: list[int] = []
        self.failures: list[int] = []
        self.error: BaseException | None = None
        self.closed = 0

    def modify(self, fd: int, old: int, new: int, level: bool) -> int:
        self.changes.append((fd, old, new, level))
        if new and self.failures:
            return self.failures.pop(0)
        self.interest[fd] = new
        return 0

    def wait(self, timeout_ns: int, sink: NewsSink) -> int:
        self.timeouts.append(timeout_ns)
        news, self.news = self.news, []
        for fd, ready in news:
            sink.news(fd, ready)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return len(news)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """An engine on such a poller, with one owned socket."""

    def __init__(self, ledger: Ledger, *, edge: bool) -> None:
        self.poller = Told(edge=edge)
        self.engine = ReadinessEngine(self.poller)
        ledger.watch(self.engine)
        self.driver = Driver(self.engine)
        self.waker_fd = self.poller.changes.pop()[0]
        left, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.owned = Owned(self.driver, left)
        self.fd = self.owned.fd

    def tell(self, ready: int, fd: int | None = None) -> int:
        """One poll whose wait reports this."""
        self.poller.news.append((self.fd if fd is None else fd, ready))
        return self.driver.poll()

    def close(self) -> None:
        self.owned.close()
        self.peer.close()


@pytest.fixture(params=[False, True], ids=["level", "edge"])
def bench(request: pytest.FixtureRequest, ledger: Ledger) -> Iterator[Bench]:
    made = Bench(ledger, edge=request.param)
    yield made
    made.close()


@pytest.fixture
def level(ledger: Ledger) -> Iterator[Bench]:
    made = Bench(ledger, edge=False)
    yield made
    made.close()


@pytest.fixture
def edge(ledger: Ledger) -> Iterator[Bench]:
    made = Bench(ledger, edge=True)
    yield made
    made.close()


def test_the_waker_is_watched_from_the_start(ledger: Ledger) -> None:
    poller = Told(edge=True)
    engine = ReadinessEngine(poller)
    ledger.watch(engine)
    assert poller.interest == {poller.changes[0][0]: READABLE}
    assert poller.changes[0][3], "level-triggered: a wake that was not drained must come again"


def test_an_engine_that_cannot_watch_its_waker_is_not_made(ledger: Ledger) -> None:
    """As select with too many files open."""
    poller = Told(edge=False)
    poller.failures.append(-errno.EINVAL)
    with pytest.raises(OSError, match="cannot watch its waker") as caught:
        ReadinessEngine(poller)
    assert caught.value.errno == errno.EINVAL
    assert poller.closed == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM, errno.EPERM])
def test_a_failure_to_register_settles_the_operation(bench: Bench, number: int) -> None:
    """ENOSPC: the user's limit of epoll watches."""
    bench.poller.failures.append(-number)
    op = bench.owned.operation(codes.RECEIVE, size=10)
    assert bench.driver.submit(op)
    assert op.result == -number
    assert bench.owned.descriptor.leases == 0
    assert bench.driver.statistics().in_flight == 0
    assert not bench.driver.submit(op), "and the next try may succeed"


def test_a_failure_to_ask_anew_settles_the_wait(edge: Bench) -> None:
    receive = edge.owned.operation(codes.RECEIVE, size=10)
    edge.driver.submit(receive)
    edge.poller.failures.append(-errno.ENOMEM)
    wait = edge.owned.operation(codes.WAIT_READABLE)
    assert edge.driver.submit(wait)
    assert wait.result == -errno.ENOMEM


def test_news_of_nobody_are_ignored(bench: Bench) -> None:
    """They come from a registration that nobody remembers; the engine asks to have it removed."""
    for fd in (5001, bench.peer.fileno()):  # odd, because Windows gives out multiples of four
        assert bench.tell(BOTH, fd) == 0
        assert bench.poller.interest[fd] == 0
    assert bench.driver.statistics().attempts == 0


def test_false_news_cost_one_attempt(bench: Bench) -> None:
    op = bench.owned.operation(codes.RECEIVE, size=10, multishot=True)
    bench.driver.submit(op)
    for number in range(1, 4):
        assert bench.tell(READABLE) == 0
        assert bench.driver.statistics().attempts == number
    bench.peer.send(b"x")
    assert bench.tell(READABLE) == 1


def test_a_hang_up_tells_both_lanes(bench: Bench) -> None:
    bench.peer.close()
    read = bench.owned.operation(codes.RECEIVE, size=10, expectant=True)
    write = bench.owned.operation(codes.SEND, buffer=b"x", expectant=True)
    bench.driver.submit(read)
    bench.driver.submit(write)
    assert bench.tell(HANGUP) == 2
    assert read.results == [0]
    assert write.results in ([-errno.EPIPE], [1]), "by TCP the first one still succeeds"


@pytest.mark.parametrize("order", [(READABLE, WRITABLE), (WRITABLE, READABLE), (BOTH,)])
def test_both_lanes_are_served(bench: Bench, order: tuple[int, ...]) -> None:
    read = bench.owned.operation(codes.RECEIVE, size=10)
    write = bench.owned.operation(codes.SEND, buffer=b"out", expectant=True)
    bench.driver.submit(read)
    bench.driver.submit(write)
    bench.peer.send(b"in")
    bench.poller.news = [(bench.fd, ready) for ready in order]
    assert bench.driver.poll() == 2
    assert read.received == b"in"
    assert drain(bench.peer) == b"out"


def test_level_interest_follows_what_is_wanted(level: Bench) -> None:
    read = level.owned.operation(codes.RECEIVE, size=10, multishot=True)
    level.driver.submit(read)
    assert level.poller.interest[level.fd] == READABLE
    write = level.owned.operation(codes.SEND, buffer=b"x", expectant=True)
    level.driver.submit(write)
    assert level.poller.interest[level.fd] == BOTH
    level.tell(WRITABLE)
    assert level.poller.interest[level.fd] == READABLE, "room would be told again and again"
    level.driver.end(read)
    assert level.poller.interest[level.fd] == READABLE, "data may be wanted again soon"
    level.tell(READABLE)
    assert level.poller.interest[level.fd] == 0
    changes = len(level.poller.changes)
    level.driver.submit(read)
    assert level.poller.interest[level.fd] == READABLE
    assert len(level.poller.changes) == changes + 1


def test_edge_interest_is_registered_once(edge: Bench) -> None:
    op = edge.owned.operation(codes.RECEIVE, size=10, multishot=True)
    for _ in range(3):
        edge.driver.submit(op)
        edge.tell(BOTH)
        edge.driver.end(op)
    assert edge.poller.changes == [(edge.fd, 0, BOTH, False)]


def test_an_edge_that_came_while_nobody_waited(edge: Bench) -> None:
    op = edge.owned.operation(codes.RECEIVE, size=10, multishot=True)
    edge.driver.submit(op)
    edge.driver.end(op)
    edge.peer.send(b"kept")
    assert edge.tell(READABLE) == 0
    edge.driver.submit(op)
    op.events.clear()
    assert edge.driver.poll(30.0) == 1
    assert edge.poller.timeouts[-1] == 0
    assert op.received == b"kept"


def test_after_a_short_receive_only_news_help(edge: Bench) -> None:
    """Unless the poller has said that receives stop short; Unix sockets always may."""
    op = edge.owned.operation(codes.RECEIVE, size=4, multishot=True)
    edge.driver.submit(op)
    edge.peer.send(b"abcdef")
    edge.tell(READABLE)
    edge.driver.settle_down()
    assert op.received == b"abcdef"
    attempts = edge.driver.statistics().attempts
    edge.driver.settle_down()
    assert edge.driver.statistics().attempts == attempts


def test_the_end_behind_a_short_receive(edge: Bench) -> None:
    op = edge.owned.operation(codes.RECEIVE, size=100, multishot=True)
    edge.driver.submit(op)
    edge.peer.send(b"last")
    edge.peer.shutdown(socket.SHUT_WR)
    edge.tell(READABLE | STOPS_SHORT)
    edge.driver.settle_down()
    assert op.received == b"last"
    assert op.terminal == [0]


def test_a_wait_asks_an_edge_triggered_poller_anew(edge: Bench) -> None:
    op = edge.owned.operation(codes.WAIT_READABLE)
    edge.driver.submit(op)
    edge.tell(READABLE)
    edge.driver.submit(op)
    assert edge.poller.changes == [(edge.fd, 0, BOTH, False), (edge.fd, BOTH, BOTH, False)]
    assert edge.driver.settle_down() == 0


def test_level_news_for_somebody_earlier_do_not_count(level: Bench) -> None:
    """Fetched, not served, and the one who wanted them is gone: the next has to be told anew."""
    number = level.peer.fileno()
    first, second = (watch(codes.WAIT_READABLE, number, multishot=False) for _ in range(2))
    level.driver.submit(first)
    level.poller.error = OSError(errno.EIO, "stop before serving")
    with pytest.raises(OSError, match="stop"):
        level.tell(READABLE, number)
    level.engine.cancel(first)
    level.driver.submit(second)
    level.driver.settle_down()
    assert not second.events
    level.tell(READABLE, number)
    assert second.results == [0]


def test_readiness_that_an_attempt_has_disproved_is_not_tried_again(edge: Bench) -> None:
    op = edge.owned.operation(codes.RECEIVE, size=10, multishot=True)
    edge.driver.submit(op)
    edge.driver.end(op)
    edge.tell(READABLE)
    single = edge.owned.operation(codes.RECEIVE, size=10)
    edge.driver.submit(single)
    attempts = edge.driver.statistics().attempts
    edge.driver.settle_down()
    assert edge.driver.statistics().attempts == attempts


def test_a_wait_that_fails_is_told_and_the_next_goes_on(bench: Bench) -> None:
    """A broken poller may raise (E4); what it had told counts, and nothing is served twice."""
    op = bench.owned.operation(codes.RECEIVE, size=10, multishot=True)
    bench.driver.submit(op)
    bench.peer.send(b"1")
    bench.tell(READABLE)
    bench.peer.send(b"2")
    bench.poller.news.append((bench.fd, READABLE))
    bench.poller.error = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken"):
        bench.driver.poll()
    assert bench.driver.poll() == 1
    assert op.received == b"12"
    bench.poller.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.driver.poll()
    assert bench.driver.poll() == 0


def test_a_wake_beside_news_loses_neither(bench: Bench) -> None:
    op = bench.owned.operation(codes.RECEIVE, size=10, multishot=True)
    bench.driver.submit(op)
    bench.peer.send(b"x")
    bench.poller.news.append((bench.waker_fd, READABLE))
    assert bench.tell(READABLE) == 1


@pytest.mark.posix
def test_draining_the_waker_comes_after_all_news(bench: Bench) -> None:
    """It runs Python code, where a signal handler may raise; an edge is told only once.

    Here it fails because the waker's number is no socket any more.
    """
    left, right = socket.socketpair()
    second = Owned(bench.driver, left)
    operations = [
        owned.operation(codes.RECEIVE, size=10, multishot=True) for owned in (bench.owned, second)
    ]
    for op, peer in zip(operations, (bench.peer, right), strict=True):
        bench.driver.submit(op)
        peer.send(b"x")
    kept = os.dup(bench.waker_fd)
    reading, writing = os.pipe()
    os.dup2(reading, bench.waker_fd)
    bench.poller.news = [(number, READABLE) for number in (bench.fd, bench.waker_fd, second.fd)]
    with pytest.raises(OSError, match="non-socket"):
        bench.driver.poll()
    os.dup2(kept, bench.waker_fd)
    for number in (kept, reading, writing):
        os.close(number)
    bench.driver.poll()
    assert [op.received for op in operations] == [b"x", b"x"]
    bench.driver.end(*operations)
    second.close()
    right.close()


def test_timeouts_are_passed_on(bench: Bench) -> None:
    bench.engine.poll(5_000, bench.driver.batch)
    bench.engine.poll(-1, bench.driver.batch)
    bench.engine.poll(2**62, bench.driver.batch)
    assert bench.poller.timeouts[:2] == [5_000, -1]
    assert bench.poller.timeouts[2] < 2**62
    bench.engine.wake()
    bench.engine.poll(-1, bench.driver.batch)
    bench.engine.poll(-1, bench.driver.batch)
    assert bench.poller.timeouts[3:] == [0, -1]


def test_forgotten_news_are_dropped(bench: Bench) -> None:
    """Told, not yet served, then forgotten: the number may belong to another file at once."""
    op = bench.owned.operation(codes.RECEIVE, size=10)
    bench.driver.submit(op)
    bench.peer.send(b"x")

    class Forgets(Told):
        def wait(self, timeout_ns: int, sink: NewsSink) -> int:
            return 0

    bench.poller.news.append((bench.fd, READABLE))
    bench.poller.error = OSError(errno.EIO, "stop before serving")
    with pytest.raises(OSError, match="stop"):
        bench.driver.poll()
    bench.engine.forget(bench.fd)
    attempts = bench.driver.statistics().attempts
    bench.driver.settle_down()
    assert bench.driver.statistics().attempts == attempts
    assert op.results == [-errno.ECANCELED]


def test_try_send_sends_what_the_kernel_takes(bench: Bench) -> None:
    assert bench.engine.try_send(bench.fd, bench.owned.sock, b"hello", 1) == 4
    assert drain(bench.peer) == b"ello"
    assert bench.driver.statistics().attempts == 1
    bench.engine.direct = False
    assert bench.engine.try_send(bench.fd, bench.owned.sock, b"x", 0) == -errno.EAGAIN
    assert drain(bench.peer) == b""


def test_a_closed_socket_of_the_user_is_ebadf(bench: Bench) -> None:
    user, other = socket.socketpair()
    user.setblocking(False)
    op = make(codes.RECEIVE, user, size=10, borrowed=True)
    bench.driver.submit(op)
    number = user.fileno()
    wait = make(codes.WAIT_WRITABLE, user, borrowed=True)
    bench.driver.submit(wait)
    user.close()
    other.close()
    assert bench.tell(HANGUP, number) == 2
    assert op.results == wait.results == [-errno.EBADF]
