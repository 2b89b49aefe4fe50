"""Exception handlers; `either` holds the tests themselves against asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import noria

Report = dict[str, Any]


def fail(loop: asyncio.AbstractEventLoop) -> asyncio.Handle:
    """Have a callback raise ZeroDivisionError, and run it."""
    handle = loop.call_soon(lambda: 1 / 0)
    run_once(loop)
    return handle


def run_once(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_default_handler_logs_the_callback_and_the_traceback(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    fail(either)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asyncio", logging.ERROR)
    assert record.message.startswith("Exception in callback fail.<locals>.<lambda>")
    assert "\nhandle: <Handle fail.<locals>.<lambda>" in record.message
    assert "\nexception:" not in record.message
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.exc_info[2] is not None


def test_default_handler_sorts_what_it_knows(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    either.default_exception_handler({"message": "it broke", "zebra": [1], "ape": "x"})
    (record,) = caplog.records
    assert record.message == "it broke\nape: 'x'\nzebra: [1]"
    assert not record.exc_info


@pytest.mark.parametrize("context", [{}, {"message": ""}, {"message": None}])
def test_default_handler_has_a_message_of_its_own(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, context: Report
) -> None:
    either.default_exception_handler(context)
    assert caplog.records[0].message == "Unhandled exception in event loop"


def test_default_handler_tells_the_origin_in_debug_mode(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    either.set_debug(True)
    fail(either)
    (record,) = caplog.records
    assert "Object created at (most recent call last):\n" in record.message
    assert "in fail" in record.message
    assert not record.message.endswith("\n")


def test_default_handler_tells_the_running_callback_in_debug_mode(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    either.set_debug(True)
    context: Report = {"message": "odd"}
    either.call_soon(either.call_exception_handler, context)
    run_once(either)
    assert "Handle created at (most recent call last):\n" in caplog.records[0].message
    assert context["handle_traceback"]


def test_custom_handler_gets_loop_and_report(either: asyncio.AbstractEventLoop) -> None:
    seen: list[tuple[Any, Report]] = []
    either.set_exception_handler(lambda loop, context: seen.append((loop, context)))
    handle = fail(either)
    ((loop, context),) = seen
    assert loop is either
    assert context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)


def test_handler_can_be_asked_for_and_taken_away(either: asyncio.AbstractEventLoop) -> None:
    def handler(loop: asyncio.AbstractEventLoop, context: Report) -> None:
        raise AssertionError("nothing happened")

    assert either.get_exception_handler() is None
    either.set_exception_handler(handler)
    assert either.get_exception_handler() is handler
    either.set_exception_handler(None)
    assert either.get_exception_handler() is None


@pytest.mark.parametrize("wrong", ["spam", 1, object()])
def test_handler_has_to_be_callable(either: asyncio.AbstractEventLoop, wrong: Any) -> None:
    with pytest.raises(TypeError, match="A callable object or None is expected, got "):
        either.set_exception_handler(wrong)
    assert either.get_exception_handler() is None


def test_failing_custom_handler_is_reported_with_its_report(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(loop: asyncio.AbstractEventLoop, context: Report) -> None:
        raise ValueError("handler broke")

    either.set_exception_handler(handler)
    fail(either)
    (record,) = caplog.records
    assert record.message.startswith("Unhandled error in exception handler\ncontext: {")
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def with_broken_default(monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop) -> None:
    def broken(self: Any, context: Report) -> None:
        raise RuntimeError("default broke")

    monkeypatch.setattr(type(loop), "default_exception_handler", broken)


def test_failing_default_handler_is_logged(
    either: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_broken_default(monkeypatch, either)
    fail(either)
    assert [record.message for record in caplog.records] == [
        "Exception in default exception handler"
    ]
    assert caplog.records[0].exc_info


def test_both_handlers_failing_is_logged(
    either: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_broken_default(monkeypatch, either)
    either.set_exception_handler(lambda loop, context: 1 / 0)
    fail(either)
    assert [record.message for record in caplog.records] == [
        "Exception in default exception handler while handling an unexpected error "
        "in custom exception handler"
    ]


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("broken", ["custom", "default", "default after custom"])
def test_exits_come_out_of_handlers(
    either: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    exception: type[BaseException],
    broken: str,
) -> None:
    def leave(*args: Any) -> None:
        raise exception

    if broken == "custom":
        either.set_exception_handler(leave)
    else:
        monkeypatch.setattr(type(either), "default_exception_handler", leave)
    if broken == "default after custom":
        either.set_exception_handler(lambda loop, context: 1 / 0)
    with pytest.raises(exception):
        either.call_exception_handler({"message": "x"})


VARIABLE = contextvars.ContextVar("VARIABLE", default="outside")


def handle_in(loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> Report:
    return {"handle": loop.call_soon(int, context=context)}


def task_in(loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> Report:
    return {"task": loop.create_task(asyncio.sleep(0), context=context), "handle": object()}


def future_in(loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> Report:
    return {"future": loop.create_task(asyncio.sleep(0), context=context), "task": None}


@pytest.mark.parametrize("make", [handle_in, task_in, future_in])
def test_custom_handler_runs_in_the_context_of_what_failed(
    either: asyncio.AbstractEventLoop,
    make: Callable[[asyncio.AbstractEventLoop, contextvars.Context], Report],
) -> None:
    context = contextvars.copy_context()
    context.run(VARIABLE.set, "inside")
    report = make(either, context)
    seen = []
    either.set_exception_handler(lambda loop, context: seen.append(VARIABLE.get()))
    either.call_exception_handler({"message": "x", **report})
    assert seen == ["inside" if sys.version_info >= (3, 12) else "outside"]
    either.run_until_complete(asyncio.sleep(0))


def test_things_without_a_context_do_no_harm(either: asyncio.AbstractEventLoop) -> None:
    seen = []
    either.set_exception_handler(lambda loop, context: seen.append(VARIABLE.get()))
    either.call_exception_handler({"message": "x", "future": either.create_future()})
    either.call_exception_handler({"message": "x", "task": object()})
    assert seen == ["outside", "outside"]


def test_report_of_a_callback_runs_without_debug_too(loop: noria.Loop) -> None:
    """What the compiled core calls is the handler of the assembled loop, not a stub of its own."""
    seen: list[Report] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    fail(loop)
    assert [type(context["exception"]) for context in seen] == [ZeroDivisionError]
