"""DiskBackend: does OFFLOAD operations for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from noria.core.operation import Operation


class DiskProbe(NamedTuple):
    """Whether a backend can work here.

    Attributes:
        available: it can.
        reason: why, or why not, in a few words.
    """

    available: bool
    reason: str


class BackendStatistics(NamedTuple):
    """Counters of one backend since it was made.

    Attributes:
        name: the backend's word.
        in_flight: operations that it holds now.
        submitted: operations that it took.
        threads: threads that it has now.
        calls: kernel and library calls, and what else it counts, by name.
        rerouted: operations that it took and gave to `threads`, by the reason.
    """

    name: str
    in_flight: int
    submitted: int
    threads: int
    calls: Mapping[str, int]
    rerouted: Mapping[str, int]


class DiskStatistics(NamedTuple):
    """How the OFFLOAD operations of one engine were done.

    Attributes:
        name: the chosen backend.
        reason: why it was chosen, and what was not available.
        forced: somebody asked for it by name.
        routes: operations by the backend they were submitted to; `uring` is the engine's ring.
        backends: the counters of each backend that is in use.
    """

    name: str
    reason: str
    forced: bool
    routes: Mapping[str, int]
    backends: tuple[BackendStatistics, ...]


class DiskBackend:
    """Does operations elsewhere than in the loop's thread.

    Args:
        wake: called, from any thread, when `reap` has something to give.
        bell: an eventfd that is written instead where no Python runs, -1 if there is none. It
            belongs to the caller; who may outlive the backend duplicates it.
        spill: takes an operation that the backend had and that would have to wait there; it is
            begun already. The result is that of `submit`.

    Raises:
        OSError: it cannot be set up now.
    """

    name = ""
    codes = frozenset[int]()
    """Operations that it does itself; the router gives it no others."""
    hastens = False
    """Many in flight are handed over before the turn's end: the device's queue must not run dry."""

    def __init__(
        self,
        wake: Callable[[], None],
        bell: int = -1,
        spill: Callable[[Operation], int] | None = None,
    ) -> None:
        self._wake = wake
        self._bell = bell
        self._spill = spill

    @classmethod
    def probe(cls) -> DiskProbe:
        """Tell whether it can work here; no side effects remain."""
        raise NotImplementedError

    def submit(self, op: Operation) -> int:
        """Take an operation that has been begun.

        Returns:
            0, or minus errno: -EAGAIN if the queue is full (the operation was not taken).

        Raises:
            TypeError, BufferError: its memory cannot be used (E4).
        """
        raise NotImplementedError

    def cancel(self, op: Operation) -> bool:
        """Ask for an operation's end; one that runs already completes as it does (E5).

        Returns:
            True if the operation is this backend's, or was.
        """
        raise NotImplementedError

    def flush(self, patient: bool = False) -> bool:
        """Hand over what was gathered; from now on what gets done is told by `wake` or the bell.

        Args:
            patient: the caller would sleep otherwise; a backend may watch for what is about to end.

        Returns:
            True if `reap` has something already, so there is no need to wait.
        """
        return False

    def reap(self, done: list[Operation], count: int) -> None:
        """Append the operations that are done, at most `count`, each with its `result`."""
        raise NotImplementedError

    def statistics(self) -> BackendStatistics:
        """Give the backend's counters as one immutable record."""
        raise NotImplementedError

    def close(self, done: list[Operation]) -> None:
        """Cancel what has not started, wait for the rest, append all of it. Idempotent.

        What does not end within OFFLOAD_CLOSE_SECONDS is given up: it settles with -EIO (D2, D4).
        """
        raise NotImplementedError
