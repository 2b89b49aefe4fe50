"""DiskBackend: does OFFLOAD operations for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.operation import Operation


class BackendStatistics(NamedTuple):
    """Counters of one backend since it was made."""

    name: str
    in_flight: int
    submitted: int
    threads: int


class DiskBackend:
    """Does operations elsewhere than in the loop's thread.

    Args:
        wake: called, from any thread, when `reap` has something to give.
    """

    name = ""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def submit(self, op: Operation) -> int:
        """Take an operation that has been begun.

        Returns:
            0, or minus errno: -EAGAIN if the queue is full (the operation was not taken).
        """
        raise NotImplementedError

    def cancel(self, op: Operation) -> None:
        """Ask for an operation's end; one that runs already completes as it does (E5)."""
        raise NotImplementedError

    def reap(self) -> list[tuple[Operation, int]]:
        """Take the operations that are done, each with its result; never waits."""
        raise NotImplementedError

    def statistics(self) -> BackendStatistics:
        """Give the backend's counters as one immutable record."""
        raise NotImplementedError

    def close(self) -> list[tuple[Operation, int]]:
        """Cancel what has not started, wait for the rest, give all of it back. Idempotent."""
        raise NotImplementedError
