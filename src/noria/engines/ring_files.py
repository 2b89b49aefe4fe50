# cython: boundscheck=False, wraparound=False
"""Operations on files and names, and connects, as requests of a ring.

Facts: the kernel tries a request at once and without blocking. What would block (a page that is
not cached, most of what changes a directory) goes on in one of the ring's worker threads, which
works with the credentials that the submitting thread had, and is bounded by RING_WORKERS_MAX.
Cancelling stops a worker that waits for a peer, and not one that waits for a disk.

The attempt at an open is made with O_NONBLOCK, which means something else to a FIFO or a terminal:
opens go to a worker at once.

What the ring would do differently from the blocking form is not for it: reading from what has no
position (a pipe, a socket, where pread(2) is ESPIPE), and operations that the kernel does not know.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.operation import DIRECT
from noria.limits import TRANSFER_BYTES_MAX, VECTOR_PARTS_MAX
from noria.native import ring as native_ring
from noria.native.transfer import Transfer, has_position
from noria.operations.paths import NO_FOLLOW

if TYPE_CHECKING:
    from noria.core.operation import Operation

# Numbers of the kernel's interface (io_uring_enter(2), openat(2), statx(2)), typed in the .pxd.
_READV = 1
_WRITEV = 2
_FSYNC = 3
_CONNECT = 16
_FALLOCATE = 17
_OPENAT = 18
_CLOSE = 19
_STATX = 21
_READ = 22
_WRITE = 23
_FADVISE = 24
_RENAMEAT = 35
_UNLINKAT = 36
_MKDIRAT = 37
_SYMLINKAT = 38
_LINKAT = 39
_FTRUNCATE = 55
_FSYNC_DATASYNC = 1
_AT_FDCWD = -100
_O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_REMOVEDIR = 0x200
_AT_EMPTY_PATH = 0x1000
_STATX_BASIC_STATS = 0x7FF
_STATX_LENGTH = 256

_OPERATIONS: dict[int, int] = {
    codes.READ_AT: _READ,
    codes.WRITE_AT: _WRITE,
    codes.READ_INTO_AT: _READ,
    codes.READ_VECTOR_AT: _READV,
    codes.WRITE_VECTOR_AT: _WRITEV,
    codes.ALLOCATE: _FALLOCATE,
    codes.ADVISE: _FADVISE,
    codes.FSYNC: _FSYNC,
    codes.DATASYNC: _FSYNC,
    codes.TRUNCATE: _FTRUNCATE,
    codes.CLOSE_FILE: _CLOSE,
    codes.OPEN_AT: _OPENAT,
    codes.STATUS_AT: _STATX,
    codes.UNLINK_AT: _UNLINKAT,
    codes.REMOVE_DIRECTORY_AT: _UNLINKAT,
    codes.MAKE_DIRECTORY_AT: _MKDIRAT,
    codes.RENAME_AT: _RENAMEAT,
    codes.LINK_AT: _LINKAT,
    codes.SYMLINK_AT: _SYMLINKAT,
    codes.CONNECT: _CONNECT,
}
"""What the rows of the catalog are for the kernel."""

_READ_AT = codes.READ_AT
_STATUS_AT = codes.STATUS_AT
_WRITE_AT = codes.WRITE_AT
_READ_VECTOR_AT = codes.READ_VECTOR_AT
_WRITE_VECTOR_AT = codes.WRITE_VECTOR_AT
_ALLOCATE = codes.ALLOCATE
_ADVISE = codes.ADVISE
_DIRECT = DIRECT
_PARTS_MAX = VECTOR_PARTS_MAX
_BYTES_MAX = TRANSFER_BYTES_MAX
_MOVING = (
    codes.READ_AT,
    codes.WRITE_AT,
    codes.READ_INTO_AT,
    codes.READ_VECTOR_AT,
    codes.WRITE_VECTOR_AT,
)
_TWO_NAMES = (codes.RENAME_AT, codes.LINK_AT, codes.SYMLINK_AT)
_OPEN_FILE = (
    codes.FSYNC,
    codes.DATASYNC,
    codes.TRUNCATE,
    codes.CLOSE_FILE,
    codes.ALLOCATE,
    codes.ADVISE,
)

# By code, because every operation looks here: its number for the kernel, and its group.
_CODES = 256
_numbers = bytearray(_OPERATIONS.get(code, 0) for code in range(_CODES))
_MOVES = 1
_OPEN = 2
_groups = bytearray(
    _MOVES if code in _MOVING else _OPEN if code in _OPEN_FILE else 0 for code in range(_CODES)
)

# Of Unix; there are no rings elsewhere.
_device: Any = getattr(os, "makedev", None)

_STATUS = struct.Struct("=2IQ3I2H4Q qIi16xqIiqIi 4I")
"""struct statx (statx(2)) as far as os.stat_result needs it; birth time left out."""


def supported(ring: native_ring.Ring) -> frozenset[int]:
    """Codes of the operations that this ring can do."""
    return frozenset(code for code, number in _OPERATIONS.items() if ring.supports(number))


def suits(op: Operation) -> bool:
    """Whether the ring does with it what the blocking form says."""
    group = _groups[op.code]
    if group == 0:
        return True
    if op.fd < 0:
        return False
    if group == _OPEN:
        # The lengths of both are the kernel's, which takes a sign for something else.
        return op.code not in (_ALLOCATE, _ADVISE) or (
            op.offset >= 0 and 0 <= op.size <= _BYTES_MAX
        )
    if op.offset < 0:
        return False
    # What is open for direct I/O has a position; for the rest the question is one quick call.
    return op.way == _DIRECT or has_position(op.fd)


def lend(op: Operation) -> None:
    """Provide the memory of a request.

    Raises:
        TypeError, BufferError: what is to be written has no contiguous memory, or a name is none.
        ValueError: there is a null byte in a name.
        MemoryError: there is not enough for what is to be read.
    """
    code = op.code
    if _groups[code] == _MOVES:
        # Without a token: the ring has the operation, and a circle would keep both alive.
        transfer = Transfer.__new__(Transfer)
        transfer.fill(None, code, op.fd, op.buffer, op.offset, op.size, 0)
        op.lent = transfer
    elif _groups[code] == _OPEN:
        op.lent = None
    elif code in _TWO_NAMES:
        op.lent = (_name(op.buffer), _name(op.address))
    elif code == codes.STATUS_AT:
        op.lent = (_name(op.buffer or b""), native_ring.Lent(None, _STATX_LENGTH))
    else:
        op.lent = (_name(op.buffer), None)


def _name(name: Any) -> native_ring.Lent:
    encoded = os.fsencode(name)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return native_ring.Lent(encoded)  # a bytes object is followed by a null byte


def prepare(ring: native_ring.Ring, op: Operation) -> bool:
    """Queue the request; False if the queue is full."""
    if _groups[op.code] == _MOVES:
        transfer: Transfer = op.lent
        vector = op.code in (_READ_VECTOR_AT, _WRITE_VECTOR_AT)
        count = transfer.parts if vector else transfer.size
        number = _numbers[op.code]
        return ring.prepare_call(op, number, op.fd, transfer.address(), op.offset, count, 0, False)
    return _prepare_other(ring, op)


def _prepare_other(ring: native_ring.Ring, op: Operation) -> bool:
    code = op.code
    number = _numbers[code]
    lent = op.lent
    if code == codes.CONNECT:
        return ring.prepare_call(op, number, op.fd, lent.address, lent.size, 0, 0, False)
    if code == _ALLOCATE:
        return ring.prepare_call(op, number, op.fd, op.size, op.offset, 0, 0, False)
    if code == _ADVISE:
        return ring.prepare_call(op, number, op.fd, 0, op.offset, op.size, op.address, False)
    if code in _OPEN_FILE:
        offset = op.offset if code == codes.TRUNCATE else 0
        flags = _FSYNC_DATASYNC if code == codes.DATASYNC else 0
        return ring.prepare_call(op, number, op.fd, 0, offset, 0, flags, False)
    return _prepare_name(ring, op)


def _prepare_name(ring: native_ring.Ring, op: Operation) -> bool:
    code = op.code
    number = _numbers[code]
    lent = op.lent
    start = op.fd if op.fd >= 0 else _AT_FDCWD
    name, second = lent
    other = 0 if second is None else second.address
    length = flags = 0
    if code == codes.OPEN_AT:
        length, flags = op.offset, op.size | _O_CLOEXEC
    elif code == codes.STATUS_AT:
        length = _STATX_BASIC_STATS
        flags = _AT_SYMLINK_NOFOLLOW if op.size & NO_FOLLOW else 0
        if not name.size and op.fd >= 0:
            flags |= _AT_EMPTY_PATH
    elif code == codes.MAKE_DIRECTORY_AT:
        length = op.offset
    elif code == codes.REMOVE_DIRECTORY_AT:
        flags = _AT_REMOVEDIR
    elif code in (codes.RENAME_AT, codes.LINK_AT):
        length = start & 0xFFFFFFFF
    blocks = code == codes.OPEN_AT
    return ring.prepare_call(op, number, start, name.address, other, length, flags, blocks)


def finish(op: Operation, result: int) -> None:
    """Take what a request has brought, and end the loan."""
    lent = op.lent
    op.lent = None
    if result < 0:
        return
    if op.code == _READ_AT:
        transfer: Transfer = lent
        op.buffer = transfer.taken(result)
    elif op.code == _STATUS_AT:
        op.buffer = _status(lent[1].written(_STATX_LENGTH))


def _status(raw: bytes) -> os.stat_result:
    """Make what os.stat gives of a struct statx."""
    found = _STATUS.unpack_from(raw)
    _, block_bytes, _, links, user, group, mode, _, inode, size, blocks, _ = found[:12]
    accessed, changed, modified = (found[12:14], found[15:17], found[18:20])
    major, minor, device_major, device_minor = found[21:25]
    times = (accessed, modified, changed)
    numbers = (
        mode,
        inode,
        _device(device_major, device_minor),
        links,
        user,
        group,
        size,
        *(seconds for seconds, _ in times),
    )
    more: dict[str, object] = {
        "st_blksize": block_bytes,
        "st_blocks": blocks,
        "st_rdev": _device(major, minor),
    }
    for name, (seconds, nanoseconds) in zip(
        ("st_atime", "st_mtime", "st_ctime"), times, strict=True
    ):
        more[name] = seconds + 1e-9 * nanoseconds
        more[f"{name}_ns"] = seconds * 1_000_000_000 + nanoseconds
    return os.stat_result(numbers, more)
