# cython: boundscheck=False, wraparound=False
"""Operations without readiness: an engine hands them to its disk backends and takes them back.

The router and its backends are made for the first such operation, or when one was asked for by
name. What their threads and the kernel have done is told by the engine's waker, or by a descriptor
of theirs that the poller watches like any other.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from noria.core.operation import BACKEND, IDLE
from noria.disk.disk import Disk
from noria.disk.registry import RING, choose
from noria.engines.interface import READABLE, Poller
from noria.engines.registrations import Registrations
from noria.limits import COMPLETIONS_PER_POLL_MAX

if TYPE_CHECKING:
    from noria.core.completion import Completions
    from noria.core.operation import Operation
    from noria.disk.interface import DiskStatistics
    from noria.disk.registry import DiskChoice

# Names for the compiler, typed in the .pxd.
_EINVAL = errno.EINVAL
_IDLE = IDLE
_BACKEND = BACKEND
_READABLE = READABLE
_ENTRIES_MAX = COMPLETIONS_PER_POLL_MAX


class Offload(Registrations):
    """What an engine over a Poller does with OFFLOAD operations.

    Attributes:
        offloaded: operations that a disk backend took.
    """

    def __init__(self, poller: Poller) -> None:
        Registrations.__init__(self, poller)
        self.offloaded = 0
        self._disk: Disk | None = None
        self._disk_choice: DiskChoice | None = None
        self._disk_fd = -1
        self._rung = False
        self._reaped: list[Operation] = []
        self._offload_in_flight = 0

    def use_disk(self, name: str | None = None) -> DiskChoice:
        """Choose a disk backend; one that was asked for by name is set up now.

        Raises:
            EngineUnavailableError: the named backend is unknown or cannot work here.
            OSError: it cannot be set up now.
            RuntimeError: there were operations already.
        """
        if self._disk is not None:
            raise RuntimeError(f"the {self.name} engine uses its disk backends already")
        self._disk_choice = choose(name, self._no_ring())
        if self._disk_choice.forced and self._disk_choice.name != RING:
            self._make_disk()
        return self._disk_choice

    def disk_statistics(self) -> DiskStatistics:
        """Tell how operations without readiness were done."""
        return self._used_disk().statistics()

    def _no_ring(self) -> str:
        """Why operations on files do not go by a ring, "" if they do."""
        return f"the engine {self.name} has no ring"

    def _submit_offload(self, op: Operation) -> bool:
        disk = self._disk
        if disk is None:
            disk = self._used_disk()
        op.begin(_BACKEND)
        try:
            failure = disk.submit(op)
        except BaseException:
            op.settle(-_EINVAL)
            op.state = _IDLE  # nothing has changed (E4)
            raise
        if failure < 0:
            op.settle(failure)
            return True
        self.offloaded += 1
        self._offload_in_flight += 1
        return False

    def _used_disk(self) -> Disk:
        if self._disk is None:
            self._make_disk()
            assert self._disk is not None
        return self._disk

    def _make_disk(self) -> None:
        """Make the router, and watch what its backends tell by.

        Raises:
            OSError: there are not enough descriptors, or the poller watches no more.
        """
        if self._disk_choice is None:
            self._disk_choice = choose(None, self._no_ring())
        disk = Disk(self.wake, self._disk_choice)
        self._disk_fd = disk.fileno()
        failure = self._watch_disk()
        if failure < 0:
            self._disk_fd = -1
            disk.close([])
            raise OSError(-failure, f"the {self.name} engine cannot watch its disk backends")
        self._disk = disk

    def _watch_disk(self) -> int:
        if self._disk_fd < 0:
            return 0
        return self.poller.modify(self._disk_fd, 0, READABLE, True)

    def _flush_disk(self, patient: bool) -> bool:
        """Hand over what the backends have gathered; True if something is done already."""
        disk = self._disk
        return disk is not None and disk.flush(patient)

    def _reap(self, batch: Completions) -> None:
        disk = self._disk
        assert disk is not None
        disk.reap(self._reaped, _ENTRIES_MAX)
        if self._reaped:
            self._settle_reaped(batch)

    def _settle_reaped(self, batch: Completions) -> None:
        reaped = self._reaped
        self._reaped = []
        for op in reaped:
            result = op.result
            self._offload_in_flight -= 1
            op.settle(result)
            batch.add(op, result, 0, op.buffer if result >= 0 else None)

    def _close_disk(self, batch: Completions) -> None:
        if self._disk is None:
            return
        if self.forked:
            self._disk.abandon()
        else:
            self._disk.close(self._reaped)
            self._settle_reaped(batch)
