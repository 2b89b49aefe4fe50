"""What `tempfile` gives: files that may still be in memory, and directories."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from noria.compat.aiofiles.base import AsyncBase
from noria.compat.aiofiles.threadpool.kinds import DirectoryKind, SpooledKind
from noria.compat.aiofiles.threadpool.utils import (
    cond_delegate_to_executor,
    delegate_to_executor,
    proxy_property_directly,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAYBE_BLOCKING = (
    *("close", "flush", "isatty", "read", "readline", "readlines", "seek", "tell", "truncate"),
)


@delegate_to_executor("fileno", "rollover")
@cond_delegate_to_executor(*_MAYBE_BLOCKING)
@proxy_property_directly("closed", "encoding", "mode", "name", "newlines")
class AsyncSpooledTemporaryFile(AsyncBase, SpooledKind):
    """Around a tempfile.SpooledTemporaryFile.

    As long as that is in memory its methods are called at once; then they run in the executor.
    """

    async def write(self, s: Any) -> int:
        """Write; in the executor if that takes it out of memory, or if it is out already."""
        written: int = await self._put("write", s)
        return written

    async def writelines(self, iterable: Iterable[Any]) -> None:
        """Write each of `iterable`, as `write` does."""
        await self._put("writelines", iterable)

    async def _put(self, method: str, what: Any) -> Any:
        spooled = self._file
        if spooled._rolled:
            return await self._in_executor(method, what)
        # The object inside: that of `tempfile` would leave memory here, in the loop's thread.
        done = getattr(spooled._file, method)(what)
        if spooled._max_size and spooled._file.tell() > spooled._max_size:
            await self.rollover()
        return done


@delegate_to_executor("cleanup")
@proxy_property_directly("name")
class AsyncTemporaryDirectory(DirectoryKind):
    """Around a tempfile.TemporaryDirectory.

    Args:
        file: that.
        loop: as for AsyncBase.
        executor: as for AsyncBase.
    """

    def __init__(self, file: Any, loop: Any, executor: Any) -> None:
        self._file = file
        self._loop: asyncio.AbstractEventLoop | None = loop
        self._executor = executor

    async def _in_executor(self, name: str, /, *args: Any) -> Any:
        loop = asyncio.get_running_loop() if self._loop is None else self._loop
        return await loop.run_in_executor(self._executor, partial(getattr(self._file, name), *args))

    async def _leave(self, *raised: Any) -> None:
        await self._in_executor("__exit__", *raised)

    async def close(self) -> None:
        """Remove the directory with everything in it."""
        await self.cleanup()
