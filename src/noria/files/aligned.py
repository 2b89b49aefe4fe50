"""Aligned memory for direct I/O, and what alignment a file demands (open(2), O_DIRECT)."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import Any

from noria.limits import DIRECT_ALIGNMENT_BYTES, DIRECT_POOL_BYTES_MAX
from noria.native import views


def aligned(size: int) -> memoryview:
    """Make writable memory that is aligned for direct I/O on every device.

    Args:
        size: how many bytes, at least 1.

    Returns:
        A view of that many zero bytes, at the beginning of a page of memory.

    Raises:
        ValueError: the size is not positive.
    """
    if size < 1:
        raise ValueError(f"aligned memory has at least one byte, not {size}")
    return memoryview(mmap.mmap(-1, size))[:size]


class AlignedPool:
    """Aligned memory between two uses, by its size: a fresh page costs more than a read.

    It is not locked, for it belongs to one thread.
    """

    def __init__(self, bytes_max: int = DIRECT_POOL_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._free: dict[int, list[mmap.mmap]] = {}

    def take(self, size: int) -> mmap.mmap:
        """Take memory of at least that many bytes."""
        rounded = -(-max(size, 1) // DIRECT_ALIGNMENT_BYTES) * DIRECT_ALIGNMENT_BYTES
        free = self._free.get(rounded)
        if free:
            self._bytes -= rounded
            return free.pop()
        return mmap.mmap(-1, rounded)

    def give_back(self, memory: mmap.mmap) -> None:
        """Give back what was taken and is in nobody's use any more."""
        size = len(memory)
        if self._bytes + size <= self._bytes_max:
            self._bytes += size
            self._free.setdefault(size, []).append(memory)


def alignment_of(device: int) -> int:
    """Tell what offsets and lengths of direct I/O have to be multiples of, in bytes.

    That is the logical block size of the device beneath (sysfs-block), and DIRECT_ALIGNMENT_BYTES
    where the system does not tell.

    Args:
        device: the file's `st_dev`.
    """
    if sys.platform == "win32":
        return DIRECT_ALIGNMENT_BYTES
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for folder in (place, place / ".."):  # a partition has its queue with the whole disk
        try:
            return int((folder / "queue" / "logical_block_size").read_text("ascii"))
        except (OSError, ValueError):
            continue
    return DIRECT_ALIGNMENT_BYTES


def check_aligned(alignment: int, offset: int, size: int, memory: Any = None) -> None:
    """Refuse what direct I/O cannot do.

    Args:
        alignment: what the file demands, in bytes.
        offset: where in the file.
        size: how many bytes.
        memory: the caller's memory, if it is.

    Raises:
        ValueError: offset, size or the memory's address is no multiple of the alignment.
    """
    if offset % alignment or size % alignment:
        raise ValueError(
            f"direct I/O at offset {offset}, length {size}: both have to be multiples of "
            f"{alignment} bytes on this file"
        )
    if not views.fits(memory, alignment, offset, size):
        raise ValueError(
            f"direct I/O at offset {offset}, length {size}: the memory's address is no multiple of "
            f"{alignment} bytes; noria.fs.aligned makes memory that fits"
        )
