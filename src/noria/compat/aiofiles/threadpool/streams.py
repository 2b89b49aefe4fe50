"""What `open` gives: the classes of aiofiles around noria's files.

The object inside, `_file`, is a BinaryFile or a TextFile of noria's. It is there as `raw` and
`buffer` too, with what aiofiles does not know: `read_at`, `sync`, `lock` and others.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from noria.compat.aiofiles.base import AsyncBase
from noria.compat.aiofiles.threadpool import binary, text
from noria.compat.aiofiles.threadpool.utils import answered_by_file, awaited_of_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from noria.fs import BinaryFile

_ANSWERED = frozenset({"isatty", "readable", "seekable", "writable"})
_KEPT = ("encoding", "errors", "line_buffering", "mode")
_BYTES = [name for name in binary.AWAITED if name not in _ANSWERED]
_TEXT = [name for name in text.AWAITED if name not in _ANSWERED]


class Detached:
    """Stands where a file was that has been detached.

    Args:
        what: has been taken from it.
        kept: what it still tells.
    """

    def __init__(self, what: str, **kept: Any) -> None:
        self._what = what
        self.__dict__.update(kept)

    def __getattr__(self, name: str) -> Any:
        raise ValueError(f"{self._what} has been detached")


class NoriaFile(AsyncBase):
    """What the files have in common."""

    async def _leave(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._file.__aexit__(kind, value, traceback)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over the lines; those that were read ahead come without a turn of the loop."""
        lines: AsyncIterator[Any] = self._file.__aiter__()
        return lines

    async def __anext__(self) -> Any:
        """Give the next line."""
        return await self._file.__anext__()


@awaited_of_file(*_BYTES, "read1")
@answered_by_file("isatty", "seekable", "writable")
class NoriaBuffered(NoriaFile, binary.AsyncBufferedIOBase):
    """A file of bytes with a buffer, open for writing."""

    @property
    def raw(self) -> BinaryFile:
        """The file of noria's. Its buffer is this file's."""
        file: BinaryFile = self._file
        _ = file.closed  # which is an error of a file that has been detached
        return file

    def detach(self) -> io.FileIO:
        """Flush, and give the descriptor to a synchronous object at the same position."""
        raw = _synchronous(self._file)
        self._file = Detached("raw stream")
        return raw


@awaited_of_file("peek")
class NoriaReader(NoriaBuffered, binary.AsyncBufferedReader):
    """A file of bytes with a buffer, open for reading."""


@awaited_of_file(*_BYTES, "readall")
@answered_by_file("isatty", "seekable", "writable")
class NoriaRaw(NoriaFile, binary.AsyncFileIO):
    """A file of bytes without a buffer."""


@awaited_of_file(*_TEXT)
@answered_by_file("isatty", "readable", "seekable", "writable")
class NoriaText(NoriaFile, text.AsyncTextIOWrapper):
    """A file of text."""

    def detach(self) -> Any:
        """Flush, and give the descriptor to a synchronous object of bytes.

        Its position is behind what was read ahead to be decoded, as with io.TextIOWrapper.
        """
        file = self._file
        mode = file.buffer.mode
        raw = _synchronous(file.buffer)
        self._file = Detached("underlying buffer", **{name: getattr(file, name) for name in _KEPT})
        if "+" in mode:
            return io.BufferedRandom(raw)
        return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)


def around(file: Any, *, unbuffered: bool) -> Any:
    """Give the object of aiofiles around a file of noria's.

    Args:
        file: a BinaryFile, a TextFile, or what stands for one.
        unbuffered: it is of bytes and has no buffer.
    """
    if hasattr(file, "encoding"):
        return NoriaText(file, None, None)
    if unbuffered:
        return NoriaRaw(file, None, None)
    return (NoriaReader if file.can_read else NoriaBuffered)(file, None, None)


def _synchronous(file: BinaryFile) -> io.FileIO:
    name, mode, closefd = file.name, file.mode, file.closefd
    fd = file.detach()
    try:
        position = os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        position = -1
    raw = io.FileIO(fd, mode, closefd)
    if position >= 0:
        raw.seek(position)  # appending, it has moved to the end
    raw.name = name
    return raw
