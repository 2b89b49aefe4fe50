"""Changing names: rename, remove, make, link, and what a name's file carries besides its bytes.

Each is a call of `os`, with its signature, result and exceptions, done by the engine's ring if it
can, or in a thread. A call that has begun goes on to its end when its task is cancelled.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from noria.core.codes import (
    MAKE_DIRECTORY_AT,
    REMOVE_DIRECTORY_AT,
    RENAME_AT,
    SYMLINK_AT,
    UNLINK_AT,
)
from noria.files.hops import hop
from noria.files.name_operation import change
from noria.native import names as native

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.files.status import Name, NameOrNumber

RENAME_NOREPLACE: Final = 1
"""Flag of `rename`: fail with EEXIST if the new name is there (renameat2(2))."""

RENAME_EXCHANGE: Final = 2
"""Flag of `rename`: swap two names that are both there."""

RENAME_WHITEOUT: Final = 4
"""Flag of `rename`: leave a whiteout in the old place, as an overlay filesystem needs it."""


async def rename(
    src: Name,
    dst: Name,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    flags: int = 0,
) -> None:
    """Rename a file or directory (os.rename; renameat2(2)).

    Args:
        src: the old name.
        dst: the new name; what it leads to is replaced, but on Windows.
        src_dir_fd: directory that a relative `src` starts from.
        dst_dir_fd: the same for `dst`.
        flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT.

    Raises:
        OSError: what rename(2) says; with flags ENOSYS where the system has no renameat2(2) or
            noria is not compiled, and EINVAL where the filesystem does not do it.
    """
    if flags:
        await hop(partial(_rename_flags, src, dst, src_dir_fd, dst_dir_fd, flags))
    else:
        call = partial(os.rename, src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        await _rename(call, src, dst, src_dir_fd, dst_dir_fd)


async def _rename(
    call: Callable[[], object], src: Name, dst: Name, src_fd: int | None, dst_fd: int | None
) -> None:
    if src_fd == dst_fd:
        await change(call, RENAME_AT, src, dst, dir_fd=src_fd)
    else:
        await hop(call)


def _rename_flags(src: Any, dst: Any, src_fd: int | None, dst_fd: int | None, flags: int) -> None:
    result = native.rename_flags(
        os.fsencode(src),
        os.fsencode(dst),
        -1 if src_fd is None else src_fd,
        -1 if dst_fd is None else dst_fd,
        flags,
    )
    if result < 0:
        raise OSError(-result, os.strerror(-result), os.fspath(src), None, os.fspath(dst))


async def replace(
    src: Name, dst: Name, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename; what had the new name is replaced on every system (os.replace)."""
    call = partial(os.replace, src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    await _rename(call, src, dst, src_dir_fd, dst_dir_fd)


async def renames(old: Name, new: Name) -> None:
    """Rename; make directories of the new name, remove empty ones of the old (os.renames)."""
    await hop(partial(os.renames, old, new))


async def unlink(path: Name, *, dir_fd: int | None = None) -> None:
    """Remove a name of a file (os.unlink; unlink(2))."""
    await change(partial(os.unlink, path, dir_fd=dir_fd), UNLINK_AT, path, dir_fd=dir_fd)


async def remove(path: Name, *, dir_fd: int | None = None) -> None:
    """Remove a name of a file; another word for `unlink` (os.remove)."""
    await change(partial(os.remove, path, dir_fd=dir_fd), UNLINK_AT, path, dir_fd=dir_fd)


async def mkdir(path: Name, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """Make a directory (os.mkdir; mkdir(2)).

    Args:
        path: its name.
        mode: permissions, before the umask.
        dir_fd: directory that a relative name starts from.
    """
    call = partial(os.mkdir, path, mode, dir_fd=dir_fd)
    await change(call, MAKE_DIRECTORY_AT, path, mode=mode, dir_fd=dir_fd)


async def makedirs(name: Name, mode: int = 0o777, exist_ok: bool = False) -> None:
    """Make a directory and those it lies in, in one hop (os.makedirs).

    Args:
        name: of the innermost.
        mode: its permissions, before the umask; the others have the default.
        exist_ok: it may be there already.
    """
    await hop(partial(os.makedirs, name, mode, exist_ok))


async def rmdir(path: Name, *, dir_fd: int | None = None) -> None:
    """Remove an empty directory (os.rmdir; rmdir(2))."""
    await change(partial(os.rmdir, path, dir_fd=dir_fd), REMOVE_DIRECTORY_AT, path, dir_fd=dir_fd)


async def removedirs(name: Name) -> None:
    """Remove an empty directory, and those it lies in as far as they are empty (os.removedirs)."""
    await hop(partial(os.removedirs, name))


async def link(
    src: Name,
    dst: Name,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    """Give a file one more name (os.link; link(2)).

    Args:
        src: a name it has.
        dst: the new one.
        src_dir_fd: directory that a relative `src` starts from.
        dst_dir_fd: the same for `dst`.
        follow_symlinks: if `src` is a symbolic link, name what it points to.
    """
    call = partial(
        os.link,
        src,
        dst,
        src_dir_fd=src_dir_fd,
        dst_dir_fd=dst_dir_fd,
        follow_symlinks=follow_symlinks,
    )
    await hop(call)


async def symlink(
    src: Name, dst: Name, target_is_directory: bool = False, *, dir_fd: int | None = None
) -> None:
    """Make a symbolic link (os.symlink; symlink(2)).

    Args:
        src: what it points to; need not be there.
        dst: name of the link.
        target_is_directory: counts on Windows only.
        dir_fd: directory that a relative `dst` starts from.
    """
    call = partial(os.symlink, src, dst, target_is_directory, dir_fd=dir_fd)
    await change(call, SYMLINK_AT, src, dst, dir_fd=dir_fd)


async def truncate(path: NameOrNumber, length: int) -> None:
    """Make a file `length` bytes long, with zeros where it grows (os.truncate; truncate(2))."""
    await hop(partial(os.truncate, path, length))


async def utime(
    path: NameOrNumber,
    times: tuple[float, float] | None = None,
    *,
    ns: tuple[int, int] | None = None,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    """Set the times of access and modification (os.utime; utimensat(2)).

    Args:
        path: of the file.
        times: both in seconds; None means now, unless `ns` is given.
        ns: both in nanoseconds.
        dir_fd: directory that a relative name starts from.
        follow_symlinks: set those of what a symbolic link points to, not of the link.
    """
    call = partial(os.utime, path, times, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    await hop(call if ns is None else partial(call, ns=ns))


async def chmod(
    path: NameOrNumber, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    """Change permissions (os.chmod; chmod(2)).

    Args:
        path: of the file.
        mode: the new permissions.
        dir_fd: directory that a relative name starts from.
        follow_symlinks: of what a symbolic link points to, not of the link.

    Raises:
        NotImplementedError: the system cannot do it to a link.
    """
    if dir_fd is None and follow_symlinks:
        await hop(partial(os.chmod, path, mode))  # each system has its defaults
    else:
        call = partial(os.chmod, path, mode, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        await hop(call)


if sys.platform == "darwin":

    async def lchmod(path: Name, mode: int) -> None:
        """Change permissions of a symbolic link itself (os.lchmod)."""
        await hop(partial(os.lchmod, path, mode))


if sys.platform != "win32":

    async def chown(
        path: NameOrNumber,
        uid: int,
        gid: int,
        *,
        dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Change owner and group (os.chown; chown(2)).

        Args:
            path: of the file.
            uid: the new owner's number; -1 leaves it.
            gid: the new group's number; -1 leaves it.
            dir_fd: directory that a relative name starts from.
            follow_symlinks: of what a symbolic link points to, not of the link.
        """
        call = partial(os.chown, path, uid, gid, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        await hop(call)

    async def lchown(path: Name, uid: int, gid: int) -> None:
        """Change owner and group of a symbolic link itself (os.lchown; lchown(2))."""
        await hop(partial(os.lchown, path, uid, gid))

    async def mkfifo(path: Name, mode: int = 0o666, *, dir_fd: int | None = None) -> None:
        """Make a FIFO with permissions `mode`, before the umask (os.mkfifo; mkfifo(3))."""
        await hop(partial(os.mkfifo, path, mode, dir_fd=dir_fd))

    async def mknod(
        path: Name, mode: int = 0o600, device: int = 0, *, dir_fd: int | None = None
    ) -> None:
        """Make a node in the file system (os.mknod; mknod(2)).

        Args:
            path: its name.
            mode: permissions, before the umask, and stat.S_IFREG, S_IFCHR, S_IFBLK or S_IFIFO.
            device: what a special file stands for, as of os.makedev.
            dir_fd: directory that a relative name starts from.
        """
        await hop(partial(os.mknod, path, mode, device, dir_fd=dir_fd))


if sys.platform == "linux":

    async def getxattr(
        path: NameOrNumber, attribute: Name, *, follow_symlinks: bool = True
    ) -> bytes:
        """Get an extended attribute of a file (os.getxattr; getxattr(2))."""
        return await hop(partial(os.getxattr, path, attribute, follow_symlinks=follow_symlinks))

    async def setxattr(
        path: NameOrNumber,
        attribute: Name,
        value: Any,
        flags: int = 0,
        *,
        follow_symlinks: bool = True,
    ) -> None:
        """Set an extended attribute of a file (os.setxattr; setxattr(2)).

        Args:
            path: of the file.
            attribute: such as "user.comment".
            value: bytes-like object.
            flags: os.XATTR_CREATE or os.XATTR_REPLACE.
            follow_symlinks: of what a symbolic link points to, not of the link.
        """
        call = partial(os.setxattr, path, attribute, value, flags, follow_symlinks=follow_symlinks)
        await hop(call)

    async def listxattr(
        path: NameOrNumber | None = None, *, follow_symlinks: bool = True
    ) -> list[str]:
        """Get the names of a file's extended attributes (os.listxattr; listxattr(2))."""
        return await hop(partial(os.listxattr, path, follow_symlinks=follow_symlinks))

    async def removexattr(
        path: NameOrNumber, attribute: Name, *, follow_symlinks: bool = True
    ) -> None:
        """Remove an extended attribute of a file (os.removexattr; removexattr(2))."""
        await hop(partial(os.removexattr, path, attribute, follow_symlinks=follow_symlinks))
