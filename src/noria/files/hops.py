"""Hops: blocking calls in a thread, for what no engine does better.

Several steps that belong together, such as open, read and close, make one hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from noria.core.codes import RUN
from noria.core.operation import BY_THREAD, NAMES
from noria.files.host import Host, running_host
from noria.files.operation import FileOperation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from noria.core.descriptor import Descriptor

T = TypeVar("T")


class HopOperation(FileOperation):
    """A call in a thread; what it gives is freed by `undo` if nobody takes it any more."""

    __slots__ = ("undo",)

    def __init__(
        self, host: Host, call: Callable[[], Any], crew: int, undo: Callable[[Any], object] | None
    ) -> None:
        FileOperation.__init__(self, host, RUN)
        self.buffer = call
        self.crew = crew
        self.way = BY_THREAD
        self.undo = undo

    def deliver(self, result: int, flags: int, data: object) -> None:
        """End with what the call raised, be it BlockingIOError; it is not called again for that."""
        raised: Any = self.address
        if raised is None or self.pending is None:
            FileOperation.deliver(self, result, flags, data)
        else:
            self.address = None
            self.fail(raised)

    def advance(self, result: int, data: object) -> int:
        """Take what the call gave."""
        self.outcome = self.buffer
        return 0

    def discard(self, result: int, data: object) -> None:
        """Undo it: the loop was closed before anybody could be told."""
        if result >= 0:
            self.outcome = self.buffer
            self.give_up(result, data)
        self.buffer = None  # it and its future hold each other, and the call may own something

    def give_up(self, result: int, data: object) -> None:
        """Undo what was done for somebody who has gone."""
        if self.undo is not None:
            self.undo(self.outcome)
        self.outcome = None


def hop(
    call: Callable[[], T],
    *,
    crew: int = NAMES,
    undo: Callable[[T], object] | None = None,
    host: Host | None = None,
    descriptor: Descriptor | None = None,
) -> Awaitable[T]:
    """Call a function without arguments in a thread; begins at once.

    Args:
        call: the function; it may block.
        crew: which threads do it: NAMES, or WAITING for what may wait for ever.
        undo: called in the loop's thread with what `call` gave, if the waiting task was cancelled
            meanwhile; closes what was opened.
        host: whose threads; None for the running loop's.
        descriptor: what the call uses; leased, so that it stays open until the call has ended.

    Returns:
        What gives the function's result, or raises what it raised. Cancelling it takes back a call
        that no thread has begun; one that runs goes on to its end.

    Raises:
        RuntimeError: no event loop is running in this thread.
        OSError: the descriptor is closing (EBADF).
    """
    op = HopOperation(host or running_host(), call, crew, undo)
    op.descriptor = descriptor
    return op.start()
