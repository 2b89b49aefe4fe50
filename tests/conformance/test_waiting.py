"""E6, E7: one call waits, signals are no errors, and a wake from anywhere ends a wait."""

from __future__ import annotations

import contextlib
import gc
import itertools
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.native import sockets as native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.driver import Driver, Owned

LONG_SECONDS = 30.0
"""A wait that only a wake can end within the test's time."""
SOON_SECONDS = 5.0


@contextlib.contextmanager
def signals(seconds: float, count: int = 1) -> Iterator[None]:
    """Send signals to the main thread, as a terminal would, from a thread."""
    stop = threading.Event()

    def send() -> None:
        for _ in range(count):
            if stop.wait(seconds):
                return
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def timed(action: Callable[[], Any]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def test_e6_poll_zero_does_not_wait(driver: Driver, pair: tuple[Owned, socket.socket]) -> None:
    owned, _ = pair
    op = owned.operation(codes.RECEIVE, size=1)
    driver.submit(op)
    assert timed(lambda: driver.settle_down(100)) < SOON_SECONDS
    driver.end(op)


@pytest.mark.parametrize("timeout_ns", [1, 1_000, 1_500_000, 3_000_000])
def test_e6_a_wait_is_not_shorter_than_asked(driver: Driver, timeout_ns: int) -> None:
    for _ in range(3):
        started = time.perf_counter_ns()
        assert driver.engine.poll(timeout_ns, driver.batch) == 0
        assert time.perf_counter_ns() - started >= timeout_ns


def test_e6_submitting_and_waiting_is_one_call(
    driver: Driver, pair: tuple[Owned, socket.socket]
) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(op)
    for number in range(1, 4):
        peer.send(b"x")
        waits = driver.statistics().waits
        assert driver.poll(LONG_SECONDS) == 1
        assert driver.statistics().waits == waits + 1
        assert len(op.events) == number
    driver.end(op)


def test_e6_more_than_the_kernel_can_wait(driver: Driver) -> None:
    """A timeout beyond every mechanism's range is cut, not refused."""
    driver.engine.wake()
    assert driver.engine.poll(2**62, driver.batch) == 0


def test_e7_a_wake_before_poll_ends_it(driver: Driver) -> None:
    driver.engine.wake()
    assert timed(lambda: driver.poll(LONG_SECONDS)) < SOON_SECONDS


def test_e7_a_wake_ends_one_poll_only(driver: Driver) -> None:
    driver.engine.wake()
    driver.engine.wake()
    driver.poll(LONG_SECONDS)
    started = time.perf_counter_ns()
    driver.engine.poll(5_000_000, driver.batch)
    assert time.perf_counter_ns() - started >= 5_000_000


@pytest.mark.parametrize("timeout", [LONG_SECONDS, -1])
def test_e7_another_thread_ends_a_wait(driver: Driver, timeout: float) -> None:
    timer = threading.Timer(0.005, driver.engine.wake)
    timer.start()
    assert timed(lambda: driver.poll(timeout)) < SOON_SECONDS
    timer.join()
    assert driver.statistics().wakes <= 1


def test_e7_no_wake_is_lost(driver: Driver) -> None:
    """Many threads leave work and wake; the loop always learns of it without a time-out."""
    done = [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(200):
            with lock:
                done[0] += 1
            driver.engine.wake()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while done[0] < 800:
        assert timed(lambda: driver.poll(LONG_SECONDS)) < SOON_SECONDS
    for thread in threads:
        thread.join()


def test_e7_a_wake_after_close_writes_nowhere(driver: Driver) -> None:
    """Its number may be somebody else's by then."""
    number = driver.engine.signal_fileno()
    driver.close()
    left, right = socket.socketpair()
    with left, right:
        right.setblocking(False)
        left.setblocking(False)
        driver.engine.wake()
        for sock in (left, right):
            with pytest.raises(BlockingIOError):
                sock.recv(1)
    assert driver.engine.signal_fileno() == -1 or number >= 0


def test_e7_wakes_racing_close_are_harmless(driver: Driver) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def hammer() -> None:
        try:
            while not stop.is_set():
                driver.engine.wake()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=hammer) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        driver.poll(0.0)
    driver.close()
    left, right = socket.socketpair()  # very likely the numbers of the waker
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        time.sleep(0.002)
        stop.set()
        for thread in threads:
            thread.join()
        for sock in (left, right):
            with pytest.raises(BlockingIOError):
                sock.recv(1)
    assert not failures


@pytest.mark.posix
def test_e7_a_signal_handler_ends_a_wait(
    driver: Driver, on_signal: Callable[[Callable[[], object]], None]
) -> None:
    on_signal(driver.engine.wake)
    with signals(0.005):
        assert timed(lambda: driver.poll(LONG_SECONDS)) < SOON_SECONDS


@pytest.mark.posix
def test_e7_a_signal_handler_that_interrupts_a_wake(
    driver: Driver, on_signal: Callable[[Callable[[], object]], None]
) -> None:
    """Handlers wake while the main thread wakes, many times; nothing deadlocks or is lost."""
    calls = [0]

    def handler() -> None:
        calls[0] += 1
        driver.engine.wake()

    on_signal(handler)
    deadline = time.monotonic() + SOON_SECONDS
    with signals(0.0001, 100_000):
        while calls[0] < 50 and time.monotonic() < deadline:
            for _ in range(50):
                driver.engine.wake()
            driver.poll(0.001)
    assert calls[0] >= 50


@pytest.mark.posix
def test_e6_a_signal_without_a_wake_is_no_error(
    driver: Driver,
    pair: tuple[Owned, socket.socket],
    on_signal: Callable[[Callable[[], object]], None],
) -> None:
    """EINTR ends the wait or is retried; news come all the same."""
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    on_signal(lambda: peer.send(b"from the handler"))
    with signals(0.005):
        driver.finish(op)
    assert op.received == b"from the h"


@pytest.mark.posix
def test_e6_an_exception_of_a_handler_loses_nothing(
    driver: Driver,
    make_pair: Callable[[], tuple[Owned, socket.socket]],
    on_signal: Callable[[Callable[[], object]], None],
) -> None:
    """As Ctrl-C does it: the wait raises, and the next poll goes on as if nothing had been."""
    pairs = [make_pair() for _ in range(5)]
    operations = [owned.operation(codes.RECEIVE, size=10, multishot=True) for owned, _ in pairs]
    for op in operations:
        driver.submit(op)
    for _, peer in pairs:
        peer.send(b"1")
    driver.until(lambda: all(op.events for op in operations))

    def interrupt() -> None:
        raise KeyboardInterrupt

    on_signal(interrupt)
    with signals(0.01), pytest.raises(KeyboardInterrupt):
        driver.poll(SOON_SECONDS)
    driver.settle_down()
    for _, peer in pairs:
        peer.send(b"2")
    driver.until(lambda: all(len(op.events) == 2 for op in operations))
    driver.end(*operations)
    assert all(op.received == b"12" for op in operations)


@pytest.mark.posix
@pytest.mark.skipif(not native.COMPILED, reason="interpreted code can be interrupted anywhere")
def test_e6_a_handler_that_raises_beside_news_loses_no_edge(
    driver: Driver,
    make_pair: Callable[[], tuple[Owned, socket.socket]],
    on_signal: Callable[[Callable[[], object]], None],
) -> None:
    """A signal comes through the waker together with news, and its handler raises.

    It must not come between two pieces of news: an edge-triggered poller tells each of them once.
    """
    pairs = [make_pair() for _ in range(8)]
    operations = [owned.operation(codes.RECEIVE, size=10, multishot=True) for owned, _ in pairs]
    for op in operations:
        driver.submit(op)
    driver.settle_down()
    interrupts = [0]
    polling = [False]

    def interrupt() -> None:
        interrupts[0] += 1
        if polling[0]:
            polling[0] = False  # or the next one could come when nobody suppresses it any more
            raise KeyboardInterrupt

    on_signal(interrupt)
    before = signal.set_wakeup_fd(driver.engine.signal_fileno())
    gc.disable()  # an exception in a callback of the collector would be swallowed
    peers = itertools.cycle(peer for _, peer in pairs)
    try:
        with signals(0.0002, 100_000):
            deadline = time.monotonic() + SOON_SECONDS
            while interrupts[0] < 50 and time.monotonic() < deadline:
                next(peers).send(b"x")
                next(peers).send(b"x")
                with contextlib.suppress(KeyboardInterrupt):
                    polling[0] = True
                    driver.poll(0.001)
                    polling[0] = False
    finally:
        gc.enable()
        signal.set_wakeup_fd(before)
    for _, peer in pairs:
        peer.send(b"z")
    driver.until(lambda: all(op.received.endswith(b"z") for op in operations))
    driver.end(*operations)


@pytest.mark.posix
def test_signals_are_collected_from_the_wakeup_descriptor(
    driver: Driver, on_signal: Callable[[Callable[[], object]], None]
) -> None:
    on_signal(lambda: None)
    before = signal.set_wakeup_fd(driver.engine.signal_fileno())
    try:
        assert driver.engine.take_signals() == b""
        signal.raise_signal(signal.SIGUSR1)
        driver.engine.wake()
        driver.poll(LONG_SECONDS)
        driver.poll(0.0)
        assert driver.engine.signalled
        assert driver.engine.take_signals() == bytes([signal.SIGUSR1])
        assert driver.engine.take_signals() == b""
        assert not driver.engine.signalled
    finally:
        signal.set_wakeup_fd(before)
