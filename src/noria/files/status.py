"""What is known of a name: status, kind, size, where it leads.

Signatures, results and exceptions are those of `os` and `os.path`. What the kernel has cached is
told at once, without a thread: of a name by openat2(2) with RESOLVE_CACHED, of the file by statx(2)
with AT_STATX_DONT_SYNC. A name of which it is cached that it does not exist is an answer as well.
Files of distant filesystems are left to a thread, for what is cached of them may be old.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat as modes
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from noria.errors import from_result
from noria.files.filesystems import filesystem_of
from noria.files.hops import hop
from noria.files.host import running_host
from noria.limits import INLINE_HITS_MAX
from noria.native import names as native

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from noria.files.host import Host

    Name: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    NameOrNumber: TypeAlias = Name | int

_ENOENT = errno.ENOENT


async def stat(
    path: NameOrNumber, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> os.stat_result:
    """Get the status of a file (os.stat; stat(2)).

    Args:
        path: its name, or the number of an open descriptor.
        dir_fd: directory that a relative name starts from.
        follow_symlinks: tell of what a symbolic link points to, not of the link.

    Raises:
        OSError: what stat(2) says.
    """
    host = running_host()
    if dir_fd is None:
        found = look(path, follow_symlinks)
        if found:
            await answered(host)
            if isinstance(found, int):
                raise from_result(found, path=os.fspath(path))  # type: ignore[arg-type]
            return found
    call = partial(os.stat, path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    return await hop(call, host=host)


async def lstat(path: Name, *, dir_fd: int | None = None) -> os.stat_result:
    """Get the status of a name itself, be it a symbolic link (os.lstat; lstat(2))."""
    if isinstance(path, int):
        return await hop(partial(os.lstat, path, dir_fd=dir_fd))  # which refuses numbers
    return await stat(path, dir_fd=dir_fd, follow_symlinks=False)


async def exists(path: NameOrNumber) -> bool:
    """Tell whether a name leads to something (os.path.exists)."""
    return await mode_of(path, True) >= 0


async def lexists(path: Name) -> bool:
    """Tell whether a name is there, be it a symbolic link to nothing (os.path.lexists)."""
    return await mode_of(path, False) >= 0


async def is_file(path: NameOrNumber) -> bool:
    """Tell whether a name leads to a regular file (os.path.isfile)."""
    mode = await mode_of(path, True)
    return mode >= 0 and modes.S_ISREG(mode)


async def is_dir(path: NameOrNumber) -> bool:
    """Tell whether a name leads to a directory (os.path.isdir)."""
    mode = await mode_of(path, True)
    return mode >= 0 and modes.S_ISDIR(mode)


async def is_symlink(path: Name) -> bool:
    """Tell whether a name is a symbolic link (os.path.islink)."""
    mode = await mode_of(path, False)
    return mode >= 0 and modes.S_ISLNK(mode)


async def getsize(filename: NameOrNumber) -> int:
    """Get the length of a file in bytes (os.path.getsize)."""
    return (await stat(filename)).st_size


async def samefile(f1: NameOrNumber, f2: NameOrNumber) -> bool:
    """Tell whether two names lead to one file (os.path.samefile)."""
    return os.path.samestat(await stat(f1), await stat(f2))


async def realpath(filename: Name, *, strict: Any = False) -> Any:
    """Find the name of a file that has no symbolic links in it (os.path.realpath)."""
    return await hop(partial(os.path.realpath, filename, strict=strict))


async def readlink(path: Name, *, dir_fd: int | None = None) -> Any:
    """Get what a symbolic link points to (os.readlink; readlink(2))."""
    call: Callable[[], Any] = partial(os.readlink, path, dir_fd=dir_fd)  # type: ignore[type-var]
    return await hop(call)


async def access(
    path: NameOrNumber,
    mode: int,
    *,
    dir_fd: int | None = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
) -> bool:
    """Tell whether this process may do something with a file (os.access; access(2)).

    Args:
        path: its name.
        mode: os.F_OK, or some of os.R_OK, os.W_OK and os.X_OK.
        dir_fd: directory that a relative name starts from.
        effective_ids: ask for the effective user and group, not the real ones.
        follow_symlinks: ask for what a symbolic link points to, not for the link.
    """
    call = partial(
        os.access,
        path,
        mode,
        dir_fd=dir_fd,
        effective_ids=effective_ids,
        follow_symlinks=follow_symlinks,
    )
    return await hop(call)


if sys.platform != "win32":

    async def statvfs(path: NameOrNumber) -> os.statvfs_result:
        """Get the status of the filesystem that a file lies on (os.statvfs; statvfs(3))."""
        return await hop(partial(os.statvfs, path))


# -- what is known at once ------------------------------------------------------------------------


def look(path: Any, follow: bool) -> os.stat_result | int:
    """Tell of a name what is cached, without waiting for a disk or a server.

    Args:
        path: the name; anything else is left to a thread, which tells how it is misused.
        follow: tell of what a symbolic link points to.

    Returns:
        Its status; -ENOENT if it is known that there is none; 0 if nothing can be told at once.
    """
    if sys.platform != "linux":
        return 0
    try:
        name = os.fsencode(path)
    except (TypeError, ValueError):
        return 0
    if b"\0" in name:
        return 0
    found = native.stat_now(name, follow)
    if isinstance(found, int):
        return found if found == -_ENOENT else 0
    return 0 if filesystem_of(found.st_dev, name).distant else found


async def answered(host: Host) -> None:
    """Count what was answered at once, and let others have their turn now and then (F5)."""
    host.hits += 1
    if host.hits >= INLINE_HITS_MAX:
        host.hits = 0
        await asyncio.sleep(0)


async def mode_of(path: Any, follow: bool) -> int:
    """Get `st_mode` of what a name leads to, -1 if it leads nowhere, as far as can be told."""
    host = running_host()
    found = look(path, follow)
    if found:
        await answered(host)
        return -1 if isinstance(found, int) else found.st_mode
    return await hop(partial(_mode_of, path, follow), host=host)


def _mode_of(path: Any, follow: bool) -> int:
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except (OSError, ValueError):
        return -1
    return found.st_mode
