# cython: boundscheck=False, wraparound=False
"""Requests: what the engine `uring` has asked its ring for, and what came of it.

Operations are queued until the next call hands them over; until then they are amendable. Sends are
over when the call that submits them returns: those that have not failed by then have sent
everything, and have no completion of their own. Completions that come when no poll can take them
are kept for the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.engines import ring_files
from noria.engines.epoll_poller import EpollPoller
from noria.engines.readiness import ReadinessEngine
from noria.limits import COMPLETIONS_PER_POLL_MAX

if TYPE_CHECKING:
    from noria.core.completion import Completions
    from noria.core.operation import Operation
    from noria.native.ring import Ring

# Names for the compiler, typed in the .pxd.
_SEND = codes.SEND
_RECEIVE = codes.RECEIVE
_ENTRIES_MAX = COMPLETIONS_PER_POLL_MAX


class RingRequests(ReadinessEngine):
    """The book-keeping of a ring engine.

    Args:
        ring: its ring, closed with it.

    Raises:
        OSError: the epoll set cannot be made.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._running = False
        self._queued: list[Operation] = []
        self._parked: list[Operation] = []
        self._uncancelled: list[Operation] = []
        self._handed: list[Operation | None] = []
        self._sent: list[tuple[int, list[Operation | None]]] = []
        self._kept: list[tuple[Operation, int, int, Any]] = []
        self._native_in_flight = 0
        self.retried = 0
        self._batch: Completions | None = None
        try:
            ReadinessEngine.__init__(self, EpollPoller())
        except BaseException:
            ring.close()
            raise

    # -- to the ring ------------------------------------------------------------------------

    def _queue(self, op: Operation) -> None:
        """Have it handed over by the next poll; while parked, by the first one of the next run."""
        op.amendable = True
        (self._queued if self._running else self._parked).append(op)

    def _again(self, op: Operation) -> None:
        """Submit it once more at the next poll, or when the engine is resumed."""
        self.retried += 1
        self._queue(op)

    def _flush(self) -> None:
        """Fill the submission queue with what is queued, calling the kernel whenever it is full."""
        if self._uncancelled:
            waiting = self._uncancelled
            self._uncancelled = []
            for op in waiting:
                self._cancel_native(op)
        queued = self._queued
        done = 0
        try:
            while done < len(queued):
                op = queued[done]
                # One that is not amendable was withdrawn or cancelled, or is queued again behind.
                if op.amendable and not self._hand_over(op):
                    break  # completions have to be taken first
                done += 1
        finally:
            del queued[:done]

    def _hand_over(self, op: Operation) -> bool:
        if not self._prepare(op):
            if self._enter(0) < 0 or self._ring.queued():
                return False
            self._prepare(op)
        op.amendable = False
        if op.code == _SEND:
            self._handed.append(op)
        else:
            self._native_in_flight += 1
        return True

    def _enter(self, timeout_ns: int) -> int:
        """Call the kernel; when it has taken every request, the sends among them are over."""
        ring = self._ring
        if timeout_ns == 0 and ring.completed() >= _ENTRIES_MAX:
            # There is enough to do. More completions would only take buffers away, until receives
            # end for lack of them.
            failure = ring.submit()
        else:
            failure = ring.enter(timeout_ns)
        if self._handed and not ring.queued() and not ring.overflowed():
            operations = self._handed
            self._handed = []
            if ring.send_failed():
                # Which ones is known when what is there now has been taken.
                self._sent.append((ring.taken + ring.completed(), operations))
            else:
                self._finish_sends(operations)
        return failure

    def _finish_sends(self, operations: list[Operation | None]) -> None:
        """Settle sends; those that have not failed by now have sent everything."""
        for index in range(len(operations)):
            op = operations[index]
            if op is not None:
                size = op.size
                op.settle(size)
                if not op.absorb(size):
                    self._add(op, size, 0, None)

    def _fail_send(self, op: Operation, result: int) -> None:
        """Settle a send that was short or failed, and do not wait for it any more."""
        for operations in (self._handed, *(batch for _, batch in self._sent)):
            if op in operations:
                operations[operations.index(op)] = None
        op.settle(result)
        self._add(op, result, 0, None)

    def _finish_sends_taken(self) -> None:
        """Settle the sends of calls whose completions have all been taken."""
        while self._sent and self._sent[0][0] <= self._ring.taken:
            _, operations = self._sent.pop(0)
            self._finish_sends(operations)

    def _prepare(self, op: Operation) -> bool:
        if op.code == _SEND:
            data = op.buffer
            if type(data) is list:
                data = joined(op)
            return self._ring.prepare_send(op, op.fd, data, 0)
        if op.code == _RECEIVE:
            return self._ring.prepare_receive(op, op.fd)
        return ring_files.prepare(self._ring, op)

    def _cancel_native(self, op: Operation) -> None:
        """Ask the kernel now, or with the next poll; while parked, another thread may ask."""
        if self._running:
            if self._ring.prepare_cancel(op):
                return
            if self._enter(0) == 0 and self._ring.prepare_cancel(op):
                return
        self._uncancelled.append(op)

    # -- for the next poll ------------------------------------------------------------------

    def _add(self, op: Operation, result: int, flags: int, data: Any) -> None:
        if self._batch is not None:
            self._batch.add(op, result, flags, data)
        else:
            self._kept.append((op, result, flags, data))

    def _deliver_kept(self) -> None:
        """Pass on what was kept, as much as one poll may."""
        batch = self._batch
        assert batch is not None
        kept = self._kept
        done = min(len(kept), _ENTRIES_MAX - batch.count if self._running else len(kept))
        for index in range(done):
            op, result, flags, data = kept[index]
            batch.add(op, result, flags, data)
        del kept[:done]


def joined(op: Operation) -> bytes:
    """Give a deferred send's bytes in one piece."""
    if type(op.buffer) is list:
        op.buffer = b"".join(op.buffer)
    data: bytes = op.buffer
    return data
