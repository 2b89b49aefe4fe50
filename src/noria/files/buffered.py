"""BufferedFile: what reads ahead and gathers what is written, below BinaryFile.

What was read ahead lies in `_lines`, from which lines are iterated without a coroutine for each.
What was written gathers in `_writing` until it is flushed; one of the two is empty at any time.
`_ahead` is the position in the file behind what was read ahead, or where the gathered bytes begin.

A flush that has begun goes on even if the task that waits for it is cancelled: what was taken from
the caller before must not be lost. Whoever uses the stream next waits for its end first.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from typing import TYPE_CHECKING, Any

from noria.files.channel import Channel
from noria.files.file import File
from noria.limits import STREAM_BUFFER_BYTES
from noria.native.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class BufferedFile(File):
    """An open file with a position and a buffer.

    Attributes:
        mode: as the objects of `io` have it, such as "rb+".
    """

    # Without a dictionary the interpreter finds the methods at once.
    __slots__ = (
        "_ahead",
        "_channel",
        "_chunk",
        "_ended",
        "_finishing",
        "_limit",
        "_lines",
        "_shared",
        "_tail",
        "_turn",
        "_writing",
        "mode",
    )

    def set_up(self, mode: str, buffering: int) -> None:
        """Make it a stream; called once, before anything else.

        Args:
            mode: what `mode` is to tell.
            buffering: bytes of the buffer, 0 for none, -1 for the default.
        """
        self.mode = mode
        self._limit = STREAM_BUFFER_BYTES if buffering < 0 else buffering
        self._chunk = self._limit or STREAM_BUFFER_BYTES
        self._lines = Lines("\n")
        self._writing = bytearray()
        self._tail: tuple[asyncio.Future[Any], bytearray] | None = None
        self._turn = asyncio.Lock()
        self._ahead = 0
        self._ended = False
        self._finishing: asyncio.Task[None] | None = None
        self._shared = isinstance(self.name, int)
        self._channel: Channel | None = None
        try:
            whence = os.SEEK_END if self.appending else os.SEEK_CUR
            self._ahead = os.lseek(self.fd, 0, whence)
        except OSError:
            self._channel = Channel(self, owned=not self._shared)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is being closed."""
        return self._ended or self.fd < 0

    def _check_open(self) -> None:
        if self._ended or self.fd < 0:
            raise ValueError("I/O operation on closed file.")

    def _check_can(self, able: bool, what: str) -> None:
        self._check_open()
        if not able:
            raise io.UnsupportedOperation(what)

    def _drop(self) -> None:
        """Forget what was read ahead: the position is where it begins."""
        self._ahead -= self._lines.left() if self._channel is None else 0
        self._lines.data = b""
        self._lines.at = 0

    def _settle_position(self) -> None:
        """Keep nothing that was read ahead, if there is to be no buffer."""
        if not self._limit and self._channel is None:
            self._drop()
            self._tell_system()

    async def _fill(self, size: int) -> int:
        """Read on when everything read ahead has been taken; how many bytes came."""
        data = await self._fetch(size)
        self._lines.data = data
        self._lines.at = 0
        return len(data)

    async def _fetch(self, size: int) -> bytes:
        """Read at `_ahead`; short at the end of the file, or from what has no position."""
        if self._channel is not None:
            return await self._channel.read(size)
        self._follow()
        data = await self.read_at(size, self._ahead)
        self._advance(len(data))
        return data

    def _put_back(self, parts: list[bytes]) -> None:
        """Have what was read ahead once more, after reading on has failed."""
        self._lines.data = b"".join(parts) + self._lines.data[self._lines.at :]
        self._lines.at = 0

    def rewind(self, position: int) -> None:
        """Go back to where a read of this file's text began that has failed."""
        self._drop()
        self._ahead = position
        self._tell_system()

    def gather(self, view: bytes | memoryview) -> bool:
        """Take bytes into the buffer if that needs no waiting; False if it does."""
        size = len(self._writing) + len(view)
        if size > self._limit or self._lines.data or self._turn.locked() or self._tail is not None:
            return False
        self._writing += view
        return True

    def _begin_writing(self, data: Any) -> None:
        """Begin to write at `_ahead`; `_flush` waits for it."""
        if self._channel is not None:
            writing: Any = self.host.loop.create_task(self._channel.write(data))
        else:
            self._follow()
            writing = self.write_at(data, self._ahead)
        self._tail = (writing, data)

    async def _flush(self) -> None:
        while self._tail is not None or self._writing:
            if self._tail is None:
                data = self._writing
                self._writing = bytearray()
                self._begin_writing(data)
            await self._end_writing()

    async def _end_writing(self) -> None:
        assert self._tail is not None
        writing, data = self._tail
        if not writing.done():
            # The outcome is taken below; a wait that is cancelled leaves the writing alone.
            await asyncio.wait([writing])
        self._tail = None
        try:
            writing.result()
        except OSError as exc:
            done = getattr(exc, "bytes_done", 0)
            self._wrote(done)
            if isinstance(data, bytearray):
                self._writing[:0] = data[done:]  # it was taken before; the next flush tries again
            raise
        self._wrote(len(data))

    def _wrote(self, count: int) -> None:
        if not count or self._channel is not None:
            return
        if self.appending:
            self._ahead = os.fstat(self.fd).st_size
            self._tell_system()
        else:
            self._advance(count)

    def _position(self) -> int:
        return self._ahead - self._lines.left() + len(self._writing)

    def _advance(self, count: int) -> None:
        self._ahead += count
        self._tell_system()

    def _follow(self) -> None:
        """Take the position from the system, where somebody else may have moved it."""
        if self._shared and not self.appending:
            self._ahead = os.lseek(self.fd, 0, os.SEEK_CUR)

    def _tell_system(self) -> None:
        if self._shared:
            os.lseek(self.fd, self._ahead, os.SEEK_SET)

    def sync(self) -> Awaitable[None]:
        """Flush, then force data and metadata to the device (fsync(2)); see `File.sync`."""
        return self._forced(File.sync)

    def datasync(self) -> Awaitable[None]:
        """Flush, then force data to the device (fdatasync(2)); see `File.datasync`."""
        return self._forced(File.datasync)

    def _forced(self, force: Callable[[File], Awaitable[None]]) -> Awaitable[None]:
        if self._writing or self._tail is not None or self._turn.locked():
            return self._flush_and(force)
        return force(self)

    async def _flush_and(self, force: Callable[[File], Awaitable[None]]) -> None:
        async with self._turn:
            await self._flush()
        await force(self)

    async def close(self) -> None:
        """Flush and close. Idempotent; a close that is cancelled goes on by itself.

        Raises:
            OSError: something could not be written; the file is closed all the same.
        """
        first = not self._ended
        self._ended = True
        if first and self._channel is not None:
            self._channel.close()
        if first and (self._writing or self._tail is not None or self._turn.locked()):
            self._finishing = self.host.loop.create_task(self._finish())
        if self._finishing is None:
            await self._close_number()
        elif first or not self._finishing.done():
            await asyncio.shield(self._finishing)

    async def _close_number(self) -> None:
        if self._channel is not None and self.fd >= 0:
            self._channel.forget()
        await File.close(self)

    async def _finish(self) -> None:
        try:
            async with self._turn:
                await self._flush()
        finally:
            self._writing = bytearray()
            await self._close_number()

    def rescue(self) -> None:
        """Write what nobody has flushed, since the file is dropped without having been closed."""
        with contextlib.suppress(OSError):
            self._write_rest()

    def _write_rest(self) -> None:
        """Write what has gathered, in this thread."""
        data = self._writing
        while data:
            if self._channel is None and not self.appending:
                os.lseek(self.fd, self._ahead, os.SEEK_SET)
            count = os.write(self.fd, data)
            self._ahead += count
            del data[:count]

    def detach(self) -> int:
        """Give the number away, with its position where that of the stream is; closed afterwards.

        What has gathered is written before, in this thread, as the objects of `io` do it.

        Raises:
            ValueError: the file is closed, or something is in flight.
            OSError: of write(2); it is not detached then.
        """
        self._check_open()
        if self.in_flight or self._turn.locked() or self._tail is not None:
            raise ValueError("the file is in use; await what is in flight before detaching it")
        appended = self.appending and bool(self._writing)
        self._write_rest()
        self._drop()
        fd = self.fd
        if self._channel is not None:
            self._channel.close()
            self._channel.forget()
            self._channel.give_back()
        elif not appended:
            os.lseek(fd, self._ahead, os.SEEK_SET)
        self.descriptor.detach()
        self._ended = True
        self.fd = -1
        return fd
