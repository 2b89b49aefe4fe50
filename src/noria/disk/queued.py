# cython: boundscheck=False, wraparound=False
"""QueuedBackend: what backends have in common that lend requests to a queue of the system's.

A request is an object of the native module with the operation's memory in it. It is gathered when
it is submitted, handed over by `flush`, and given back by the queue when it is done. What the
queue could not do, or could do only by waiting, goes on by `spill` and is counted with its reason.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import noria.operations  # noqa: F401 - enters the operations into the catalog
from noria.core import codes
from noria.core.catalog import CATALOG
from noria.core.operation import DIRECT
from noria.disk.interface import BackendStatistics, DiskBackend
from noria.limits import (
    OFFLOAD_CLOSE_SECONDS,
    OFFLOAD_QUEUE_MAX,
    VECTOR_PARTS_MAX,
)
from noria.native.transfer import has_position

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.descriptor import Descriptor
    from noria.core.operation import Operation

# Names for the compiler, typed in the .pxd.
_EINVAL = errno.EINVAL
_EIO = errno.EIO
_ENOMEM = errno.ENOMEM
_ECANCELED = errno.ECANCELED
_FSYNC = codes.FSYNC
_DATASYNC = codes.DATASYNC
_READ_AT = codes.READ_AT
_READ_VECTOR_AT = codes.READ_VECTOR_AT
_WRITE_VECTOR_AT = codes.WRITE_VECTOR_AT
_PARTS_MAX = VECTOR_PARTS_MAX
_DIRECT = DIRECT
_rows = dict(CATALOG)  # what the system's queues know; who replaces a row has it done as it says

REPLACED = "its row of the catalog was replaced"
NO_POSITION = "no file with positions"
INTERRUPTED = "interrupted"


class GivenUp(NamedTuple):
    """A queue that was closed with requests that did not end in time.

    Attributes:
        queue: the native queue.
        kept: the leases of its requests, by the identity of the request.
        pid: the process; a forked child must not touch what belongs to its parent.
    """

    queue: Any
    kept: dict[int, Descriptor | None]
    pid: int


_given_up: list[GivenUp] = []


class QueuedBackend(DiskBackend):
    """See DiskBackend for the arguments; a subclass makes the queue and its requests."""

    def __init__(
        self,
        wake: Callable[[], None],
        bell: int = -1,
        spill: Callable[[Operation], int] | None = None,
    ) -> None:
        DiskBackend.__init__(self, wake, bell, spill)
        sweep()
        self._submitted = 0
        self._rerouted: dict[str, int] = {}
        self._closed = False
        self._queue: Any = self._make_queue()

    def _make_queue(self) -> Any:
        """Make the native queue.

        Raises:
            OSError: there can be none now.
        """
        raise NotImplementedError

    def _make_request(self, op: Operation) -> Any:
        """Make the native request of an operation.

        Raises:
            TypeError, BufferError: its memory cannot be used.
        """
        raise NotImplementedError

    def _unfit(self, op: Operation) -> str:
        """Why the queue should not even be asked, "" if it should."""
        return ""

    def _undone(self, op: Operation, request: Any) -> str:
        """Why a request that has ended is still to be done by somebody else, "" if it is not.

        It may change the result of the request.
        """
        return ""

    def submit(self, op: Operation) -> int:
        """Gather an operation, or hand it on at once."""
        if CATALOG[op.code] is not _rows[op.code]:
            reason = REPLACED
        elif op.code not in (_FSYNC, _DATASYNC) and op.way != _DIRECT and not has_position(op.fd):
            reason = NO_POSITION  # asynchronous calls read a pipe, where pread(2) is ESPIPE
        else:
            reason = self._unfit(op)
        if reason:
            self._submitted += 1
            return self._reroute(op, reason)
        if op.code in (_READ_VECTOR_AT, _WRITE_VECTOR_AT) and len(op.buffer) > _PARTS_MAX:
            return -_EINVAL
        request = self._make_request(op)
        failure: int = self._queue.submit(request)
        if failure == 0:
            op.lent = request
            self._submitted += 1
        return failure

    def cancel(self, op: Operation) -> bool:
        """End an operation that was not handed over yet, and ask for the end of any other."""
        request = op.lent
        if request is None or not self._is_ours(request):
            return False
        self._queue.cancel(request)
        return True

    def _is_ours(self, request: Any) -> bool:
        raise NotImplementedError

    def flush(self, patient: bool = False) -> bool:
        """Hand over what was gathered."""
        ready: bool = self._queue.flush()
        return ready

    def reap(self, done: list[Operation], count: int) -> None:
        """Take what is done, and hand on what is not."""
        for request in self._queue.reap(count):
            op = request.token
            if op is not None:
                self._settle(op, request, done)

    def _settle(self, op: Operation, request: Any, done: list[Operation]) -> None:
        op.lent = None
        request.token = None
        reason = self._undone(op, request)
        result: int = request.result
        if reason:
            if not self._closed and not op.cancelled:
                failure = self._hand_on(op, reason)
                if failure == 0:
                    return
                result = failure
            elif result <= 0:
                result = -_ECANCELED  # nothing was moved, and nobody waits for it
        if result >= 0 and op.code == _READ_AT:
            op.buffer = request.taken(result)
        op.result = result
        done.append(op)

    def _hand_on(self, op: Operation, reason: str) -> int:
        """Reroute what is in flight already, so misuse that shows now is a number (E4)."""
        try:
            return self._reroute(op, reason)
        except MemoryError:
            return -_ENOMEM
        except (TypeError, ValueError, BufferError):
            return -_EINVAL

    def _reroute(self, op: Operation, reason: str) -> int:
        self._rerouted[reason] = self._rerouted.get(reason, 0) + 1
        assert self._spill is not None
        failure: int = self._spill(op)
        return failure

    def _threads(self) -> int:
        """How many threads it has."""
        return 0

    def statistics(self) -> BackendStatistics:
        """Give the counters."""
        calls = dict(self._queue.calls())
        in_flight = self._queue.in_flight()
        rerouted = dict(self._rerouted)
        return BackendStatistics(
            self.name, in_flight, self._submitted, self._threads(), calls, rerouted
        )

    def close(self, done: list[Operation]) -> None:
        """Cancel what was not handed over, wait for the rest."""
        if self._closed:
            return
        self._closed = True
        queue = self._queue
        running = queue.close(int(OFFLOAD_CLOSE_SECONDS * 1e9))
        self.reap(done, queue.in_flight() + 1)
        if running:
            self._give_up(running, done)
        sweep()

    def _give_up(self, running: list[Any], done: list[Operation]) -> None:
        """Settle what does not end; its memory and its lease are kept."""
        kept = {}
        for request in running:
            op: Operation | None = request.token
            if op is None:
                continue  # it has ended and was reaped just now
            kept[id(request)] = op.descriptor
            op.descriptor = None
            op.lent = None
            op.result = -_EIO
            request.token = None
            done.append(op)
        _given_up.append(GivenUp(self._queue, kept, os.getpid()))


def sweep() -> None:
    """Free what was kept for requests that have ended after their backend was closed."""
    for each in list(_given_up):
        if each.pid != os.getpid():
            _given_up.remove(each)
            continue
        for request in each.queue.reap(OFFLOAD_QUEUE_MAX):
            descriptor = each.kept.pop(id(request), None)
            if descriptor is not None:
                descriptor.release()
        if each.queue.in_flight() == 0:
            each.queue.close(0)
            _given_up.remove(each)
