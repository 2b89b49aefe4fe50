"""ByLines: what streams of bytes and of text do with lines, by their `readline`."""

from __future__ import annotations

from typing import AnyStr, Generic


class ByLines(Generic[AnyStr]):
    """A stream that is read by lines."""

    __slots__ = ()

    async def readline(self, size: int | None = -1, /) -> AnyStr:
        """Read one line with its end, or `size` of it at most; nothing at the end of the file."""
        raise NotImplementedError

    async def readlines(self, hint: int | None = -1, /) -> list[AnyStr]:
        """Read the lines up to the end of the file, or until they exceed `hint` in length."""
        lines = []
        total = 0
        while line := await self.readline():
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint < total:
                break
        return lines

    async def __anext__(self) -> AnyStr:
        """Give the next line."""
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line
