"""Operations on open files: positional, so that several may be in flight on one descriptor.

Each function blocks until done and returns a value >= 0 or minus errno; all are OFFLOAD.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from noria.core.catalog import OFFLOAD, operation, result_of
from noria.core.codes import (
    ADVISE,
    ALLOCATE,
    CLOSE_FILE,
    DATASYNC,
    FSYNC,
    READ_AT,
    READ_INTO_AT,
    READ_VECTOR_AT,
    RUN,
    TRUNCATE,
    WRITE_AT,
    WRITE_FILE,
    WRITE_VECTOR_AT,
)
from noria.limits import TRANSFER_BYTES_MAX, VECTOR_PARTS_MAX
from noria.operations.paths import is_regular

if TYPE_CHECKING:
    import io
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
        op.buffer = _read_plain(op.fd, size, op.offset)
    except OSError as exc:
        return result_of(exc)
    return len(op.buffer)


@operation(code=WRITE_AT, lane=OFFLOAD)
def write_at(op: Operation) -> int:
    """Write `op.buffer` at `op.offset`; bytes written, which may be fewer (pwrite(2))."""
    data = memoryview(op.buffer)[:TRANSFER_BYTES_MAX]
    try:
        return _write_plain(op.fd, data, op.offset)
    except OSError as exc:
        return result_of(exc)


@operation(code=READ_INTO_AT, lane=OFFLOAD)
def read_into_at(op: Operation) -> int:
    """Read at `op.offset` into the writable memory `op.buffer`; bytes read (pread(2)).

    The memory may have any shape that is contiguous; no more than TRANSFER_BYTES_MAX are read.
    """
    target = memoryview(op.buffer).cast("B")[:TRANSFER_BYTES_MAX]
    try:
        if hasattr(os, "preadv"):
            count: int = os.preadv(op.fd, [target], op.offset)
            return count
        return _read_part(op.fd, target, op.offset)
    except OSError as exc:
        return result_of(exc)


@operation(code=READ_VECTOR_AT, lane=OFFLOAD)
def read_vector_at(op: Operation) -> int:
    """Read at `op.offset` into the list of writable memories `op.buffer`, in their order.

    Returns the bytes read, at most TRANSFER_BYTES_MAX of all together (preadv(2)). More than
    VECTOR_PARTS_MAX of them are -EINVAL, as with the call.
    """
    return _vector(op, "preadv", _read_part)


@operation(code=WRITE_VECTOR_AT, lane=OFFLOAD)
def write_vector_at(op: Operation) -> int:
    """Write the list of memories `op.buffer` at `op.offset`, one behind the other (pwritev(2)).

    Returns the bytes written, which may be fewer. More than VECTOR_PARTS_MAX parts are -EINVAL.
    """
    return _vector(op, "pwritev", _write_plain)


@operation(code=ALLOCATE, lane=OFFLOAD)
def allocate(op: Operation) -> int:
    """Reserve `op.size` bytes from `op.offset` on; the file grows to hold them: 0.

    It is posix_fallocate(3), and -ENOSYS where there is none.
    """
    if not hasattr(os, "posix_fallocate"):
        return -errno.ENOSYS
    try:
        os.posix_fallocate(op.fd, op.offset, op.size)
    except OSError as exc:
        return result_of(exc)
    return 0


@operation(code=ADVISE, lane=OFFLOAD)
def advise(op: Operation) -> int:
    """Tell how `op.size` bytes from `op.offset` on will be used: 0 (posix_fadvise(2)).

    `op.address` is one of the POSIX_FADV_ numbers of `os`. Where there is no such call: -ENOSYS.
    """
    if not hasattr(os, "posix_fadvise"):
        return -errno.ENOSYS
    try:
        os.posix_fadvise(op.fd, op.offset, op.size, op.address)
    except OSError as exc:
        return result_of(exc)
    return 0


@operation(code=RUN, lane=OFFLOAD)
def run(op: Operation) -> int:
    """Call `op.buffer`, which may block, without arguments: 0, and what it gave in `op.buffer`.

    This is how several steps that belong together cost one hop. What it raises is left in
    `op.address`, and the result is then minus its errno, or -EIO.
    """
    try:
        op.buffer = op.buffer()
    except OSError as exc:
        op.address = exc
        return result_of(exc)
    except BaseException as exc:
        op.address = exc
        return -errno.EIO
    return 0


@operation(code=WRITE_FILE, lane=OFFLOAD)
def write_file(op: Operation) -> int:
    """Write `op.buffer` into the file `op.address`; bytes written, which is all of them.

    It is opened with the flags `op.size`, made with the mode `op.offset`, and closed. Nothing but a
    regular file is written to, since anything else might wait for somebody: -ENXIO.
    """
    nonblocking: int = getattr(os, "O_NONBLOCK", 0)
    try:
        if not is_regular(op.address):
            return -errno.ENXIO  # a FIFO's reader would take its opening for the end
        with open(op.address, "wb", 0, opener=partial(_open, op, nonblocking)) as file:
            return _write_whole(file, memoryview(op.buffer).cast("B"))
    except OSError as exc:
        return result_of(exc)


def _open(op: Operation, nonblocking: int, name: Any, _: int) -> int:
    binary: int = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
    return os.open(name, op.size | nonblocking | binary, op.offset)


def _write_whole(file: io.FileIO, data: memoryview) -> int:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return -errno.ENXIO
    done = 0
    while done < len(data):
        done += file.write(data[done:])
    return done


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


def _vector(op: Operation, together: str, one: Callable[[int, memoryview, int], int]) -> int:
    """Move the memories of a vector by the call of `os`, or one by one where it has none."""
    parts = [memoryview(each).cast("B") for each in op.buffer]
    if len(parts) > VECTOR_PARTS_MAX:
        return -errno.EINVAL
    parts = _bounded(parts)
    call: Callable[[int, list[memoryview], int], int] | None = getattr(os, together, None)
    total = 0
    try:
        if call is not None:
            return call(op.fd, parts, op.offset)
        for part in parts:
            count = one(op.fd, part, op.offset + total)
            total += count
            if count < len(part):
                break
    except OSError as exc:
        return result_of(exc)
    return total


def _bounded(parts: list[memoryview]) -> list[memoryview]:
    """Shorten a vector to what one call moves."""
    room = TRANSFER_BYTES_MAX
    if sum(map(len, parts)) <= room:
        return parts
    bounded = []
    for part in parts:
        bounded.append(part[:room])
        room -= len(bounded[-1])
        if not room:
            break
    return bounded


def _read_plain(fd: int, size: int, offset: int) -> bytes:
    if sys.platform == "win32":
        return _read_by_seeking(fd, size, offset)
    return os.pread(fd, size, offset)


def _read_part(fd: int, part: memoryview, offset: int) -> int:
    data = _read_plain(fd, len(part), offset)
    part[: len(data)] = data
    return len(data)


def _write_plain(fd: int, data: memoryview, offset: int) -> int:
    if sys.platform == "win32":
        return _write_by_seeking(fd, data, offset)
    return os.pwrite(fd, data, offset)


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
