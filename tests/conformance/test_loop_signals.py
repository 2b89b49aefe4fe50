"""L7 in signal handlers: they schedule like any thread, wherever they interrupt the loop."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.loops import PATIENCE_SECONDS, run_turns

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    Install = Callable[[Callable[[], object]], None]

pytestmark = pytest.mark.posix

DEPTH = 30
ROUNDS = 40


@contextlib.contextmanager
def hail(seconds: float) -> Iterator[None]:
    """Send SIGUSR1 to the main thread again and again."""
    stop = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        while not stop.wait(seconds):
            signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def patience(loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle:
    """A bound for a run that a test expects to be stopped."""
    return loop.call_later(PATIENCE_SECONDS, loop.stop)


def test_l7_handlers_that_interrupt_each_other_end_a_wait(
    both: asyncio.AbstractEventLoop, on_signal: Install
) -> None:
    """Each is interrupted by the next before it schedules; all of it runs, the last one first."""
    entered: list[int] = []
    seen: list[int] = []

    def handler() -> None:
        depth = len(entered)
        entered.append(depth)
        if depth < DEPTH:
            signal.raise_signal(signal.SIGUSR1)
        both.call_soon_threadsafe(seen.append, depth)
        if depth == 0:
            both.call_soon_threadsafe(both.stop)

    on_signal(handler)
    limit = patience(both)
    with hail(0.005):
        both.run_forever()
    limit.cancel()
    assert seen[: DEPTH + 1] == list(range(DEPTH, -1, -1))


def test_l7_handlers_interrupt_the_loop_anywhere(
    both: asyncio.AbstractEventLoop, on_signal: Install
) -> None:
    """Also in the middle of call_soon_threadsafe; nothing is lost, doubled or stuck."""
    scheduled: dict[str, list[int]] = {"callback": [], "handler": []}
    ran: dict[str, list[int]] = {"callback": [], "handler": []}

    def schedule(who: str) -> None:
        number = next(numbers)
        scheduled[who].append(number)
        both.call_soon_threadsafe(ran[who].append, number)

    def work() -> None:
        for _ in range(50):
            schedule("callback")
        if len(scheduled["handler"]) < 200:
            both.call_later(0.0005, work)
        else:
            both.stop()

    numbers = itertools.count()
    on_signal(lambda: schedule("handler"))
    limit = patience(both)
    both.call_soon(work)
    with hail(0.0002):
        both.run_forever()
    limit.cancel()
    assert len(scheduled["handler"]) >= 200, "too few signals"
    run_turns(both)
    assert ran["callback"] == scheduled["callback"]
    assert sorted(ran["handler"]) == sorted(scheduled["handler"])


def test_l7_handlers_race_with_close(loop: Any, on_signal: Install) -> None:
    """They find the loop open or closed; nothing is written to who has its numbers next."""
    current: list[Any] = [loop]
    refusals: set[str] = set()
    calls = [0, 0]

    def handler() -> None:
        closed = current[0].is_closed()
        calls[closed] += 1
        try:
            current[0].call_soon_threadsafe(int)
        except RuntimeError as exc:
            refusals.add(str(exc))

    on_signal(handler)
    deadline = time.monotonic() + PATIENCE_SECONDS
    rounds = 0
    with hail(0.0001):
        while rounds < ROUNDS or (not all(calls) and time.monotonic() < deadline):
            rounds += 1
            made = noria.new_event_loop(loop.engine)
            current[0] = made
            run_turns(made)
            made.close()
            pairs = [socket.socketpair() for _ in range(3)]  # very likely its numbers
            signal.raise_signal(signal.SIGUSR1)
            for left, right in pairs:
                with left, right:
                    for sock in (left, right):
                        sock.setblocking(False)
                        with pytest.raises(BlockingIOError):
                            sock.recv(1)
    assert all(calls), "one of the two states was never met"
    assert refusals == {"Event loop is closed"}
