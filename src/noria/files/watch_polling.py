"""PollingBackend: learns of changes by looking again and again.

It works everywhere, also where changes are made on another machine. It sees what has become of
things between two looks, not what happened to them: two changes of one file are one, and what was
made and deleted in between is not seen.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from noria.files.hops import hop
from noria.files.watch_backend import Change, WatchBackend, compare, take_snapshot

if TYPE_CHECKING:
    from noria.files.watch_backend import ChangeKind, Entry, Snapshot


class PollingBackend(WatchBackend):
    """Compares snapshots; see WatchBackend for the arguments."""

    name = "polling"

    def __init__(
        self, root: Any, recursive: bool, kinds: frozenset[ChangeKind], interval: float
    ) -> None:
        WatchBackend.__init__(self, root, recursive, kinds, interval)
        self._before: Snapshot = {}

    async def start(self) -> None:
        """Take the first snapshot."""
        self._before = await hop(lambda: take_snapshot(self.root, self.recursive))

    async def changes(self) -> list[Change]:
        """Pause, look again, and compare."""
        await asyncio.sleep(self.interval)
        return await self.look()

    async def look(self) -> list[Change]:
        """Tell what has happened since the last look."""
        before = self._before
        try:
            now = await hop(lambda: take_snapshot(self.root, self.recursive))
        except (FileNotFoundError, NotADirectoryError):
            now = {}
        if not now or _another_directory(before[self.root], now[self.root]):
            self.ended = True
            return [Change("deleted", self.root, before[self.root].is_directory)]
        self._before = now
        return compare(before, now)


def _another_directory(old: Entry, new: Entry) -> bool:
    """Whether a directory is not the one it was; a file may be replaced under its name."""
    return old.is_directory != new.is_directory or (old.is_directory and old.inode != new.inode)
