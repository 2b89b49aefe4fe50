"""Temporary files and directories, as of `tempfile`: made and removed in threads.

Names, permissions (for the owner alone) and the choice of a directory are tempfile's. What a
cancelled task has made is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from noria.files import streams
from noria.files.hops import hop
from noria.files.streams import Opening

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)


async def mkstemp(
    suffix: Any = None, prefix: Any = None, dir: Any = None, text: bool = False
) -> tuple[int, Any]:
    """Make a file with a name of its own and open it (tempfile.mkstemp).

    Args:
        suffix: the name ends with it.
        prefix: the name begins with it.
        dir: the directory; None means that for temporary files.
        text: open it as text, which counts on Windows only.

    Returns:
        Number of the descriptor and absolute name, both the caller's to free.
    """

    def undo(made: tuple[int, Any]) -> None:
        os.close(made[0])
        os.unlink(made[1])

    return await _owned(partial(tempfile.mkstemp, suffix, prefix, dir, text), undo)


async def mkdtemp(suffix: Any = None, prefix: Any = None, dir: Any = None) -> Any:
    """Make a directory with a name of its own (tempfile.mkdtemp).

    Arguments are those of `mkstemp`.

    Returns:
        Its name; it is the caller's to remove.
    """
    return await _owned(partial(tempfile.mkdtemp, suffix, prefix, dir), os.rmdir)


async def _owned(call: Callable[[], T], undo: Callable[[T], object]) -> T:
    """Hop; undo what was made if this task was cancelled before being told."""
    making: Any = hop(call, undo=undo)
    try:
        made: T = await making
    except asyncio.CancelledError:
        if making.done() and not making.cancelled() and making.exception() is None:
            undo(making.result())
        raise
    return made


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    *,
    errors: str | None = None,
) -> Opening[Any]:
    """Open a file without a name, which is gone once it is closed (tempfile.TemporaryFile).

    Args:
        mode: as for `noria.open`.
        buffering: likewise.
        encoding: likewise.
        newline: likewise.
        suffix: of the name that it has for a moment where the system needs one.
        prefix: of that name.
        dir: the directory that it lies in; None means that for temporary files.
        errors: as for `noria.open`.

    Returns:
        What gives the file, by `await` or `async with`.
    """

    def opener(_: Any, flags: int) -> int:
        if _TMPFILE:
            place = tempfile.gettempdir() if dir is None else dir
            flags = (flags & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL)) | _TMPFILE | _CLOEXEC
            # The filesystem or the kernel may have no such files (open(2)).
            with contextlib.suppress(OSError):
                return os.open(place, flags, 0o600)
        if sys.platform == "win32":
            found = tempfile.TemporaryFile(dir=dir, suffix=suffix, prefix=prefix)  # noqa: SIM115
            return os.dup(found.fileno())
        made: tuple[int, Any] = tempfile.mkstemp(suffix, prefix, dir)
        os.unlink(made[1])
        return made[0]

    return streams.open("temporary", mode, buffering, encoding, errors, newline, opener=opener)


def NamedTemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    delete: bool = True,
    *,
    errors: str | None = None,
    delete_on_close: bool = True,
) -> Opening[Any]:
    """Open a file with a name of its own (tempfile.NamedTemporaryFile of Python 3.12).

    Args:
        mode: as for `noria.open`.
        buffering: likewise.
        encoding: likewise.
        newline: likewise.
        suffix: the name ends with it.
        prefix: the name begins with it.
        dir: the directory; None means that for temporary files.
        delete: remove the name in the end.
        errors: as for `noria.open`.
        delete_on_close: that is when the file is closed; otherwise with the end of `async with`.

    Returns:
        What gives the file, by `await` or `async with`; its `name` is the name.
    """
    made = _Named(delete)
    opener = partial(_open_named, made, suffix, prefix, dir)
    opening = streams.open("temporary", mode, buffering, encoding, errors, newline, opener=opener)
    return Opening(_opened(opening, made, delete, delete_on_close))


class _Named:
    """What a thread tells of the name it made.

    Both sides look at what the other one has written after they have written themselves.
    """

    def __init__(self, delete: bool) -> None:
        self.name: Any = None
        self.given_up = False

    def remove_if_given_up(self) -> None:
        if self.given_up and self.name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.name)


def _open_named(made: _Named, suffix: Any, prefix: Any, dir: Any, _: Any, flags: int) -> int:
    found: tuple[int, Any] = tempfile.mkstemp(suffix, prefix, dir)
    made.name = found[1]
    made.remove_if_given_up()
    return found[0]


async def _opened(
    opening: Opening[Any], made: _Named, delete: bool, delete_on_close: bool
) -> NamedFile:
    try:
        file = await opening
    except BaseException:
        made.given_up = True
        made.remove_if_given_up()
        raise
    return NamedFile(file, made.name, delete, delete_on_close)


class NamedFile:
    """An open temporary file with a name; everything else is asked of the file.

    Attributes:
        file: the BinaryFile or TextFile.
        name: its name.
    """

    def __init__(self, file: Any, name: Any, delete: bool, delete_on_close: bool) -> None:
        self.file = file
        self.name = name
        self._delete = delete
        self._delete_on_close = delete_on_close

    def __getattr__(self, name: str) -> Any:
        """Give what the file has."""
        return getattr(self.file, name)

    def __aiter__(self) -> Any:
        return aiter(self.file)

    async def close(self) -> None:
        """Close the file, and remove its name unless that is for later. Idempotent."""
        try:
            await self.file.close()
        finally:
            if self._delete_on_close:
                await self._remove()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file and remove its name."""
        try:
            await self.close()
        finally:
            await self._remove()

    async def _remove(self) -> None:
        if self._delete:
            self._delete = False
            await asyncio.shield(hop(partial(_unlink, self.name)))

    def __del__(self) -> None:
        if self._delete:
            self._delete = False
            _unlink(self.name)


