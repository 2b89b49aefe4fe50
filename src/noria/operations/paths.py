"""Operations on names in the file system.

`op.buffer` is the name and `op.address` the second one where there are two, both as os.PathLike,
str or bytes. A relative name starts from the directory `op.fd`, or from the current one if that is
-1. `op.size` holds flags and `op.offset` the mode of what is made, before the umask.

Each function blocks until done and returns a value >= 0 or minus errno; all are OFFLOAD. A null
byte in a name is -EINVAL, and -ENOSYS is what the system lacks. The manual pages are those of the
calls: openat(2), statx(2), unlinkat(2), ...
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from noria.core.catalog import OFFLOAD, operation, result_of
from noria.core.codes import (
    LINK_AT,
    MAKE_DIRECTORY_AT,
    OPEN_AT,
    OPEN_FILE,
    REMOVE_DIRECTORY_AT,
    RENAME_AT,
    STATUS_AT,
    SYMLINK_AT,
    UNLINK_AT,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.operation import Operation

NO_FOLLOW = 1
"""Flag of `status_at`: tell of a symbolic link itself."""


def _start(op: Operation) -> int | None:
    """Give the directory for `dir_fd`."""
    return op.fd if op.fd >= 0 else None


def _done(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> int:
    """Make a call of the standard library that tells success by returning: 0 or minus errno."""
    try:
        call(*arguments, **keywords)
    except OSError as exc:
        return result_of(exc)
    except ValueError:
        return -errno.EINVAL
    except NotImplementedError:
        return -errno.ENOSYS
    return 0


def _close(result: int, data: object) -> None:
    os.close(result)


@operation(code=OPEN_AT, lane=OFFLOAD, discard=_close)
def open_at(op: Operation) -> int:
    """Open a file with the flags `op.size` and the mode `op.offset`: its number, not inheritable.

    The number is the owner's to close. Opening a FIFO waits for its other end.
    """
    opened: list[int] = []

    def make() -> None:
        opened.append(os.open(op.buffer, op.size, op.offset, dir_fd=_start(op)))

    failure = _done(make)
    return opened[0] if opened else failure


@operation(code=OPEN_FILE, lane=OFFLOAD, discard=_close)
def open_file(op: Operation) -> int:
    """Open what is no directory with the flags `op.size` and the mode `op.offset`: its number.

    `op.buffer` becomes (st_mode, st_dev). What may wait for somebody else, such as a FIFO, is not
    opened: -ENXIO. The number is the owner's to close; directories are -EISDIR.
    """
    nonblocking: int = getattr(os, "O_NONBLOCK", 0)
    fd = -1
    try:
        if not is_regular(op.buffer):
            return -errno.ENXIO  # a FIFO's reader would take its opening for the end
        fd = os.open(op.buffer, op.size | nonblocking, op.offset)
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if sys.platform != "win32" and not op.size & nonblocking:
            os.set_blocking(fd, True)  # ring and pollers read it as the wish not to wait
    except OSError as exc:
        if fd >= 0:
            os.close(fd)
        return result_of(exc)
    op.buffer = (found.st_mode, found.st_dev)
    return fd


def is_regular(name: Any) -> bool:
    """Whether a name leads to a regular file, or to nothing, or to what opening refuses."""
    try:
        kind = os.stat(name).st_mode  # noqa: PTH116 - bytes stay bytes
    except OSError:
        return True
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


@operation(code=STATUS_AT, lane=OFFLOAD)
def status_at(op: Operation) -> int:
    """Put the os.stat_result of a file into `op.buffer`: 0.

    An empty name means the open file `op.fd` itself. With the flag NO_FOLLOW in `op.size` a
    symbolic link is not followed.
    """

    def look() -> None:
        if op.fd >= 0 and not op.buffer:
            op.buffer = os.fstat(op.fd)
        else:
            follow = not op.size & NO_FOLLOW
            op.buffer = os.stat(op.buffer, dir_fd=_start(op), follow_symlinks=follow)

    return _done(look)


@operation(code=UNLINK_AT, lane=OFFLOAD)
def unlink_at(op: Operation) -> int:
    """Remove a name that is no directory: 0."""
    return _done(os.unlink, op.buffer, dir_fd=_start(op))


@operation(code=REMOVE_DIRECTORY_AT, lane=OFFLOAD)
def remove_directory_at(op: Operation) -> int:
    """Remove an empty directory: 0."""
    return _done(os.rmdir, op.buffer, dir_fd=_start(op))


@operation(code=MAKE_DIRECTORY_AT, lane=OFFLOAD)
def make_directory_at(op: Operation) -> int:
    """Make a directory with the mode `op.offset`: 0."""
    return _done(os.mkdir, op.buffer, op.offset, dir_fd=_start(op))


@operation(code=RENAME_AT, lane=OFFLOAD)
def rename_at(op: Operation) -> int:
    """Rename `op.buffer` to `op.address`, in place of what has that name: 0."""
    start = _start(op)
    return _done(os.replace, op.buffer, op.address, src_dir_fd=start, dst_dir_fd=start)


@operation(code=LINK_AT, lane=OFFLOAD)
def link_at(op: Operation) -> int:
    """Give the file `op.buffer`, also a symbolic link itself, the second name `op.address`: 0."""
    start = _start(op)
    if os.link in os.supports_follow_symlinks:
        keywords: dict[str, Any] = {"follow_symlinks": False}
    else:
        keywords = {}
    return _done(os.link, op.buffer, op.address, src_dir_fd=start, dst_dir_fd=start, **keywords)


@operation(code=SYMLINK_AT, lane=OFFLOAD)
def symlink_at(op: Operation) -> int:
    """Make `op.address` a symbolic link that says `op.buffer`: 0."""
    return _done(os.symlink, op.buffer, op.address, dir_fd=_start(op))
