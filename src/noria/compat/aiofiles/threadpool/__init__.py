"""`open`, the standard streams, and wrappers around synchronous objects of `io`.

In aiofiles all of it goes by a pool of threads, hence the name.
"""

from __future__ import annotations

import asyncio
import builtins
import sys
from functools import partial, singledispatch
from io import (
    BufferedIOBase,
    BufferedRandom,
    BufferedReader,
    BufferedWriter,
    FileIO,
    TextIOBase,
)
from typing import TYPE_CHECKING, Any, overload

import noria
from noria.compat.aiofiles.base import AiofilesContextManager
from noria.compat.aiofiles.threadpool.binary import (
    AsyncBufferedIOBase,
    AsyncBufferedReader,
    AsyncFileIO,
    AsyncIndirectBufferedIOBase,
)
from noria.compat.aiofiles.threadpool.streams import around
from noria.compat.aiofiles.threadpool.text import AsyncTextIndirectIOWrapper, AsyncTextIOWrapper

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import Literal

    from _typeshed import (
        OpenBinaryMode,
        OpenBinaryModeReading,
        OpenBinaryModeUpdating,
        OpenBinaryModeWriting,
        OpenTextMode,
    )

    Named = str | bytes | os.PathLike[str] | os.PathLike[bytes] | int
    Opener = Callable[[Any, int], int]
    Loop = asyncio.AbstractEventLoop

__all__ = [
    "open",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
]

sync_open: Callable[..., Any] = builtins.open
"""What opens files if something else has been put here, such as a fake in a test: called in the
executor, and what it gives is wrapped. As it is, `noria.open` opens them."""

_UNTOUCHED = builtins.open


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[AsyncTextIOWrapper]: ...


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: OpenBinaryMode,
    buffering: Literal[0],
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[AsyncFileIO]: ...


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: OpenBinaryModeReading | OpenBinaryModeUpdating,
    buffering: Literal[-1, 1] = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[AsyncBufferedReader]: ...


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: OpenBinaryModeWriting,
    buffering: Literal[-1, 1] = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[AsyncBufferedIOBase]: ...


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[Any]: ...


def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager[Any]:
    """Open a file, for `async with aiofiles.open(...) as f` or `f = await aiofiles.open(...)`.

    Args:
        file: as for the builtin `open`.
        mode: as for `open`.
        buffering: as for `open`.
        encoding: as for `open`.
        errors: as for `open`.
        newline: as for `open`.
        closefd: as for `open`.
        opener: as for `open`; called in a thread.
        loop: accepted and not used: the file belongs to the loop that runs when it is opened.
        executor: accepted and not used, since noria's files need none; used if something else
            has been put in the place of `sync_open`.

    Returns:
        What gives an AsyncTextIOWrapper, AsyncBufferedIOBase, AsyncBufferedReader or AsyncFileIO.

    Raises:
        TypeError, ValueError, LookupError: awaited; an argument is wrong.
        OSError: awaited; of open(2).
    """
    named: dict[str, Any] = {"encoding": encoding, "errors": errors, "newline": newline}
    named |= {"closefd": closefd, "opener": opener}
    return AiofilesContextManager(_open(file, mode, buffering, named, loop, executor))


async def _open(
    file: Any, mode: Any, buffering: Any, named: dict[str, Any], loop: Any, executor: Any
) -> Any:
    if sync_open is _UNTOUCHED:
        opened = await noria.open(file, mode, buffering, **named)
        return around(opened, unbuffered=buffering == 0)
    where = asyncio.get_running_loop() if loop is None else loop
    call = partial(sync_open, file, mode=mode, buffering=buffering, **named)
    return wrap(await where.run_in_executor(executor, call), loop=loop, executor=executor)


@singledispatch
def wrap(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    """Give a file with awaited methods around a synchronous object of `io`.

    `wrap.register` teaches it other classes, as functools.singledispatch says.

    Args:
        file: the object.
        loop: whose executor is used; None for that of the loop which runs at the call.
        executor: where its methods run; None for the loop's default.

    Raises:
        TypeError: it is nothing of the kind.
    """
    raise TypeError(f"Unsupported io type: {file}.")


@wrap.register(TextIOBase)
def _wrap_text(file: Any, *, loop: Any = None, executor: Any = None) -> AsyncTextIOWrapper:
    return AsyncTextIOWrapper(file, loop, executor)


@wrap.register(BufferedIOBase)
@wrap.register(BufferedWriter)
def _wrap_buffered(file: Any, *, loop: Any = None, executor: Any = None) -> AsyncBufferedIOBase:
    return AsyncBufferedIOBase(file, loop, executor)


@wrap.register(BufferedRandom)
@wrap.register(BufferedReader)
def _wrap_reader(file: Any, *, loop: Any = None, executor: Any = None) -> AsyncBufferedReader:
    return AsyncBufferedReader(file, loop, executor)


@wrap.register(FileIO)
def _wrap_raw(file: Any, *, loop: Any = None, executor: Any = None) -> AsyncFileIO:
    return AsyncFileIO(file, loop, executor)


def _text(name: str) -> AsyncTextIndirectIOWrapper:
    return AsyncTextIndirectIOWrapper(f"sys.{name}", None, None, lambda: getattr(sys, name))


def _bytes(name: str) -> AsyncIndirectBufferedIOBase:
    looked_up = f"sys.{name}.buffer"
    return AsyncIndirectBufferedIOBase(looked_up, None, None, lambda: getattr(sys, name).buffer)


stdin = _text("stdin")
stdout = _text("stdout")
stderr = _text("stderr")
stdin_bytes = _bytes("stdin")
stdout_bytes = _bytes("stdout")
stderr_bytes = _bytes("stderr")
