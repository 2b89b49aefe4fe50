"""Locks on files, of the kind that belongs to an opening of the file (fcntl(2), OFD locks).

Facts: a lock that a thread waits for cannot be given up, and once it is granted it is this
opening's, whoever wanted it; so a wait that was cancelled could take a later lock away. Locks are
therefore tried for without waiting, again and again, at growing intervals.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import struct
import sys
from typing import TYPE_CHECKING, Any

from noria.files.hops import hop
from noria.limits import LOCK_RETRY_SECONDS_MAX, LOCK_RETRY_SECONDS_MIN

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from noria.files.file import File

if sys.platform != "win32":
    import fcntl

_PARTS = sys.platform == "linux"
"""Whether parts of files can be locked; elsewhere flock(2) locks the whole."""
_NONE_AT_ALL = sys.platform == "win32"

_LAYOUT = "hhqqi0q"  # struct flock of Linux: type, whence, start, length, process
_TAKEN = (errno.EAGAIN, errno.EACCES)


class FileLock:
    """A lock that is held; released with `release`, at the end of `async with`, or by closing."""

    def __init__(self, file: File, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size
        self.held = True

    async def release(self) -> None:
        """Release it. Idempotent, also if the file was closed meanwhile."""
        if self.held:
            self.held = False
            if self._file.fd >= 0:
                await _call(self._file, None, self._offset, self._size)

    async def __aenter__(self) -> FileLock:
        """Give itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it."""
        await self.release()


class Locking:
    """A lock that is asked for: awaited, or entered with `async with`."""

    def __init__(self, file: File, exclusive: bool, offset: int, size: int, wait: bool) -> None:
        if offset < 0 or size < 0:
            raise ValueError(f"negative {'offset' if offset < 0 else 'size'} is not possible")
        if _NONE_AT_ALL:
            raise io.UnsupportedOperation("this system has no locks that belong to an opening")
        if not _PARTS and (offset or size):
            raise io.UnsupportedOperation("this system locks no parts of files")
        self._file = file
        self._exclusive = exclusive
        self._offset = offset
        self._size = size
        self._wait = wait
        self._lock: FileLock | None = None

    def __await__(self) -> Generator[Any, None, FileLock]:
        """Wait for the lock."""
        return self._acquire().__await__()

    async def _acquire(self) -> FileLock:
        pause = LOCK_RETRY_SECONDS_MIN
        while not await self._attempt():
            await asyncio.sleep(pause)
            pause = min(pause * 2, LOCK_RETRY_SECONDS_MAX)
        return FileLock(self._file, self._offset, self._size)

    async def _attempt(self) -> bool:
        """Try for it once; False if somebody else has it.

        Raises:
            BlockingIOError: somebody has it, and it is not to be waited for.
            OSError: of fcntl(2), such as EBADF for a lock that the file's mode does not allow.
        """
        if self._file.fd < 0:
            raise ValueError("I/O operation on closed file.")
        try:
            await _call(self._file, self._exclusive, self._offset, self._size)
        except OSError as exc:
            if exc.errno not in _TAKEN:
                raise
            if not self._wait:
                raise BlockingIOError(exc.errno, exc.strerror, self._file.name) from None
            return False
        return True

    async def __aenter__(self) -> FileLock:
        """Wait for the lock."""
        self._lock = await self._acquire()
        return self._lock

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it."""
        assert self._lock is not None
        await self._lock.release()


async def _call(file: File, exclusive: bool | None, offset: int, size: int) -> None:
    """Set a lock, or none if `exclusive` is None; by a thread if a server has to be asked."""
    fd = file.fd
    if file.filesystem is not None and file.filesystem.distant:
        await hop(lambda: _set(fd, exclusive, offset, size), host=file.host)
    else:
        _set(fd, exclusive, offset, size)


def _set(fd: int, exclusive: bool | None, offset: int, size: int) -> None:
    if sys.platform == "linux":
        kinds = {None: fcntl.F_UNLCK, False: fcntl.F_RDLCK, True: fcntl.F_WRLCK}
        part = struct.pack(_LAYOUT, kinds[exclusive], os.SEEK_SET, offset, size, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, part)
    elif sys.platform != "win32":
        kinds = {None: fcntl.LOCK_UN, False: fcntl.LOCK_SH, True: fcntl.LOCK_EX}
        fcntl.flock(fd, kinds[exclusive] | fcntl.LOCK_NB)
