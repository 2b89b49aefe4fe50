"""Ctrl-C: where KeyboardInterrupt is raised, and what it must not cost."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.api.interrupts import InterruptGuard
from tests.signals import during_a_run, soon, turn, wakeup

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    pytest.skip("Windows has no signals for a loop", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("put_back")


def test_interrupt_of_user_code_is_raised_there(on_engine: noria.Loop) -> None:
    seen: list[str] = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            seen.append("inside")
            raise

    on_engine.call_soon(work)
    on_engine.call_soon(seen.append, "next run")
    on_engine.call_soon(on_engine.stop)
    with pytest.raises(KeyboardInterrupt):
        on_engine.run_forever()
    assert seen == ["inside"]
    on_engine.run_forever()
    assert seen == ["inside", "next run"]


def test_interrupt_of_a_task_is_raised_there(either: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            seen.append("inside")
            raise

    with pytest.raises(KeyboardInterrupt):
        either.run_until_complete(work())
    assert seen == ["inside"]
    assert either.run_until_complete(asyncio.sleep(0, "goes on")) == "goes on"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no eager tasks before 3.12")
def test_interrupt_of_an_eager_task_is_raised_there(loop: noria.Loop) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            seen.append("inside")

    async def main() -> None:
        await asyncio.create_task(work())

    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    loop.run_until_complete(main())
    assert seen == ["inside"]


@pytest.mark.parametrize("taker", ["main thread", "another thread"])
def test_interrupt_ends_a_wait(on_engine: noria.Loop, taker: str) -> None:
    def interrupt() -> None:
        thread = threading.main_thread() if taker == "main thread" else threading.current_thread()
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, signal.SIGINT)

    seen: list[int] = []
    future = on_engine.create_future()
    on_engine.call_later(1000, seen.append, 1)
    thread = soon(on_engine, interrupt)
    with pytest.raises(KeyboardInterrupt):
        on_engine.run_until_complete(future)
    thread.join()
    on_engine.call_soon(future.set_result, 5)
    assert on_engine.run_until_complete(future) == 5
    assert seen == []


class Interrupter:
    """A trace function that sends SIGINT at the nth line that noria executes."""

    def __init__(self, line: int) -> None:
        self.lines_left = line
        self.sent = False

    def __call__(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("noria."):
            return None
        if event == "line":
            self.lines_left -= 1
            if self.lines_left < 0 and not self.sent:
                self.sent = True
                handler: Any = signal.getsignal(signal.SIGINT)
                handler(signal.SIGINT, frame)
        return self

    def run(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Run the loop; whether KeyboardInterrupt came out."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


@pytest.mark.parametrize("debug", [False, True])
def test_an_interrupt_anywhere_loses_no_callback(on_engine: noria.Loop, debug: bool) -> None:
    """Callbacks in C leave the interpreter no place to raise but noria's own code."""
    loop = on_engine
    loop.set_debug(debug)
    done: list[int] = []
    line = 0
    while True:
        done.clear()
        for number in range(3):
            loop.call_soon(done.append, number)
            loop.call_soon_threadsafe(done.append, 10 + number)
        loop.call_later(0.0001, done.append, 20)
        end = loop.call_later(0.0001, loop.stop)
        interrupter = Interrupter(line)
        interrupted = interrupter.run(loop)
        end.cancel()
        assert interrupted is interrupter.sent
        assert not loop.is_running()
        assert asyncio._get_running_loop() is None
        assert wakeup() == -1
        if len(done) < 7:
            turn(loop, 0.0003)
        assert done == [0, 10, 1, 11, 2, 12, 20], f"interrupted at line {line}"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not interrupted:
            break
        line += 1
    assert line > 5


def test_an_interrupt_anywhere_loses_no_data(on_engine: noria.Loop) -> None:
    """News that were fetched from the kernel come once if they are edges."""
    received: list[bytes] = []

    class Receiver(asyncio.Protocol):
        data_received = received.append  # type: ignore[assignment]  # in C

    loop = on_engine
    ours, theirs = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.connect_accepted_socket(Receiver, ours))
    line = 0
    while True:
        received.clear()
        theirs.send(b"x")
        end = loop.call_later(0.0001, loop.stop)
        interrupter = Interrupter(line)
        interrupted = interrupter.run(loop)
        end.cancel()
        if not received:
            turn(loop, 0.0003)
        assert received == [b"x"], f"interrupted at line {line}"
        if not interrupted:
            break
        line += 1
    assert line > 5
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    theirs.close()


