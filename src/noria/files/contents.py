"""The whole contents of a file in one step: read it, write it, replace it, append to it.

Open, read or write, and close make one hop. A short file that is in the page cache is read at once.
What may wait for somebody else, such as opening a FIFO, goes to a crew of its own.

A file is replaced atomically by writing a new one beside it, forcing that to the device, and
renaming it over the old one (rename(2)); then the directory is forced as well. Whoever reads sees
the old bytes or the new ones, after a crash too. An unnamed file (O_TMPFILE) cannot replace a name,
so the new one has a random name until then.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from noria.core.buffer import lend_readable
from noria.core.codes import WRITE_FILE
from noria.core.operation import BY_THREAD, WAITING
from noria.files.filesystems import filesystem_of
from noria.files.hops import hop
from noria.files.host import running_host
from noria.files.name_operation import is_plain
from noria.files.operation import FileOperation
from noria.files.status import answered, look
from noria.limits import INLINE_READ_BYTES_MAX, TRANSFER_BYTES_MAX
from noria.native import files as native
from noria.operations.paths import is_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from noria.files.host import Host
    from noria.files.status import Name

T = TypeVar("T")

_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_WRITE = os.O_WRONLY | os.O_CREAT


async def read_bytes(path: Name) -> bytes:
    """Read a whole file.

    Args:
        path: its name.

    Raises:
        IsADirectoryError: it is a directory.
        OSError: what open(2) and read(2) say.
    """
    name = os.fspath(path)
    host = running_host()
    found = _read_now(name)
    if found is not None:
        await answered(host)
        return found
    return await _stepped(partial(_read, name))


async def read_text(
    path: Name,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    """Read a whole file as text.

    Args:
        path: its name.
        encoding: as for `open`; None means that of the locale.
        errors: what to do with bytes that are no text, as for `open`.
        newline: how ends of lines are translated, as for `open`.

    Raises:
        OSError, IsADirectoryError: as for `read_bytes`.
        UnicodeDecodeError: the bytes are no text, and `errors` is strict.
        LookupError, ValueError: no such encoding or newline.
    """
    encoding = io.text_encoding(encoding)
    name = os.fspath(path)
    host = running_host()
    found = _read_now(name)
    if found is not None:
        await answered(host)
        return _decoded(found, encoding, errors, newline)
    return await _stepped(partial(_read_text, name, encoding, errors, newline))


async def write_bytes(
    path: Name, data: Any, *, atomic: bool = False, mode: int = 0o666, sync: bool | None = None
) -> int:
    """Write a whole file; what it held before is gone.

    With `atomic` others see the old file or the new one and nothing in between, also after a crash.
    If `path` is a symbolic link, the file is replaced that it points to. The new file has the
    permissions of the old one, and its owner if this process may give it away; access lists,
    extended attributes and further links stay with the old file. It takes the right to write to
    the directory, not to the file.

    Args:
        path: its name.
        data: bytes-like object; it must not change until this has ended.
        atomic: replace the file in one step.
        mode: permissions if it is made, before the umask.
        sync: force it to the device before returning; by default if `atomic`.

    Returns:
        The number of bytes, which is all of them.

    Raises:
        OSError: what open(2), write(2), fsync(2) and rename(2) say. With `atomic` the old file is
            untouched then, unless it was the last fsync, of the directory, that failed.
    """
    name = os.fspath(path)
    view = lend_readable(data)
    await _write_whole(name, lambda: view, atomic, mode, sync)
    return len(view)


async def write_text(
    path: Name,
    data: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    atomic: bool = False,
    mode: int = 0o666,
    sync: bool | None = None,
) -> int:
    """Write a whole file as text; nothing is touched if the text cannot be encoded.

    Args:
        path: its name.
        data: the text.
        encoding: as for `open`; None means that of the locale.
        errors: what to do with what cannot be encoded, as for `open`.
        newline: how ends of lines are translated, as for `open`.
        atomic: replace the file in one step, see `write_bytes`.
        mode: permissions if it is made, before the umask.
        sync: force it to the device before returning; by default if `atomic`.

    Returns:
        The number of characters, which is all of them.

    Raises:
        TypeError: `data` is no text.
        UnicodeEncodeError: it cannot be encoded, and `errors` is strict.
        OSError: as for `write_bytes`.
    """
    if not isinstance(data, str):
        raise TypeError(f"data must be str, not {type(data).__name__}")
    encoding = io.text_encoding(encoding)
    name = os.fspath(path)
    await _write_whole(name, partial(_encoded, data, encoding, errors, newline), atomic, mode, sync)
    return len(data)


async def append_bytes(path: Name, data: Any, *, mode: int = 0o666, sync: bool = False) -> int:
    """Write at the end of a file, which is made if it is not there.

    Args:
        path: its name.
        data: bytes-like object; it must not change until this has ended.
        mode: permissions if it is made, before the umask.
        sync: force it to the device before returning.

    Returns:
        The number of bytes, which is all of them.

    Raises:
        OSError: what open(2), write(2) and fsync(2) say.
    """
    name = os.fspath(path)
    view = lend_readable(data)
    await _stepped(partial(_write, name, lambda: view, _WRITE | os.O_APPEND, mode, sync))
    return len(view)


# -- in the loop's thread -------------------------------------------------------------------------


class _MayWaitError(Exception):
    """Opening may wait for somebody else."""


async def _stepped(step: Callable[[bool], T]) -> T:
    """Do a step in a thread for names, or in one that may wait if it has to."""
    try:
        return await hop(partial(step, False))
    except _MayWaitError:
        pass
    return await hop(partial(step, True), crew=WAITING)


async def _write_whole(
    name: Any, make: Callable[[], Any], atomic: bool, mode: int, sync: bool | None
) -> None:
    if sync is None:
        sync = atomic
    if atomic:
        await hop(partial(_replace, name, make, mode, sync))
    elif not sync and is_plain(name) and await _write_quickly(name, make(), mode):
        return
    else:
        await _stepped(partial(_write, name, make, _WRITE | os.O_TRUNC, mode, sync))


async def _write_quickly(name: Any, data: Any, mode: int) -> bool:
    """Write it in a thread that needs no interpreter; False if it is not that simple."""
    if len(data) > TRANSFER_BYTES_MAX or not isinstance(mode, int):
        return False
    op = WriteFileOperation(running_host(), name, data, mode)
    try:
        await op.start()
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
        return False
    return True


class WriteFileOperation(FileOperation):
    """Opens a file, writes all of it, and closes it."""

    __slots__ = ()

    def __init__(self, host: Host, name: Any, data: Any, mode: int) -> None:
        FileOperation.__init__(self, host, WRITE_FILE)
        self.path = self.address = name
        self.buffer = data
        self.size = _WRITE | os.O_TRUNC
        self.offset = mode
        self.way = BY_THREAD


def _read_now(name: Any) -> bytes | None:
    """Read a short file whose name, inode and bytes are cached; None if they are not."""
    found = look(name, True)
    if isinstance(found, int) or not stat.S_ISREG(found.st_mode):
        return None
    size = found.st_size
    filesystem = filesystem_of(found.st_dev, name)
    plain = filesystem.in_memory
    if size > INLINE_READ_BYTES_MAX or (filesystem.looks is False and not plain):
        return None
    fd = native.open_now(os.fsencode(name), os.O_RDONLY | _NONBLOCK)
    if fd < 0:
        return None
    try:
        data = native.read_now(fd, size + 1, 0, plain)
        if isinstance(data, int):
            if data == -errno.EOPNOTSUPP:
                filesystem.looks = False
            return None
        # Fewer bytes than asked for come where the file ends, but also where the cache does.
        if len(data) == size and (plain or native.read_now(fd, 1, size, False) == b""):
            return data
    finally:
        os.close(fd)
    return None


# -- in a thread ----------------------------------------------------------------------------------


def _open(name: Any, flags: int, mode: int, waiting: bool) -> int:
    """Open a file.

    Raises:
        _MayWaitError: that may wait for somebody else, and `waiting` is false.
    """
    flags |= _CLOEXEC | _BINARY
    if waiting:
        return os.open(name, flags, mode)
    if not is_regular(name):
        raise _MayWaitError
    return os.open(name, flags | _NONBLOCK, mode)


@contextlib.contextmanager
def _named(name: Any) -> Iterator[None]:
    """Put the name into errors of calls that know a number only."""
    try:
        yield
    except OSError as exc:
        if exc.filename is None:
            exc.filename = name
        raise


def _read(name: Any, waiting: bool) -> bytes:
    def opener(path: Any, flags: int) -> int:
        return _open(path, flags, 0, waiting)

    with _named(name), io.FileIO(name, "r", opener=opener) as file:
        return file.readall()


def _read_text(
    name: Any, encoding: str, errors: str | None, newline: str | None, waiting: bool
) -> str:
    return _decoded(_read(name, waiting), encoding, errors, newline)


def _decoded(data: bytes, encoding: str, errors: str | None, newline: str | None) -> str:
    with io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline) as text:
        return text.read()


def _encoded(data: str, encoding: str, errors: str | None, newline: str | None) -> bytes:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding, errors, newline) as text:
        text.write(data)
        text.flush()
        return raw.getvalue()


def _write(
    name: Any, make: Callable[[], Any], flags: int, mode: int, sync: bool, waiting: bool
) -> None:
    data = make()
    fd = _open(name, flags, mode, waiting)
    try:
        with _named(name):
            _write_all(fd, data, sync)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(fd)
        raise
    with _named(name):
        os.close(fd)


def _write_all(fd: int, data: Any, sync: bool) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    if sync:
        os.fsync(fd)


def _replace(name: Any, make: Callable[[], Any], mode: int, sync: bool) -> None:
    """Put a new file in the place of what a name leads to."""
    data = make()
    target = os.path.realpath(name)
    old = _to_be_replaced(name, target)
    fresh = _beside(target)
    fd = os.open(fresh, _WRITE | os.O_EXCL | _CLOEXEC | _BINARY, mode if old is None else 0o600)
    try:
        try:
            with _named(name):
                if old is not None:
                    _make_alike(fd, fresh, old)
                _write_all(fd, data, sync)
        finally:
            os.close(fd)
        os.replace(fresh, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    if sync and sys.platform != "win32":
        with _named(name):
            force_directory(os.path.dirname(target))


def _to_be_replaced(name: Any, target: Any) -> os.stat_result | None:
    """Get the status of the old file, if there is one.

    Raises:
        IsADirectoryError: it is a directory.
        OSError: (EINVAL) it is something else that is no file, such as a FIFO.
    """
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "only a regular file can be replaced atomically", name)
    return old


def _beside(target: Any) -> Any:
    """Make up a name in the same directory; the old one may be too long to add to."""
    name = f".noria-{os.urandom(8).hex()}.new"
    directory = os.path.dirname(target)
    if isinstance(target, bytes):
        return os.path.join(directory, name.encode("ascii"))
    return os.path.join(directory, name)


def _make_alike(fd: int, fresh: Any, old: os.stat_result) -> None:
    """Give a new file the permissions of the old one, and its owner where that is allowed."""
    mode = stat.S_IMODE(old.st_mode)
    if sys.platform == "win32":
        os.chmod(fresh, mode)
        return
    own = os.fstat(fd)
    if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(fd, old.st_uid, old.st_gid)
        except OSError:
            mode &= ~(stat.S_ISUID | stat.S_ISGID)  # they were meant for another owner
            with contextlib.suppress(OSError):
                os.fchown(fd, -1, old.st_gid)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:  # some filesystems have none to change
        os.fchmod(fd, mode)


def force_directory(directory: Any) -> None:
    """Force the names of a directory to the device; not every filesystem can (EINVAL)."""
    fd = os.open(directory or os.curdir, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)
