"""BatchItem: one operation of a batch, what became of it, and what is to follow it."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

from noria.files.operation import Pending

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.files.batch import Batch


class BatchItem:
    """One operation of a batch, and what became of it. Made by the methods of Batch.

    Attributes:
        name: what it does, such as "read_at".
    """

    __slots__ = (
        "__weakref__",
        "_batch",
        "_begun",
        "_call",
        "_ended",
        "_failure",
        "_formers",
        "_future",
        "_next",
        "_told",
        "name",
    )

    def __init__(self, batch: Batch, name: str, call: Callable[[], Any]) -> None:
        self.name = name
        self._batch = batch
        self._call: Callable[[], Any] | None = call
        self._future: Any = None
        self._failure: Exception | None = None
        self._formers = 0
        self._next: list[BatchItem] = []
        self._begun = False
        self._ended = False
        self._told = False

    def done(self) -> bool:
        """Whether it has ended, was cancelled, or will not begin any more."""
        return self._ended

    def cancelled(self) -> bool:
        """Whether it was cancelled, by `cancel` or with its batch."""
        if not self._ended or self._failure is not None:
            return False
        return self._future is None or bool(self._future.cancelled())

    def result(self) -> Any:
        """Give what the operation gives, or raise what it failed with.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled.
            OSError: what the operation raises; ECANCELED, with the reason as its cause, if it was
                to follow one that failed.
        """
        self.exception()
        if self._failure is not None:
            raise self._failure
        return self._future.result()

    def exception(self) -> BaseException | None:
        """Give what the operation failed with, None if it did not.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled.
        """
        if not self._ended:
            raise asyncio.InvalidStateError("Result is not set.")
        self._told = True
        if self._failure is not None:
            return self._failure
        if self._future is None:
            raise asyncio.CancelledError
        failure: BaseException | None = self._future.exception()
        return failure

    @property
    def moved(self) -> int:
        """Bytes moved so far, also by what was cancelled and has ended since."""
        return getattr(self._future, "moved", 0)

    def cancel(self) -> bool:
        """Cancel it, and what was to follow it.

        What runs already may go on to its end; the block is not left before that.

        Returns:
            False if it had ended already.
        """
        if self._ended:
            return False
        future = self._future
        if future is None:
            self._batch._end(self)
            return True
        cancelled: bool = future.cancel()
        if cancelled and isinstance(future, Pending):
            self._batch._linger(future)
        return cancelled

    def __repr__(self) -> str:
        """Name and state, for logs."""
        state = "gathered"
        if self._ended:
            state = "cancelled" if self.cancelled() else "done"
        elif self._begun:
            state = "waiting for another" if self._future is None else "in flight"
        return f"<BatchItem {self.name} {state}>"

    def __del__(self) -> None:
        """Report a failure that nobody has looked at, as asyncio does for futures."""
        if self._told or not self._ended:
            return
        future = self._future
        if future is None:
            failure: Any = self._failure
            if getattr(failure, "errno", 0) == errno.ECANCELED:
                return  # what it was to follow tells
        else:
            failure = None if future.cancelled() else future.exception()
        if failure is not None:
            context = {
                "message": f"{self.name} of a batch failed and nobody asked for its result",
                "exception": failure,
            }
            self._batch._host.loop.call_exception_handler(context)


def follows(item: BatchItem, other: BatchItem) -> bool:
    """Whether an item is to run behind another, or is that one."""
    seen: set[int] = set()
    looking = [other]
    while looking:
        one = looking.pop()
        if one is item:
            return True
        if id(one) not in seen:
            seen.add(id(one))
            looking.extend(one._next)
    return False


def ended_well(item: BatchItem) -> bool:
    """Whether an item has ended with a result."""
    future = item._future
    if item._failure is not None or future is None or future.cancelled():
        return False
    return future.exception() is None


def failure_behind(item: BatchItem) -> Exception | None:
    """What becomes of one that was to follow `item`: None if that was cancelled."""
    if item.cancelled():
        return None
    cause = item._failure if item._future is None else item._future.exception()
    failure = OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
    failure.add_note(f"it was to follow {item.name}, which failed")
    failure.__cause__ = cause
    return failure
