"""`os`: the synchronous calls, from Python. A program without a loop pays this."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import LabError
from noria.lab.files.subject import Call

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "os"


class SyncSlot:
    """A number of the system's."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.fd = os.open(path, os.O_RDWR if write else os.O_RDONLY)

    def read(self, size: int) -> Call:
        """pread(2)."""
        if sys.platform == "win32":
            raise LabError("the lab runs on Linux only")
        fd = self.fd
        return Call(os.pread, lambda offset: (fd, size, offset))

    def read_into(self, memory: memoryview) -> Call:
        """preadv(2)."""
        if sys.platform == "win32":
            raise LabError("the lab runs on Linux only")
        fd, memories = self.fd, [memory]
        return Call(os.preadv, lambda offset: (fd, memories, offset))

    def write(self, data: Any) -> Call:
        """pwrite(2)."""
        if sys.platform == "win32":
            raise LabError("the lab runs on Linux only")
        fd = self.fd
        return Call(os.pwrite, lambda offset: (fd, data, offset))

    def datasync(self) -> None:
        """fdatasync(2)."""
        if sys.platform != "linux":
            raise LabError("the lab runs on Linux only")
        os.fdatasync(self.fd)

    def close(self) -> None:
        """close(2)."""
        os.close(self.fd)


def stat(path: Path) -> Call:
    """stat(2)."""
    name = str(path)
    return Call(os.stat, lambda _: (name,))


def lines(path: Path, *, binary: bool) -> Any:
    """Open as everybody does."""
    return path.open("rb") if binary else path.open(encoding="utf-8")


def live(path: Path, data: bytes, *, sync: bool) -> bytes:
    """Make a file, write, close, read and remove it; give what was read."""
    name = str(path)
    with open(name, "wb", buffering=0) as file:  # noqa: PTH123 - the quickest way to spell it
        file.write(data)
        if sync:
            os.fsync(file.fileno())
    with open(name, "rb", buffering=0) as file:  # noqa: PTH123
        read: bytes = file.read()
    os.unlink(name)  # noqa: PTH108
    return read
