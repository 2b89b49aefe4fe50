# cython: boundscheck=False, wraparound=False
"""FileOperation and the future of its outcome.

An operation is handed over when it is made, so several can be in flight before the first is
awaited. What the caller gets, Pending or Settled, has the interface of `asyncio.Future`: `await`,
`gather`, `wait`, `wait_for` and `shield` take it as it is, without a task.

Cancelling wakes who waits at once and asks the engine to stop. The kernel may be at it still: the
operation, its memory and its lease of the descriptor stay until the completion has come (E3), and
`moved` then tells what was moved all the same (E5).
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
from typing import TYPE_CHECKING, Any

from noria.core.operation import IN_FLIGHT, Operation
from noria.errors import from_result
from noria.native.awaits import DONE, ENDED_BADLY, PAUSING, PENDING, Awaited, is_spare, is_wakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from noria.files.host import Host

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_EINTR = errno.EINTR
_IN_FLIGHT = IN_FLIGHT
_PENDING = PENDING
_DONE = DONE
_ENDED_BADLY = ENDED_BADLY
_PAUSING = PAUSING

_SPARE_REFERENCES = 2  # the host's, and that of who awaits it, or of who would use it again

_copy_context = contextvars.copy_context


class FileOperation(Operation):
    """An operation of a file.

    Args:
        host: what gets it done.
        code: row of the catalog.
        fd: descriptor number, -1 for none.

    Attributes:
        host: what gets it done.
        pending: the future of its outcome; None once it has ended or nobody waits any more.
        outcome: what the future is to give.
        path: what the file is called, for exceptions; None if it has no name.
        moved: bytes moved so far.
        after: called once nothing is in flight any more of what was cancelled; None for nobody.
    """

    __slots__ = ("after", "host", "moved", "outcome", "path", "pending")

    def __init__(self, host: Host, code: int, fd: int = -1) -> None:
        self._begin(host, code, fd)

    def _begin(self, host: Host, code: int, fd: int) -> None:
        """Do what `__init__` does; apart from it, because a call of that one is slow."""
        self._set_up(code, fd, None)
        self.host = host
        self.outcome: Any = None
        self.path: Any = None
        self.moved = 0
        self.after: Callable[[], object] | None = None
        pending = Pending.__new__(Pending)
        pending._begin(host, self)
        self.pending: Pending | None = pending

    def start(self) -> Pending:
        """Hand it over for the first time, and give its future.

        Raises:
            EngineClosedError, ForkedEngineError: the engine takes nothing any more.
            OSError: the descriptor is closing (EBADF).
        """
        pending = self.pending
        assert pending is not None
        self.submit()
        return pending

    def submit(self) -> None:
        """Hand it over, or do what is left of it."""
        host = self.host
        if self.pending is None:
            self._leave()
        elif host.engine.submit(self):
            if self.result == -_EAGAIN:
                host.refuse(self)
            else:
                self.deliver(self.result, 0, self.buffer if self.result >= 0 else None)
        elif not host.native:
            host.submitted()

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Take the completion: end, or go on with what is left to do."""
        if result < 0:
            if self.pending is None:
                self._leave()
            elif result == -_EINTR:
                self.submit()
            elif result == -_EAGAIN:
                self.host.refuse(self)
            else:
                self.fail(self.exception_of(result))
            return
        further = self.advance(result, data)
        if self.pending is None:
            self.give_up(result, data)
            self._leave()
        elif further > 0:
            self.submit()
        elif further == 0:
            self.finish()
        else:
            self.fail(self.exception_of(further))

    def advance(self, result: int, data: object) -> int:
        """Take what a completion brought into `outcome`.

        Returns:
            1 if there is more to do, 0 if this was all, minus errno if it is a failure after all.
        """
        self.outcome = result if data is None else data
        return 0

    def give_up(self, result: int, data: object) -> None:
        """Free what came though nobody wants it any more; an open closes its descriptor."""
        self.discard(result, data)

    def left(self) -> None:
        """Be told, once, that nothing of it is in flight any more."""

    def _leave(self) -> None:
        """End though nobody waits any more: it was cancelled."""
        self.left()
        after = self.after
        if after is not None:
            self.after = None
            after()

    def exception_of(self, result: int) -> BaseException:
        """Make the exception for a failure, with what it was about."""
        return from_result(result, "", self.fd, self.path)

    def finish(self) -> None:
        """End well, with `outcome`."""
        pending = self.pending
        assert pending is not None
        self.buffer = None
        self.pending = None
        self.left()
        pending._end(_DONE, self.outcome)

    def fail(self, exc: BaseException) -> None:
        """End with an exception."""
        pending = self.pending
        assert pending is not None
        self.buffer = None
        self.pending = None
        self.left()
        pending._traceback = exc.__traceback__
        pending._end(_ENDED_BADLY, exc)


