# cython: boundscheck=False, wraparound=False
"""Backend `linux_aio`: the kernel's asynchronous I/O for direct files (io_submit(2)).

Facts:

- Requests on files that bypass the page cache (O_DIRECT) run in the device's queue, without a
  thread. One io_submit hands over what a turn has gathered; an eventfd tells what is done, and the
  completions lie in memory that the process can read.
- Anything else io_submit does at once, in its caller, and for as long as it takes. So everything
  has RWF_NOWAIT (4.14): what would wait completes with EAGAIN instead, and goes to a thread. So do
  a direct write that makes its file longer or meets cached pages, and everything on a file system
  without that flag.
- A buffered read that is cached in part completes with that part. That is not the end of the file;
  a thread reads it again. A result of 0 is the end of the file.
- Buffered writes without waiting are not supported by most file systems. They go to threads.
- io_cancel(2) knows no file system that can cancel. What runs completes as it does.
- io_destroy(2), and the end of the process, wait for what runs.
- fs.aio-max-nr bounds the requests of all contexts of the system. When it is used up there is no
  new context, and threads do what this backend would have done.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.operation import DIRECT
from noria.disk.interface import DiskProbe
from noria.disk.queued import INTERRUPTED, QueuedBackend
from noria.limits import AIO_EVENTS, OFFLOAD_QUEUE_MAX
from noria.native import linux_aio as native

if TYPE_CHECKING:
    from noria.core.operation import Operation

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_EINTR = errno.EINTR
_EOPNOTSUPP = errno.EOPNOTSUPP
_DIRECT = DIRECT
_WRITE_AT = codes.WRITE_AT
_WRITE_VECTOR_AT = codes.WRITE_VECTOR_AT
_READ_AT = codes.READ_AT
_READ_INTO_AT = codes.READ_INTO_AT
_READ_VECTOR_AT = codes.READ_VECTOR_AT

BUFFERED_WRITE = "a buffered write"
REFUSED = "refused by io_submit"
WAITING = "it would have had to wait"
PARTLY_CACHED = "cached in part"


class LinuxAioBackend(QueuedBackend):
    """One context of the kernel's; see DiskBackend for the arguments."""

    name = "linux_aio"
    hastens = True
    codes = frozenset(
        {
            codes.READ_AT,
            codes.READ_INTO_AT,
            codes.READ_VECTOR_AT,
            codes.WRITE_AT,
            codes.WRITE_VECTOR_AT,
            codes.FSYNC,
            codes.DATASYNC,
        }
    )

    @classmethod
    def probe(cls) -> DiskProbe:
        """Tell whether the kernel has the calls."""
        if not native.COMPILED:
            return DiskProbe(False, "needs the compiled build")
        failure = native.probe()
        if failure == 0:
            return DiskProbe(True, "io_submit, for direct I/O")
        if failure == -errno.ENOSYS:
            return DiskProbe(False, "the system has no io_setup")
        return DiskProbe(False, f"io_setup: {os.strerror(-failure)}")

    def _make_queue(self) -> Any:
        return native.AioContext(self._bell, AIO_EVENTS, OFFLOAD_QUEUE_MAX)

    def _make_request(self, op: Operation) -> Any:
        return native.Iocb(op, op.code, op.fd, op.buffer, op.offset, op.size, 0)

    def _is_ours(self, request: Any) -> bool:
        return type(request) is native.Iocb

    def _unfit(self, op: Operation) -> str:
        if op.way != _DIRECT and op.code in (_WRITE_AT, _WRITE_VECTOR_AT):
            return BUFFERED_WRITE
        return ""

    def _undone(self, op: Operation, request: Any) -> str:
        result: int = request.result
        if result < 0:
            if request.refused():
                return REFUSED  # a thread's call has the last word
            if result in (-_EAGAIN, -_EOPNOTSUPP):
                return WAITING
            if result == -_EINTR:
                return INTERRUPTED
        elif (
            result > 0
            and op.way != _DIRECT
            and op.code in (_READ_AT, _READ_INTO_AT, _READ_VECTOR_AT)
            and result < request.size
        ):
            return PARTLY_CACHED
        return ""
