# cython: boundscheck=False, wraparound=False
"""Backend `posix_aio`: the asynchronous I/O of POSIX, as the C library has it (aio(7)).

Facts:

- On Linux it is made of threads of the C library's, which read and write as anybody does: buffered
  files too. glibc has at most 20, and only one request of each open file runs at a time, so it is
  no quicker than `threads`. It is here for systems that have more to offer, and for comparison.
- How the end of a request is told is chosen by NORIA_POSIX_AIO: `thread` (a thread of the library
  writes the bell), `signal` (a real-time signal that brings the request's number) or `suspend` (a
  thread of noria's waits in aio_suspend). The default is the first that the system has of thread
  and suspend.
- Where a signal or a thread was lacking, nothing is told. What is in flight is asked after every
  POSIX_AIO_CHECK_SECONDS. For lack of a signal glibc also puts EAGAIN in the place of the result.
  Such an operation is done again by a thread; but a sync whose outcome got lost has failed (F4),
  and so has a write to the end of a file, which cannot be done twice.
- What the library refuses goes to a thread, as a sync of a file that is not open for writing may.
- After fork(2) glibc's threads are gone, and the child can have no such backend.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from noria.core import codes
from noria.disk.interface import DiskProbe
from noria.disk.queued import INTERRUPTED, QueuedBackend
from noria.limits import (
    OFFLOAD_QUEUE_MAX,
    OFFLOAD_STACK_BYTES,
    POSIX_AIO_CHECK_SECONDS,
    POSIX_AIO_SUSPEND_SECONDS,
)
from noria.native import posix_aio as native

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.operation import Operation

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_EINTR = errno.EINTR
_EIO = errno.EIO
_FSYNC = codes.FSYNC
_DATASYNC = codes.DATASYNC
_WRITE_AT = codes.WRITE_AT

VARIABLE: Final = "NORIA_POSIX_AIO"
"""Environment variable that chooses how ends are told."""

MODES: Final = {
    "thread": native.BY_THREAD,
    "signal": native.BY_SIGNAL,
    "suspend": native.BY_SUSPEND,
}

NO_RESOURCES = "no resources for a request"
REFUSED = "refused by the C library"
LOST = "its outcome got lost"


class PosixAioBackend(QueuedBackend):
    """Requests of the C library's; see DiskBackend for the arguments."""

    name = "posix_aio"
    codes = frozenset(
        {codes.READ_AT, codes.READ_INTO_AT, codes.WRITE_AT, codes.FSYNC, codes.DATASYNC}
    )

    def __init__(
        self,
        wake: Callable[[], None],
        bell: int = -1,
        spill: Callable[[Operation], int] | None = None,
    ) -> None:
        self._attendant: threading.Thread | None = None
        QueuedBackend.__init__(self, wake, bell, spill)

    @classmethod
    def probe(cls) -> DiskProbe:
        """Tell whether the C library has the calls, and how ends are told."""
        if not native.COMPILED:
            return DiskProbe(False, "needs the compiled build")
        mode = _mode()
        if mode not in MODES:
            return DiskProbe(False, f"{VARIABLE}={mode!r} is none of {', '.join(MODES)}")
        failure = native.probe(MODES[mode])
        if failure == -errno.EPERM:
            return DiskProbe(False, "the C library's threads did not survive fork")
        if failure == -errno.ENOSYS:
            return DiskProbe(False, "the C library has no aio_read")
        if failure < 0:
            return DiskProbe(False, f"the system cannot tell by {mode}")
        if mode != "signal":
            return DiskProbe(True, f"ends are told by {mode}")
        number = native.free_signal()
        if number == 0:
            return DiskProbe(False, "no real-time signal is free")
        return DiskProbe(True, f"ends are told by signal {number}")

    def _make_queue(self) -> Any:
        return native.AioQueue(
            MODES[_mode()] if self._bell >= 0 else native.BY_SUSPEND,
            self._bell,
            OFFLOAD_QUEUE_MAX,
            int(POSIX_AIO_CHECK_SECONDS * 1e9),
            int(POSIX_AIO_SUSPEND_SECONDS * 1e9),
            OFFLOAD_STACK_BYTES,
        )

    def _make_request(self, op: Operation) -> Any:
        return native.Aiocb(op, op.code, op.fd, op.buffer, op.offset, op.size, 0)

    def _is_ours(self, request: Any) -> bool:
        return type(request) is native.Aiocb

    def _undone(self, op: Operation, request: Any) -> str:
        result: int = request.result
        if result >= 0:
            return ""
        if request.refused():
            return NO_RESOURCES if result == -_EAGAIN else REFUSED
        if result == -_EINTR:
            return INTERRUPTED
        if result == -_EAGAIN:
            if op.code not in (_FSYNC, _DATASYNC) and not _appends(op):
                return LOST
            request.result = -_EIO
        return ""

    def flush(self, patient: bool = False) -> bool:
        """Hand over what was gathered."""
        if self._bell < 0 and self._attendant is None and not self._closed:
            self._attend()
        ready: bool = self._queue.flush()
        return ready

    def _attend(self) -> None:
        """Have a thread of Python's wait, where there is no bell to be written from C."""
        queue = self._queue
        wake = self._wake

        def attend() -> None:
            count = queue.attend()
            while count >= 0:
                if count:
                    wake()
                count = queue.attend()

        self._attendant = threading.Thread(target=attend, name="noria-posix_aio", daemon=True)
        self._attendant.start()

    def _threads(self) -> int:
        count: int = self._queue.threads()
        return count if self._attendant is None else count + 1

    def close(self, done: list[Operation]) -> None:
        """Cancel what has not begun, wait for the rest."""
        if self._attendant is not None:
            self._queue.stop()
            self._attendant.join()
            self._attendant = None
        QueuedBackend.close(self, done)


def _mode() -> str:
    asked = os.environ.get(VARIABLE)
    if asked:
        return asked
    return "thread" if native.probe(native.BY_THREAD) == 0 else "suspend"


def _appends(op: Operation) -> bool:
    """Whether it wrote to wherever the file ended, so that it must not be done twice."""
    if op.code != _WRITE_AT:
        return False
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            return bool(fcntl.fcntl(op.fd, fcntl.F_GETFL) & os.O_APPEND)
    return True
