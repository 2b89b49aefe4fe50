"""InotifyBackend: changes as the Linux kernel tells them (inotify(7)).

Facts: a watch is of one file or directory, and a directory's does not reach into those below it, so
each gets its own. What is made in a new directory before its watch stands is not told; the
directory is listed once the watch stands, and what both tell of is told of once. The halves of a
move carry the same number (cookie) and follow each other closely, though not in one piece. The
queue is bounded (fs.inotify.max_queued_events): when it is full, events are lost and one says so.
A watch is added by name, and by then the name may be another directory's: the events are behind
what there is. That shows when a watch is found to be known by another path. Then everything is
watched anew until nothing moves meanwhile, and an overflow is told of.
Watches and instances are bounded too, per user: ENOSPC and EMFILE. Changes that are made on another
machine are not told.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.core.descriptor import Descriptor
from noria.files.hops import hop
from noria.files.watch_backend import Change, WatchBackend, WatchUnavailableError
from noria.limits import WATCH_PAIR_SECONDS, WATCH_READ_BYTES
from noria.native import watches as native

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from noria.files.watch_backend import ChangeKind

# Bits of events and watches (inotify(7)).
_MODIFY = 0x2
_ATTRIB = 0x4
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_DELETE_SELF = 0x400
_MOVE_SELF = 0x800
_UNMOUNT = 0x2000
_Q_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLYDIR = 0x0100_0000
_DONT_FOLLOW = 0x0200_0000
_EXCL_UNLINK = 0x0400_0000
_ISDIR = 0x4000_0000

_HEAD = struct.Struct("iIII")
_NAMES = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO
_ITSELF = _DELETE_SELF | _MOVE_SELF
_GONE = _ITSELF | _UNMOUNT

_RENEWALS = 5  # tries to watch everything anew before the next pause

_NO_ROOM = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS)
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)


class Event(NamedTuple):
    """One event as the kernel gives it."""

    watch: int
    mask: int
    cookie: int
    name: Any


class InotifyBackend(WatchBackend):
    """Watches by inotify(7); see WatchBackend for the arguments."""

    name = "inotify"

    def __init__(
        self, root: Any, recursive: bool, kinds: frozenset[ChangeKind], interval: float
    ) -> None:
        WatchBackend.__init__(self, root, recursive, kinds, interval)
        self._loop: Any = None
        self._descriptor: Descriptor | None = None
        self._mask = _NAMES | _EXCL_UNLINK
        self._mask |= _MODIFY if "modified" in kinds else 0
        self._mask |= _ATTRIB if "attributes" in kinds else 0
        self._root_watch = -1
        self._root_inode = (0, 0)
        self._root_is_directory = False
        # Written by one hop at a time, while the loop waits for it.
        self._paths: dict[int, Any] = {}
        self._listed: dict[int, set[Any]] = {}
        """Names that a listing found and that were told of; their events may be to come."""
        self._missed: set[Any] = set()
        """Directories that were not found by the name they had when they were told of."""
        self._confused = False

    async def start(self) -> None:
        """Add the watches."""
        self._loop = asyncio.get_running_loop()
        fd = native.watch_open()
        if fd < 0:
            raise _failure_of(-fd, "inotify")
        self._descriptor = Descriptor(fd)
        try:
            self._loop.add_reader(fd, bool)
            self._loop.remove_reader(fd)
        except NotImplementedError:
            raise WatchUnavailableError("the event loop cannot watch a descriptor") from None
        await self._call(self._add_root)

    async def changes(self) -> list[Change]:
        """Wait for events, and tell what they mean."""
        if self._confused:  # still: too much was moved about
            await asyncio.sleep(WATCH_PAIR_SECONDS)
            found: list[Change] = []
            await self._overflow(found)
            return found
        await self._readable()
        events = self._read()
        await self._read_halves(events)
        return await self._changes_of(events)

    def close(self) -> None:
        """Close the descriptor, with all watches, once no thread uses it."""
        descriptor = self._descriptor
        if descriptor is None or descriptor.closing:
            return
        if descriptor.leases or asyncio._get_running_loop() is not self._loop:
            descriptor.close()
        else:
            hop(_Closing(descriptor.detach()))

    # -- events -------------------------------------------------------------------------------

    async def _readable(self) -> None:
        assert self._descriptor is not None
        fd = self._descriptor.fd
        waiter = self._loop.create_future()
        self._loop.add_reader(fd, _wake, waiter)
        try:
            await waiter
        finally:
            if not self._loop.is_closed():
                self._loop.remove_reader(fd)

    def _read(self) -> list[Event]:
        assert self._descriptor is not None
        try:
            data = os.read(self._descriptor.fd, WATCH_READ_BYTES)
        except BlockingIOError:
            return []
        return list(parse(data, isinstance(self.root, bytes)))

    async def _read_halves(self, events: list[Event]) -> None:
        """Read on, for a short time, while a move lacks its second half."""
        try:
            async with asyncio.timeout(WATCH_PAIR_SECONDS):
                while _lacks_a_half(events):
                    await self._readable()
                    events += self._read()
        except TimeoutError:
            pass  # it was moved to where nothing is watched

    async def _changes_of(self, events: list[Event]) -> list[Change]:
        changes: list[Change] = []
        targets = {event.cookie: event for event in events if event.mask & _MOVED_TO}
        told: set[int] = set()
        for event in events:
            if event.mask & _Q_OVERFLOW or self._confused:
                await self._overflow(changes)
                break  # what came before that is in it
            if event.mask & _IGNORED:
                await self._ignored(event, changes)
            elif event.watch not in self._paths:
                continue  # it was removed, and this is older than that
            elif not event.name:
                if event.watch == self._root_watch:
                    await self._about_root(event.mask, changes)
            elif event.mask & _MOVED_FROM:
                if await self._moved(event, targets.get(event.cookie), changes):
                    told.add(event.cookie)
            elif event.mask & _CREATE or (event.mask & _MOVED_TO and event.cookie not in told):
                await self._created(event, changes)
            elif not event.mask & _MOVED_TO:
                self._changed(event, changes)
            if self.ended:
                break
        else:
            if self._confused:
                await self._overflow(changes)
        return changes

    async def _created(self, event: Event, changes: list[Change]) -> None:
        listed = self._listed.get(event.watch)
        if listed is not None and event.name in listed:
            listed.discard(event.name)
            return
        path = self._path_of(event)
        is_directory = bool(event.mask & _ISDIR)
        changes.append(Change("created", path, is_directory))
        if is_directory and self.recursive:
            await self._add_and_tell(path, changes)

    async def _add_and_tell(self, path: Any, changes: list[Change]) -> None:
        found = await self._call(lambda: self._add_tree(path, telling=True))
        changes.extend(Change("created", *each) for each in found)

    async def _moved(self, event: Event, target: Event | None, changes: list[Change]) -> bool:
        """Tell of a move; whether it is known where to."""
        self._listed.get(event.watch, set()).discard(event.name)
        old = self._path_of(event)
        is_directory = bool(event.mask & _ISDIR)
        if target is None or target.watch not in self._paths:
            changes.append(Change("deleted", old, is_directory))
            if is_directory:
                for watch, _ in self._below(old):
                    self._remove(watch)
                self._take_missed(old)
            return False
        new = self._path_of(target)
        changes.append(Change("moved", new, is_directory, old))
        if is_directory and self.recursive:
            for watch, path in self._below(old):
                self._paths[watch] = new + path[len(old) :]
            for path in self._take_missed(old):
                await self._add_and_tell(new + path[len(old) :], changes)
        return True

    def _changed(self, event: Event, changes: list[Change]) -> None:
        path = self._path_of(event)
        is_directory = bool(event.mask & _ISDIR)
        if event.mask & _DELETE:
            self._listed.get(event.watch, set()).discard(event.name)
            changes.append(Change("deleted", path, is_directory))
            if is_directory:
                self._take_missed(path)
        if event.mask & _MODIFY:
            changes.append(Change("modified", path, is_directory))
        if event.mask & _ATTRIB:
            changes.append(Change("attributes", path, is_directory))

    async def _about_root(self, mask: int, changes: list[Change]) -> None:
        linked = mask & _ATTRIB and not self._root_is_directory  # once more or less, or owned anew
        if mask & _GONE or (linked and not await self._call(self._is_root_there)):
            await self._root_gone(changes)
        elif mask & _MODIFY:
            changes.append(Change("modified", self.root))
        elif mask & _ATTRIB and "attributes" in self.kinds:
            changes.append(Change("attributes", self.root, self._root_is_directory))

    async def _root_gone(self, changes: list[Change]) -> None:
        """Watch a file that has replaced the one that was watched, or end."""
        self._remove(self._root_watch)
        if not self._root_is_directory:
            try:
                await self._call(self._add_root)
            except OSError:
                pass  # nothing has that name now
            else:
                changes.append(Change("modified", self.root))
                return
        self.ended = True
        changes.append(Change("deleted", self.root, self._root_is_directory))

    async def _ignored(self, event: Event, changes: list[Change]) -> None:
        self._paths.pop(event.watch, None)
        self._listed.pop(event.watch, None)
        if event.watch == self._root_watch:
            await self._root_gone(changes)

    async def _overflow(self, changes: list[Change]) -> None:
        """Tell of it, and find the directories that were missed."""
        changes.append(Change("overflow", self.root, self._root_is_directory))
        try:
            self._confused = not await self._call(self._renew)
        except OSError:
            await self._root_gone(changes)

    def _path_of(self, event: Event) -> Any:
        return os.path.join(self._paths[event.watch], event.name)  # noqa: PTH118 - bytes stay bytes

    # -- watches ------------------------------------------------------------------------------

    def _call(self, function: Callable[[], Any]) -> Awaitable[Any]:
        """Have a thread do what looks up names; the descriptor stays open meanwhile."""
        return hop(function, descriptor=self._descriptor)

    def _is_root_there(self) -> bool:
        try:
            status = os.stat(self.root)  # noqa: PTH116 - bytes stay bytes
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._root_inode

    def _add_root(self) -> None:
        """Watch the root, and with `recursive` what is below it.

        Raises:
            OSError: it is not there, or not allowed.
            WatchUnavailableError: there is no room.
        """
        status = os.stat(self.root)  # noqa: PTH116 - bytes stay bytes
        self._root_is_directory = stat.S_ISDIR(status.st_mode)
        self._root_inode = (status.st_dev, status.st_ino)
        mask = self._mask | _ITSELF
        if not self._root_is_directory:
            mask |= _ATTRIB  # a link less, which is all that is told while somebody has it open
        watch = self._add(self.root, mask)
        if watch < 0:
            raise OSError(-watch, os.strerror(-watch), self.root)
        self._root_watch = watch
        if self._root_is_directory and self.recursive:
            for _, path, is_directory in _listing(self.root) or []:
                if is_directory:
                    self._add_tree(path, telling=False)

    def _add_tree(self, path: Any, telling: bool) -> list[tuple[Any, bool]]:
        """Watch a directory and those below it.

        Args:
            path: the directory.
            telling: its content is told of as created.

        Returns:
            What is in it: path, and whether it is a directory.
        """
        found: list[tuple[Any, bool]] = []
        looking = [path]
        while looking:
            folder = looking.pop()
            watch = self._add(folder, self._mask | _ONLYDIR | _DONT_FOLLOW)
            listing = _listing(folder) if watch >= 0 else None
            if listing is None:
                self._missed.add(folder)
                continue
            for name, each, is_directory in listing:
                if is_directory:
                    looking.append(each)
                if telling:
                    found.append((each, is_directory))
                    self._listed.setdefault(watch, set()).add(name)
        return found

    def _add(self, path: Any, mask: int) -> int:
        """Add one watch: its number, or minus errno if that file is not there or not ours.

        Raises:
            WatchUnavailableError: there is no room.
        """
        assert self._descriptor is not None
        watch = native.watch_add(self._descriptor.fd, os.fsencode(path), mask)
        if watch >= 0:
            if self._paths.setdefault(watch, path) != path:
                self._confused = True
        elif -watch not in _NOT_OURS:
            raise _failure_of(-watch, os.fsdecode(path))
        return watch

    def _renew(self) -> bool:
        """Add all watches anew, which leaves those that stand, and remove those of what is gone.

        Returns:
            Whether no directory came, moved or went meanwhile.

        Raises:
            OSError: the root is gone.
        """
        for _ in range(_RENEWALS):
            before = self._paths
            self._paths = {}
            self._listed = {}
            self._missed = set()
            self._confused = False
            self._add_root()
            for watch in before.keys() - self._paths.keys():
                self._remove(watch)
            if not self._settled():
                continue
            if not self._confused:
                return True
        return False

    def _settled(self) -> bool:
        """Take what has happened meanwhile; whether it was nothing that matters for watches."""
        settled = True
        while events := self._read():
            for event in events:
                of_directory = event.mask & _ISDIR and event.mask & _NAMES
                of_root = event.watch == self._root_watch and event.mask & _GONE
                if of_directory or of_root or event.mask & _Q_OVERFLOW:
                    settled = False
        return settled

    def _remove(self, watch: int) -> None:
        assert self._descriptor is not None
        native.watch_remove(self._descriptor.fd, watch)
        self._paths.pop(watch, None)
        self._listed.pop(watch, None)

    def _below(self, path: Any) -> list[tuple[int, Any]]:
        """Give the watches of a directory and of those below it."""
        return [(watch, each) for watch, each in self._paths.items() if _is_below(each, path)]

    def _take_missed(self, path: Any) -> list[Any]:
        """Give and forget what was missed of a directory and of those below it."""
        found = sorted(each for each in self._missed if _is_below(each, path))
        self._missed.difference_update(found)
        return found


class _Closing:
    """Closes a number in a thread, for that takes milliseconds; or when nobody will call it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self()


