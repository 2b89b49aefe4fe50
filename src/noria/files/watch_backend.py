"""What the ways to watch files have in common: Change, WatchBackend, and snapshots to compare."""

from __future__ import annotations

import os
import stat
from typing import Any, Final, Literal, NamedTuple

ChangeKind = Literal["created", "modified", "deleted", "moved", "attributes", "overflow"]

KINDS: Final[tuple[ChangeKind, ...]] = ("created", "modified", "deleted", "moved", "attributes")
"""What can be asked for; `overflow` always comes."""


class Change(NamedTuple):
    """One change of a file or a directory.

    Attributes:
        kind: "created", "modified" (its content), "deleted", "moved", "attributes" (permissions,
            owner, times) or "overflow": changes were lost, so look at everything anew.
        path: what has changed, beginning as the path that is watched; after a move the new one.
        is_directory: it is a directory.
        old_path: where it was before it was moved; None for other changes.
    """

    kind: ChangeKind
    path: Any
    is_directory: bool = False
    old_path: Any = None


class WatchUnavailableError(Exception):
    """This way to watch is not to be had, here or not any more; another one is taken."""


class WatchBackend:
    """A way to learn of changes. Used by one task, which closes it.

    Args:
        root: what is watched, str or bytes.
        recursive: directories below it as well.
        kinds: the changes that somebody wants; more may be given.
        interval: pause between two looks, in seconds, for those that have to look.

    Attributes:
        ended: what was watched is gone, and nothing more will come.
    """

    name = ""

    def __init__(
        self, root: Any, recursive: bool, kinds: frozenset[ChangeKind], interval: float
    ) -> None:
        self.root = root
        self.recursive = recursive
        self.kinds = kinds
        self.interval = interval
        self.ended = False

    async def start(self) -> None:
        """Begin to watch: what happens from now on is told.

        Raises:
            WatchUnavailableError: the system has no room for it, or does not know it.
            OSError: what is to be watched is not there, or not allowed.
        """
        raise NotImplementedError

    async def changes(self) -> list[Change]:
        """Wait for something to happen, and tell what; the list may be empty.

        Raises:
            WatchUnavailableError: there is no room for it any more.
            OSError: it cannot be looked at.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it has. Idempotent."""


class Entry(NamedTuple):
    """What is compared of a file between two looks."""

    is_directory: bool
    inode: tuple[int, int]
    modified_ns: int
    size: int
    rights: tuple[int, int, int]


Snapshot = dict[Any, Entry]
"""What was there at one look, by path; directories stand before what is in them."""


def take_snapshot(root: Any, recursive: bool) -> Snapshot:
    """Look at a file, or a directory with what is in it. It blocks; a thread does it.

    Raises:
        OSError: the root is not there, or not readable.
    """
    found: Snapshot = {root: _entry(os.stat(root))}  # noqa: PTH116 - bytes stay bytes
    if not found[root].is_directory:
        return found
    looking = [root]
    while looking:
        folder = looking.pop()
        try:
            with os.scandir(folder) as entries:
                for each in entries:
                    _look_at(each, found, looking if recursive else None)
        except OSError:
            if folder == root:
                raise
            # It is gone by now, or not ours to read: there is nothing to be told of it.
    return found


def _look_at(each: os.DirEntry[Any], found: Snapshot, looking: list[Any] | None) -> None:
    try:
        entry = _entry(each.stat(follow_symlinks=False))
    except OSError:
        return  # it is gone by now
    found[each.path] = entry
    if looking is not None and entry.is_directory:
        looking.append(each.path)


def _entry(status: os.stat_result) -> Entry:
    return Entry(
        stat.S_ISDIR(status.st_mode),
        (status.st_dev, status.st_ino),
        status.st_mtime_ns,
        status.st_size,
        (status.st_mode, status.st_uid, status.st_gid),
    )


def compare(before: Snapshot, now: Snapshot) -> list[Change]:
    """Tell what has happened between two looks, as far as that can be seen.

    A file is taken for moved if it has the inode, the size and the time of one that is gone. What
    was moved with its directory is not told of by itself.
    """
    gone = {path: entry for path, entry in before.items() if path not in now}
    new = {path: entry for path, entry in now.items() if path not in before}
    by_identity = {_identity(entry): path for path, entry in gone.items()}
    changes = []
    moves: dict[Any, Any] = {}
    for path, entry in new.items():
        old = by_identity.pop(_identity(entry), None)
        if old is None:
            changes.append(Change("created", path, entry.is_directory))
            continue
        del gone[old]
        moves[old] = path
        if moves.get(os.path.dirname(old)) != os.path.dirname(path):  # noqa: PTH120
            changes.append(Change("moved", path, entry.is_directory, old))
    # What was in a directory went before it.
    changes.extend(Change("deleted", path, gone[path].is_directory) for path in reversed(gone))
    for path, entry in now.items():
        old_entry = before.get(path)
        if old_entry is not None and old_entry != entry:
            changes.extend(_compare_entries(path, old_entry, entry))
    return changes


def _identity(entry: Entry) -> tuple[Any, ...]:
    if entry.is_directory:
        return entry.inode  # its time and size change with what is in it
    return (*entry.inode, entry.modified_ns, entry.size)


def _compare_entries(path: Any, old: Entry, new: Entry) -> list[Change]:
    if old.is_directory != new.is_directory:
        return [
            Change("deleted", path, old.is_directory),
            Change("created", path, new.is_directory),
        ]
    changes = []
    changed = (old.inode, old.modified_ns, old.size) != (new.inode, new.modified_ns, new.size)
    if changed and not new.is_directory:
        changes.append(Change("modified", path))
    if old.rights != new.rights:
        changes.append(Change("attributes", path, new.is_directory))
    return changes
