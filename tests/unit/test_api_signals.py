"""Signal handlers and the wakeup descriptor; `either` holds the tests against asyncio."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria import lowlevel
from noria.api import signals
from tests.signals import during_a_run, soon, turn, wakeup

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    pytest.skip("Windows has no signals for a loop", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("put_back")


@pytest.fixture
def foreign() -> Iterator[int]:
    """Somebody else's wakeup descriptor."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    yield writer.fileno()
    signal.set_wakeup_fd(-1)
    reader.close()
    writer.close()


# -- signal handlers ----------------------------------------------------------------------------


def test_handler_is_called_with_its_arguments(on_engine: noria.Loop) -> None:
    seen: list[Any] = []

    def handler(*args: Any) -> None:
        seen.append((args, asyncio.get_running_loop()))
        on_engine.stop()

    on_engine.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
    on_engine.call_soon(signal.raise_signal, signal.SIGUSR1)
    on_engine.run_forever()
    assert seen == [((1, "two"), on_engine)]
    assert on_engine.remove_signal_handler(signal.SIGUSR1)


def test_signal_ends_a_wait(on_engine: noria.Loop) -> None:
    on_engine.add_signal_handler(signal.SIGUSR1, on_engine.stop)
    thread = soon(on_engine, os.kill, os.getpid(), signal.SIGUSR1)
    on_engine.run_forever()
    thread.join()


