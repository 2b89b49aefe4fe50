"""Handle and TimerHandle: asyncio's classes for every purpose a program has."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from fractions import Fraction
from typing import Any

import pytest

from tests.loops import run_turns


def callback(*args: Any) -> None:
    """Something to call."""


def test_types(either: asyncio.AbstractEventLoop) -> None:
    soon, later = either.call_soon(callback), either.call_later(1, callback)
    assert isinstance(soon, asyncio.Handle)
    assert not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(later, asyncio.Handle)
    assert isinstance(later, asyncio.TimerHandle)
    assert isinstance(either.call_soon_threadsafe(callback), asyncio.Handle)
    assert isinstance(either.call_at(either.time() + 1, callback), asyncio.TimerHandle)


def test_repr(either: asyncio.AbstractEventLoop) -> None:
    either.set_debug(True)
    soon = either.call_soon(callback, 1, "two")
    text = repr(soon)
    assert text.startswith("<Handle callback(1, 'two')")
    assert f"at {__file__}:" in text
    assert f"created at {__file__}:" in text
    soon.cancel()
    assert repr(soon).startswith("<Handle callback(1, 'two')") or "cancelled" in repr(soon)
    later = either.call_at(123456.5, callback)
    assert repr(later).startswith("<TimerHandle when=123456.5 callback()")
    later.cancel()
    assert "123456.5" in repr(later)


def test_repr_without_debug_mode(either: asyncio.AbstractEventLoop) -> None:
    either.set_debug(False)
    soon = either.call_soon(callback)
    assert repr(soon).startswith("<Handle callback(")
    assert "created at" not in repr(soon)
    soon.cancel()
    assert repr(soon) == "<Handle cancelled>"
    later = either.call_at(123456.5, callback)
    later.cancel()
    assert repr(later) == "<TimerHandle cancelled when=123456.5>"


def test_reprs_are_those_of_asyncio() -> None:
    import noria

    ours, theirs = noria.new_event_loop(), asyncio.SelectorEventLoop()
    for debug in (False, True):
        texts = []
        for loop in (ours, theirs):
            loop.set_debug(debug)
            handles: list[asyncio.Handle] = []
            for make in (
                lambda it: it.call_soon(callback, 1),
                lambda it: it.call_at(1e6, callback, "x"),
            ):
                handles.append(make(loop))  # type: ignore[no-untyped-call] # a lambda
                handles.append(make(loop))  # type: ignore[no-untyped-call] # a lambda
                handles[-1].cancel()
            texts.append([repr(handle) for handle in handles])
        assert texts[0] == texts[1]
    ours.close()
    theirs.close()


def test_cancelling(either: asyncio.AbstractEventLoop) -> None:
    for handle in (either.call_soon(callback, 1), either.call_later(1, callback, 1)):
        assert not handle.cancelled()
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()


def test_cancelling_after_the_call_is_nothing(either: asyncio.AbstractEventLoop) -> None:
    calls: list[int] = []
    soon, later = either.call_soon(calls.append, 1), either.call_later(0, calls.append, 2)
    run_turns(either)
    soon.cancel()
    later.cancel()
    run_turns(either)
    assert calls == [1, 2]


def test_a_handle_that_is_kept_is_never_another_call(either: asyncio.AbstractEventLoop) -> None:
    """The memory of handles is used again, but not of those that somebody can still cancel."""
    calls: list[int] = []
    kept = [either.call_soon(calls.append, number) for number in range(50)]
    weak = [weakref.ref(either.call_soon(calls.append, number)) for number in range(50, 60)]
    timers = [either.call_later(0, calls.append, number) for number in range(60, 70)]
    run_turns(either)
    calls.clear()
    fresh = [either.call_soon(calls.append, number) for number in range(100)]
    later = [either.call_later(0, calls.append, number) for number in range(100, 120)]
    assert not {id(handle) for handle in [*kept, *timers]} & {
        id(handle) for handle in [*fresh, *later]
    }
    for handle in (*kept, *timers):
        handle.cancel()
    for reference in weak:
        handle_or_none = reference()
        if handle_or_none is not None:
            handle_or_none.cancel()
    run_turns(either)
    assert sorted(calls) == list(range(120))


def test_a_handle_that_only_a_weak_reference_sees(either: asyncio.AbstractEventLoop) -> None:
    calls: list[int] = []
    references = [weakref.ref(either.call_soon(calls.append, n)) for n in range(20)]
    run_turns(either)
    gc.collect()
    for number in range(20, 60):
        either.call_soon(calls.append, number)
    for reference in references:
        handle = reference()
        if handle is not None:
            handle.cancel()
    run_turns(either)
    assert calls == list(range(60))


def test_a_callback_keeps_its_own_handle(either: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    cell: list[asyncio.Handle] = []

    def own(name: str) -> None:
        calls.append(name)
        cell[0].cancel()

    for name in ("one", "two", "three"):
        cell[:] = [either.call_soon(own, name)]
        either.call_soon(calls.append, "other")
        run_turns(either)
    assert calls == ["one", "other", "two", "other", "three", "other"]


def test_the_context_of_a_handle(either: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("outer")
    seen: list[Any] = []

    def look() -> None:
        seen.append(variable.get())
        variable.set("inner")

    either.call_soon(look)
    either.call_soon(look)
    variable.set("later")
    own = contextvars.copy_context()
    own.run(variable.set, "own")
    either.call_soon(look, context=own)
    either.call_soon(look, context=own)
    either.call_later(0, look, context=own)
    either.call_soon_threadsafe(look, context=own)
    run_turns(either)
    assert seen[:4] == ["outer", "outer", "own", "inner"]
    assert seen[4:] == ["inner", "inner"]
    assert variable.get() == "later"
    assert own[variable] == "inner"


@pytest.mark.parametrize("empty", [contextvars.Context()])
def test_an_empty_context_is_a_context(
    either: asyncio.AbstractEventLoop, empty: contextvars.Context
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("set")
    seen: list[str] = []
    assert not len(empty)
    either.call_soon(lambda: seen.append(variable.get()), context=empty)
    run_turns(either)
    assert seen == ["none"]


def test_comparing_timers(either: asyncio.AbstractEventLoop) -> None:
    def at(when: float, *args: Any) -> asyncio.TimerHandle:
        return either.call_at(when, callback, *args)

    early, late, twin = at(1000.0), at(2000.0), at(1000.0)
    assert early < late
    assert late > early
    assert early <= twin
    assert early >= twin
    assert early == twin
    assert early != late
    assert early != at(1000.0, "argument")
    assert hash(early) == hash(twin)
    assert early.__lt__(5) is NotImplemented  # type: ignore[operator] # on purpose
    assert early.__eq__(5) is NotImplemented
    assert early != object()
    with pytest.raises(TypeError):
        _ = early < 5  # type: ignore[operator]
    early.cancel()
    assert early != twin


def test_when(either: asyncio.AbstractEventLoop) -> None:
    assert either.call_at(1234.5, callback).when() == 1234.5
    given = either.call_at(1234, callback)
    assert type(given.when()) is int
    assert given.when() == 1234
    assert type(given._when) is int  # type: ignore[attr-defined] # what tests of others look at
    assert "when=1234 " in repr(given)
    assert given < either.call_at(1234.5, callback)
    half: Any = Fraction(1, 2)
    assert isinstance(either.call_at(half, callback).when(), Fraction)
    either.call_at(0, callback)
    run_turns(either)
    assert type(either.call_later(5, callback).when()) is float, "one that is used again"
    before = either.time()
    handle = either.call_later(5, callback)
    assert before + 5 <= handle.when() <= either.time() + 5


def test_handles_can_be_referred_to_weakly(either: asyncio.AbstractEventLoop) -> None:
    handle = either.call_later(100, callback)
    reference = weakref.ref(handle)
    assert reference() is handle
    handle.cancel()
    del handle
    either.call_later(0, callback)
    run_turns(either)
    gc.collect()
    assert reference() is None


def test_reading_the_loop_of_a_handle(either: asyncio.AbstractEventLoop) -> None:
    """Libraries look at these, though they are asyncio's own business."""
    handle: Any = either.call_soon(callback, 1)
    assert handle._callback is callback
    assert handle._args == (1,)
    assert handle._loop is either
    assert handle._cancelled is False
    assert isinstance(handle._context, contextvars.Context)
