"""Running and closing; `either` holds the tests themselves against asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria import lowlevel
from noria.core.codes import FSYNC
from tests.loops import is_open

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable


async def give(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


# -- run_forever and stop -----------------------------------------------------------------------


def test_it_runs_until_stop(either: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append((either.is_running(), asyncio.get_running_loop()))
        either.stop()

    assert not either.is_running()
    either.call_soon(look)
    either.run_forever()
    assert seen == [(True, either)]
    assert not either.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_what_was_scheduled_before_stop_runs(either: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    either.call_soon(either.stop)
    either.call_soon(seen.append, 1)
    either.call_soon(lambda: either.call_soon(seen.append, 2))
    either.run_forever()
    assert seen == [1]
    either.call_soon(either.stop)
    either.run_forever()
    assert seen == [1, 2]


def test_stop_before_the_run_makes_it_one_turn(either: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    either.stop()
    either.call_soon(seen.append, 1)
    either.run_forever()
    assert seen == [1]


def test_a_running_loop_cannot_run_again_and_goes_on(loop: noria.Loop) -> None:
    """asyncio 3.13.0 believes after this that it has stopped."""

    async def main() -> str:
        for run in (loop.run_forever, lambda: loop.run_until_complete(loop.create_future())):
            with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
                run()
            assert loop.is_running()
            assert asyncio.get_running_loop() is loop
        return str(await give("fine"))

    assert loop.run_until_complete(main()) == "fine"


def test_no_loop_runs_inside_another(either: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        inner = noria.new_event_loop()
        try:
            with pytest.raises(
                RuntimeError, match=r"^Cannot run the event loop while another loop is running$"
            ):
                inner.run_forever()
            assert not inner.is_running()
        finally:
            inner.close()

    either.run_until_complete(main())


def test_loops_run_in_several_threads(loop: noria.Loop) -> None:
    other = noria.new_event_loop()
    found: list[Any] = []

    async def main() -> tuple[int, Any]:
        return threading.get_ident(), asyncio.get_running_loop()

    thread = threading.Thread(target=lambda: found.append(other.run_until_complete(main())))
    thread.start()
    thread.join(10)
    other.close()
    assert found == [(thread.ident, other)]
    assert loop.run_until_complete(main()) == (threading.get_ident(), loop)


def test_debug_mode_knows_the_thread_of_the_run(either: asyncio.AbstractEventLoop) -> None:
    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match=r"^Non-thread-safe operation invoked"):
            either.call_soon(int)

    async def main() -> None:
        await either.run_in_executor(None, elsewhere)

    either.set_debug(True)
    either.run_until_complete(main())
    thread = threading.Thread(target=either.call_soon, args=(int,))
    thread.start()  # it does not run now, so any thread may; an error would fail this test
    thread.join()


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_exit_leaves_the_rest_for_the_next_run(
    either: asyncio.AbstractEventLoop, exception: type[BaseException]
) -> None:
    seen: list[int] = []

    def leave() -> None:
        raise exception

    either.call_soon(seen.append, 1)
    either.call_soon(leave)
    either.call_soon(seen.append, 2)
    either.call_soon(either.stop)
    with pytest.raises(exception):
        either.run_forever()
    assert seen == [1]
    assert not either.is_running()
    either.run_forever()
    assert seen == [1, 2]


class Interrupted(lowlevel.Operation):
    """An operation whose delivery raises KeyboardInterrupt once."""

    def __init__(self, deliver: Callable[[], object]) -> None:
        lowlevel.Operation.__init__(self, FSYNC)
        self.on_delivery = deliver

    def deliver(self, result: int, flags: int, data: object) -> None:
        self.on_delivery()


class Scripted(lowlevel.Engine):
    """An engine that gives the same news once and notes how long it may wait."""

    name = "scripted"

    def __init__(self, operations: list[lowlevel.Operation]) -> None:
        lowlevel.Engine.__init__(self)
        self.operations = operations
        self.timeouts: list[int] = []

    def poll(self, timeout_ns: int, batch: lowlevel.Completions) -> int:
        self.timeouts.append(timeout_ns)
        assert timeout_ns == 0 or self.operations, "this wait would never end"
        for operation in self.operations:
            batch.add(operation, 0, 0, None)
        self.operations = []
        return batch.count

    def wake(self) -> None:
        pass

    def close(self, batch: lowlevel.Completions) -> None:
        self.closed = True


def test_completions_behind_an_interrupt_wake_the_next_run() -> None:
    """What they schedule is ready before that run looks for news: it must not wait for any."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    engine = Scripted([])
    loop = noria.Loop(engine)
    engine.operations = [
        Interrupted(interrupt),
        Interrupted(lambda: loop.call_soon(loop.stop)),
    ]
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_forever()
    assert engine.timeouts[0] == -1
    assert engine.timeouts[1:] == [0]
    loop.close()


