"""E10: after a fork the child's engine refuses work, and the parent never notices."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from noria.core.completion import Completions
from noria.errors import ForkedEngineError
from tests.driver import Driver, Owned, watch

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

Pair = tuple[Owned, socket.socket]


def in_child(action: Callable[[], None]) -> None:
    """Run in a forked child; its AssertionError is the test's."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        # A child that hangs must not hang the test, nor run the handler that it got from it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed, see its traceback"


def test_e10_the_child_is_refused(driver: Driver, pair: Pair) -> None:
    owned, _ = pair

    def child() -> None:
        op = owned.operation(codes.RECEIVE, size=10)
        for attempt in (lambda: driver.submit(op), driver.poll):
            with pytest.raises(ForkedEngineError, match="parent process"):
                attempt()
        assert driver.engine.forked
        driver.engine.wake()

    in_child(child)
    assert not driver.engine.forked


def test_e10_the_parent_is_undisturbed(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    """The child closes its copies of everything; registrations and wakes of the parent stay."""
    reading, peer = make_pair()
    other, other_peer = make_pair()
    op = reading.operation(codes.RECEIVE, size=10, multishot=True)
    borrowed = watch(codes.WAIT_READABLE, other.fd)
    driver.submit(op)
    driver.submit(borrowed)

    def child() -> None:
        driver.engine.wake()
        driver.engine.cancel(op)
        driver.engine.forget(reading.fd)
        driver.engine.forget(other.fd)
        driver.engine.close(Completions())
        reading.sock.close()
        other.sock.close()

    in_child(child)
    assert driver.settle_down() == 0
    assert op.in_flight
    assert borrowed.in_flight
    peer.send(b"still here")
    other_peer.send(b"x")
    driver.until(lambda: op.events and borrowed.events)
    timer = threading.Timer(0.002, driver.engine.wake)
    timer.start()
    driver.poll(30.0)
    timer.join()
    driver.end(op, borrowed)


def test_e10_closing_in_the_child_does_not_hang(driver: Driver) -> None:
    """A thread of the parent, which the child does not have, may be inside a wake."""
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            driver.engine.wake()

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        for _ in range(5):
            driver.poll(0.0005)
            in_child(lambda: driver.engine.close(Completions()))
    finally:
        stop.set()
        thread.join()


def test_e10_work_in_threads_stays_with_the_parent(driver: Driver) -> None:
    left, right = os.pipe()
    try:
        op = watch(codes.FSYNC, left, multishot=False)
        op.borrowed = False
        driver.submit(op)
        in_child(lambda: driver.engine.close(Completions()))
        driver.finish(op)
        assert len(op.terminal) == 1
    finally:
        os.close(left)
        os.close(right)


def test_e10_signals_of_the_child_are_its_own(driver: Driver) -> None:
    """The wake-up descriptor of the interpreter is inherited; the parent must not read from it."""
    before = signal.set_wakeup_fd(driver.engine.signal_fileno())
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        in_child(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        driver.settle_down()
        assert driver.engine.take_signals() == b""
    finally:
        signal.signal(signal.SIGUSR1, handler)
        signal.set_wakeup_fd(before)


def test_e10_the_child_can_have_an_engine_of_its_own(driver: Driver) -> None:
    def child() -> None:
        fresh = Driver(type(driver.engine)())
        left, right = socket.socketpair()
        right.setblocking(False)
        owned = Owned(fresh, left)
        op = owned.operation(codes.RECEIVE, size=10)
        fresh.submit(op)
        right.send(b"child")
        fresh.finish(op)
        assert op.received == b"child"
        owned.close()
        fresh.close()

    in_child(child)
