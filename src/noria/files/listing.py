"""Listing directories: their entries one by one, and whole trees.

Entries are read in batches, a hop for each, and what the directory tells of them comes along: most
questions about an entry take no further call. A batch has an end, so a large directory is never in
memory as a whole.
"""

from __future__ import annotations

import asyncio
import os
import stat as modes
import sys
import threading
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from noria.errors import from_result
from noria.files.hops import hop
from noria.files.host import running_host
from noria.files.status import answered, look
from noria.limits import SCAN_ENTRIES_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from noria.files.status import NameOrNumber

T = TypeVar("T")

_DIRECTORY: Final = 0
_FILE: Final = 1
_LINK: Final = 2
_OTHER: Final = 3
_UNKNOWN: Final = 4


def scandir(path: NameOrNumber | None = None) -> Batches[DirEntry]:
    """Give the entries of a directory, in the order it has them (os.scandir; readdir(3)).

        async with fs.scandir("folder") as entries:
            async for entry in entries:
                ...

    Args:
        path: of the directory, or the number of an open one; None means the current one.

    Returns:
        An asynchronous iterator, to be left with `async with` or `aclose` if it is not followed to
        its end.

    Raises:
        OSError: with the first entry: what opendir(3) says.
    """
    below_number = isinstance(path, int)
    return Batches(partial(os.scandir, path), partial(_entry, below_number))


async def listdir(path: NameOrNumber | None = None) -> list[Any]:
    """Give the names in a directory (os.listdir; readdir(3))."""
    call: Callable[[], list[Any]] = partial(os.listdir, path)
    return await hop(call)


def walk(
    top: Any,
    topdown: bool = True,
    onerror: Callable[[OSError], object] | None = None,
    followlinks: bool = False,
) -> AsyncGenerator[tuple[Any, list[Any], list[Any]], None]:
    """Go through a tree of directories, a hop for each (os.walk).

    Args:
        top: where to begin.
        topdown: a directory comes before those in it, and the caller may change the list of those
            in place: they are gone through as it leaves them.
        onerror: called, in the loop's thread, with the error of a directory that cannot be read.
            Without it such are passed over.
        followlinks: go into directories that symbolic links point to. There may be circles.

    Returns:
        An asynchronous generator of triples: name of the directory, names of the directories in
        it, names of everything else in it.
    """
    return walk_tree(top, topdown, onerror, followlinks, False)


async def walk_tree(
    top: Any,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
    links_are_files: bool,
) -> AsyncGenerator[tuple[Any, list[Any], list[Any]], None]:
    """Walk; `links_are_files` counts every symbolic link among the files, as pathlib does."""
    # What has been read already, and waits for those below it, is a tuple.
    waiting: list[Any] = [os.fspath(top)]
    first = True
    while waiting:
        place = waiting.pop()
        if isinstance(place, tuple):
            yield place
            continue
        found = await hop(partial(_read, place, followlinks or first, followlinks, links_are_files))
        first = False
        if isinstance(found, OSError):
            if onerror is not None:
                onerror(found)
            continue
        if found is None:
            continue  # it is a link
        dirs, others, below = found
        if topdown:
            yield place, dirs, others
            below = [os.path.join(place, name) for name in dirs]
        else:
            waiting.append((place, dirs, others))
        waiting.extend(reversed(below))


def _read(place: Any, into_link: bool, followlinks: bool, links_are_files: bool) -> Any:
    """Read a directory of a tree: its lists, None if it is a link, or the error."""
    if not into_link and os.path.islink(place):
        return None
    dirs: list[Any] = []
    others: list[Any] = []
    below: list[Any] = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if not _asked(partial(entry.is_dir, follow_symlinks=not links_are_files)):
                    others.append(entry.name)
                    continue
                dirs.append(entry.name)
                if followlinks or not _asked(entry.is_symlink):
                    below.append(entry.path)
    except OSError as exc:
        return exc
    return dirs, others, below