# -- run_until_complete -------------------------------------------------------------------------


def test_it_gives_the_result(either: asyncio.AbstractEventLoop) -> None:
    assert either.run_until_complete(give(1)) == 1
    assert either.run_until_complete(either.create_task(give(2))) == 2
    future = either.create_future()
    either.call_soon(future.set_result, 3)
    assert either.run_until_complete(future) == 3


def test_a_future_that_is_done_needs_one_turn(either: asyncio.AbstractEventLoop) -> None:
    future = either.create_future()
    future.set_result(1)
    assert either.run_until_complete(future) == 1


def test_it_raises_what_the_coroutine_raises(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(exception: type[BaseException]) -> None:
        await asyncio.sleep(0)
        raise exception

    for exception in (ZeroDivisionError, asyncio.CancelledError, SystemExit, KeyboardInterrupt):
        with pytest.raises(exception):
            either.run_until_complete(fail(exception))
    gc.collect()
    assert caplog.records == []


def test_it_minds_stop(either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    async def wait() -> None:
        either.stop()
        await either.create_future()

    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        either.run_until_complete(wait())
    gc.collect()
    assert caplog.records == [], "the exception has said it"


def test_a_future_that_was_waited_for_in_vain_stops_no_later_run(
    either: asyncio.AbstractEventLoop,
) -> None:
    future = either.create_future()
    either.call_soon(either.stop)
    with pytest.raises(RuntimeError, match="stopped before"):
        either.run_until_complete(future)
    future.set_result(1)
    seen: list[int] = []

    def count(number: int) -> None:
        seen.append(number)
        either.call_soon(either.stop if number == 3 else lambda: count(number + 1))

    either.call_soon(count, 1)
    either.run_forever()
    assert seen == [1, 2, 3]
    assert either.run_until_complete(future) == 1


def test_an_exit_of_the_task_does_not_stop_a_later_run(either: asyncio.AbstractEventLoop) -> None:
    async def leave() -> None:
        raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        either.run_until_complete(leave())
    either.call_soon(lambda: either.call_soon(seen.append, 1))
    either.run_until_complete(give(None))
    assert seen == [1]


@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_only_awaitables_are_waited_for(either: asyncio.AbstractEventLoop, wrong: Any) -> None:
    with pytest.raises(TypeError, match="coroutine or an awaitable is required"):
        either.run_until_complete(wrong)


def test_a_future_of_another_loop_is_refused(either: asyncio.AbstractEventLoop) -> None:
    other = noria.new_event_loop()
    future = other.create_future()
    with pytest.raises(ValueError, match="belongs to a different loop"):
        either.run_until_complete(future)
    other.close()


# -- debug mode ---------------------------------------------------------------------------------


def origin() -> Any:
    coro: Any = give(1)
    found = coro.cr_origin
    coro.close()
    return found


@pytest.mark.parametrize("debug", [False, True])
def test_origins_of_coroutines_are_tracked_in_debug_mode_only(
    either: asyncio.AbstractEventLoop, debug: bool
) -> None:
    async def main() -> Any:
        return origin()

    depth = sys.get_coroutine_origin_tracking_depth()
    sys.set_coroutine_origin_tracking_depth(0)
    try:
        either.set_debug(debug)
        assert bool(either.run_until_complete(main())) is debug
        assert origin() is None
    finally:
        sys.set_coroutine_origin_tracking_depth(depth)


def test_debug_mode_can_be_switched_during_a_run(either: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[bool]:
        found = []
        for debug in (True, True, False, False, True):
            either.set_debug(debug)
            await asyncio.sleep(0)
            found.append(bool(origin()))
        return found

    assert either.run_until_complete(main()) == [True, True, False, False, True]
    assert either.get_debug()
    assert origin() is None


# -- the end ------------------------------------------------------------------------------------


def test_close_is_final_and_idempotent(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    either.call_soon(int)
    either.call_later(100, int)
    assert not either.is_closed()
    either.close()
    either.close()
    assert either.is_closed()
    closed = pytest.raises(RuntimeError, match=r"^Event loop is closed$")
    with closed:
        either.run_forever()
    with closed:
        either.call_soon(int)
    with closed:
        either.call_soon_threadsafe(int)
    with closed:
        either.call_later(1, int)
    coro = give(1)
    with closed:
        either.run_until_complete(coro)
    coro.close()


def test_a_running_loop_cannot_be_closed(either: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
            either.close()

    either.run_until_complete(main())
    assert not either.is_closed()


def test_close_drops_what_is_scheduled(loop: noria.Loop) -> None:
    class Held:
        def method(self) -> None:
            raise AssertionError("dropped, not called")

    held = [Held(), Held(), Held()]
    loop.call_soon(held[0].method)
    loop.call_later(100, held[1].method)
    loop.call_later(0, held[2].method)
    gone = [weakref.ref(each) for each in held]
    held.clear()
    loop.close()
    assert [each() for each in gone] == [None, None, None]


def test_close_is_told_in_debug_mode(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")
    either.set_debug(True)
    told = f"Close {either!r}"
    either.close()
    assert told in [record.message for record in caplog.records]


def test_a_forgotten_loop_warns_and_is_closed() -> None:
    loop = noria.new_event_loop()
    fds = {loop._engine.fileno(), loop._engine.signal_fileno()}
    shown = repr(loop)
    held = [loop]
    del loop
    with pytest.warns(ResourceWarning, match=r"^unclosed event loop ") as caught:
        held.clear()
    assert [str(warning.message) for warning in caught] == [f"unclosed event loop {shown}"]
    assert not any(is_open(fd) for fd in fds - {-1})


def test_a_forgotten_loop_is_closed_where_warnings_are_errors(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    program = """
import gc, noria
loop = noria.new_event_loop()
engine = loop._engine
del loop
gc.collect()
print(engine.closed)
"""
    result = run_python(program, "-W", "error")
    assert result.stdout == "True\n"
    assert "unclosed event loop" in result.stderr


def test_a_loop_that_was_never_made_is_let_go() -> None:
    with pytest.raises((AttributeError, TypeError)):
        noria.Loop(None)  # type: ignore[arg-type]
    gc.collect()  # an error in __del__ would fail this test


def test_repr_tells_state_and_engine(loop: noria.Loop) -> None:
    name = loop.engine
    assert repr(loop) == f"<Loop running=False closed=False debug=False engine={name}>"
    loop.set_debug(True)

    async def main() -> str:
        return repr(loop)

    shown = loop.run_until_complete(main())
    assert shown == f"<Loop running=True closed=False debug=True engine={name}>"
    loop.close()
    assert repr(loop) == f"<Loop running=False closed=True debug=True engine={name}>"


def test_engine_is_a_word_of_the_registry(loop: noria.Loop) -> None:
    assert loop.engine in lowlevel.ENGINE_NAMES
    with pytest.raises(AttributeError):
        loop.engine = "other"  # type: ignore[misc]


def test_waits_end_when_another_thread_stops_the_loop(loop: noria.Loop) -> None:
    thread = threading.Timer(0.01, lambda: loop.call_soon_threadsafe(loop.stop))
    thread.start()
    loop.run_forever()
    thread.join()


def test_exceptions_of_callbacks_do_not_end_the_run(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(BaseException):
        pass

    def fail() -> None:
        raise Odd

    either.call_soon(fail)
    either.call_soon(either.stop)
    either.run_forever()
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is Odd


def test_the_interrupt_handler_is_put_back_after_errors(loop: noria.Loop) -> None:
    def leave() -> None:
        raise SystemExit

    loop.call_soon(leave)
    before = signal.getsignal(signal.SIGINT)
    with contextlib.suppress(SystemExit):
        loop.run_forever()
    assert signal.getsignal(signal.SIGINT) is before
