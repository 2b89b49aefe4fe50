"""Write buffering and water marks, once for all transports.

Made only when something has to wait or somebody sets limits, so an idle connection has none.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from noria.limits import SEND_VECTOR_MAX, WRITE_HIGH_WATER_BYTES

if TYPE_CHECKING:
    import asyncio


class WriteFlow:
    """Chunks that wait to be sent, and the marks between which the protocol is paused.

    Attributes:
        size: bytes that wait.
        offset: bytes of the first chunk that are sent already.
        high: the protocol is paused above it, in bytes.
        low: it is resumed at or below it, in bytes.
        paused: `pause_writing` was called and `resume_writing` was not yet.
        file: while a file is sent nothing may be written; a future, done when what was written
            before has been sent. None otherwise.
    """

    __slots__ = ("_chunks", "file", "high", "low", "offset", "paused", "size")

    def __init__(self) -> None:
        self._chunks: deque[Any] = deque()
        self.size = 0
        self.offset = 0
        self.high: int = WRITE_HIGH_WATER_BYTES
        self.low: int = WRITE_HIGH_WATER_BYTES // 4
        self.paused = False
        self.file: asyncio.Future[None] | None = None

    def set_limits(self, high: int | None, low: int | None) -> None:
        """Set the water marks as `asyncio.WriteTransport.set_write_buffer_limits` defines them.

        Raises:
            ValueError: not high >= low >= 0.
        """
        if high is None:
            high = WRITE_HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = high
        self.low = low

    def add(self, chunk: bytes, start: int) -> None:
        """Append a chunk of which `start` bytes need no sending; only the first may have any."""
        if self.size == 0:
            self.offset = start
        self._chunks.append(chunk)
        self.size += len(chunk) - start

    def put_first(self, chunk: bytes, sent: int) -> None:
        """Put a chunk before all others, of which nothing may have been sent."""
        assert self.offset == 0, "the first chunk is under way"
        self._chunks.appendleft(chunk)
        self.offset = sent
        self.size += len(chunk) - sent

    def vector(self) -> list[Any]:
        """Give the chunks of the next send."""
        return list(islice(self._chunks, SEND_VECTOR_MAX))

    def piece(self, size_max: int) -> Any:
        """Give the next bytes in one piece; as many as asked for, or at least a whole chunk."""
        first = memoryview(self._chunks[0])[self.offset :]
        if len(first) >= size_max or len(self._chunks) == 1:
            return first
        pieces = [first]
        size = len(first)
        for chunk in islice(self._chunks, 1, None):
            size += len(chunk)
            if size > size_max:
                break
            pieces.append(memoryview(chunk))
        return first if len(pieces) == 1 else b"".join(pieces)

    def consume(self, sent: int) -> None:
        """Drop bytes that the kernel has taken."""
        self.size -= sent
        sent += self.offset
        chunks = self._chunks
        while chunks:
            length = len(chunks[0])
            if sent < length:
                break
            sent -= length
            chunks.popleft()
        self.offset = sent if chunks else 0

    def clear(self) -> None:
        """Drop everything unsent."""
        self._chunks.clear()
        self.size = 0
        self.offset = 0