def _unlink(name: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)


class TemporaryDirectory:
    """A directory that is removed with all that is in it (tempfile.TemporaryDirectory).

    It is made when it is entered or awaited: `async with` gives the name, `await` the object.

    Args:
        suffix: the name ends with it.
        prefix: the name begins with it.
        dir: where it is made; None means the directory for temporary files.
        ignore_cleanup_errors: go on where something cannot be removed.
        delete: remove it in the end.

    Attributes:
        name: its name, None before it was made.
    """

    def __init__(
        self,
        suffix: Any = None,
        prefix: Any = None,
        dir: Any = None,
        ignore_cleanup_errors: bool = False,
        *,
        delete: bool = True,
    ) -> None:
        self.name: Any = None
        self._made: tempfile.TemporaryDirectory[Any] | None = None
        make: Any = tempfile.mkdtemp
        options: tuple[Any, ...] = (suffix, prefix, dir)
        if delete:
            make = tempfile.TemporaryDirectory
            options = (*options, ignore_cleanup_errors)
        self._make: Callable[[], Any] = partial(make, *options)

    def __await__(self) -> Generator[Any, None, Self]:
        """Make it."""
        return self._begin().__await__()

    async def _begin(self) -> Self:
        if self.name is None:
            made = await _owned(self._make, _drop)
            if isinstance(made, tempfile.TemporaryDirectory):
                self._made = made
                self.name = made.name
            else:
                self.name = made
        return self

    async def __aenter__(self) -> Any:
        """Make it, and give its name."""
        return (await self._begin()).name

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove it, unless it is to stay."""
        await self.cleanup()

    async def cleanup(self) -> None:
        """Remove it with all that is in it. Idempotent; once begun it goes on to its end."""
        made = self._made
        self._made = None
        if made is not None:
            await asyncio.shield(hop(made.cleanup))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _drop(made: Any) -> None:
    if isinstance(made, tempfile.TemporaryDirectory):
        made.cleanup()
    else:
        os.rmdir(made)
