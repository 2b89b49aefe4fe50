"""watch: the changes of a file or a directory as an asynchronous iterator.

The system tells of them where it can (inotify on Linux, kqueue on macOS and the BSDs); elsewhere,
and where it has no room for more watches, polling finds them. Which of them it is can be seen.
"""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

from noria.files.filesystems import filesystem_at
from noria.files.hops import hop
from noria.files.watch_backend import KINDS, Change, WatchUnavailableError
from noria.files.watch_inotify import InotifyBackend
from noria.files.watch_polling import PollingBackend
from noria.limits import WATCH_INTERVAL_SECONDS, WATCH_QUEUE_MAX
from noria.native.sockets import COMPILED

if sys.platform != "linux" and sys.platform != "win32":
    from noria.files.watch_kqueue import KqueueBackend

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from noria.files.watch_backend import ChangeKind, WatchBackend


class Watcher:
    """Gives the changes of a file or a directory; made by `watch`.

    It is an asynchronous iterator, and an asynchronous context manager that closes it. It begins
    with the block, or with the first change that is asked for.

    Attributes:
        path: what is watched.
        backend: "inotify", "kqueue" or "polling"; "" before it has begun. It becomes "polling"
            when the system has no room for more watches; an overflow is told of then.
        reason: why it is that one.
    """

    def __init__(
        self,
        path: Any,
        recursive: bool,
        kinds: frozenset[ChangeKind],
        interval: float,
        polling: bool,
    ) -> None:
        self.path = path
        self._pump = _Pump(os.fspath(path), recursive, kinds, interval, polling)
        self._loop: Any = None
        self._closed = False

    @property
    def backend(self) -> str:
        """How changes are learned of."""
        return "" if self._pump.backend is None else self._pump.backend.name

    @property
    def reason(self) -> str:
        """Why they are learned of like that."""
        return self._pump.reason

    async def __aenter__(self) -> Watcher:
        """Begin to watch: what happens from now on is told.

        Raises:
            OSError: the path is not there, or not allowed.
            RuntimeError: it was closed.
        """
        await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def __aiter__(self) -> Watcher:
        """Give itself."""
        return self

    async def __anext__(self) -> Change:
        """Wait for the next change.

        Raises:
            StopAsyncIteration: what was watched is gone and everything was told, or it was closed.
            OSError: it could not be watched, or not any more.
        """
        if self._closed:
            raise StopAsyncIteration
        if self._loop is None:
            await self._begin()
        change = await self._pump.next_change()
        if change is None:
            raise StopAsyncIteration
        return change

    async def _begin(self) -> None:
        if self._closed:
            raise RuntimeError("this watcher was closed; watch() makes another")
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        try:
            await self._pump.begin()
        except BaseException:
            self._closed = True
            raise

    async def aclose(self) -> None:
        """Stop watching, and give back what that took. Idempotent."""
        self._closed = True
        await self._pump.stop()

    def __repr__(self) -> str:
        """Path and state."""
        state = "closed" if self._closed else self.backend or "not begun"
        return f"<Watcher path={self.path!r} {state}>"

    def __del__(self) -> None:
        """Stop what nobody listens to."""
        if self._closed or self._loop is None or self._pump.ended:
            return
        warnings.warn(f"unclosed watcher {self!r}", ResourceWarning, stacklevel=2, source=self)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pump.cancel)


