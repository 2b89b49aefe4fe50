"""Debug mode: slow callbacks told, wrong callbacks and wrong threads refused."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import run_turns

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def debugged(either: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """A loop in debug mode."""
    either.set_debug(True)
    return either


def test_a_slow_callback_is_told(debugged: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert debugged.slow_callback_duration == 0.1
    debugged.slow_callback_duration = 0.002

    def slow() -> None:
        time.sleep(0.005)

    with caplog.at_level(logging.WARNING, "asyncio"):
        debugged.call_soon(slow)
        debugged.call_soon(int)
        run_turns(debugged)
    (record,) = [record for record in caplog.records if "Executing" in record.getMessage()]
    assert record.getMessage().startswith("Executing <Handle ")
    assert "slow()" in record.getMessage()
    assert f"created at {__file__}" in record.getMessage()
    assert record.getMessage().endswith(" seconds")


def test_a_slow_task_is_told_with_its_coroutine(
    debugged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    debugged.slow_callback_duration = 0.002

    async def sluggish() -> None:
        time.sleep(0.005)  # noqa: ASYNC251 - blocks on purpose

    with caplog.at_level(logging.WARNING, "asyncio"):
        debugged.run_until_complete(sluggish())
    (record,) = [record for record in caplog.records if "Executing" in record.getMessage()]
    assert record.getMessage().startswith("Executing <Task ")
    assert "sluggish" in record.getMessage()


def test_nothing_is_told_without_debug_mode(either: Any, caplog: pytest.LogCaptureFixture) -> None:
    either.set_debug(False)
    either.slow_callback_duration = 0.001
    with caplog.at_level(logging.WARNING, "asyncio"):
        either.call_soon(time.sleep, 0.003)
        run_turns(either)
    assert not caplog.records


def test_a_callback_that_fails_slowly_is_told_too(
    debugged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    debugged.slow_callback_duration = 0.001
    debugged.set_exception_handler(lambda _, __: time.sleep(0.003))
    with caplog.at_level(logging.WARNING, "asyncio"):
        debugged.call_soon(lambda: 1 / 0)
        run_turns(debugged)
    assert any("Executing" in record.getMessage() for record in caplog.records)


SCHEDULERS: dict[str, Callable[[Any, Any], Any]] = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_later": lambda loop, callback: loop.call_later(1, callback),
    "call_at": lambda loop, callback: loop.call_at(1, callback),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
    "run_in_executor": lambda loop, callback: loop.run_in_executor(None, callback),
}


def named(method: str) -> str:
    """How messages may name a method: asyncio's call_later names the one that it calls."""
    return "(call_later|call_at)" if method == "call_later" else method


async def a_coroutine_function() -> None:
    """Not a callback."""


@pytest.mark.parametrize("method", SCHEDULERS)
def test_coroutines_are_refused(debugged: asyncio.AbstractEventLoop, method: str) -> None:
    coroutine = a_coroutine_function()
    for wrong in (a_coroutine_function, coroutine):
        with pytest.raises(TypeError, match=f"coroutines cannot be used with {named(method)}"):
            SCHEDULERS[method](debugged, wrong)
    coroutine.close()


@pytest.mark.parametrize("method", SCHEDULERS)
@pytest.mark.parametrize("wrong", [None, "text", 5])
def test_what_cannot_be_called_is_refused(
    debugged: asyncio.AbstractEventLoop, method: str, wrong: Any
) -> None:
    with pytest.raises(TypeError, match=f"a callable object was expected by {named(method)}"):
        SCHEDULERS[method](debugged, wrong)


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_other_threads_are_refused(debugged: asyncio.AbstractEventLoop, method: str) -> None:
    caught: list[BaseException] = []

    def schedule() -> None:
        try:
            SCHEDULERS[method](debugged, print)
        except RuntimeError as exc:
            caught.append(exc)
        debugged.call_soon_threadsafe(debugged.stop)

    thread = threading.Thread(target=schedule)
    debugged.call_soon(thread.start)
    debugged.run_forever()
    thread.join()
    (refusal,) = caught
    assert "Non-thread-safe operation" in str(refusal)


def test_other_threads_may_schedule_on_a_loop_at_rest(
    debugged: asyncio.AbstractEventLoop,
) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=debugged.call_soon, args=(seen.append, 1))
    thread.start()
    thread.join()
    run_turns(debugged)
    assert seen == [1]


def test_debug_mode_can_be_switched_while_it_runs(either: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for enabled in (True, False, True):
            either.set_debug(enabled)
            assert either.get_debug() is enabled
            await asyncio.sleep(0)
            handle: Any = either.call_soon(int)
            assert bool(handle._source_traceback) is enabled
            await asyncio.sleep(0)

    either.run_until_complete(main())


def test_the_origin_of_a_failing_callback_is_reported(
    debugged: asyncio.AbstractEventLoop,
) -> None:
    reports: list[dict[str, Any]] = []
    debugged.set_exception_handler(lambda _, context: reports.append(context))
    debugged.call_soon(lambda: 1 / 0)
    run_turns(debugged)
    (report,) = reports
    assert report["source_traceback"][-1].filename == __file__


def test_the_order_of_callbacks_is_the_same(debugged: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    for number in range(5):
        debugged.call_soon(order.append, number)
    debugged.call_soon(order.append, 99).cancel()
    debugged.call_later(0, order.append, 5)
    run_turns(debugged)
    assert order == list(range(6))


def test_an_interrupt_loses_no_callback(debugged: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []

    def fail() -> None:
        raise KeyboardInterrupt

    debugged.call_soon(fail)
    debugged.call_soon(order.append, 1)
    with pytest.raises(KeyboardInterrupt):
        debugged.run_forever()
    run_turns(debugged)
    assert order == [1]
