# cython: boundscheck=False, wraparound=False
"""Transfers: the operations that move a file's bytes, and go on until all of them are moved.

A short read may mean the end of the file, the end of what is cached, or an interrupt; a short write
that the disk is nearly full. What is left is asked for again, from where the transfer stopped, so a
read is short at the end of the file only and a write not at all: the next attempt tells the end, or
the error with the number of bytes that were moved before it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from noria.core.codes import (
    CLOSE_FILE,
    READ_AT,
    READ_INTO_AT,
    READ_VECTOR_AT,
    WRITE_AT,
)
from noria.core.operation import BY_THREAD
from noria.errors import from_result
from noria.files.filesystems import WRITING
from noria.files.operation import FileOperation, Pending
from noria.limits import VECTOR_PARTS_MAX
from noria.native import calls
from noria.native import files as native

if TYPE_CHECKING:
    from noria.files.file import File
    from noria.files.host import Host

# Names for the compiler, typed in the .pxd.
_READ_AT = READ_AT
_READ_INTO_AT = READ_INTO_AT
_READ_VECTOR_AT = READ_VECTOR_AT
_WRITE_AT = WRITE_AT
_ECANCELED = errno.ECANCELED
_EIO = errno.EIO
_PARTS_MAX = VECTOR_PARTS_MAX
_WRITING = WRITING


class FileTransfer(FileOperation):
    """An operation on an open file.

    Args:
        file: the file; told when nothing is in flight any more.
        code: row of the catalog.
        offset: where it begins.
        kind: READING, WRITING or FORCING, what the file's filesystem keeps its measurements by.
    """

    __slots__ = ("began_ns", "file", "first", "kind", "ways")

    def __init__(self, file: File, code: int, offset: int, kind: int) -> None:
        self._open(file, code, offset, kind)

    def _open(self, file: File, code: int, offset: int, kind: int) -> None:
        """Do what `__init__` does; apart from it, because a call of that one is slow."""
        self._begin(file.host, code, file.fd)
        self.file = file
        self.kind = kind
        self.first = offset
        self.offset = offset
        self.began_ns = 0
        self.ways: Any = None
        self.path = file.name
        self.descriptor = file.descriptor
        file.choose_way(self)

    def start(self) -> Pending:
        """Hand it over for the first time, and give its future."""
        turns = self.file.turns
        if turns is not None and self.kind == _WRITING and not turns.take(self):
            pending = self.pending
            assert pending is not None
            return pending
        try:
            return FileOperation.start(self)
        except BaseException:
            self.left()  # it was not taken
            raise

    def left(self) -> None:
        """Tell the file."""
        self.file.over(self)

    def exception_of(self, result: int) -> BaseException:
        """Make the exception, with the place and the bytes that were moved before."""
        exc = from_result(result, "", self.fd, self.path)
        exc.offset = self.first  # type: ignore[attr-defined]
        exc.bytes_done = self.moved  # type: ignore[attr-defined]
        if self.moved:
            exc.add_note(f"{self.moved} bytes from offset {self.first} on had been moved")
        return exc


class PlainTransfer(FileTransfer):
    """Does something to a file that moves no bytes of the caller's."""

    __slots__ = ()

    def advance(self, result: int, data: Any) -> int:
        """Give nothing."""
        return 0


class ReadTransfer(FileTransfer):
    """Reads bytes into a new object."""

    __slots__ = ("parts",)

    def __init__(self, file: File, size: int, offset: int, kind: int) -> None:
        self.read(file, size, offset, kind)

    def read(self, file: File, size: int, offset: int, kind: int) -> None:
        """Do what `__init__` does."""
        self._open(file, _READ_AT, offset, kind)
        self.size = size
        self.parts: list[bytes] | None = None

    def advance(self, result: int, data: Any) -> int:
        """Go on behind what came, until all is there or nothing comes."""
        self.moved += result
        if result in (0, self.size):
            self._give(data)
            return 0
        if self.parts is None:
            self.parts = []
        self.parts.append(data)
        self.offset += result
        self.size -= result
        if self.file.looks:
            # As a rule this is the end of the file, and telling that takes no disk.
            more = native.read_now(self.fd, self.size, self.offset, self.file.plain)
            if type(more) is bytes and (not more or len(more) == self.size):
                self.moved += len(more)
                self._give(more)
                return 0
        return 1

    def _give(self, last: bytes) -> None:
        if self.parts is None:
            self.outcome = last
        else:
            self.parts.append(last)
            self.outcome = b"".join(self.parts)
            self.parts = None


class ReadIntoTransfer(FileTransfer):
    """Reads into memory of the caller's."""

    __slots__ = ("view",)

    def __init__(self, file: File, view: memoryview, offset: int, kind: int) -> None:
        self.read_into(file, view, offset, kind)

    def read_into(self, file: File, view: memoryview, offset: int, kind: int) -> None:
        """Do what `__init__` does."""
        self._open(file, _READ_INTO_AT, offset, kind)
        self.view: Any = view
        self.buffer = view

    def advance(self, result: int, data: Any) -> int:
        """Go on behind what came, until the memory is full or nothing comes."""
        self.moved += result
        if result == 0 or self.moved >= len(self.view) or self.file.ends(self.moved):
            self.outcome = self.moved
            return 0
        self.offset += result
        self.buffer = self.view[self.moved :]
        return 1

    def left(self) -> None:
        """Let go of the memory."""
        self.view = self.buffer = None
        self.file.over(self)


