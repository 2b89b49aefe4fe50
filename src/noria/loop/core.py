# cython: boundscheck=False, wraparound=False
"""LoopCore: the iteration, and what runs once per callback.

One turn:

1. `engine.poll`: submit, wait unless something is ready, collect completions;
2. deliver the completions (transports call their protocols, futures are resolved), behind what was
   scheduled before the poll;
3. run ready callbacks, generation by generation: what a callback schedules runs in the next
   generation without another look at the kernel, so a chain of callbacks costs no system call per
   link. The turn ends once something was sent, begun or closed: what comes of it is news for the
   next generation, as with asyncio, which looks after each. After READY_TURNS_MAX generations or
   READY_BURST_NS_MAX it ends all the same (L3).

Due timers join the ready callbacks before every generation. User code is called from two places
only: `Handle._run`, and the transports when a completion is delivered. When KeyboardInterrupt or
SystemExit escapes from there, everything not yet run stays where it is and the next run goes on
with it (L4).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from asyncio import coroutines
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.core import clock as _clock
from noria.core.clock import Clock, MonotonicClock
from noria.core.completion import Completions
from noria.core.inbox import Inbox
from noria.core.timers import Timers
from noria.limits import (
    READY_BURST_NS_MAX,
    READY_TURNS_MAX,
    SLOW_CALLBACK_SECONDS,
)
from noria.loop import handles as _handles
from noria.loop.handles import Handle, Spares, TimerHandle
from noria.native import calls as native
from noria.native.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from noria.core.operation import Operation
    from noria.engines.interface import Engine

# Names for the compiler, typed in the .pxd.
_TURNS_MAX = READY_TURNS_MAX
_BURST_NS_MAX = READY_BURST_NS_MAX
_Future = asyncio.Future
_Task = asyncio.Task


class LoopCore:
    """The part of the event loop that runs all the time; `noria.api.loop.Loop` completes it.

    Args:
        engine: gets operations done; owned by the loop from now on.
        clock: source of time.
    """

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = MonotonicClock() if clock is None else clock
        self._timers = Timers()
        self._ready = Queue()
        self._inbox = Inbox(self._ready, engine.wake)
        self._batch = Completions()
        self._debug: bool = coroutines._is_debug_mode()  # type: ignore[attr-defined]
        self._stopping = False
        self._closed = False
        self._thread_id: int | None = None
        self._current_handle: Handle | None = None
        self._own_keywords: dict[str, Any] | None = None  # there while it runs
        self._task_factory: Callable[..., Any] | None = None
        self._spare_handles = Spares()
        self._spare_timers = Spares()
        self._recent_ns = self._clock.now_ns()
        self._spare_sends: list[Any] = []  # send operations between two uses; see transports
        self._file_host: Any = None  # what the files of this loop work with, see files/host.py
        self.slow_callback_duration: float = SLOW_CALLBACK_SECONDS

    # -- time and scheduling ----------------------------------------------------------------

    def time(self) -> float:
        """Give the loop's clock in seconds; monotonic, resolution one nanosecond."""
        return self._clock.now_ns() / 1e9

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Handle:
        """Schedule `callback(*args)` for the next generation of callbacks, first in, first out.

        Args:
            callback: any callable but a coroutine function.
            args: its positional arguments.
            context: context to run in; None takes a copy of the current one.

        Returns:
            A handle that can cancel the call.

        Raises:
            RuntimeError: the loop is closed, or (debug mode) this is another thread.
            TypeError: (debug mode) the callback is a coroutine or not callable.
        """
        if self._closed or self._debug:
            self._check_schedule(callback, "call_soon")
        handle = _handles.make_handle(self, callback, args, context)
        self._ready.append(handle)
        return handle

    def _soon(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> None:
        """Do as `call_soon`, in one call of C."""
        if self._closed or self._debug:
            self._check_schedule(callback, "call_soon")
        self._ready.append(_handles.make_handle(self, callback, args, context))

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Handle:
        """Schedule `callback(*args)` from any thread or from a signal handler.

        Arguments, result and errors are those of `call_soon`, but for the thread check.
        """
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
        handle = _handles.make_handle(self, callback, args, context)
        self._inbox.put(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Schedule `callback(*args)` to run `delay` seconds from now, never earlier (L1).

        A negative delay is due at once, in the order of the due times.

        Raises:
            TypeError: the delay is None or no number.
            RuntimeError: the loop is closed, or (debug mode) this is another thread.
        """
        if delay is None:
            raise TypeError("delay must not be None")
        if self._closed or self._debug:
            self._check_schedule(callback, "call_later")
        self._recent_ns = self._clock.now_ns()
        return self._call_at(self._seconds_from_now(delay), callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Schedule `callback(*args)` to run at `when` on the clock of `time()`, never earlier.

        Raises:
            TypeError: `when` is None or no number.
            RuntimeError: the loop is closed, or (debug mode) this is another thread.
        """
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed or self._debug:
            self._check_schedule(callback, "call_at")
        handle = self._call_at(when, callback, args, context)
        if type(when) is not float:
            handle._given = when  # an int stays an int in `when()`
        return handle

    def _make_handle(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> Handle:
        """Make a handle in a copy of the current context, not scheduled yet."""
        handle = _handles.make_handle(self, callback, args, None)
        native.track(handle)
        return handle

    def _seconds_from_now(self, delay: float) -> float:
        seconds = 0.0  # a C number when compiled
        if type(delay) is float or type(delay) is int:
            seconds = delay
            return self._recent_ns / 1e9 + seconds
        return self._recent_ns / 1e9 + delay

    def _call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> TimerHandle:
        handle = _handles.make_timer(self, when, callback, args, context)
        self._timers.add(handle, _clock.nanoseconds_at(when))
        return handle

    def _check_schedule(self, callback: Any, method: str) -> None:
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, method)

    def _check_closed(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")

    def _check_thread(self) -> None:
        if self._thread_id is not None and threading.get_ident() != self._thread_id:
            raise RuntimeError(
                "Non-thread-safe operation invoked on an event loop other than the current one; "
                "use loop.call_soon_threadsafe() from other threads"
            )

    def _check_callback(self, callback: Any, method: str) -> None:
        if coroutines.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError(f"coroutines cannot be used with {method}()")
        if not callable(callback):
            raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")

    # -- futures and state ------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Create a future that belongs to this loop."""
        return self._new_future()

    def _new_future(self) -> asyncio.Future[Any]:
        """Do as `create_future`, in one call of C."""
        keywords = self._own_keywords
        if keywords is None:
            keywords = {"loop": self}
        future: asyncio.Future[Any] = native.call_keywords(_Future, (), keywords)
        return future

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        **kwargs: Any,
    ) -> Any:
        """Schedule a coroutine.

        Args:
            coro: the coroutine.
            name: name of the task; None lets the task choose.
            context: context to run in; None takes a copy of the current one.
            kwargs: passed on to the task factory or to `asyncio.Task`, where the installed asyncio
                does so too (`eager_start`).

        Returns:
            What the task factory made of it; without one an `asyncio.Task`.

        Raises:
            RuntimeError: the loop is closed.
            TypeError: it is no coroutine, or a keyword is unknown.
        """
        if self._closed or self._debug or self._task_factory is not None or kwargs:
            return self._create_task(coro, name, context, kwargs)
        keywords = self._own_keywords
        if keywords is None or name is not None or context is not None:
            keywords = {"loop": self, "name": name, "context": context}
        return native.call_keywords(_Task, (coro,), keywords)

    def _create_task(
        self, coro: Any, name: str | None, context: Context | None, kwargs: dict[str, Any]
    ) -> Any:
        """Make a task where there is more to it; completed by `noria.api.tasks`."""
        raise NotImplementedError

    def get_debug(self) -> bool:
        """Whether the loop runs in debug mode."""
        return self._debug

    def is_running(self) -> bool:
        """Whether the loop is running now, in any thread."""
        return self._thread_id is not None

    def is_closed(self) -> bool:
        """Whether the loop was closed."""
        return self._closed

    def stop(self) -> None:
        """Make `run_forever` return after what is scheduled now has run; the loop can run again."""
        self._stopping = True

    # -- operations -------------------------------------------------------------------------

    def submit_operation(self, op: Operation) -> bool:
        """Do as `submit`, from plain Python."""
        return self.submit(op)

    def submit(self, op: Operation) -> bool:
        """Hand an operation to the engine; True if it is settled at once.

        Raises:
            EngineClosedError, ForkedEngineError: the engine takes nothing any more.
        """
        return self._engine.submit(op)

    def cancel_operation(self, op: Operation) -> None:
        """Ask for an operation's end; its completion tells how it ended."""
        self._engine.cancel(op)

    def forget(self, fd: int) -> None:
        """Drop a descriptor number before it is closed."""
        self._engine.forget(fd)

    # -- running ----------------------------------------------------------------------------

    def _run_turns(self) -> None:
        """Run turn after turn until `stop`."""
        self._own_keywords = {"loop": self}
        try:
            while True:
                self._run_turn()
                if self._stopping:
                    return
        finally:
            # They refer to the loop: a loop that is forgotten between two runs goes at once.
            self._own_keywords = None
            self._spare_handles.clear()
            self._spare_timers.clear()

    def _run_turn(self) -> None:
        if self._batch.count:
            self._batch.deliver_all()  # an interrupt left these over (L4)
        timeout_ns = -1
        older = self._ready.size()
        if older or self._stopping:
            timeout_ns = 0
        else:
            deadline_ns = self._timers.next_deadline_ns()
            if deadline_ns != -1:
                timeout_ns = deadline_ns - self._clock.now_ns()
                if timeout_ns < 0:
                    timeout_ns = 0
        self._engine.acted = False
        if self._engine.poll(timeout_ns, self._batch):
            if older:
                self._run_generation(older)  # it was scheduled before the news came
            self._batch.deliver_all()
        if self._engine.signalled:
            self._take_signals()
        self._run_ready()

    def _run_ready(self) -> None:
        ready = self._ready
        timers = self._timers
        engine = self._engine
        generations = 0
        started_ns = -1
        while True:
            if timers.count:
                self._take_due_timers()
            count = ready.size()
            if count == 0 or engine.acted:
                return  # what was sent or begun may be news by now (L8)
            self._run_generation(count)
            generations += 1
            if self._stopping or generations >= _TURNS_MAX:
                return
            # The clock is read after 1, 2, 4, 8, ... generations: a chain of short callbacks would
            # otherwise spend a fifth of its time on it.
            if generations & (generations - 1) == 0 and ready.size():
                now_ns = self._clock.now_ns()
                if started_ns == -1:
                    started_ns = now_ns
                elif now_ns - started_ns > _BURST_NS_MAX:
                    return

    def _run_generation(self, count: int) -> None:
        if self._debug:
            self._run_generation_in_debug(count)
            return
        ready = self._ready
        while count:
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
            if native.is_sole(handle):
                if type(handle) is Handle:
                    self._spare_handles.keep(handle)
                else:
                    self._spare_timers.keep(handle)
            count -= 1
        # A traceback made beneath keeps this frame: an exception would keep itself by it.
        handle = None

    def _take_due_timers(self) -> None:
        # First by the time that call_later has just read: a chain of zero delays then reads the
        # clock once per link. Nothing starves, since that time moves on with every call.
        entry = self._timers.pop_due(self._recent_ns)
        if entry is None:
            self._recent_ns = self._clock.now_ns()
            entry = self._timers.pop_due(self._recent_ns)
        while entry is not None:
            self._ready.append(entry)
            entry = self._timers.pop_due(self._recent_ns)

    def _run_generation_in_debug(self, count: int) -> None:
        for _ in range(count):
            handle = self._ready.popleft()
            if not handle._cancelled:
                native.track(handle)  # a look at the current handle may be kept
                self._run_in_debug(handle)
        handle = None  # as above

    def _run_in_debug(self, handle: Handle) -> None:
        self._current_handle = handle
        started = self.time()
        try:
            handle._run()
            duration = self.time() - started
            if duration >= self.slow_callback_duration:
                self._engine.flush()  # a log handler may be slow as well
                logger.warning("Executing %s took %.3f seconds", _format_handle(handle), duration)
        finally:
            self._current_handle = None
            handle = None  # type: ignore[assignment] # as in _run_generation

    def _run_now(self, handle: Handle) -> None:
        """Run the callback of a completion while it is delivered."""
        if self._debug:
            self._run_in_debug(handle)
        else:
            handle._run()
        handle = None  # type: ignore[assignment] # as in _run_generation

    def _check_socket(self, sock: Any) -> None:
        """Refuse a socket that the sock_* methods do not take; completed by `noria.api.sockets`."""
        raise NotImplementedError

    def _ensure_fd_no_transport(self, file: Any) -> int:
        """Refuse a transport's descriptor; completed by `noria.api.watch`."""
        raise NotImplementedError

    def _take_signals(self) -> None:
        """Handle signals that reached the engine; completed by `noria.api.signals`."""
        raise NotImplementedError

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error; completed by `noria.api.errors`."""
        raise NotImplementedError


def _format_handle(handle: Handle) -> str:
    callback = handle._callback
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return repr(task)  # its coroutine says more than the step method
    return str(handle)
