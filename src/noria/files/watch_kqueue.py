"""KqueueBackend: changes on macOS and the BSDs, told by kqueue(2) with EVFILT_VNODE.

Facts: the kernel tells that an open file or directory has changed, not what has changed in it. So
an event is the occasion to look, and what has happened is found by comparing, as polling does. Each
file takes an open descriptor, so there is a bound, beyond which polling does all of it. A queue can
be watched by a loop like any other descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from noria.core.descriptor import Descriptor
from noria.files.hops import hop
from noria.files.watch_backend import WatchUnavailableError
from noria.files.watch_polling import PollingBackend
from noria.limits import WATCH_DESCRIPTORS_MAX

if TYPE_CHECKING:
    from noria.files.watch_backend import Change, ChangeKind

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

if sys.platform != "linux" and sys.platform != "win32":
    _FLAGS = getattr(os, "O_EVTONLY", os.O_RDONLY) | os.O_NONBLOCK | os.O_CLOEXEC
    _FLAGS |= os.O_NOFOLLOW
    _NEWS = (
        select.KQ_NOTE_WRITE
        | select.KQ_NOTE_EXTEND
        | select.KQ_NOTE_DELETE
        | select.KQ_NOTE_RENAME
        | select.KQ_NOTE_ATTRIB
    )

    class KqueueBackend(PollingBackend):
        """Looks when kqueue(2) tells of a change; see WatchBackend for the arguments."""

        name = "kqueue"

        def __init__(
            self, root: Any, recursive: bool, kinds: frozenset[ChangeKind], interval: float
        ) -> None:
            PollingBackend.__init__(self, root, recursive, kinds, interval)
            self._loop: Any = None
            self._queue: Any = None
            self._owned: dict[Any, tuple[tuple[int, int], Descriptor]] = {}
            """What is open, with its inode, by path."""

        async def start(self) -> None:
            """Open what is there and have it watched."""
            self._loop = asyncio.get_running_loop()
            self._queue = select.kqueue()
            try:
                self._loop.add_reader(self._queue.fileno(), bool)
                self._loop.remove_reader(self._queue.fileno())
            except NotImplementedError:
                raise WatchUnavailableError("the event loop cannot watch a descriptor") from None
            await PollingBackend.start(self)
            await self._open_all()
            await PollingBackend.start(self)  # what happened before everything was watched

        async def changes(self) -> list[Change]:
            """Wait for an event, look, and watch what is new."""
            waiter = self._loop.create_future()
            fd = self._queue.fileno()
            self._loop.add_reader(fd, _wake, waiter)
            try:
                await waiter
            finally:
                if not self._loop.is_closed():
                    self._loop.remove_reader(fd)
            self._queue.control(None, WATCH_DESCRIPTORS_MAX, 0)
            found = await self.look()
            if not self.ended and await self._open_all():
                found += await self.look()  # what happened in new directories before
            return found

        async def _open_all(self) -> bool:
            """Watch what is not watched yet, and let go of what is gone; whether there was any.

            Raises:
                WatchUnavailableError: it takes too many descriptors.
            """
            for path, (inode, descriptor) in list(self._owned.items()):
                entry = self._before.get(path)
                if entry is None or entry.inode != inode:  # gone, or replaced under its name
                    del self._owned[path]
                    descriptor.close()
            missing = [path for path in self._before if path not in self._owned]
            if len(self._before) > WATCH_DESCRIPTORS_MAX:
                raise WatchUnavailableError(f"kqueue: more than {WATCH_DESCRIPTORS_MAX} files")
            opened = await hop(lambda: _open_each(missing), undo=_close_each)
            for path, fd in opened:
                self._owned[path] = self._before[path].inode, Descriptor(fd)
                event = select.kevent(
                    fd, select.KQ_FILTER_VNODE, select.KQ_EV_ADD | select.KQ_EV_CLEAR, _NEWS
                )
                self._queue.control([event], 0, 0)
            return bool(opened)

        def close(self) -> None:
            """Close the queue and what was opened."""
            if self._queue is not None:
                self._queue.close()
            for _, descriptor in self._owned.values():
                descriptor.close()
            self._owned.clear()

    def _open_each(paths: list[Any]) -> list[tuple[Any, int]]:
        """Open what is there; in a thread.

        Raises:
            WatchUnavailableError: no descriptors are left.
        """
        opened: list[tuple[Any, int]] = []
        for path in paths:
            try:
                opened.append((path, os.open(path, _FLAGS)))
            except OSError as exc:
                if exc.errno in _NO_ROOM:
                    _close_each(opened)
                    raise WatchUnavailableError(f"kqueue: {exc.strerror}") from None
                # It is gone, a symbolic link, or not ours to open.
        return opened

    def _close_each(opened: list[tuple[Any, int]]) -> None:
        for _, fd in opened:
            os.close(fd)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
