"""Operations on open files: positional, so that several may be in flight on one descriptor.

Each function blocks until done and returns a value >= 0 or minus errno; all are OFFLOAD.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

from noria.core.catalog import OFFLOAD, operation, result_of
from noria.core.codes import CLOSE_FILE, DATASYNC, FSYNC, READ_AT, TRUNCATE, WRITE_AT
from noria.limits import TRANSFER_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return _force(op, os.fsync)


@operation(code=DATASYNC, lane=OFFLOAD)
def datasync(op: Operation) -> int:
    """Force the file's data to the device, and what is needed to find it again: 0 (fdatasync(2)).

    Where the system has no such call it is `fsync`.
    """
    return _force(op, getattr(os, "fdatasync", os.fsync))


@operation(code=TRUNCATE, lane=OFFLOAD)
def truncate(op: Operation) -> int:
    """Make the file `op.offset` bytes long: 0 (ftruncate(2))."""
    try:
        os.ftruncate(op.fd, op.offset)
    except OSError as exc:
        return result_of(exc)
    return 0


@operation(code=CLOSE_FILE, lane=OFFLOAD)
def close_file(op: Operation) -> int:
    """Close the number `op.fd`, which nobody may use any more: 0 (close(2)).

    For files whose closing may wait for a device or a server.
    """
    try:
        os.close(op.fd)
    except OSError as exc:
        return result_of(exc)
    return 0


def _force(op: Operation, call: Callable[[int], object]) -> int:
    if op.fd < 0:
        return -errno.EBADF  # the standard library calls it a ValueError
    try:
        call(op.fd)
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
