"""Temporary files and directories, with the names and signatures of aiofiles.

NamedTemporaryFile and TemporaryFile give noria's files. SpooledTemporaryFile and TemporaryDirectory
are those of `tempfile`, whose methods run in an executor.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile as blocking
from functools import partial, singledispatch
from io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase
from typing import TYPE_CHECKING, Any

from noria import fs
from noria.compat.aiofiles.base import AiofilesContextManager
from noria.compat.aiofiles.tempfile.temptypes import (
    AsyncSpooledTemporaryFile,
    AsyncTemporaryDirectory,
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
            loop: accepted and not used.
            executor: accepted and not used.

        Returns:
            What gives the file, awaited or entered.
        """
        making = _named(
            mode=mode,
            buffering=buffering,
            encoding=encoding,
            newline=newline,
            suffix=suffix,
            prefix=prefix,
            dir=dir,
            delete=delete,
            delete_on_close=delete_on_close,
        )
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
            loop: accepted and not used.
            executor: accepted and not used.

        Returns:
            What gives the file, awaited or entered.
        """
        making = _named(
            mode=mode,
            buffering=buffering,
            encoding=encoding,
            newline=newline,
            suffix=suffix,
            prefix=prefix,
            dir=dir,
            delete=delete,
        )
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
        loop: accepted and not used.
        executor: accepted and not used.

    Returns:
        What gives the file, awaited or entered.
    """
    making = _unnamed(
        mode=mode,
        buffering=buffering,
        encoding=encoding,
        newline=newline,
        suffix=suffix,
        prefix=prefix,
        dir=dir,
    )
    return AiofilesContextManager(making)


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


async def _named(**options: Any) -> Any:
    made = around(await fs.NamedTemporaryFile(**options), unbuffered=options["buffering"] == 0)
    made.delete = options["delete"]
    return made


async def _unnamed(**options: Any) -> Any:
    file = await fs.TemporaryFile(**options)
    getattr(file, "buffer", file).name = file.fileno()  # as `tempfile` has it on most systems
    return around(file, unbuffered=options["buffering"] == 0)


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
