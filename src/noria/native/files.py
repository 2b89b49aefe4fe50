"""Calls on files that do not wait for a disk, interpreted twin of files.pyx."""

from __future__ import annotations

import errno
import os
from typing import Any

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


def read_now(fd: int, size: int, offset: int, plain: bool) -> bytes | int:
    """Read at most `size` bytes at `offset` from the page cache; the bytes, or minus errno.

    Args:
        fd: an open file.
        size: most bytes to read.
        offset: where to begin.
        plain: it is known that the file never waits, as on tmpfs; read as pread(2) does.

    Returns:
        The bytes: fewer than asked for where the file ends, or where the cache does. -EAGAIN if
        nothing is there, -EOPNOTSUPP if the file cannot tell (preadv2(2), RWF_NOWAIT).
    """
    if size < 0:
        raise ValueError("negative size in read_now")
    if not _NOWAIT and not plain:
        return -errno.EOPNOTSUPP
    try:
        if plain:
            return os.pread(fd, size, offset)
        room = bytearray(size)
        count = os.preadv(fd, [room], offset, _NOWAIT)
    except OSError as exc:
        return -(exc.errno or errno.EIO)
    return bytes(memoryview(room)[:count])


def read_now_into(fd: int, buffer: Any, offset: int, plain: bool) -> int:
    """Do as `read_now`, into writable memory; how many bytes, or minus errno."""
    if not _NOWAIT and not plain:
        return -errno.EOPNOTSUPP
    try:
        return os.preadv(fd, [buffer], offset, 0 if plain else _NOWAIT)
    except OSError as exc:
        return -(exc.errno or errno.EIO)
    except AttributeError:
        return -errno.EOPNOTSUPP


def open_now(name: bytes, flags: int) -> int:
    """Open what is found without waiting for a disk: a descriptor, not inheritable, or minus errno.

    -EAGAIN if something of the name is not cached (openat2(2), RESOLVE_CACHED), -ENOSYS where that
    cannot be asked for; here it cannot, since the standard library has no such call.
    """
    if b"\0" in name:
        raise ValueError("embedded null byte")
    return -errno.ENOSYS
