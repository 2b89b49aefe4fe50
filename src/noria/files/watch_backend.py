"""What the ways to watch files have in common: Change, WatchBackend, and snapshots to compare."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

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

    Whoever does the changes to what was there before, in their order, gets what is there now; what
    is in a directory moves and goes with it.

    A file is taken for moved if it has the inode, the size and the time of one that is gone. What
    was moved with its directory is not told of by itself, and what was moved twice over, by itself
    and with a directory, is told of as deleted and created.
    """
    turned = dict.fromkeys(
        path for path, entry in now.items() if _is_another_kind(before.get(path, entry), entry)
    )
    gone = {path: entry for path, entry in before.items() if path not in now}
    new = {path: entry for path, entry in now.items() if path not in before}
    moves = _moves(gone, new, turned)
    for old, path in moves.items():
        del gone[old], new[path]
    for old in list(gone):
        path = _carried(old, moves)
        if path in new and _identity(new[path]) == _identity(gone[old]):
            del gone[old], new[path]
    targets = set(moves.values())
    in_moved = {path for path in gone if _is_under(path, moves)}
    into_moved = {path for path in new if _is_under(path, targets)}
    changes = [change for path in turned for change in _turn(path, before[path])]
    # What was in a directory goes before it.
    changes += [_deleted(path, gone) for path in reversed(gone) if path in in_moved]
    changes += [_created(path, new) for path in new if path not in into_moved]
    changes += [Change("moved", moves[old], before[old].is_directory, old) for old in moves]
    changes += [_deleted(path, gone) for path in reversed(gone) if path not in in_moved]
    changes += [_created(path, new) for path in new if path in into_moved]
    for path, entry in now.items():
        if path in before and path not in turned and before[path] != entry:
            changes += _changed(path, before[path], entry)
    return changes


def _moves(gone: Snapshot, new: Snapshot, turned: dict[Any, None]) -> dict[Any, Any]:
    """Find what was moved by itself: where it is now by where it was."""
    by_identity = {_identity(entry): path for path, entry in gone.items()}
    found = {}
    for path, entry in new.items():
        old = by_identity.pop(_identity(entry), None)
        if old is not None:
            found[old] = path
    sources = {*found, *turned}
    targets = set(found.values())
    return {
        old: path
        for old, path in found.items()
        if not (_is_under(old, sources) or _is_under(path, targets))
    }


def _above(path: Any) -> Iterator[Any]:
    parent = os.path.dirname(path)  # noqa: PTH120 - bytes stay bytes
    while parent and parent != path:
        yield parent
        path = parent
        parent = os.path.dirname(path)  # noqa: PTH120 - bytes stay bytes


def _is_under(path: Any, folders: Container[Any]) -> bool:
    return any(folder in folders for folder in _above(path))


def _carried(path: Any, moves: dict[Any, Any]) -> Any:
    """Tell where a path is after the move of a directory above it; None if there was none."""
    for folder in _above(path):
        if folder in moves:
            return moves[folder] + path[len(folder) :]
    return None


def _identity(entry: Entry) -> tuple[Any, ...]:
    if entry.is_directory:
        return entry.inode  # its time and size change with what is in it
    return (*entry.inode, entry.modified_ns, entry.size)


def _is_another_kind(old: Entry, new: Entry) -> bool:
    return old.is_directory != new.is_directory


def _turn(path: Any, old: Entry) -> tuple[Change, Change]:
    return (
        Change("deleted", path, old.is_directory),
        Change("created", path, not old.is_directory),
    )


def _deleted(path: Any, gone: Snapshot) -> Change:
    return Change("deleted", path, gone[path].is_directory)


def _created(path: Any, new: Snapshot) -> Change:
    return Change("created", path, new[path].is_directory)


def _changed(path: Any, old: Entry, new: Entry) -> list[Change]:
    changes = []
    changed = (old.inode, old.modified_ns, old.size) != (new.inode, new.modified_ns, new.size)
    if changed and not new.is_directory:
        changes.append(Change("modified", path))
    if old.rights != new.rights:
        changes.append(Change("attributes", path, new.is_directory))
    return changes
