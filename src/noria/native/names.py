"""Calls on names that the standard library has not, interpreted twin of names.pyx."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


def stat_now(name: bytes, follow: bool) -> os.stat_result | int:
    """Tell of a name what can be told without waiting for a disk or a server.

    Args:
        name: of the file.
        follow: tell of what a symbolic link points to, not of the link.

    Returns:
        What os.stat gives. -ENOENT if it is cached that there is no such name, -EAGAIN if
        something of it is not cached (openat2(2), RESOLVE_CACHED), -ENOSYS where that cannot be
        asked for; here it cannot, since the standard library has no such call.
    """
    if b"\0" in name:
        raise ValueError("embedded null byte")
    return -errno.ENOSYS


def rename_flags(source: bytes, target: bytes, source_fd: int, target_fd: int, flags: int) -> int:
    """Rename with flags (renameat2(2)); 0 or minus errno. It may block.

    Args:
        source: the old name.
        target: the new name.
        source_fd: directory that a relative `source` starts from; -1 for the current one.
        target_fd: the same for `target`.
        flags: RENAME_NOREPLACE and so on.

    Returns:
        -ENOSYS where the system has no such call, and here.
    """
    if b"\0" in source or b"\0" in target:
        raise ValueError("embedded null byte")
    return -errno.ENOSYS