def frame(module: str, back: Any = None) -> Any:
    return types.SimpleNamespace(f_globals={"__name__": module}, f_back=back)


RUN = frame("noria.api.run", frame("program"))
STACKS = {
    "a program": (frame("program"), False),
    "a callback of the compiled build": (frame("program", RUN), False),
    "a callback of the interpreted build": (
        frame("program", frame("noria.native.calls", frame("noria.loop.core", RUN))),
        False,
    ),
    "the standard library under a callback": (
        frame("json", frame("program", frame("noria.native.calls", RUN))),
        False,
    ),
    "the compiled core": (RUN, True),
    "the interpreted core": (frame("noria.loop.core", RUN), True),
    "just before a callback": (frame("noria.native.calls", frame("noria.loop.core", RUN)), True),
    "the standard library under noria": (
        frame("contextlib", frame("noria.engines.waker", RUN)),
        True,
    ),
    "noria under a callback": (
        frame("noria.loop.core", frame("program", frame("noria.native.calls", RUN))),
        True,
    ),
    "a program with a similar name": (frame("noriatic", RUN), False),
    "a frame without a name": (types.SimpleNamespace(f_globals={}, f_back=None), False),
}


class Schedule:
    """A loop as the guard needs it."""

    def __init__(self) -> None:
        self.scheduled: list[Any] = []

    def call_soon_threadsafe(self, callback: Any, *args: Any) -> Any:
        self.scheduled.append((callback, args))
        return types.SimpleNamespace(cancel=lambda: self.scheduled.append("cancelled"))


@pytest.fixture
def guarded() -> Iterator[tuple[InterruptGuard, Schedule]]:
    guard, schedule = InterruptGuard(), Schedule()
    loop: Any = schedule
    guard.install(loop)
    yield guard, schedule
    guard.remove()


@pytest.mark.parametrize("stack", STACKS)
def test_only_noria_is_not_interrupted(
    guarded: tuple[InterruptGuard, Schedule], stack: str
) -> None:
    guard, schedule = guarded
    top, put_off = STACKS[stack]
    if not put_off:
        with pytest.raises(KeyboardInterrupt):
            guard(signal.SIGINT, top)
        assert schedule.scheduled == []
        return
    guard(signal.SIGINT, top)
    ((callback, args),) = schedule.scheduled
    with pytest.raises(KeyboardInterrupt):
        callback(*args)
    assert not guard.remove()


def test_a_second_interrupt_is_raised_at_once(guarded: tuple[InterruptGuard, Schedule]) -> None:
    guard, schedule = guarded
    guard(signal.SIGINT, RUN)
    with pytest.raises(KeyboardInterrupt):
        guard(signal.SIGINT, RUN)
    assert schedule.scheduled[1:] == ["cancelled"], "one exception for both"
    assert not guard.remove()


def test_an_interrupt_put_off_beyond_the_run_is_told(
    guarded: tuple[InterruptGuard, Schedule],
) -> None:
    guard, schedule = guarded
    guard(signal.SIGINT, RUN)
    assert guard.remove()
    assert schedule.scheduled[1:] == ["cancelled"]


def test_an_interrupt_put_off_beyond_the_run_is_raised(loop: noria.Loop) -> None:
    def interrupt_and_stop() -> None:
        loop.stop()
        loop._interrupts(signal.SIGINT, RUN)

    seen: list[int] = []
    loop.call_soon(interrupt_and_stop)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1], "and only once"


def test_the_programs_own_handler_of_sigint_stays(loop: noria.Loop) -> None:
    def handler(number: int, frame: object) -> None:
        raise AssertionError("nobody has sent one")

    signal.signal(signal.SIGINT, handler)
    try:
        assert during_a_run(loop, lambda: signal.getsignal(signal.SIGINT)) is handler
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_of_sigint_set_during_a_run_stays(loop: noria.Loop) -> None:
    def handler(number: int, frame: object) -> None:
        raise AssertionError("nobody has sent one")

    guard = during_a_run(loop, lambda: signal.signal(signal.SIGINT, handler))
    assert signal.getsignal(signal.SIGINT) is handler
    # A program puts back what it found during the run: harmless, and gone with the next run.
    signal.signal(signal.SIGINT, guard)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    other = noria.new_event_loop()
    assert during_a_run(other, lambda: signal.getsignal(signal.SIGINT)) is not guard
    other.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_cancels_the_main_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with asyncio.run: clean-up code of the task runs, then KeyboardInterrupt comes out."""
    seen: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        noria.run(main())
    assert seen == ["cleaned up"]
