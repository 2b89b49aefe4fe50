# cython: boundscheck=False, wraparound=False
"""Handle and TimerHandle: scheduled callbacks.

They are asyncio's classes for every purpose a program has (`isinstance` included), but laid out for
speed: a compiled class with fields cannot inherit asyncio's, whose slots have a layout of their
own, so they report asyncio's class through `__class__`.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import format_helpers
from typing import TYPE_CHECKING, Any

from noria.core.timers import TimerEntry
from noria.limits import SPARE_HANDLES_MAX
from noria.native import calls as native

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from types import FrameType

    from noria.loop.core import LoopCore

_SPARE_MAX = SPARE_HANDLES_MAX  # for the compiler, typed in the .pxd


class Handle(TimerEntry):
    """A callback with its arguments and context, scheduled once.

    It inherits the entry of the timer heap because a compiled class has one base only and
    TimerHandle has to be both.
    """

    __slots__ = (
        "__weakref__",
        "_args",
        "_callback",
        "_cancelled",
        "_context",
        "_loop",
        "_repr",
        "_source_traceback",
    )

    if TYPE_CHECKING:
        _loop: LoopCore
        _callback: Any
        _args: Any
        _context: Any
        _cancelled: bool
        _repr: str | None
        _source_traceback: Any

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it."""
        return asyncio.Handle

    def cancel(self) -> None:
        """Prevent the call; the callback and its arguments are dropped at once. Idempotent."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._loop._debug:
            self._repr = repr(self)  # kept for the report of a slow or never-run callback
        self._callback = None
        self._args = None
        if self.scheduled:
            self._loop._timers.cancel(self)

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def get_context(self) -> Context:
        """Give the context that the callback runs in."""
        return self._context  # type: ignore[no-any-return]

    def _run(self) -> None:
        exc = native.try_in_context(self._context, self._callback, self._args)
        if exc is not None:
            self._failed(exc)
        # A traceback made beneath keeps this frame, and with it what the frame knows.
        self = None  # type: ignore[assignment] # noqa: PLW0642

    def _failed(self, exc: BaseException) -> None:
        if isinstance(exc, (SystemExit, KeyboardInterrupt)):
            raise exc
        native.track(self)  # a report may be kept
        callback = _describe(self)
        context: dict[str, Any] = {
            "message": f"Exception in callback {callback}",
            "exception": exc,
            "handle": self,
        }
        if self._source_traceback:
            context["source_traceback"] = self._source_traceback
        self._loop.call_exception_handler(context)

    def _repr_info(self) -> list[str]:
        info = [type(self).__name__]
        if self._cancelled:
            info.append("cancelled")
        if self._callback is not None:
            info.append(_describe(self))
        if self._source_traceback:
            *_, frame = self._source_traceback
            info.append(f"created at {frame[0]}:{frame[1]}")
        return info

    def __repr__(self) -> str:
        """Say what is called, and where it was scheduled in debug mode."""
        if self._repr is not None:
            return str(self._repr)
        return f"<{' '.join(self._repr_info())}>"


class TimerHandle(Handle):
    """A callback scheduled for a time."""

    __slots__ = ("_due", "_given")

    if TYPE_CHECKING:
        _due: float  # a C number when compiled
        _given: Any  # the time as `call_at` was told, if that was no float

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it."""
        return asyncio.TimerHandle

    @property
    def _scheduled(self) -> bool:
        return bool(self.scheduled)

    @property
    def _when(self) -> float:
        return self._due if self._given is None else self._given

    def when(self) -> float:
        """Give the time it is due, in seconds on the clock of `loop.time()`."""
        return self._when

    def _repr_info(self) -> list[str]:
        info = Handle._repr_info(self)
        info.insert(2 if self._cancelled else 1, f"when={self._when}")
        return info

    def __hash__(self) -> int:
        """Hash of the due time."""
        return hash(self._when)

    def __eq__(self, other: object) -> bool:
        """Same time, callback, arguments and state."""
        if not isinstance(other, asyncio.TimerHandle):
            return NotImplemented
        return (
            self._when == other._when  # type: ignore[attr-defined]
            and self._callback == other._callback  # type: ignore[attr-defined]
            and self._args == other._args
            and self._cancelled == other._cancelled
        )

    def __lt__(self, other: object) -> bool:
        """Due earlier."""
        if not isinstance(other, asyncio.TimerHandle):
            return NotImplemented
        return self._when < other._when  # type: ignore[attr-defined, no-any-return]

    def __le__(self, other: object) -> bool:
        """Due earlier, or equal."""
        if not isinstance(other, asyncio.TimerHandle):
            return NotImplemented
        return self._when < other._when or self == other  # type: ignore[attr-defined]

    def __gt__(self, other: object) -> bool:
        """Due later."""
        if not isinstance(other, asyncio.TimerHandle):
            return NotImplemented
        return self._when > other._when  # type: ignore[attr-defined, no-any-return]

    def __ge__(self, other: object) -> bool:
        """Due later, or equal."""
        if not isinstance(other, asyncio.TimerHandle):
            return NotImplemented
        return self._when > other._when or self == other  # type: ignore[attr-defined]


