"""BinaryFile: a file as a stream of bytes, as of `open(..., "rb")`; BufferedFile has its buffer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from noria.core.buffer import lend_readable, lend_writable
from noria.files.buffered import BufferedFile
from noria.files.by_lines import ByLines
from noria.files.hops import hop
from noria.files.locks import Locking
from noria.limits import STREAM_READ_ALL_BYTES
from noria.native.lines import LineIterator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

_SEEKS_DATA = (getattr(os, "SEEK_DATA", None), getattr(os, "SEEK_HOLE", None))


class BinaryFile(BufferedFile, ByLines[bytes]):
    """An open file with a position; made by `noria.open`.

    Its methods do what those of `io.BufferedReader`, `io.BufferedWriter`, `io.BufferedRandom` or,
    unbuffered, `io.FileIO` do, and are awaited. The positional methods of File may be in flight
    beside them; they see what has been flushed.
    """

    __slots__ = ()

    # -- what it is -----------------------------------------------------------------------------

    def readable(self) -> bool:
        """Whether it can be read."""
        self._check_open()
        return bool(self.can_read)

    def writable(self) -> bool:
        """Whether it can be written."""
        self._check_open()
        return bool(self.can_write)

    def seekable(self) -> bool:
        """Whether it has a position."""
        self._check_open()
        return self._channel is None

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        self._check_open()
        return os.isatty(self.fd)

    # -- reading --------------------------------------------------------------------------------

    async def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or up to the end of the file if it is negative or None.

        Fewer come at the end of the file, and unbuffered from what has no position.

        Raises:
            ValueError: the file is closed.
            io.UnsupportedOperation: it was not opened for reading.
            OSError: of read(2).
        """
        self._check_can(self.can_read, "read")
        lines = self._lines
        if size is not None and 0 <= size <= lines.left() and not self._turn.locked():
            taken: bytes = lines.take(size)
            return taken
        async with self._turn:
            self._check_open()
            await self._flush()
            if size is None or size < 0:
                return await self._read_all()
            return await self._read(size)

    async def read1(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes with at most one request to the file."""
        self._check_can(self.can_read, "read")
        async with self._turn:
            self._check_open()
            await self._flush()
            if size < 0:
                size = self._chunk
            if size and not self._lines.left():
                await self._fill(size if not self._limit else self._chunk)
            data: bytes = self._lines.take(min(size, self._lines.left()))
            self._settle_position()
            return data

    async def peek(self, size: int = 0, /) -> bytes:
        """Give bytes that come next without moving the position; some number of them."""
        self._check_can(self.can_read, "peek")
        async with self._turn:
            self._check_open()
            await self._flush()
            if not self._lines.left():
                await self._fill(self._chunk)
            data: bytes = self._lines.data[self._lines.at :]
            return data

    async def readinto(self, buffer: Any, /) -> int:
        """Read into writable memory until it is full or the file ends; how many bytes.

        Raises:
            TypeError: the memory is read-only or not contiguous; others as for `read`.
        """
        self._check_can(self.can_read, "read")
        view = lend_writable(buffer)
        async with self._turn:
            self._check_open()
            await self._flush()
            done = min(self._lines.left(), len(view))
            view[:done] = self._lines.take(done)
            while done < len(view):
                if self._channel is None and len(view) - done >= self._chunk:
                    self._follow()
                    count = await self.readinto_at(view[done:], self._ahead)
                    self._advance(count)
                    self._drop()
                    done += count
                    break
                data = await self._read(len(view) - done)
                view[done : done + len(data)] = data
                done += len(data)
                if not data or not self._limit:
                    break
            return done

    async def readinto1(self, buffer: Any, /) -> int:
        """Read into writable memory with at most one request to the file; how many bytes."""
        view = lend_writable(buffer)
        data = await self.read1(len(view))
        view[: len(data)] = data
        return len(data)

    async def readall(self) -> bytes:
        """Read up to the end of the file."""
        return await self.read()

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Read one line with its end, or at most `size` bytes of it; b"" at the end of the file."""
        self._check_can(self.can_read, "read")
        if (size is None or size < 0) and self._limit and not self._turn.locked():
            line: bytes | None = self._lines.next_line()
            if line is not None:
                return line
        async with self._turn:
            self._check_open()
            await self._flush()
            line = await self._read_line(-1 if size is None else size)
            self._settle_position()
            return line

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the lines; those that were read ahead come without a turn of the loop."""
        self._check_can(self.can_read, "read")
        if not self._limit:
            return self._iterate()
        return LineIterator(self._lines, self.__anext__)

    async def _iterate(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    async def _read(self, size: int) -> bytes:
        """Read `size` bytes, first what was read ahead."""
        if size == 0:
            return b""
        have = self._lines.left()
        if have >= size:
            taken: bytes = self._lines.take(size)
            return taken
        if not self._limit:
            return await self._fetch(size)
        parts = [self._lines.take(have)] if have else []
        self._lines.data, self._lines.at = b"", 0
        try:
            while have < size:
                if size - have >= self._chunk:
                    data = await self._fetch(size - have)
                elif await self._fill(self._chunk):
                    data = self._lines.take(min(size - have, self._lines.left()))
                else:
                    break
                if not data:
                    break
                parts.append(data)
                have += len(data)
                if self._channel is None and not self._lines.left():
                    break  # what has a position comes short at its end only
        except BaseException:
            self._put_back(parts)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_all(self) -> bytes:
        parts = [self._lines.take(self._lines.left())] if self._lines.left() else []
        self._lines.data, self._lines.at = b"", 0
        try:
            while True:
                size = STREAM_READ_ALL_BYTES
                if self._channel is None and not self.alignment:
                    size = max(os.fstat(self.fd).st_size - self._ahead, 0) + 1
                data = await self._fetch(size)
                if not data:
                    break
                parts.append(data)
                if len(data) < size and self._channel is None:
                    break
        except BaseException:
            self._put_back(parts)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_line(self, size: int) -> bytes:
        parts: list[bytes] = []
        total = 0
        try:
            while size < 0 or total < size:
                if not self._lines.left():
                    one = self._channel is not None and not self._limit
                    if not await self._fill(1 if one else self._chunk):
                        break
                data: bytes = self._lines.data
                at = self._lines.at
                stop = data.find(b"\n", at) + 1
                found = stop > 0
                stop = stop or len(data)
                if 0 <= size < total + stop - at:
                    stop = at + size - total
                    found = True
                parts.append(data[at:stop])
                total += stop - at
                self._lines.at = stop
                if found:
                    break
        except BaseException:
            self._put_back(parts)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # -- writing --------------------------------------------------------------------------------

    async def write(self, data: Any, /) -> int:
        """Write all of `data`, at the latest with the next flush; how many bytes, which is all.

        Cancelled while it waits for an earlier flush, it has taken nothing.

        Raises:
            TypeError: it is not a bytes-like object.
            ValueError: the file is closed.
            io.UnsupportedOperation: it was not opened for writing.
            OSError: of write(2), also for what was taken before; see `bytes_done` of it.
        """
        self._check_can(self.can_write, "write")
        view = lend_readable(data)
        if self.gather(view):
            return len(view)
        async with self._turn:
            self._check_open()
            if self._lines.data:
                self._drop()
            if len(self._writing) + len(view) > self._limit or self._tail is not None:
                await self._flush()
            if len(view) <= self._limit and self._limit:
                self._writing += view
            elif len(view):
                self._begin_writing(view)
                await self._flush()
            return len(view)

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each of `lines`; no line ends are added."""
        self._check_open()
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        """Hand what was written over to the system (not to the device: see `sync`).

        Raises:
            ValueError: the file is closed.
            OSError: of write(2).
        """
        self._check_open()
        if self._writing or self._tail is not None or self._turn.locked():
            async with self._turn:
                await self._flush()

    # -- the position ---------------------------------------------------------------------------

    async def tell(self) -> int:
        """Give the position, in bytes from the beginning of the file.

        Raises:
            OSError: it has none (ESPIPE).
        """
        self._check_open()
        if self._channel is not None:
            os.lseek(self.fd, 0, os.SEEK_CUR)  # it says why not
        if self._turn.locked() or self._tail is not None:
            async with self._turn:
                await self._flush()
        return self._position()

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; give where it is then.

        Args:
            offset: bytes, from where `whence` says.
            whence: os.SEEK_SET, the beginning; SEEK_CUR, the position; SEEK_END, the end; on
                Linux also SEEK_DATA and SEEK_HOLE (lseek(2)).

        Raises:
            io.UnsupportedOperation: it has no position.
            ValueError: unknown `whence`, or the file is closed.
            OSError: the position would be negative.
        """
        self._check_can(self._channel is None, "File or stream is not seekable.")
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, *_SEEKS_DATA):
            raise ValueError(f"whence value {whence} unsupported")
        async with self._turn:
            self._check_open()
            await self._flush()
            if whence == os.SEEK_CUR:
                offset += self._position()
            elif whence != os.SEEK_SET:
                offset = await self._seek_by_system(offset, whence)
            if offset < 0:
                os.lseek(self.fd, offset, os.SEEK_SET)  # it says what is wrong
            begin = self._ahead - len(self._lines.data)
            if self._limit and self._lines.data and begin <= offset <= self._ahead:
                self._lines.at = offset - begin
            else:
                self._drop()
                self._ahead = offset
                self._tell_system()
            return offset

    async def _seek_by_system(self, offset: int, whence: int) -> int:
        if whence == os.SEEK_END and self.filesystem is not None and not self.filesystem.distant:
            return os.fstat(self.fd).st_size + offset
        fd = self.fd
        kept = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            return await hop(lambda: os.lseek(fd, offset, whence), host=self.host)
        finally:
            if self.fd == fd:
                os.lseek(fd, kept, os.SEEK_SET)

    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file `size` bytes long, or end it at the position; the position stays.

        Raises:
            io.UnsupportedOperation: it was not opened for writing.
            OSError: of ftruncate(2).
        """
        self._check_can(self.can_write, "truncate")
        async with self._turn:
            self._check_open()
            await self._flush()
            if size is None:
                size = self._position()
            elif size < 0:
                os.ftruncate(self.fd, size)  # it says what is wrong
            self._drop()
            await self.truncate_at(size)
            return size

    def lock(
        self, *, exclusive: bool = True, offset: int = 0, size: int = 0, wait: bool = True
    ) -> Locking:
        """Lock a part of the file against other openings of it (fcntl(2), F_OFD_SETLK).

        The lock belongs to this opening of the file: other openings in the same process are held
        off as well, and closing another one releases nothing. Cancelling the wait is safe at any
        time. Where the system has no such locks, flock(2) locks the file as a whole.

        Args:
            exclusive: nobody else may hold a lock there; otherwise others may share it.
            offset: where the part begins, in bytes.
            size: its length; 0 means up to the end, however far that moves.
            wait: wait until the lock can be had.

        Returns:
            What is awaited, or entered with `async with`, and gives a FileLock.

        Raises:
            BlockingIOError: somebody holds it, and `wait` is False.
            ValueError: the file is closed, `offset` or `size` is negative.
            io.UnsupportedOperation: the system locks no parts of files, or no files.
        """
        self._check_open()
        return Locking(self, exclusive, offset, size, wait)

    # -- the end --------------------------------------------------------------------------------

    async def __aenter__(self) -> BinaryFile:
        """Give itself."""
        self._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