class _Pump:
    """Carries changes from a backend into a bounded queue, in a task of its own.

    It knows nothing of its Watcher, which may so be found to be in nobody's use.
    """

    def __init__(
        self,
        root: Any,
        recursive: bool,
        kinds: frozenset[ChangeKind],
        interval: float,
        polling: bool,
    ) -> None:
        self.backend: WatchBackend | None = None
        self.reason = ""
        self.ended = False
        self._root = root
        self._recursive = recursive
        self._kinds = kinds
        self._interval = interval
        self._polling = polling
        self._queue: deque[Change] = deque()
        self._lost = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    async def begin(self) -> None:
        kind, self.reason = await self._choose()
        try:
            await self._use(kind)
        except WatchUnavailableError as exc:
            await self._poll_instead(exc)
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._over)

    async def _choose(self) -> tuple[type[WatchBackend], str]:
        filesystem = await hop(lambda: filesystem_at(self._root))
        if self._polling:
            return PollingBackend, "asked for by the program"
        if filesystem.distant:
            return PollingBackend, f"the system does not tell who else changes a {filesystem.type}"
        told = _native_backend()
        if told is None:
            return PollingBackend, "this build has nothing better here"
        return told, "best available"

    async def _use(self, kind: type[WatchBackend]) -> WatchBackend:
        backend = kind(self._root, self._recursive, self._kinds, self._interval)
        try:
            await backend.start()
        except BaseException:
            backend.close()
            raise
        self.backend = backend
        return backend

    async def _poll_instead(self, exc: WatchUnavailableError) -> WatchBackend:
        if self.backend is not None:
            self.backend.close()
        self.reason = str(exc)
        return await self._use(PollingBackend)

    async def _run(self) -> None:
        backend = self.backend
        assert backend is not None
        try:
            while not backend.ended:
                try:
                    changes = await backend.changes()
                except WatchUnavailableError as exc:
                    backend = await self._poll_instead(exc)
                    changes = [Change("overflow", self._root)]
                for change in changes:
                    self._put(change)
        finally:
            if self.backend is not None:
                self.backend.close()

    def _put(self, change: Change) -> None:
        queue = self._queue
        if change.kind != "overflow" and change.kind not in self._kinds:
            return
        if len(queue) >= WATCH_QUEUE_MAX:
            if not self._lost:
                self._lost = True
                queue.append(Change("overflow", self._root))
                self._news.set()
            return
        self._lost = False
        if queue and queue[-1] == change and change.kind in ("modified", "attributes"):
            return  # nobody has looked since the last time
        queue.append(change)
        self._news.set()

    def _over(self, task: asyncio.Task[None]) -> None:
        self.ended = True
        assert self.backend is not None
        self.backend.close()  # a task that is cancelled before it has begun does nothing
        if not task.cancelled():
            self._failure = task.exception()
        self._news.set()

    async def next_change(self) -> Change | None:
        """Wait for a change; None at the end.

        Raises:
            OSError: the watching failed; once, and behind the last change.
        """
        while not self._queue:
            if self.ended:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                return None
            self._news.clear()
            await self._news.wait()
        return self._queue.popleft()

    def cancel(self) -> None:
        """End the task, which closes the backend."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End the task, and wait until it has ended."""
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def _native_backend() -> type[WatchBackend] | None:
    """Give the way by which the system tells of changes, None if there is none."""
    if sys.platform == "linux":
        return InotifyBackend if COMPILED else None
    if sys.platform != "linux" and sys.platform != "win32":
        return KqueueBackend
    return None


def watch(
    path: Any,
    *,
    recursive: bool = False,
    events: Iterable[ChangeKind] | None = None,
    interval: float = WATCH_INTERVAL_SECONDS,
    polling: bool = False,
) -> Watcher:
    """Watch a file or a directory: `async for change in watch(path)`.

    Of a directory it tells what changes in it; with `recursive` also in directories below, symbolic
    links not followed. What moves in from elsewhere is created, what moves out is deleted. It ends
    when what was watched is gone. A file that another one replaces under its name is modified.

    Changes that nobody takes wait, WATCH_QUEUE_MAX at most; then one of kind "overflow" stands for
    those that were lost, as when the system loses some.

    Args:
        path: name, as str, bytes or os.PathLike; changes have paths of the same kind, str for the
            last.
        recursive: tell of what is in directories below, too.
        events: the kinds of changes that are told of; None for all. "overflow" always is.
        interval: seconds between two looks, where polling is what can be had.
        polling: look even where the system tells, for a place that others change from elsewhere.

    Raises:
        TypeError: the path is none.
        ValueError: an unknown kind, or an interval that is not positive.

    Source: inotify(7), kqueue(2).
    """
    os.fspath(path)
    kinds = frozenset(KINDS if events is None else events)
    unknown = kinds - set(KINDS) - {"overflow"}
    if unknown:
        raise ValueError(f"unknown kinds of changes {sorted(unknown)}; known: {', '.join(KINDS)}")
    if interval <= 0:
        raise ValueError(f"an interval of {interval} seconds is not possible")
    return Watcher(path, recursive, kinds, interval, polling)
