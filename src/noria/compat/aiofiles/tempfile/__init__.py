"""Temporary files and directories, with the names and signatures of aiofiles.

NamedTemporaryFile and TemporaryFile give noria's files; on Windows, where such a file is opened in
a way of its own, synchronous objects whose methods run in an executor.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile as blocking
import threading
from functools import partial, singledispatch
from io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase
from typing import TYPE_CHECKING, Any

import noria
from noria import fs
from noria.compat.aiofiles.base import AiofilesContextManager
from noria.compat.aiofiles.tempfile.temptypes import (
    AsyncSpooledTemporaryFile,
    AsyncTemporaryDirectory,
    NamedFile,
)
from noria.compat.aiofiles.threadpool.binary import (
    AsyncBufferedIOBase,
    AsyncBufferedReader,
    AsyncFileIO,
)
from noria.compat.aiofiles.threadpool.streams import around
from noria.compat.aiofiles.threadpool.text import AsyncTextIOWrapper

if TYPE_CHECKING:
    from concurrent.futures import Executor

    Loop = asyncio.AbstractEventLoop

__all__ = [
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
]

if sys.version_info >= (3, 12):

    def NamedTemporaryFile(
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: Any = None,
        prefix: Any = None,
        dir: Any = None,
        delete: bool = True,
        delete_on_close: bool = True,
        loop: Loop | None = None,
        executor: Executor | None = None,
    ) -> AiofilesContextManager[Any]:
        """Make and open a file with a name (tempfile.NamedTemporaryFile).

        Args:
            mode: as for `open`.
            buffering: as for `open`.
            encoding: as for `open`.
            newline: as for `open`.
            suffix: what its name ends with.
            prefix: what its name begins with.
            dir: the directory where it is made.
            delete: remove it at its end.
            delete_on_close: that is when it is closed; otherwise at the end of `async with`, or
                when it is dropped.
            loop: accepted and not used, but on Windows.
            executor: accepted and not used, but on Windows.

        Returns:
            What gives the file, awaited or entered.
        """
        options = {"encoding": encoding, "newline": newline}
        place = (suffix, prefix, dir)
        making = _named(mode, buffering, options, place, (delete, delete_on_close), loop, executor)
        return AiofilesContextManager(making)

else:

    def NamedTemporaryFile(
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: Any = None,
        prefix: Any = None,
        dir: Any = None,
        delete: bool = True,
        loop: Loop | None = None,
        executor: Executor | None = None,
    ) -> AiofilesContextManager[Any]:
        """Make and open a file with a name (tempfile.NamedTemporaryFile).

        Args:
            mode: as for `open`.
            buffering: as for `open`.
            encoding: as for `open`.
            newline: as for `open`.
            suffix: what its name ends with.
            prefix: what its name begins with.
            dir: the directory where it is made.
            delete: remove it when it is closed.
            loop: accepted and not used, but on Windows.
            executor: accepted and not used, but on Windows.

        Returns:
            What gives the file, awaited or entered.
        """
        options = {"encoding": encoding, "newline": newline}
        place = (suffix, prefix, dir)
        making = _named(mode, buffering, options, place, (delete, True), loop, executor)
        return AiofilesContextManager(making)


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[Any]:
    """Make and open a file without a name (tempfile.TemporaryFile).

    Args:
        mode: as for `open`.
        buffering: as for `open`.
        encoding: as for `open`.
        newline: as for `open`.
        suffix: what its name ends with, where it must have one for a moment.
        prefix: what its name begins with.
        dir: the directory where it is made.
        loop: accepted and not used, but on Windows.
        executor: accepted and not used, but on Windows.

    Returns:
        What gives the file, awaited or entered.
    """
    options = {"encoding": encoding, "newline": newline}
    place = (suffix, prefix, dir)
    return AiofilesContextManager(_unnamed(mode, buffering, options, place, loop, executor))


def SpooledTemporaryFile(
    max_size: int = 0,
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[AsyncSpooledTemporaryFile]:
    """Make a file that is in memory until it grows (tempfile.SpooledTemporaryFile).

    Args:
        max_size: bytes that it may have in memory; 0 for any number.
        mode: as for `open`.
        buffering: as for `open`.
        encoding: as for `open`.
        newline: as for `open`.
        suffix: what its name ends with, where it must have one for a moment.
        prefix: what its name begins with.
        dir: the directory where it is made.
        loop: whose executor is used; None for the running loop.
        executor: where it blocks; None for the loop's default.

    Returns:
        What gives the file, awaited or entered.
    """
    make = partial(
        blocking.SpooledTemporaryFile,
        max_size=max_size,
        mode=mode,
        buffering=buffering,
        encoding=encoding,
        newline=newline,
        suffix=suffix,
        prefix=prefix,
        dir=dir,
    )
    return AiofilesContextManager(_made(make, AsyncSpooledTemporaryFile, loop, executor))


def TemporaryDirectory(
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManagerTempDir:
    """Make a directory that is removed at its end (tempfile.TemporaryDirectory).

    Args:
        suffix: what its name ends with.
        prefix: what its name begins with.
        dir: the directory where it is made.
        loop: whose executor is used; None for the running loop.
        executor: where it is made and removed; None for the loop's default.

    Returns:
        What gives an AsyncTemporaryDirectory if it is awaited, and the name if it is entered.
    """
    make = partial(blocking.TemporaryDirectory, suffix, prefix, dir)
    return AiofilesContextManagerTempDir(_made(make, AsyncTemporaryDirectory, loop, executor))


class AiofilesContextManagerTempDir(AiofilesContextManager[Any]):
    """A directory that is being made: `async with` gives its name and removes it in the end."""

    async def __aenter__(self) -> Any:
        """Make it."""
        return (await self).name


async def _made(make: Any, around_it: Any, loop: Loop | None, executor: Executor | None) -> Any:
    """Call what makes an object of `tempfile`, and give an object with awaited methods."""
    where = asyncio.get_running_loop() if loop is None else loop
    return around_it(await where.run_in_executor(executor, make), loop=loop, executor=executor)


async def _named(
    mode: Any,
    buffering: Any,
    options: dict[str, Any],
    place: tuple[Any, Any, Any],
    end: tuple[bool, bool],
    loop: Loop | None,
    executor: Executor | None,
) -> Any:
    delete, on_close = end
    if sys.platform == "win32":
        more: dict[str, Any] = {} if sys.version_info < (3, 12) else {"delete_on_close": on_close}
        make = partial(
            blocking.NamedTemporaryFile,
            *(mode, buffering, options["encoding"], options["newline"], *place, delete),
            **more,
        )
        made = await _made(make, _wrap_temporary, loop, executor)
    else:
        maker = _Maker(place)
        try:
            file: Any = await noria.open("", mode, buffering, opener=maker, **options)
        except BaseException:
            await maker.give_up()
            raise
        (file.buffer if hasattr(file, "buffer") else file).name = maker.name
        named = NamedFile(file, maker.name, delete, on_close)
        made = around(named, unbuffered=buffering == 0)
    made.delete = delete
    return made


async def _unnamed(
    mode: Any,
    buffering: Any,
    options: dict[str, Any],
    place: tuple[Any, Any, Any],
    loop: Loop | None,
    executor: Executor | None,
) -> Any:
    if sys.platform == "win32":
        make = partial(blocking.TemporaryFile, mode, buffering, **options)
        placed = partial(make, suffix=place[0], prefix=place[1], dir=place[2])
        return await _made(placed, _wrap_temporary, loop, executor)
    opener = partial(_open_unnamed, place)
    file: Any = await noria.open("", mode, buffering, opener=opener, **options)
    (file.buffer if hasattr(file, "buffer") else file).name = file.fileno()
    return around(file, unbuffered=buffering == 0)


def _open_unnamed(place: tuple[Any, Any, Any], path: Any, flags: int) -> int:
    suffix, prefix, folder = place
    with blocking.TemporaryFile("w+b", 0, None, None, suffix, prefix, folder) as made:
        return os.dup(made.fileno())


class _Maker:
    """Makes and opens a file with a name, in a thread; called as openers are."""

    def __init__(self, place: tuple[Any, Any, Any]) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._unwanted = False
        self.name: Any = None

    def __call__(self, path: Any, flags: int) -> int:
        fd: int
        fd, name = blocking.mkstemp(*self._place)
        with self._lock:
            self.name = name
            unwanted = self._unwanted
        if unwanted:
            os.unlink(name)  # noqa: PTH108 - bytes stay bytes
        return fd

    async def give_up(self) -> None:
        """Remove the file, be it that a thread is still making it."""
        with self._lock:
            self._unwanted = True
            name = self.name
        if name is not None:
            await fs.unlink(name)


@singledispatch
def wrap(base_io_obj: Any, file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    """Give a file with awaited methods around an object of `tempfile`.

    Args:
        base_io_obj: the object of `io` in it, whose class decides.
        file: the object.
        loop: whose executor is used; None for that of the loop which runs at the call.
        executor: where its methods run; None for the loop's default.

    Raises:
        TypeError: it is nothing of the kind.
    """
    raise TypeError(f"Unsupported IO type: {base_io_obj}")


@wrap.register(TextIOBase)
def _wrap_text(base_io_obj: Any, file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncTextIOWrapper(file, loop, executor)


@wrap.register(BufferedWriter)
def _wrap_buffered(base_io_obj: Any, file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncBufferedIOBase(file, loop, executor)


@wrap.register(BufferedRandom)
@wrap.register(BufferedReader)
def _wrap_reader(base_io_obj: Any, file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncBufferedReader(file, loop, executor)


@wrap.register(FileIO)
def _wrap_raw(base_io_obj: Any, file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncFileIO(file, loop, executor)


def _wrap_temporary(made: Any, loop: Any, executor: Any) -> Any:
    """Wrap what `tempfile` has made, by the file in it if it is a wrapper itself."""
    return wrap(getattr(made, "file", made), made, loop=loop, executor=executor)
