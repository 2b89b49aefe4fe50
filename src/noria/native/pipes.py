"""Calls on pipes and character devices, interpreted twin of pipes.pyx."""

import errno
import os
import sys
from typing import Any

_VECTOR_MAX = 64  # as in pipes.pyx
_SMALL_BYTES = 16 * 1024


def _failure(exc: OSError) -> int:
    if isinstance(exc, BlockingIOError):
        return -errno.EAGAIN
    return -(exc.errno or errno.EIO)


def read(fd: int, size: int, small: bool = False) -> bytes | int:
    """Read at most `size` bytes; the bytes (empty at the end) or minus errno.

    `small` saves time where 16 KiB are enough, and reads no more.
    """
    if size < 0:
        raise ValueError("negative size in read")
    try:
        return os.read(fd, min(size, _SMALL_BYTES) if small else size)
    except OSError as exc:
        return _failure(exc)


def write(fd: int, data: Any, offset: int) -> int:
    """Write what lies behind `offset` in `data`; bytes taken or minus errno."""
    try:
        return os.write(fd, memoryview(data).cast("B")[offset:] if offset > 0 else data)
    except OSError as exc:
        return _failure(exc)


def write_vector(fd: int, chunks: list[Any], offset: int) -> int:
    """Write several chunks at once, the first from `offset` on; bytes taken or minus errno."""
    if sys.platform == "win32" or not chunks:
        return write(fd, chunks[0] if chunks else b"", offset)
    chunks = chunks[:_VECTOR_MAX]
    if offset > 0:
        chunks[0] = memoryview(chunks[0]).cast("B")[offset:]
    try:
        return os.writev(fd, chunks)
    except OSError as exc:
        return _failure(exc)