class PooledReadTransfer(ReadIntoTransfer):
    """Reads into aligned memory of the pool, for files that demand it, and gives bytes."""

    __slots__ = ("memory",)

    def __init__(self, file: File, memory: Any, size: int, offset: int, kind: int) -> None:
        self.read_pooled(file, memory, size, offset, kind)

    def read_pooled(self, file: File, memory: Any, size: int, offset: int, kind: int) -> None:
        """Do what `__init__` does."""
        self.read_into(file, memoryview(memory)[:size], offset, kind)
        self.memory: Any = memory

    def advance(self, result: int, data: Any) -> int:
        """Copy what came out of the pool's memory."""
        if ReadIntoTransfer.advance(self, result, data) > 0:
            return 1
        self.outcome = bytes(self.view[: self.moved])
        return 0

    def left(self) -> None:
        """Give the memory back: the kernel has let go of it."""
        memory = self.memory
        self.memory = None
        ReadIntoTransfer.left(self)
        self.file.pool.give_back(memory)


class WriteTransfer(FileTransfer):
    """Writes bytes.

    Args:
        whole: go on after a short write; otherwise that is an error, as for an atomic append.
    """

    __slots__ = ("view", "whole")

    def __init__(self, file: File, data: Any, offset: int, kind: int, whole: bool) -> None:
        self.write(file, data, offset, kind, whole)

    def write(self, file: File, data: Any, offset: int, kind: int, whole: bool) -> None:
        """Do what `__init__` does."""
        self._open(file, _WRITE_AT, offset, kind)
        self.view: Any = data
        self.buffer = data
        self.whole = whole

    def advance(self, result: int, data: Any) -> int:
        """Go on behind what was written."""
        self.moved += result
        if self.moved >= len(self.view):
            self.outcome = self.moved
            return 0
        if result == 0 or not self.whole:
            return -_EIO
        self.offset += result
        self.buffer = memoryview(self.view)[self.moved :]
        return 1

    def left(self) -> None:
        """Let go of the memory."""
        self.view = self.buffer = None
        self.file.over(self)


class VectorTransfer(FileTransfer):
    """Reads into, or writes, several memories one behind the other."""

    __slots__ = ("rest", "total")

    def __init__(self, file: File, code: int, views: list[Any], offset: int, kind: int) -> None:
        self._open(file, code, offset, kind)
        self.rest: list[Any] = views
        self.total = sum(map(len, views))
        self.buffer = views[:_PARTS_MAX]

    def advance(self, result: int, data: Any) -> int:
        """Go on behind what was moved."""
        self.moved += result
        if self.moved >= self.total or (result == 0 and self.code == _READ_VECTOR_AT):
            self.outcome = self.moved
            return 0
        if result == 0:
            return -_EIO
        self.offset += result
        left = result
        index = 0
        while left >= len(self.rest[index]):
            left -= len(self.rest[index])
            index += 1
        self.rest = [memoryview(self.rest[index])[left:], *self.rest[index + 1 :]]
        self.buffer = self.rest[:_PARTS_MAX]
        return 1

    def left(self) -> None:
        """Let go of the memory."""
        self.rest = []
        self.buffer = None
        self.file.over(self)


class ForceTransfer(FileTransfer):
    """Forces a file to its device; a failure is the file's for good (F4)."""

    __slots__ = ()

    def __init__(self, file: File, code: int, kind: int) -> None:
        self._open(file, code, 0, kind)

    def advance(self, result: int, data: Any) -> int:
        """Fail with those that failed meanwhile: the kernel tells each failure once."""
        return -self.file.sync_errno

    def exception_of(self, result: int) -> BaseException:
        """Mark the file."""
        self.file.sync_errno = -result
        return FileTransfer.exception_of(self, result)


class CloseOperation(FileOperation):
    """Closes a number where that may wait, in a thread; whatever happens, it is closed.

    Args:
        host: what gets it done.
        fd: the number, which is this operation's from now on.
        path: what the file is called, for exceptions.
    """

    __slots__ = ()

    def __init__(self, host: Host, fd: int, path: Any) -> None:
        FileOperation.__init__(self, host, CLOSE_FILE, fd)
        self.path = path
        self.way = BY_THREAD

    def start(self) -> Pending:
        """Hand it over, and give its future."""
        try:
            return FileOperation.start(self)
        except BaseException:
            calls.close_number(self.fd)  # it was not taken
            raise

    def advance(self, result: int, data: Any) -> int:
        """Give nothing."""
        self.outcome = None
        return 0

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Close it after all if it was taken back before a thread had begun."""
        self._close_if_cancelled(result)
        FileOperation.deliver(self, result, flags, data)

    def discard(self, result: int, data: object) -> None:
        """Do so as well when nobody can be told any more."""
        self._close_if_cancelled(result)

    def _close_if_cancelled(self, result: int) -> None:
        if result == -_ECANCELED and self.fd >= 0:
            calls.close_number(self.fd)
            self.fd = -1
