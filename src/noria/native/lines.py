"""Text or bytes that were read and not yet given; interpreted twin of lines.pyx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noria.native.awaits import DONE, Awaited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class NextLine(Awaited):
    """One line, awaited."""

    __slots__ = ()


class Lines:
    """What was read and not yet given.

    Args:
        end: the character that ends lines; "" if it takes more than one to tell.

    Attributes:
        data: bytes or text.
        at: where in `data` begins what has not been given.
    """

    __slots__ = ("_end", "at", "data")

    def __init__(self, end: str) -> None:
        self._end = end
        self.data: Any = b""
        self.at = 0

    def left(self) -> int:
        """Tell how much there is."""
        return len(self.data) - self.at

    def take(self, size: int) -> Any:
        """Give the next `size` of it, which has to be there."""
        data = self.data
        at = self.at
        self.at = at + size
        return data if at == 0 and size == len(data) else data[at : at + size]

    def next_line(self) -> Any:
        """Give the next line with its end, None if no whole one is there."""
        if not self._end:
            return None
        data = self.data
        at = self.at
        stop = data.find(self._end.encode() if type(data) is bytes else self._end, at) + 1
        if not stop:
            return None
        self.at = stop
        return data[at:stop]


class LineIterator:
    """An asynchronous iterator over lines.

    Args:
        lines: where they are.
        more: a coroutine function that reads on and gives the next line, or raises
            StopAsyncIteration; called when no whole line is there.
    """

    __slots__ = ("_lines", "_more")

    def __init__(self, lines: Lines, more: Callable[[], Awaitable[Any]]) -> None:
        self._lines = lines
        self._more = more

    def __aiter__(self) -> LineIterator:
        return self

    def __anext__(self) -> Awaitable[Any]:
        found = self._lines.next_line()
        if found is None:
            return self._more()
        line = NextLine()
        line.stage = DONE
        line.outcome = found
        return line
