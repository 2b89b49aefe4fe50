"""Operations on files: positional, so that several may be in flight on one descriptor.

Each function blocks until done and returns a value >= 0 or minus errno; all are OFFLOAD.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

from noria.core.catalog import OFFLOAD, operation, result_of
from noria.core.codes import FSYNC, READ_AT, WRITE_AT
from noria.limits import TRANSFER_BYTES_MAX

if TYPE_CHECKING:
    from noria.core.operation import Operation

_seek_lock = threading.Lock()


@operation(code=READ_AT, lane=OFFLOAD)
def read_at(op: Operation) -> int:
    """Read at most `op.size` bytes at `op.offset` into a new bytes object (pread(2)).

    The bytes are left in `op.buffer`; the result is their number, 0 at the end of the file.
    """
    size = min(op.size, TRANSFER_BYTES_MAX)
    try:
        if sys.platform != "win32":
            op.buffer = os.pread(op.fd, size, op.offset)
        else:
            op.buffer = _read_by_seeking(op.fd, size, op.offset)
    except OSError as exc:
        return result_of(exc)
    return len(op.buffer)


@operation(code=WRITE_AT, lane=OFFLOAD)
def write_at(op: Operation) -> int:
    """Write `op.buffer` at `op.offset`; bytes written, which may be fewer (pwrite(2))."""
    data = memoryview(op.buffer)[:TRANSFER_BYTES_MAX]
    try:
        if sys.platform != "win32":
            return os.pwrite(op.fd, data, op.offset)
        return _write_by_seeking(op.fd, data, op.offset)
    except OSError as exc:
        return result_of(exc)


@operation(code=FSYNC, lane=OFFLOAD)
def fsync(op: Operation) -> int:
    """Force the file's data and metadata to the device: 0 (fsync(2))."""
    if op.fd < 0:
        return -errno.EBADF  # os.fsync calls it a ValueError
    try:
        os.fsync(op.fd)
    except OSError as exc:
        return result_of(exc)
    return 0


# Windows has no pread in its C library: seek and read as one step under a lock of ours. The file
# position is the operation's to use, since every access of noria is positional.
def _read_by_seeking(fd: int, size: int, offset: int) -> bytes:
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


def _write_by_seeking(fd: int, data: memoryview, offset: int) -> int:
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)
