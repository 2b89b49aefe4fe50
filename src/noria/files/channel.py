"""Channel: what has no position, such as a FIFO, a terminal or a socket, as a stream of bytes.

Facts: nothing tells what such a file will bring or when, so it is waited for as a socket is, by
readiness; threads that block in read(2) could not be called back, and what they had read would be
lost. A number that we have opened ourselves is set to non-blocking. A caller's number is left as it
is, since others may share it: it is read and written only when it is ready, and one of its other
readers may still win the race, whereupon this one blocks.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from noria.core.codes import WAIT_READABLE, WAIT_WRITABLE
from noria.core.operation import WAITING
from noria.errors import from_result
from noria.files.hops import hop
from noria.files.operation import FileOperation

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from noria.files.file import File


_AT_ONCE: int = getattr(select, "PIPE_BUF", 512)


class WaitOperation(FileOperation):
    """Waits until a descriptor is ready."""

    __slots__ = ()

    def __init__(self, file: File, code: int) -> None:
        FileOperation.__init__(self, file.host, code, file.fd)
        self.path = file.name
        self.descriptor = file.descriptor
        self.expectant = True  # nothing says that it is ready before the engine has looked

    def exception_of(self, result: int) -> BaseException:
        """Name the file."""
        return from_result(result, "", self.fd, self.path)


class Channel:
    """Reads and writes a file without a position.

    Args:
        file: the file; it stays the owner of the number.
        owned: nobody else has this number or shares its flags.
    """

    def __init__(self, file: File, owned: bool) -> None:
        self._file = file
        self._owned = False
        self._threaded = sys.platform == "win32"
        self._closed = False
        self._waits: set[Any] = set()
        if owned and sys.platform != "win32":
            os.set_blocking(file.fd, False)
            self._owned = True

    async def read(self, size: int) -> bytes:
        """Read what there is, at most `size` bytes; wait if there is nothing. b"" at the end.

        Raises:
            OSError: of read(2).
        """
        while True:
            if self._threaded:
                return await self._hop_read(size)
            if not self._owned or not self._has_news():
                await self._wait(WAIT_READABLE)
            try:
                return os.read(self._file.fd, size)
            except (BlockingIOError, InterruptedError):
                continue

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`.

        Raises:
            OSError: of write(2); `bytes_done` tells what was written before.
        """
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                if self._threaded:
                    done += await self._hop_write(view[done:])
                    continue
                await self._wait(WAIT_WRITABLE)
                # A blocking pipe that is writable takes PIPE_BUF bytes at once (pipe(7)).
                part = view[done:] if self._owned else view[done : done + _AT_ONCE]
                try:
                    done += os.write(self._file.fd, part)
                except (BlockingIOError, InterruptedError):
                    continue
        except OSError as exc:
            exc.bytes_done = done  # type: ignore[attr-defined]
            raise

    def _has_news(self) -> bool:
        """Whether there is something now, or the end."""
        if sys.platform == "win32":
            return True
        poller = select.poll()
        poller.register(self._file.fd, select.POLLIN)
        return bool(poller.poll(0))

    async def _wait(self, code: int) -> None:
        """Wait until it is ready; what no engine can watch is left to threads from now on."""
        waiting = WaitOperation(self._file, code).start()
        self._waits.add(waiting)
        try:
            await waiting
        except PermissionError:
            self._threaded = True  # epoll_ctl(2), EPERM: it does not support being watched
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise ValueError("I/O operation on closed file.") from None
        finally:
            self._waits.discard(waiting)

    def close(self) -> None:
        """End what waits, with ValueError; nothing tells that it would ever be ready."""
        self._closed = True
        for waiting in self._waits:
            waiting.cancel()

    def forget(self) -> None:
        """Tell the engine that the number will soon mean something else."""
        self._file.host.engine.forget(self._file.fd)

    def give_back(self) -> None:
        """Leave the number as it was found, for those who read and write it without waiting."""
        if self._owned and sys.platform != "win32":
            os.set_blocking(self._file.fd, True)

    def _hop_read(self, size: int) -> Awaitable[bytes]:
        fd = self._file.fd
        return hop(lambda: os.read(fd, size), crew=WAITING, host=self._file.host)

    def _hop_write(self, part: memoryview) -> Awaitable[int]:
        fd = self._file.fd
        return hop(lambda: os.write(fd, part), crew=WAITING, host=self._file.host)