def parse(data: bytes, as_bytes: bool) -> list[Event]:
    """Read events (inotify(7)); names are bytes if that is asked for, else str."""
    events = []
    place = 0
    while place < len(data):
        watch, mask, cookie, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        name: Any = data[place : place + length].rstrip(b"\0")
        place += length
        events.append(Event(watch, mask, cookie, name if as_bytes else os.fsdecode(name)))
    return events


def _lacks_a_half(events: list[Event]) -> bool:
    second = {event.cookie for event in events if event.mask & _MOVED_TO}
    return any(event.mask & _MOVED_FROM and event.cookie not in second for event in events)


def _is_below(path: Any, folder: Any) -> bool:
    return bool(path == folder or path.startswith(os.path.join(folder, folder[:0])))  # noqa: PTH118


def _listing(folder: Any) -> list[tuple[Any, Any, bool]] | None:
    """List a directory: name, path, and whether it is a directory; None if it is gone by now."""
    try:
        with os.scandir(folder) as entries:
            return [(each.name, each.path, _is_directory(each)) for each in entries]
    except OSError:
        return None


def _is_directory(each: os.DirEntry[Any]) -> bool:
    try:
        return each.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _failure_of(code: int, what: str) -> Exception:
    if code in _NO_ROOM:
        return WatchUnavailableError(f"inotify: {errno.errorcode[code]}, {os.strerror(code)}")
    return OSError(code, os.strerror(code), what)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
