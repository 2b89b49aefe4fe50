# cython: boundscheck=False, wraparound=False
"""Requests that end once: files, names and connects, each with one completion.

Parking takes back what waits for a worker or a peer, and waits for what a worker does. A request
taken back so has not begun and is submitted again in the next run; but a connect has, so the rest
of it, waiting until the socket is writable and asking how it ended, goes by readiness.

A worker that is stuck on a disk cannot be stopped. Parking waits once, OFFLOAD_CLOSE_SECONDS long;
its request stays with the ring and may end in the next run. When the ring is left, because the
engine closes or goes on in another thread, what is still stuck then is given up (ring_left.py).

What changes a file is done by the ring's workers, which are few, and which do the writes of files
whose inodes have the same hash one after the other (64 hashes, io-wq.c). One file that hangs could
hold up every other one. So unless the ring was asked for by name they work for one file at a time,
with half of them at most, and what comes meanwhile goes by threads, of which there are plenty.
Direct writes rarely need a worker and are not held back, but count.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from noria.core import codes
from noria.core.operation import BACKEND, BY_THREAD, DIRECT, NATIVE, READINESS, WAITING
from noria.disk.registry import RING, choose
from noria.engines import ring_files, ring_left
from noria.engines.interface import refuse
from noria.engines.readiness import ReadinessEngine
from noria.engines.ring_requests import RingRequests
from noria.limits import (
    GATHERED_FRACTION_MAX,
    OFFLOAD_QUEUE_MAX,
    RING_CHANGES_MAX,
    UNASKED_CANCELS_MAX,
)
from noria.native import ring as native_ring
from noria.native import sockets as native

if TYPE_CHECKING:
    from noria.core.operation import Operation
    from noria.disk.interface import DiskStatistics
    from noria.disk.registry import DiskChoice

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_ECANCELED = errno.ECANCELED
_EINTR = errno.EINTR
_EIO = errno.EIO
_EOPNOTSUPP = errno.EOPNOTSUPP
_CONNECT = codes.CONNECT
_ALLOCATE = codes.ALLOCATE
_BACKEND = BACKEND
_BY_THREAD = BY_THREAD
_DIRECT = DIRECT
_FRACTION = GATHERED_FRACTION_MAX
_WAITING = WAITING
_CODES = 256
_CLOSE_FILE = codes.CLOSE_FILE
_NATIVE = NATIVE
_READINESS = READINESS
_UNASKED_MAX = UNASKED_CANCELS_MAX
_CHANGES_MAX = RING_CHANGES_MAX
_SEVERAL = -2  # no descriptor's number
_SINGLES_MAX = OFFLOAD_QUEUE_MAX
_RESTART = 512  # ERESTARTSYS and its kin, which workers let through instead of EINTR

_CHANGING = (
    codes.WRITE_AT,
    codes.WRITE_VECTOR_AT,
    codes.FSYNC,
    codes.DATASYNC,
    codes.TRUNCATE,
    codes.ALLOCATE,
)
_changing = bytearray(code in _CHANGING for code in range(_CODES))


class RingSingle(RingRequests):
    """A ring engine's requests that end once; see RingRequests for the arguments."""

    def __init__(self, ring: native_ring.Ring) -> None:
        self._singles: set[Operation] = set()
        self._stuck: set[Operation] = set()
        self._singles_done = 0
        self._gathered = 0
        self._learned = False
        self._can = bytearray(_CODES)
        self._by_ring_known = False
        self._by_ring = False
        self._bounded = False
        self._changes = 0
        self._changed_fd = -1
        RingRequests.__init__(self, ring)

    def _submit_offload(self, op: Operation) -> bool:
        """Queue it for the ring if that can do it, else leave it to the disk backend."""
        if not self._learned:
            self._learn()
        if (
            not self.direct
            or op.way == _BY_THREAD
            or op.crew == _WAITING
            or op.code >= _CODES
            or not self._can[op.code]
            or not ring_files.suits(op)
            or not self._disk_by_ring()
            or (self._bounded and self._has_to_wait(op))
        ):
            return ReadinessEngine._submit_offload(self, op)
        ring_files.lend(op)
        op.begin(_NATIVE)
        if len(self._singles) >= _SINGLES_MAX:
            op.lent = None
            op.settle(-_EAGAIN)
            return True
        self._singles_done += 1
        self._queue_single(op)
        self._gathered += 1
        singles = len(self._singles)
        if _FRACTION <= singles <= self._gathered * _FRACTION and not self._attached:
            self._gathered = 0
            try:
                self.flush()
            except OSError:
                pass  # the next poll meets it too; this operation was taken (E4)
        return False

    def _learn(self) -> None:
        """Ask the ring what it can do; a restricted one may not tell, and can do nothing of it."""
        self._learned = True
        for code in ring_files.supported(self._ring):
            self._can[code] = 1

    def _disk_by_ring(self) -> bool:
        """Whether nobody has asked for a disk backend instead of the ring."""
        if self._disk_choice is None:
            self._disk_choice = choose(None, self._no_ring())
        if not self._by_ring_known:
            self._by_ring_known = True
            self._by_ring = self._disk_choice.name == RING
            self._bounded = not self._disk_choice.forced
        return self._by_ring

    def _has_to_wait(self, op: Operation) -> bool:
        """Whether a worker might come to it only when something else has ended, if that does."""
        return (
            self._changes > 0
            and _changing[op.code] != 0
            and op.way != _DIRECT
            and (self._changed_fd != op.fd or self._changes >= _CHANGES_MAX)
        )

    def use_disk(self, name: str | None = None) -> DiskChoice:
        """Choose the ring, or a disk backend."""
        self._by_ring_known = False
        return ReadinessEngine.use_disk(self, name)

    def disk_statistics(self) -> DiskStatistics:
        """Tell how operations without readiness were done, those of the ring first."""
        found = ReadinessEngine.disk_statistics(self)
        return found._replace(routes={RING: self._singles_done, **found.routes})

    def _no_ring(self) -> str:
        return "the ring is restricted to sockets" if self.restricted else ""

    def _submit_connect(self, op: Operation) -> bool:
        """Queue the connect of an owned socket, if its address has a form that is known here."""
        if self.closed or self.forked:
            raise refuse(self)
        if not self._learned:
            self._learn()
        raw = None
        if self._can[op.code] and op.size == 0 and len(self._singles) < _SINGLES_MAX:
            raw = native.raw_address(op.sock.family, op.address)
        if raw is None:
            return ReadinessEngine.submit(self, op)
        self.acted = True
        op.begin(_NATIVE)
        op.lent = native_ring.Lent(raw)
        self._queue_single(op)
        return False

    def _queue_single(self, op: Operation) -> None:
        op.expected = 0
        self._singles.add(op)
        if _changing[op.code]:
            if self._changes == 0:
                self._changed_fd = op.fd
            elif self._changed_fd != op.fd:
                self._changed_fd = _SEVERAL
            self._changes += 1
        self._queue(op)

    def _remove_single(self, op: Operation) -> None:
        self._singles.discard(op)
        if _changing[op.code]:
            self._changes -= 1
        if self._stuck:
            self._stuck.discard(op)

    def _complete_single(self, op: Operation, result: int) -> None:
        if result == -_EINTR or result <= -_RESTART:
            # Closing has closed all the same; nothing else has begun when it says so.
            result = 0 if op.code == _CLOSE_FILE else -_ECANCELED
        if result == -_ECANCELED and not op.cancelled:
            if op.code == _CONNECT:
                self._connect_by_readiness(op)
                return
            if not self._running:
                self._again(op)  # parking has taken it back
                return
            op.expected += 1
            if op.expected <= _UNASKED_MAX:
                self._again(op)
                return
        if result == -_EOPNOTSUPP and op.code == _ALLOCATE:
            self._allocate_by_thread(op)
            return
        self._end_single(op, result)
        op.settle(result)
        self._add(op, result, 0, op.buffer if result >= 0 else None)

    def _allocate_by_thread(self, op: Operation) -> None:
        """Let the C library write zeros where the file system reserves nothing, as it does."""
        self._end_single(op, -_EOPNOTSUPP)
        failure = self._used_disk().submit(op)
        op.route = _BACKEND
        if failure < 0:
            op.settle(failure)
            self._add(op, failure, 0, None)
            return
        self._offload_in_flight += 1

    def _end_single(self, op: Operation, result: int) -> None:
        ring_files.finish(op, result)
        self._remove_single(op)
        if result > 0:
            self._batch_bytes += result

    def _note_stuck(self) -> None:
        """Wait no more for what the kernel has and does not give back."""
        for op in self._singles:
            if not op.amendable:
                self._stuck.add(op)

    def _leave_ring(self, owner: object) -> None:
        """Settle what is stuck, and close the ring when it has ended."""
        ring_left.leave(self._ring, owner, self._stuck)
        stuck = self._stuck
        self._stuck = set()
        for op in stuck:
            self._remove_single(op)
            if op in self._uncancelled:
                self._uncancelled.remove(op)
            op.settle(-_EIO)
            self._add(op, -_EIO, 0, None)
        self._native_in_flight -= len(stuck)

    def _connect_by_readiness(self, op: Operation) -> None:
        op.lent = None
        self._remove_single(op)
        op.route = _READINESS
        op.size = 1  # it has begun: see `connect` in operations/sockets.py
        slot = self._slot_of(op)
        failure = self._arm(slot, op)
        if failure < 0:
            op.settle(failure)
            self._add(op, failure, 0, None)
            return
        self._enqueue(slot, op)