class Pending(Awaited):
    """The future of a FileOperation.

    Args:
        host: whose it is.
        operation: what it is the future of.

    Attributes:
        operation: the same.
    """

    __slots__ = ("_callback", "_context", "_host", "_more", "_traceback", "_withdrawn", "operation")

    def __init__(self, host: Host, operation: FileOperation) -> None:
        self._begin(host, operation)

    def _begin(self, host: Host, operation: FileOperation) -> None:
        """Do what `__init__` does; apart from it, because a call of that one is slow."""
        self.stage = _PENDING
        self.outcome = None
        self.spare = 0
        self._asyncio_future_blocking = False
        self._host = host
        self.operation = operation
        self._withdrawn = False
        self._traceback: Any = None
        self._callback: Any = None
        self._context: Any = None
        self._more: list[tuple[Any, Any]] | None = None

    def _end(self, stage: int, outcome: Any) -> None:
        self.stage = stage
        self.outcome = outcome
        callback = self._callback
        if callback is None:
            return
        context = self._context
        self._callback = self._context = None
        told = self._told_to(callback) if stage == _DONE else self
        self._host.call_soon(callback, told, context)
        if self._more is not None:
            more = self._more
            self._more = None
            for function, context in more:
                self._host.call_soon(function, self, context)

    def _told_to(self, callback: Any) -> Any:
        """Give what a callback is called with: itself, or for a task of asyncio's a stand-in.

        Such a task wants to know whether to go on; what came it learns from `__next__`. It calls
        `result` all the same, which costs as much as half a system call, but for a future of its
        own library.
        """
        if not is_wakeup(callback):
            return self
        host = self._host
        if host.woken is None:
            host.woken = host.loop.create_future()
            host.woken.set_result(None)
        return host.woken

    @property
    def moved(self) -> int:
        """Bytes moved so far, also by what was cancelled and has ended since."""
        return self.operation.moved

    def result(self) -> Any:
        """Give the outcome or raise what it failed with, as `asyncio.Future.result` does.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled.
        """
        if self.stage == _DONE:
            return self.outcome
        if self._withdrawn:
            raise self._make_cancelled_error()
        if self.stage == _PENDING:
            raise asyncio.InvalidStateError("Result is not set.")
        raise self.outcome.with_traceback(self._traceback)

    def exception(self) -> BaseException | None:
        """Give what it failed with, None if it did not fail; as `asyncio.Future.exception`.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled.
        """
        if self._withdrawn:
            raise self._make_cancelled_error()
        if self.stage == _PENDING:
            raise asyncio.InvalidStateError("Exception is not set.")
        failure: BaseException | None = self.outcome if self.stage == _ENDED_BADLY else None
        return failure

    @property
    def _cancel_message(self) -> Any:
        """What `cancel` was given; asyncio.gather asks for it."""
        return self.outcome if self._withdrawn else None

    def _make_cancelled_error(self) -> asyncio.CancelledError:
        """Make what who waits gets; asyncio.gather asks for it, too."""
        if self.outcome is None:
            return asyncio.CancelledError()
        return asyncio.CancelledError(self.outcome)

    def done(self) -> bool:
        """Whether it has ended, or was cancelled."""
        return self.stage != _PENDING

    def cancelled(self) -> bool:
        """Whether it was cancelled before it had ended."""
        return self._withdrawn

    def cancel(self, msg: Any = None) -> bool:
        """Cancel: who waits is told at once, and the engine is asked to stop.

        Args:
            msg: goes into the CancelledError.

        Returns:
            False if it had ended already.
        """
        self._asyncio_future_blocking = False
        if self.stage != _PENDING:
            return False
        self._withdrawn = True
        self._end(_ENDED_BADLY, msg)
        operation = self.operation
        operation.pending = None
        if operation.state == _IN_FLIGHT:
            self._host.engine.cancel(operation)
            if not self._host.native:
                self._host.submitted()
        return True

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Have `callback(self)` called by the loop when it has ended, or soon if it has."""
        if context is None:
            context = _copy_context()
        if self.stage != _PENDING:
            self._host.call_soon(callback, self, context)
        elif self._callback is None:
            self._callback = callback
            self._context = context
        elif self._more is None:
            self._more = [(callback, context)]
        else:
            self._more.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Take a callback out; how often it was in."""
        pairs = [] if self._callback is None else [(self._callback, self._context)]
        pairs += self._more or []
        kept = [pair for pair in pairs if pair[0] != callback]
        self._callback, self._context = kept[0] if kept else (None, None)
        self._more = kept[1:] or None
        return len(pairs) - len(kept)

    def get_loop(self) -> Any:
        """Give the event loop it belongs to."""
        return self._host.loop


class Settled(Awaited):
    """The outcome of what was done at once, awaited like a FileOperation.

    Args:
        host: whose it is.
        outcome: what `await` gives.
        pausing: let the loop turn once first, so that others have theirs.
    """

    __slots__ = ("_host",)

    def __init__(self, host: Host, outcome: Any, pausing: bool) -> None:
        Awaited.__init__(self)
        self._host = host
        self.outcome = outcome
        self.stage = _PAUSING if pausing else _DONE

    def result(self) -> Any:
        """Give the outcome."""
        return self.outcome

    def exception(self) -> BaseException | None:
        """Tell of no failure."""
        return None

    def done(self) -> bool:
        """Tell that it has ended."""
        return True

    def cancelled(self) -> bool:
        """Tell that it was not cancelled."""
        return False

    def cancel(self, msg: Any = None) -> bool:
        """Do nothing: it has ended."""
        return False

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Have `callback(self)` called soon."""
        self._host.call_soon(callback, self, _copy_context() if context is None else context)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Find nothing: callbacks are called soon and not kept."""
        return 0

    def get_loop(self) -> Any:
        """Give the event loop it belongs to."""
        return self._host.loop


def settled(host: Host, outcome: Any, pausing: bool) -> Settled:
    """Make a Settled, or use the last one again if nobody has it any more."""
    made: Settled | None = host.spare
    if made is None or not is_spare(made):
        if made is not None:
            made.spare = 0  # whoever has it may await it as often as they like
        made = Settled.__new__(Settled)
        made._asyncio_future_blocking = False
        made._host = host
        made.spare = _SPARE_REFERENCES
        host.spare = made
    made.outcome = outcome
    made.stage = _PAUSING if pausing else _DONE
    return made
