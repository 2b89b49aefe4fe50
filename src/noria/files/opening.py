"""Opening: from a name and flags to a File, without holding up the loop.

Facts: open(2) may wait for a disk or a server, and for the other end of a FIFO for ever. What is
cached is opened at once (openat2(2), RESOLVE_CACHED); the rest in a thread, one of C's where there
are any. Whether a name is a FIFO is looked up first, and what may wait for somebody goes to a crew
of its own, so that blocked opens never hold up others. Regular files are opened with O_NONBLOCK,
which means nothing to them: should the name be a FIFO's by then, no other crew is caught.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.core.codes import OPEN_FILE
from noria.core.descriptor import Descriptor
from noria.core.operation import BY_THREAD, NAMES, WAITING
from noria.files.aligned import alignment_of
from noria.files.filesystems import Filesystem, filesystem_of
from noria.files.hops import hop
from noria.files.host import Host, running_host
from noria.files.name_operation import is_plain
from noria.files.operation import FileOperation
from noria.native import files as native

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.files.file import File

_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_PATH: int = getattr(os, "O_PATH", 0)
_DIRECT: int = getattr(os, "O_DIRECT", 0)
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_CHANGES = os.O_CREAT | os.O_TRUNC | os.O_EXCL


class Opened(NamedTuple):
    """An open number, and what it is.

    Attributes:
        fd: the number, the receiver's to close.
        filesystem: where it lies; None if it is no regular file.
        alignment: what direct I/O demands, in bytes; 0 if it is not open for that.
    """

    fd: int
    filesystem: Filesystem | None
    alignment: int


async def open_file(
    make: type[Any],
    path: Any,
    flags: int,
    *,
    mode: int = 0o666,
    opener: Callable[[Any, int], int] | None = None,
    closefd: bool = True,
    direct: bool = False,
) -> File:
    """Open a file.

    Args:
        make: File or a class that is made like it.
        path: name (str, bytes, os.PathLike) or the number of an open descriptor.
        flags: as for os.open; O_CLOEXEC is added.
        mode: permissions of what is made, before the umask.
        opener: called in a thread with `path` and flags instead of os.open, as by `open`.
        closefd: close a number that was given with the file; has to be True for a name.
        direct: bypass the page cache (O_DIRECT).

    Raises:
        IsADirectoryError: it is a directory.
        ValueError: `closefd` is False with a name; the opener gave a negative number.
        OSError: what open(2) says.
        io.UnsupportedOperation: the system has no direct I/O.
    """
    host = running_host()
    if direct and not _DIRECT:
        raise io.UnsupportedOperation("this system has no O_DIRECT")
    flags |= _CLOEXEC | _BINARY | (_DIRECT if direct else 0)
    if isinstance(path, int):
        opened = await hop(lambda: _examined(path, path, flags), host=host)
    else:
        if not closefd:
            raise ValueError("Cannot use closefd=False with file name")
        found = None if opener is not None or direct else _open_now(path, flags)
        if found is None and opener is not None:
            found = await _owned(hop(lambda: _open_by(opener, path, flags), host=host, undo=_undo))
        elif found is None and is_plain(path):
            found = await _open_soon(host, path, flags, mode)
        if found is None:
            waiting = hop(
                lambda: _open_waiting(path, flags, mode), host=host, crew=WAITING, undo=_undo
            )
            found = await _owned(waiting)
            assert found is not None
        opened = found
    access = flags & _ACCESS
    made: File = make(
        host,
        Descriptor(opened.fd),
        path,
        opened.filesystem,
        readable=access in (os.O_RDONLY, os.O_RDWR),
        writable=access in (os.O_WRONLY, os.O_RDWR),
        appending=bool(flags & os.O_APPEND),
        alignment=opened.alignment,
        closefd=closefd,
    )
    return made


def _undo(opened: Opened | None) -> None:
    if opened is not None:
        os.close(opened.fd)


async def _owned(opening: Any) -> Opened | None:
    """Await an open; close what it opened if this task was cancelled before being told (F6)."""
    try:
        opened: Opened | None = await opening
    except asyncio.CancelledError:
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            _undo(opening.result())
        raise
    return opened


class OpenOperation(FileOperation):
    """Opens a name unless that may wait for somebody else, which is ENXIO."""

    __slots__ = ("name",)

    def __init__(self, host: Host, name: Any, flags: int, mode: int) -> None:
        FileOperation.__init__(self, host, OPEN_FILE)
        self.path = self.name = self.buffer = os.fspath(name)
        self.size = flags
        self.offset = mode
        self.crew = NAMES
        self.way = BY_THREAD

    def submit(self) -> None:
        """Hand it over, once more if it was refused or interrupted."""
        self.buffer = self.name
        FileOperation.submit(self)

    def advance(self, result: int, data: Any) -> int:
        """Give what was opened."""
        mode, device = data
        self.outcome = _known(result, mode, device, self.size)
        return 0


async def _open_soon(host: Host, path: Any, flags: int, mode: int) -> Opened | None:
    """Open by name, in a thread; None if that may wait for somebody else."""
    try:
        return await _owned(OpenOperation(host, path, flags, mode).start())
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
    return None


def _examined(path: Any, fd: int, flags: int) -> Opened:
    """Look at what was opened.

    Raises:
        IsADirectoryError: it is a directory.
    """
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return _known(fd, status.st_mode, status.st_dev, flags)


def _known(fd: int, mode: int, device: int, flags: int) -> Opened:
    filesystem = filesystem_of(device, fd) if stat.S_ISREG(mode) else None
    return Opened(fd, filesystem, alignment_of(device) if flags & _DIRECT else 0)


def _open_by(opener: Callable[[Any, int], int], path: Any, flags: int) -> Opened:
    """Open with the caller's function, in a thread."""
    fd = opener(path, flags)
    if not isinstance(fd, int):
        raise TypeError("expected integer from opener")
    if fd < 0:
        raise ValueError(f"opener returned {fd}")
    os.set_inheritable(fd, False)
    return _checked(path, fd, flags)


def _checked(path: Any, fd: int, flags: int) -> Opened:
    try:
        return _examined(path, fd, flags)
    except BaseException:
        os.close(fd)
        raise


def _open_waiting(path: Any, flags: int, mode: int) -> Opened:
    """Open what may wait, such as a FIFO for its other end, in a thread."""
    return _checked(path, os.open(path, flags, mode), flags)


def _open_now(path: Any, flags: int) -> Opened | None:
    """Open a regular file whose name and inode are cached, to read it; None if they are not."""
    if flags & (_CHANGES | _ACCESS) or not _PATH or sys.platform != "linux":
        return None
    name = os.fsencode(path)
    if b"\0" in name:
        return None  # the thread tells how it is misused
    handle = native.open_now(name, _PATH)
    if handle < 0:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return None
        fd = native.open_now(name, flags | _NONBLOCK)
    finally:
        os.close(handle)
    if fd < 0:
        return None
    os.set_blocking(fd, True)
    opened = _checked(path, fd, flags)
    if opened.filesystem is None:
        os.close(fd)
        return None
    return opened
