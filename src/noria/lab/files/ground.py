"""The files that are read and written, made before anything is timed."""

from __future__ import annotations

import mmap
import os
import random
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from noria.lab.errors import LabError

BLOCK_BYTES: Final = 4096
"""What small reads and writes move: a page, as in the issue's and fio's rows."""

PIECE_BYTES: Final = 1 << 20
"""What sequential reads and writes move."""

HEADER: Final = struct.Struct("<Q")
"""A block begins with its number, so that one from elsewhere is found out."""

HOT_BYTES: Final = 1 << 20
"""Small enough for the processor's caches, as data that is asked for often is."""

SCRATCH_BYTES: Final = 64 << 20
"""What is written over: more than a disk's own cache takes at once."""

LINES: Final = 10_000
LINE_WORDS: Final = 10
SMALL_FILES: Final = 1000
SMALL_BYTES: Final = 4096
HANGING: Final = 64
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Ground:
    """A directory with the files of all rows.

    Attributes:
        folder: where they lie.
        large_bytes: size of the file that is read from the disk.
        small_files: how many small files a round makes.
    """

    folder: Path
    large_bytes: int = 256 << 20
    small_files: int = SMALL_FILES

    @property
    def hot(self) -> Path:
        """The file that stays in the page cache."""
        return self.folder / "hot"

    @property
    def large(self) -> Path:
        """The file that is read from the disk."""
        return self.folder / "large"

    @property
    def scratch(self) -> Path:
        """The file that is written over."""
        return self.folder / "scratch"

    @property
    def lines(self) -> Path:
        """The text that is read line by line."""
        return self.folder / "lines"

    @property
    def small(self) -> Path:
        """Where small files are made."""
        return self.folder / "small"

    @property
    def scratch_bytes(self) -> int:
        """Size of the file that is written over."""
        return min(SCRATCH_BYTES, self.large_bytes)

    def make(self, name: str) -> None:
        """Make `hot`, `large`, `scratch`, `lines` or `small` unless it is there. Raises OSError."""
        path = self.folder / name
        if path.exists():
            return
        if name == "small":
            path.mkdir()
        elif name == "lines":
            path.write_bytes(text())
        else:
            sizes = {
                "hot": HOT_BYTES,
                "large": self.large_bytes,
                "scratch": self.scratch_bytes,
            }
            make_blocks(path, sizes[name])


def make_blocks(path: Path, size: int) -> None:
    """Write a file of numbered blocks to the disk; it has no holes. Raises OSError, LabError."""
    if size <= 0 or size % PIECE_BYTES:
        raise LabError(f"a file of {size} bytes was asked for; it has to be some whole MiB")
    piece = bytearray(filler())
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, PIECE_BYTES):
            for offset in range(0, PIECE_BYTES, BLOCK_BYTES):
                HEADER.pack_into(piece, offset, (start + offset) // BLOCK_BYTES)
            file.write(piece)
        os.fsync(file.fileno())


def filler() -> bytes:
    """Give what stands in every MiB but for the numbers."""
    return random.Random(SEED).randbytes(PIECE_BYTES)


def text() -> bytes:
    """Give the lines: words of ASCII, about 60 bytes each."""
    source = random.Random(SEED)
    words = ["".join(source.choices("abcdefghijklmnop", k=5)) for _ in range(200)]
    return b"".join(
        " ".join(source.choices(words, k=LINE_WORDS)).encode() + b"\n" for _ in range(LINES)
    )


class Checker:
    """Knows what has to be read."""

    __slots__ = ("_filler",)

    def __init__(self) -> None:
        self._filler = filler()

    def is_right(self, data: Any, offset: int) -> bool:
        """Tell whether these are the bytes of whole blocks at `offset`."""
        view = memoryview(data)
        if not view or len(view) % BLOCK_BYTES:
            return False
        for start in range(0, len(view), BLOCK_BYTES):
            block = view[start : start + BLOCK_BYTES]
            place = (offset + start) % PIECE_BYTES
            if HEADER.unpack_from(block)[0] != (offset + start) // BLOCK_BYTES:
                return False
            if block[HEADER.size :] != self._filler[place + HEADER.size : place + BLOCK_BYTES]:
                return False
        return True


def shuffled(size: int, seed: int) -> list[int]:
    """Give the offset of every block of a file once, in an order that has no pattern."""
    offsets = list(range(0, size, BLOCK_BYTES))
    random.Random(seed).shuffle(offsets)
    return offsets


def aligned_memory(size: int) -> memoryview:
    """Make memory that direct I/O can use (mmap(2) gives whole pages), with its pages in place."""
    memory = memoryview(mmap.mmap(-1, size))
    memory[:] = bytes(size)
    return memory


def drop_cache(path: Path) -> None:
    """Have the kernel forget a file's pages (posix_fadvise(2), DONTNEED). Raises OSError."""
    if sys.platform != "linux":
        raise LabError("the lab runs on Linux only")
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)  # pages that are not written yet would stay
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def warm_cache(path: Path) -> None:
    """Have the kernel keep a file's pages: read it once. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        memory = bytearray(PIECE_BYTES)
        while file.readinto(memory):
            pass


def has_direct(path: Path) -> bool:
    """Tell whether a file can be opened without the page cache (open(2), O_DIRECT)."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def filesystem(path: Path) -> str:
    """Name the type of the filesystem a path is on, as /proc/self/mountinfo (proc(5)) has it."""
    if sys.platform == "win32":
        return "unknown"
    wanted = path.stat().st_dev
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    for line in lines:
        fields, _, rest = line.partition(" - ")
        major, _, minor = fields.split()[2].partition(":")
        if os.makedev(int(major), int(minor)) == wanted:
            return rest.split()[0]
    return "unknown"
