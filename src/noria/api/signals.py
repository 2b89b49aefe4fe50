"""SignalsMixin: signal handlers that run as callbacks, and waits that every signal ends.

The interpreter writes the number of each signal to its wakeup descriptor. While the loop runs in
the main thread that is the engine's, so a wait ends even where the kernel would go on with it;
while there are signal handlers it stays so between runs too, and no signal is lost. A descriptor
that somebody else has put there is respected as long as there are no handlers, and put back
afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import signal
import sys
import threading
import warnings
import weakref
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

from noria.api.interrupts import InterruptGuard
from noria.loop.core import LoopCore

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.engines.interface import Engine
    from noria.loop.handles import Handle

Ts = TypeVarTuple("Ts")


class SignalsMixin(LoopCore):
    """Signal handlers of the loop."""

    def _init_signals(self) -> None:
        self._signal_handlers: dict[int, Handle] = {}
        self._wakeup = WakeupDescriptor()
        self._interrupts = InterruptGuard()

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts
    ) -> None:
        """Schedule `callback(*args)` whenever a signal arrives; main thread only.

        Args:
            sig: number of the signal.
            callback: what to call, in a copy of the current context; no coroutine function.
            args: its arguments.

        Raises:
            TypeError: the callback is a coroutine (function), or the number is no int.
            ValueError: there is no such signal.
            RuntimeError: the loop is closed, the signal cannot be caught, or this is not the main
                thread.
            NotImplementedError: Windows has no such signals; use `signal.signal`.
        """
        if sys.platform == "win32":
            raise NotImplementedError("Windows has no signals for a loop; use signal.signal()")
        if _is_coroutine(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        try:
            # Asked for every time: only the interpreter knows whether this is its main thread.
            self._wakeup.take(self._engine, displace=True)
        except (ValueError, OSError) as exc:
            raise RuntimeError(str(exc)) from exc
        self._signal_handlers[sig] = self._make_handle(callback, args)
        try:
            # Its Python handler has nothing to do: the number in the wakeup descriptor is all.
            signal.signal(sig, _ignore)
            signal.siginterrupt(sig, False)  # other system calls of the program are restarted
        except OSError as exc:
            del self._signal_handlers[sig]
            self._settle_wakeup()
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from exc
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Put the default back in place of a signal handler; main thread only.

        Returns:
            True if there was one.

        Raises:
            TypeError: the number is no int.
            ValueError: there is no such signal, or this is not the main thread.
            NotImplementedError: Windows has no such signals.
        """
        if sys.platform == "win32":
            raise NotImplementedError("Windows has no signals for a loop; use signal.signal()")
        _check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from exc
            raise
        self._settle_wakeup()
        if self._thread_id is not None and sig == signal.SIGINT:
            self._interrupts.install(self)
        return True

    # -- hooks ------------------------------------------------------------------------------

    def _signals_start(self) -> None:
        """Let signals end waits; the first step of a run."""
        if not _in_main_thread():
            return
        try:
            self._interrupts.install(self)  # before anything that an interrupt could tear in two
            self._wakeup.take(self._engine, displace=bool(self._signal_handlers))
        except ValueError:
            pass  # the main thread of a subinterpreter gets no signals

    def _signals_end(self) -> None:
        """Give back what `_signals_start` took; the last step of a run.

        Raises:
            KeyboardInterrupt: one was put off, and the run ended before it could be raised.
        """
        if not _in_main_thread():
            return
        if not self._signal_handlers:
            self._wakeup.release()
        if self._interrupts.remove():
            raise KeyboardInterrupt

    def _take_signals(self) -> None:
        """Schedule the handlers of the signals that reached the engine."""
        for number in self._engine.take_signals():
            handle = self._signal_handlers.get(number)
            if handle is None:
                continue  # somebody else's signal, or a handler that was removed meanwhile
            if handle._cancelled:
                self.call_soon(self.remove_signal_handler, number)
            else:
                self._ready.append(handle)

    def _close_signals(self) -> None:
        """Remove all handlers; for `close`, before the engine closes the wakeup descriptor.

        Raises:
            ValueError: there are some, and this is not the main thread; nothing was done.
        """
        if self._wakeup.is_stuck():
            raise ValueError(
                "signal only works in main thread: close the loop there, or remove its signal "
                "handlers there before"
            )
        if sys.is_finalizing() and self._signal_handlers:
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, "
                "skipping signal handlers removal",
                ResourceWarning,
                stacklevel=3,
                source=self,
            )
            self._signal_handlers.clear()
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)
        self._wakeup.release()

    def _settle_wakeup(self) -> None:
        """Give the wakeup descriptor back if no handler needs it any more."""
        if self._signal_handlers:
            return
        try:
            self._wakeup.release()
            if self._thread_id is not None:
                self._wakeup.take(self._engine, displace=False)
        except (ValueError, OSError) as exc:
            logger.info("set_wakeup_fd failed: %s", exc)