def test_signal_that_another_thread_takes_ends_a_wait(on_engine: noria.Loop) -> None:
    """Then the kernel does not interrupt the wait, only the wakeup descriptor ends it."""
    on_engine.add_signal_handler(signal.SIGUSR1, on_engine.stop)
    thread = soon(on_engine, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    on_engine.run_forever()
    thread.join()


def test_each_signal_has_its_handler(either: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        either.add_signal_handler(number, seen.append, int(number))
    signal.raise_signal(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    turn(either)
    assert sorted(seen) == sorted([signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2])


def test_later_handler_replaces_the_earlier(either: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    either.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    either.add_signal_handler(signal.SIGUSR1, seen.append, 2)
    signal.raise_signal(signal.SIGUSR1)
    turn(either)
    assert seen == [2]
    assert either.remove_signal_handler(signal.SIGUSR1)
    assert not either.remove_signal_handler(signal.SIGUSR1)


def test_signals_between_runs_are_kept(either: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    either.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    turn(either)
    signal.raise_signal(signal.SIGUSR1)
    assert seen == []
    turn(either)
    assert seen == [1]


def test_removed_handler_is_not_called(either: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    either.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    either.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    signal.raise_signal(signal.SIGUSR1)
    assert either.remove_signal_handler(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    turn(either)
    assert seen == [2]


def test_removing_puts_the_default_back(either: asyncio.AbstractEventLoop) -> None:
    for number, default in (
        (signal.SIGUSR1, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        either.add_signal_handler(number, int)
        assert signal.getsignal(number) is not default
        assert either.remove_signal_handler(number)
        assert signal.getsignal(number) is default
    assert wakeup() == -1


def test_handler_of_sigint_keeps_keyboardinterrupt_away(on_engine: noria.Loop) -> None:
    seen: list[int] = []
    on_engine.add_signal_handler(signal.SIGINT, seen.append, 1)
    on_engine.call_soon(signal.raise_signal, signal.SIGINT)
    turn(on_engine)
    assert seen == [1]


def test_keyboardinterrupt_is_back_when_the_handler_is_removed(
    either: asyncio.AbstractEventLoop,
) -> None:
    def remove() -> None:
        either.remove_signal_handler(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    either.add_signal_handler(signal.SIGINT, int)
    either.call_soon(remove)
    with pytest.raises(KeyboardInterrupt):
        either.run_forever()


def test_removing_in_the_middle_of_a_run_leaves_what_a_run_has(loop: noria.Loop) -> None:
    def look() -> tuple[int, Any]:
        return wakeup(), signal.getsignal(signal.SIGINT)

    def add_and_remove() -> tuple[int, Any]:
        loop.add_signal_handler(signal.SIGINT, int)
        loop.remove_signal_handler(signal.SIGINT)
        return look()

    assert during_a_run(loop, add_and_remove) == during_a_run(loop, look)


def test_cancelled_handler_is_removed(either: asyncio.AbstractEventLoop) -> None:
    either.add_signal_handler(signal.SIGUSR1, int)
    holder: Any = either
    holder._signal_handlers[signal.SIGUSR1].cancel()
    signal.raise_signal(signal.SIGUSR1)
    turn(either)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert not either.remove_signal_handler(signal.SIGUSR1)


def test_error_of_a_handler_is_reported(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    either.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
    signal.raise_signal(signal.SIGUSR1)
    turn(either)
    assert caplog.records[0].message.startswith("Exception in callback ")


def test_system_calls_are_restarted(
    either: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(signal, "siginterrupt", lambda *args: calls.append(args))
    either.add_signal_handler(signal.SIGUSR1, int)
    assert calls == [(signal.SIGUSR1, False)]


async def coroutine() -> None:
    raise AssertionError("never runs")


@pytest.mark.parametrize(
    ("number", "callback", "error", "message"),
    [
        (signal.SIGUSR1, coroutine, TypeError, "coroutines cannot be used with add_signal_handler"),
        ("SIGUSR1", int, TypeError, "sig must be an int, not 'SIGUSR1'"),
        (1.5, int, TypeError, r"sig must be an int, not 1\.5"),
        (-1, int, ValueError, "invalid signal number -1"),
        (signal.NSIG + 1, int, ValueError, "invalid signal number"),
        (signal.SIGKILL, int, RuntimeError, "^sig 9 cannot be caught$"),
        (signal.SIGSTOP, int, RuntimeError, "^sig [0-9]+ cannot be caught$"),
    ],
)
def test_wrong_arguments_are_refused(
    either: asyncio.AbstractEventLoop,
    number: Any,
    callback: Any,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        either.add_signal_handler(number, callback)
    assert wakeup() == -1


def test_a_coroutine_object_is_refused(either: asyncio.AbstractEventLoop) -> None:
    coro: Any = coroutine()
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        either.add_signal_handler(signal.SIGUSR1, coro)
    coro.close()


@pytest.mark.parametrize(
    ("number", "error"), [("SIGUSR1", TypeError), (-1, ValueError), (signal.NSIG + 1, ValueError)]
)
def test_wrong_numbers_are_refused_by_remove(
    either: asyncio.AbstractEventLoop, number: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        either.remove_signal_handler(number)


def test_errors_of_the_system_come_out(
    either: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int, handler: object) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr(signal, "signal", refuse)
    with pytest.raises(PermissionError):
        either.add_signal_handler(signal.SIGUSR1, int)
    monkeypatch.undo()
    assert wakeup() == -1
    assert not either.remove_signal_handler(signal.SIGUSR1)


def test_handlers_are_for_the_main_thread(either: asyncio.AbstractEventLoop) -> None:
    seen: list[BaseException] = []

    def elsewhere() -> None:
        try:
            either.add_signal_handler(signal.SIGUSR1, int)
        except RuntimeError as exc:
            seen.append(exc)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "set_wakeup_fd only works in main thread" in str(seen[0])
    assert not either.remove_signal_handler(signal.SIGUSR1)


def test_closed_loop_takes_no_handler(either: asyncio.AbstractEventLoop) -> None:
    either.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        either.add_signal_handler(signal.SIGUSR1, int)
    assert wakeup() == -1


def test_close_removes_the_handlers(either: asyncio.AbstractEventLoop) -> None:
    either.add_signal_handler(signal.SIGUSR1, int)
    either.add_signal_handler(signal.SIGINT, int)
    either.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert wakeup() == -1


def test_a_loop_with_handlers_is_closed_in_the_main_thread_only(loop: noria.Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, int)
    seen: list[BaseException] = []

    def elsewhere() -> None:
        try:
            loop.close()
        except ValueError as exc:
            seen.append(exc)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(seen) == 1
    assert not loop.is_closed()
    assert wakeup() == loop._engine.signal_fileno(), "not left to whoever gets the number next"


def run_to_the_end(thread: threading.Thread) -> None:
    thread.start()
    thread.join()


def test_a_loop_with_handlers_that_dies_elsewhere_leaves_its_descriptor_open() -> None:
    loop = noria.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, int)
    held = [loop]
    del loop

    def drop() -> None:
        held.clear()
        gc.collect()

    thread = threading.Thread(target=drop)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        run_to_the_end(thread)
    os.fstat(wakeup())  # it may still be written to
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signals._written_to.pop(signal.set_wakeup_fd(-1)).close(lowlevel.Completions())


def test_a_forgotten_loop_with_handlers_is_closed() -> None:
    loop = noria.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, int)
    fd = wakeup()
    del loop  # its handler refers to it, so only the collector finds it
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        gc.collect()
    assert wakeup() == -1
    assert signals._written_to == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


# -- the wakeup descriptor ----------------------------------------------------------------------


def test_the_descriptor_is_the_engines_during_a_run(on_engine: noria.Loop) -> None:
    assert during_a_run(on_engine, wakeup) == on_engine._engine.signal_fileno()
    assert wakeup() == -1


def test_the_descriptor_is_left_alone_in_other_threads(loop: noria.Loop) -> None:
    seen: list[int] = []
    running = threading.Event()
    loop.call_soon(running.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running.wait()
    seen.append(wakeup())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    assert seen == [-1]


def test_every_signal_ends_a_wait(on_engine: noria.Loop) -> None:
    """Also one whose handler is the program's own; asyncio would sleep on."""
    before = signal.signal(signal.SIGUSR1, lambda number, frame: on_engine.stop())
    try:
        thread = soon(on_engine, os.kill, os.getpid(), signal.SIGUSR1)
        on_engine.run_forever()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_foreign_descriptor_stays(loop: noria.Loop, foreign: int) -> None:
    assert during_a_run(loop, wakeup) == foreign
    assert wakeup() == foreign


def test_a_foreign_descriptor_gives_way_to_handlers_and_comes_back(
    loop: noria.Loop, foreign: int
) -> None:
    ours = loop._engine.signal_fileno()
    loop.add_signal_handler(signal.SIGUSR1, int)
    loop.add_signal_handler(signal.SIGUSR2, int)
    assert wakeup() == ours
    assert during_a_run(loop, wakeup) == ours
    assert wakeup() == ours
    loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup() == ours
    during_a_run(loop, lambda: loop.remove_signal_handler(signal.SIGUSR2))
    assert wakeup() == foreign
    loop.add_signal_handler(signal.SIGUSR1, int)
    loop.close()
    assert wakeup() == foreign


def test_a_foreign_descriptor_is_back_in_the_middle_of_a_run(
    loop: noria.Loop, foreign: int
) -> None:
    def look() -> tuple[int, int]:
        loop.add_signal_handler(signal.SIGUSR1, int)
        first = wakeup()
        loop.remove_signal_handler(signal.SIGUSR1)
        return first, wakeup()

    assert during_a_run(loop, look) == (loop._engine.signal_fileno(), foreign)


def test_a_foreign_descriptor_that_was_closed_meanwhile_is_forgotten(loop: noria.Loop) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    loop.add_signal_handler(signal.SIGUSR1, int)
    reader.close()
    writer.close()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup() == -1


def test_a_descriptor_put_there_during_a_run_stays(loop: noria.Loop) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    during_a_run(loop, lambda: signal.set_wakeup_fd(writer.fileno()))
    assert wakeup() == writer.fileno()
    signal.set_wakeup_fd(-1)
    reader.close()
    writer.close()


@pytest.mark.parametrize("handlers", [False, True])
def test_too_many_signals_are_a_loss_for_handlers_only(
    loop: noria.Loop, monkeypatch: pytest.MonkeyPatch, handlers: bool
) -> None:
    """A profiler that sends thousands while a callback works must not fill the error output."""
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    def work() -> None:
        for _ in range(2000):
            signal.raise_signal(signal.SIGUSR1)

    if handlers:
        loop.add_signal_handler(signal.SIGUSR1, int)
    else:
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
    during_a_run(loop, work)
    loop.close()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert bool(lost) is handlers
