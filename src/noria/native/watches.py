"""Watches of files and directories, interpreted twin of watches.pyx.

The standard library has no inotify(7), so there is none here: every call says ENOSYS.
"""

import errno


def watch_open() -> int:
    """Make an inotify instance that does not block: its descriptor, or minus errno."""
    return -errno.ENOSYS


def watch_add(fd: int, name: bytes, mask: int) -> int:
    """Add a watch, or change the one of the same file: its number, or minus errno."""
    if b"\0" in name:
        raise ValueError("embedded null byte")
    return -errno.ENOSYS


def watch_remove(fd: int, watch: int) -> int:
    """Remove a watch; 0 or minus errno."""
    return -errno.ENOSYS
