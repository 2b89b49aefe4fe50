"""Copying, moving and removing files and whole trees.

A copy is made by the quickest means that both filesystems have: sharing the blocks (FICLONE,
ioctl_ficlone(2)), copy_file_range(2), sendfile(2), or reading and writing. Each failure leads to
the next, and the result tells which it was. Holes stay holes. The kernel is asked in pieces, so
that a copy whose task was cancelled stops soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from noria.files.hops import hop
from noria.limits import COPY_BUFFER_BYTES, COPY_PIECE_BYTES

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from noria.files.status import Name, NameOrNumber

T = TypeVar("T")

_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)

_FICLONE: Final = 0x40049409  # of linux/fs.h

_CANNOT = frozenset(
    {
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EPERM,
        errno.ETXTBSY,
        errno.EBADF,
    }
)
"""What a means says that cannot do it for these two files; the next one may."""


class CopyResult(NamedTuple):
    """What a copy did.

    Attributes:
        bytes: length of the file in bytes, holes included.
        method: "reflink", "copy_file_range", "sendfile", "read_write", or "symlink" if a link was
            copied as a link.
        path: name of the copy.
    """

    bytes: int
    method: str
    path: Any


async def copyfile(src: Name, dst: Name, *, follow_symlinks: bool = True) -> CopyResult:
    """Copy the contents of a file (shutil.copyfile).

    Args:
        src: name of the file.
        dst: name of the copy; what it held before is gone.
        follow_symlinks: copy what a symbolic link points to; otherwise the link.

    Returns:
        How many bytes, and how they were copied.

    Raises:
        shutil.SameFileError: both names lead to one file.
        shutil.SpecialFileError: one of them is a FIFO.
        OSError: what the calls say. A copy that was begun is removed then, and a file that was
            there before is left empty.
    """
    return await _stoppable(partial(_copy, src, dst, follow_symlinks, None))


async def copy(src: Name, dst: Name, *, follow_symlinks: bool = True) -> CopyResult:
    """Copy a file with its permissions (shutil.copy).

    Args:
        src: name of the file.
        dst: name of the copy, or of a directory to put it in.
        follow_symlinks: copy what a symbolic link points to; otherwise the link.

    Raises:
        OSError: as for `copyfile`.
    """
    return await _stoppable(partial(_copy_into, src, dst, follow_symlinks, shutil.copymode))


async def copy2(src: Name, dst: Name, *, follow_symlinks: bool = True) -> CopyResult:
    """Copy a file with its permissions, times and extended attributes (shutil.copy2).

    Arguments, result and errors are those of `copy`.
    """
    return await _stoppable(partial(_copy_into, src, dst, follow_symlinks, shutil.copystat))


async def copymode(src: Name, dst: Name, *, follow_symlinks: bool = True) -> None:
    """Copy the permissions of a file (shutil.copymode)."""
    await hop(partial(shutil.copymode, src, dst, follow_symlinks=follow_symlinks))


async def copystat(src: Name, dst: Name, *, follow_symlinks: bool = True) -> None:
    """Copy permissions, times and extended attributes of a file (shutil.copystat)."""
    await hop(partial(shutil.copystat, src, dst, follow_symlinks=follow_symlinks))


async def copytree(
    src: Any,
    dst: Any,
    symlinks: bool = False,
    ignore: Callable[[Any, list[str]], Any] | None = None,
    copy_function: Callable[[Any, Any], object] | None = None,
    ignore_dangling_symlinks: bool = False,
    dirs_exist_ok: bool = False,
) -> Any:
    """Copy a tree of directories in one hop (shutil.copytree).

    Args:
        src: the tree.
        dst: name of the copy.
        symlinks: copy symbolic links as links, not what they point to.
        ignore: called in the thread with a directory and its names; gives those to pass over.
        copy_function: copies a file, called in the thread; None means what `copy2` does.
        ignore_dangling_symlinks: pass over links that lead nowhere.
        dirs_exist_ok: directories of the copy may be there already.

    Returns:
        `dst`.

    Raises:
        shutil.Error: with all that went wrong.
    """

    def call(stop: threading.Event) -> Any:
        return shutil.copytree(
            src,
            dst,
            symlinks,
            ignore,
            copy_function or _copy_function(stop),
            ignore_dangling_symlinks,
            dirs_exist_ok,
        )

    return await _stoppable(call)


async def move(
    src: Any, dst: Any, copy_function: Callable[[Any, Any], object] | None = None
) -> Any:
    """Move a file or tree: by renaming, or to another filesystem by a copy (shutil.move).

    Args:
        src: its name.
        dst: the new name, or a directory to put it in.
        copy_function: copies a file, called in the thread; None means what `copy2` does.

    Returns:
        The new name.

    Raises:
        OSError, shutil.Error: as rename(2) and `copytree`. What was to be moved is still there.
    """

    def call(stop: threading.Event) -> Any:
        return shutil.move(src, dst, copy_function or _copy_function(stop))

    return await _stoppable(call)


async def rmtree(
    path: Any,
    ignore_errors: bool = False,
    *,
    onexc: Callable[[Callable[..., Any], Any, BaseException], object] | None = None,
    dir_fd: int | None = None,
) -> None:
    """Remove a tree of directories in one hop (shutil.rmtree).

    Once begun it goes on to its end, also if its task is cancelled.

    Args:
        path: the tree.
        ignore_errors: go on after errors, and do not tell.
        onexc: called in the thread with the function that failed, the name and the exception.
        dir_fd: directory that a relative name starts from.

    Raises:
        OSError: of the first thing that could not be removed, unless one of the above.
    """
    call: Callable[[], object]
    if sys.version_info >= (3, 12):
        call = partial(shutil.rmtree, path, ignore_errors, onexc=onexc, dir_fd=dir_fd)
    else:

        def onerror(function: Any, name: Any, failure: Any) -> object:
            assert onexc is not None
            return onexc(function, name, failure[1])

        old = None if onexc is None else onerror
        call = partial(shutil.rmtree, path, ignore_errors, old, dir_fd=dir_fd)
    await hop(call)


async def disk_usage(path: NameOrNumber) -> Any:
    """Tell how many bytes a filesystem has in all, used and free (shutil.disk_usage).

    Args:
        path: of something on it.
    """
    return await hop(partial(shutil.disk_usage, path))


# -- in a thread ----------------------------------------------------------------------------------


class _StoppedError(Exception):
    """The task was cancelled; nobody hears of this."""


async def _stoppable(call: Callable[[threading.Event], T]) -> T:
    """Hop, and tell the thread if the task is cancelled."""
    stop = threading.Event()
    try:
        return await hop(partial(call, stop))
    except asyncio.CancelledError:
        stop.set()
        raise


def _copy_function(stop: threading.Event) -> Callable[..., str]:
    def copying(src: Any, dst: Any, *, follow_symlinks: bool = True) -> str:
        made = _copy_into(src, dst, follow_symlinks, shutil.copystat, stop)
        return os.fsdecode(made.path)

    return copying


def _copy_into(
    src: Any, dst: Any, follow: bool, finish: Callable[..., None], stop: threading.Event
) -> CopyResult:
    if os.path.isdir(dst):
        dst = os.path.join(dst, os.path.basename(src))
    return _copy(src, dst, follow, finish, stop)


def _copy(
    src: Any, dst: Any, follow: bool, finish: Callable[..., None] | None, stop: threading.Event
) -> CopyResult:
    if os.path.exists(dst) and os.path.samefile(src, dst):
        raise shutil.SameFileError(f"{src!r} and {dst!r} are the same file")
    for name in (src, dst):
        if _is_fifo(name):
            raise shutil.SpecialFileError(f"`{os.fsdecode(name)}` is a named pipe")
    if not follow and os.path.islink(src):
        os.symlink(os.readlink(src), dst)
        result = CopyResult(0, "symlink", dst)
    else:
        result = _copy_contents(src, dst, stop)
    if finish is not None:
        finish(src, dst, follow_symlinks=follow)
    return result


def _is_fifo(name: Any) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


def _copy_contents(src: Any, dst: Any, stop: threading.Event) -> CopyResult:
    source = _opened(src)
    try:
        target, made = _made(dst)
        try:
            try:
                copier = _Copier(source, target, stop)
                copier.run()
            except BaseException:
                if not made:
                    with contextlib.suppress(OSError):
                        os.ftruncate(target, 0)  # half a file must not pass for a whole one
                raise
            finally:
                os.close(target)
        except BaseException as exc:
            if made:
                with contextlib.suppress(OSError):
                    os.unlink(dst)
            if isinstance(exc, OSError) and exc.filename is None:
                exc.filename, exc.filename2 = os.fspath(src), os.fspath(dst)
            raise
    finally:
        os.close(source)
    return CopyResult(copier.size, copier.method, dst)


def _opened(src: Any) -> int:
    fd = os.open(src, os.O_RDONLY | _CLOEXEC | _BINARY)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(src))
    return fd


def _made(dst: Any) -> tuple[int, bool]:
    """Open the copy, and tell whether it was made just now."""
    flags = os.O_WRONLY | os.O_CREAT | _CLOEXEC | _BINARY
    with contextlib.suppress(FileExistsError):
        return os.open(dst, flags | os.O_EXCL, 0o666), True
    return os.open(dst, flags | os.O_TRUNC, 0o666), False


class _Copier:
    """Copies what one descriptor holds to another.

    Attributes:
        method: how the last bytes were copied.
        size: bytes that the copy has.
    """

    def __init__(self, source: int, target: int, stop: threading.Event) -> None:
        self.source = source
        self.target = target
        self.stop = stop
        self.method = "read_write"
        self.size = 0
        self._ways: list[tuple[str, Callable[[int, int], int]]] = []
        if sys.platform == "linux":
            self._ways = [("copy_file_range", self._range), ("sendfile", self._send)]

    def run(self) -> None:
        """Copy everything.

        Raises:
            _StoppedError: it was stopped between two pieces.
        """
        size = os.fstat(self.source).st_size
        if self._clone():
            self.method = "reflink"
            self.size = os.fstat(self.target).st_size
            return
        for start, end in _segments(self.source, size):
            while start < end and (moved := self._move(start, min(end - start, COPY_PIECE_BYTES))):
                start += moved  # noqa: PLW2901 - a segment is followed to its end
        self.size = min(size, os.fstat(self.source).st_size)  # it may have been cut meanwhile
        # A file may have grown meanwhile, and those of procfs do not tell their size at all.
        while moved := self._read_write(self.size, COPY_BUFFER_BYTES):
            self.size += moved
        if stat.S_ISREG(os.fstat(self.target).st_mode):
            os.ftruncate(self.target, self.size)  # it may end with a hole

    def _clone(self) -> bool:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.target, _FICLONE, self.source)
                return True
        return False

    def _move(self, offset: int, count: int) -> int:
        """Copy at most `count` bytes from `offset` on; 0 if the file ends there."""
        while self._ways:
            if self.stop.is_set():
                raise _StoppedError
            name, way = self._ways[0]
            try:
                moved = way(offset, count)
            except OSError as exc:
                if exc.errno not in _CANNOT:
                    raise
            else:
                if moved:
                    self.method = name
                    return moved
            del self._ways[0]
        return self._read_write(offset, min(count, COPY_BUFFER_BYTES))

    def _range(self, offset: int, count: int) -> int:
        if sys.platform == "linux":
            return os.copy_file_range(self.source, self.target, count, offset, offset)
        raise NotImplementedError

    def _send(self, offset: int, count: int) -> int:
        if sys.platform == "linux":
            os.lseek(self.target, offset, os.SEEK_SET)
            return os.sendfile(self.target, self.source, offset, count)
        raise NotImplementedError

    def _read_write(self, offset: int, count: int) -> int:
        if self.stop.is_set():
            raise _StoppedError
        os.lseek(self.source, offset, os.SEEK_SET)
        data = memoryview(os.read(self.source, count))
        if data:
            self.method = "read_write"
            if stat.S_ISREG(os.fstat(self.target).st_mode):
                os.lseek(self.target, offset, os.SEEK_SET)
        rest = data
        while rest:
            rest = rest[os.write(self.target, rest) :]
        return len(data)


def _segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the parts of a file that hold data, as first byte and first behind it (lseek(2))."""
    if sys.platform == "win32":
        yield 0, size
        return
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as exc:
            if exc.errno != errno.ENXIO:  # which says that nothing but a hole is left
                yield offset, size
            return
        yield start, min(end, size)
        offset = end