_DEBUG_FORMAT = "debug" in inspect.signature(format_helpers._format_callback_source).parameters


def _describe(handle: Handle) -> str:
    args = handle._args or ()
    source_of: Any = format_helpers._format_callback_source
    if _DEBUG_FORMAT:  # newer versions show the arguments in debug mode only
        return str(source_of(handle._callback, args, debug=handle._loop._debug))
    return str(source_of(handle._callback, args))


def make_handle(
    loop: LoopCore, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
) -> Handle:
    """Make a handle; a context of None copies the caller's.

    One that was used before is hidden from the garbage collector, which fits what goes into the
    ready queue. Whoever keeps it elsewhere has to `track` it.
    """
    handle: Any = loop._spare_handles.take()
    if handle is None:
        handle = Handle.__new__(Handle)
        _begin(handle, loop)
    handle._callback = callback
    handle._args = args
    handle._context = native.copy_context() if context is None else context
    if loop._debug:
        handle._source_traceback = _origin()
    return handle  # type: ignore[no-any-return]


def make_timer(
    loop: LoopCore,
    when: float,
    callback: Callable[..., Any],
    args: tuple[Any, ...],
    context: Context | None,
) -> TimerHandle:
    """Make a timer handle that is due at `when`; the caller puts it into the heap."""
    handle: Any = loop._spare_timers.take()
    if handle is None:
        handle = TimerHandle.__new__(TimerHandle)
        _begin(handle, loop)
        handle._given = None
    else:
        native.track(handle)  # the heap does not look after it as the ready queue does
        if handle._given is not None:
            handle._given = None
    handle._due = when
    handle._callback = callback
    handle._args = args
    handle._context = native.copy_context() if context is None else context
    if loop._debug:
        handle._source_traceback = _origin()
    return handle  # type: ignore[no-any-return]


def _begin(handle: Handle, loop: LoopCore) -> None:
    """Set what stays when a handle is used again."""
    # Not in __init__: a call through the type would pack and unpack arguments.
    handle._loop = loop
    handle._cancelled = False
    handle._repr = None
    handle._source_traceback = None
    handle.scheduled = False
    handle.dead = False


class Spares:
    """Handles that have run and that nobody can see any more, kept for the next calls.

    A chain through their contexts, which are free: a list that grows and shrinks by one allocates
    each time.
    """

    __slots__ = ("_count", "_first")

    def __init__(self) -> None:
        self._first: Any = None
        self._count = 0

    def take(self) -> Any:
        """Give a handle as `_begin` leaves it, or None; its context has to be set."""
        handle = self._first
        if handle is not None:
            self._first = handle._context
            self._count -= 1
        return handle

    def keep(self, handle: Handle) -> None:
        """Take a handle back, unless there are enough or it carries more than others."""
        if self._count < _SPARE_MAX and not handle._cancelled and handle._source_traceback is None:
            handle._callback = None
            handle._args = None
            handle._context = self._first
            self._first = handle
            self._count += 1

    def clear(self) -> None:
        """Let all go, one by one: a long chain would go by as deep a recursion."""
        while self._first is not None:
            self.take()._context = None


_SCHEDULERS = frozenset({"noria.loop.core", __name__})


def _origin() -> Any:
    """Give the stack of whoever schedules: compiled schedulers have no frame, interpreted do."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") in _SCHEDULERS:
        frame = frame.f_back
    return format_helpers.extract_stack(frame)