def _asked(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:
        return False  # as os.path.isdir tells of what cannot be looked at


# -- entries --------------------------------------------------------------------------------------


class DirEntry:
    """An entry of a directory, as os.DirEntry; made by `scandir`.

    What may have to ask the system is a coroutine. The directory tells of most entries what kind
    they are, so those questions are answered at once, but for symbolic links. An answer is kept.

    Attributes:
        name: in the directory.
        path: the directory's name, as it was given, and that.
    """

    __slots__ = ("_below_number", "_entry", "_followed", "_kind", "_own", "name", "path")

    def __init__(self, entry: os.DirEntry[Any], kind: int, below_number: bool) -> None:
        self.name: Any = entry.name
        self.path: Any = entry.path
        self._entry = entry
        self._kind = kind
        self._below_number = below_number
        self._own: os.stat_result | None = None
        self._followed: os.stat_result | None = None

    async def inode(self) -> int:
        """Give its number on the filesystem, a symbolic link's own."""
        if sys.platform == "win32":
            return await hop(self._entry.inode)
        return self._entry.inode()

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a directory, or a symbolic link to one."""
        return await self._is(_DIRECTORY, modes.S_IFDIR, follow_symlinks)

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a regular file, or a symbolic link to one."""
        return await self._is(_FILE, modes.S_IFREG, follow_symlinks)

    async def is_symlink(self) -> bool:
        """Tell whether it is a symbolic link."""
        return await self._is(_LINK, modes.S_IFLNK, False)

    async def is_junction(self) -> bool:
        """Tell whether it is a junction, which only Windows has."""
        if sys.platform == "win32" and sys.version_info >= (3, 12):
            return await hop(self._entry.is_junction)
        return False

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Get its status, and keep it.

        Args:
            follow_symlinks: of what a symbolic link points to, not of the link.

        Raises:
            OSError: what stat(2) says.
        """
        follow = follow_symlinks and self._kind in (_LINK, _UNKNOWN)
        found = self._followed if follow else self._own
        if found is None:
            found = await self._ask(follow)
            if follow:
                self._followed = found
            else:
                self._own = found
        return found

    async def _ask(self, follow: bool) -> os.stat_result:
        host = running_host()
        found = 0 if self._below_number else look(self.path, follow)
        if found:
            await answered(host)
            if isinstance(found, int):
                raise from_result(found, path=self.path)
            return found
        return await hop(partial(self._entry.stat, follow_symlinks=follow), host=host)

    async def _is(self, kind: int, type_: int, follow: bool) -> bool:
        if self._kind != _UNKNOWN and not (follow and self._kind == _LINK):
            return self._kind == kind
        try:
            found = await self.stat(follow_symlinks=follow)
        except FileNotFoundError:
            return False
        return modes.S_IFMT(found.st_mode) == type_

    def __fspath__(self) -> Any:
        """Give `path`."""
        return self.path

    def __repr__(self) -> str:
        """Show the name, as os.DirEntry does."""
        return f"<DirEntry {self.name!r}>"


def _entry(below_number: bool, entry: os.DirEntry[Any]) -> DirEntry:
    """Make an entry in a thread; what the directory does not tell is asked here, where it may."""
    try:
        if entry.is_symlink():
            kind = _LINK
        elif entry.is_dir(follow_symlinks=False):
            kind = _DIRECTORY
        elif entry.is_file(follow_symlinks=False):
            kind = _FILE
        else:
            kind = _OTHER
    except OSError:
        kind = _UNKNOWN
    return DirEntry(entry, kind, below_number)


# -- batches --------------------------------------------------------------------------------------


class Batches(Generic[T]):
    """What a blocking iterator gives, asynchronously: fetched in batches, a hop for each.

    One task at a time may iterate. Cancelling a fetch closes it.

    Args:
        begin: makes the iterator, in a thread.
        convert: makes of each of its items what is given; called in the thread as well.
    """

    def __init__(self, begin: Callable[[], Any], convert: Callable[[Any], T]) -> None:
        self._begin = begin
        self._convert = convert
        self._iterator: Any = None
        self._batch: deque[T] = deque()
        self._error: BaseException | None = None
        self._used = threading.Lock()  # by the thread that reads
        self._closed = False
        self._ended = False
        self._lost = False

    def __aiter__(self) -> Batches[T]:
        return self

    async def __anext__(self) -> T:
        """Give the next one."""
        if not self._batch:
            if self._lost:
                raise RuntimeError("the iteration was cancelled and cannot go on")
            await self._fetch()
        if self._batch:
            return self._batch.popleft()
        self._tell()
        raise StopAsyncIteration

    async def __aenter__(self) -> Batches[T]:
        """Begin, so that an error of the beginning is raised here."""
        await self._fetch()
        if not self._batch:
            self._tell()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Give back what it holds. Idempotent; iterating ends with it."""
        self._batch.clear()
        self._error = None
        self._close()

    def _tell(self) -> None:
        """Raise what ended it, once."""
        error = self._error
        self._error = None
        if error is not None:
            raise error

    async def _fetch(self) -> None:
        if self._ended or self._closed:
            return
        try:
            self._batch.extend(await hop(self._read))
        except asyncio.CancelledError:
            self._lost = True
            self._close()
            raise

    def _read(self) -> list[T]:
        """Read a batch, in a thread; an error comes behind what was read before it."""
        items: list[T] = []
        with self._used:
            if not self._closed:
                try:
                    if self._iterator is None:
                        self._iterator = self._begin()
                    for item in islice(self._iterator, SCAN_ENTRIES_MAX):
                        items.append(self._convert(item))  # noqa: PERF401 - kept on an error
                except Exception as exc:
                    self._error = exc
                self._ended = len(items) < SCAN_ENTRIES_MAX
                if self._ended:
                    self._end()
        if self._closed:
            self._close()
        return items

    def _close(self) -> None:
        """Close the iterator now, or leave that to the thread that uses it.

        Whoever finds the lock taken has set the flag before, and the thread looks at it once more
        after it has let go of the lock.
        """
        self._closed = True
        if self._used.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._used.release()

    def _end(self) -> None:
        iterator = self._iterator
        self._iterator = None
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