class WakeupDescriptor:
    """The interpreter's wakeup descriptor, as far as one loop has taken it.

    Attributes:
        fd: what this loop has put there, -1 if nothing.
    """

    __slots__ = ("__weakref__", "_foreign", "fd")

    def __init__(self) -> None:
        self.fd = -1
        self._foreign = -1
        _wakeups.add(self)

    def take(self, engine: Engine, *, displace: bool) -> None:
        """Put the engine's descriptor there, if it has one.

        Args:
            engine: owns the descriptor.
            displace: also if somebody else's is there; it comes back with `release`.

        Raises:
            ValueError: this is not the main thread of the main interpreter.
            OSError: the descriptor is closed.
        """
        fd = engine.signal_fileno()
        if fd < 0:
            return
        held, self.fd = self.fd, fd
        try:
            # Without handlers any byte will do to end a wait: one that finds no room is no loss.
            previous = signal.set_wakeup_fd(fd, warn_on_full_buffer=displace)
        except (ValueError, OSError):
            self.fd = held
            raise
        if previous not in {-1, fd}:
            if not displace:
                signal.set_wakeup_fd(previous)
                self.fd = -1
                return
            self._foreign = previous
        _written_to[fd] = engine

    def release(self) -> None:
        """Put back what was there before, unless somebody else has put something there since.

        Raises:
            ValueError: this is not the main thread of the main interpreter.
        """
        if self.fd < 0:
            return
        try:
            current = signal.set_wakeup_fd(self._foreign)
        except (ValueError, OSError):
            current = signal.set_wakeup_fd(-1)  # its owner has closed it meanwhile
        if current not in {-1, self.fd}:
            signal.set_wakeup_fd(current)
        _written_to.pop(self.fd, None)
        self.fd = self._foreign = -1

    def is_stuck(self) -> bool:
        """Whether it would have to be released, and this thread cannot: the main thread only."""
        return self.fd >= 0 and not _in_main_thread()


_wakeups: weakref.WeakSet[WakeupDescriptor] = weakref.WeakSet()

_written_to: dict[int, Engine] = {}
"""The engines that the interpreter may write to, by descriptor.

They live even if their loop is forgotten: a number written to a descriptor that was closed, and
belongs to somebody else by now, does more harm than one that stays open.
"""


def _is_coroutine(callback: Any) -> bool:
    return asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback)


def _check_signal(sig: int) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _ignore(number: int, frame: object) -> None:
    """Do nothing, from Python; a signal set to SIG_IGN would not be written down."""


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _release_in_child() -> None:
    """In a forked child: signals must not be written to a socket that the parent reads."""
    for wakeup in list(_wakeups):
        if wakeup.fd >= 0:
            wakeup._foreign = -1
            wakeup.release()
    if isinstance(signal.getsignal(signal.SIGINT), InterruptGuard):
        signal.signal(signal.SIGINT, signal.default_int_handler)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
