"""Sending what a file holds: to a connection, or to another file, without taking it into memory.

A connection gets it by `loop.sendfile` where the loop has that, and another file by
copy_file_range(2). Where neither can be done it is read and written in pieces.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from noria.files.file import File
from noria.files.hops import hop
from noria.limits import COPY_PIECE_BYTES, SENDFILE_CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

_CANNOT = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
)
"""What copy_file_range says that cannot do it for these two files."""


async def sendfile(
    source: Any,
    target: Any,
    offset: int = 0,
    count: int | None = None,
    *,
    target_offset: int = 0,
) -> int:
    """Send a part of a file to a connection or into another file.

    Positions of streams are neither used nor moved. What is in the buffer of either file is
    written first.

    Args:
        source: a file that is open for reading.
        target: a stream transport, an asyncio.StreamWriter, or a file that is open for writing.
        offset: first byte to send.
        count: bytes to send, fewer if the file ends before; None sends up to its end.
        target_offset: where in another file they go.

    Returns:
        How many bytes were sent.

    Raises:
        TypeError, ValueError: a wrong target, offset or count, or a closed file.
        io.UnsupportedOperation: a file is not open for that.
        RuntimeError: the transport is closing or takes no files.
        OSError: the connection or a file failed.
    """
    for name, value in (("offset", offset), ("count", count), ("target_offset", target_offset)):
        if value is not None and not isinstance(value, int):
            raise TypeError(f"{name} must be a non-negative integer (got {value!r})")
        if value is not None and value < 0:
            raise ValueError(f"{name} must be a non-negative integer (got {value!r})")
    source = _file_of(source)
    if not isinstance(source, File):
        raise TypeError(f"a noria file is sent, not {type(source).__name__}")
    target = _file_of(target)
    source.read_at(0, offset)  # refuses a file that is closed or not open for reading
    await _flush(source)
    if count == 0:
        return 0
    if isinstance(target, File):
        target.write_at(b"", target_offset)
        await _flush(target)
        return await _to_file(source, target, offset, count, target_offset)
    if target_offset:
        raise ValueError("only a file has a target_offset")
    if isinstance(target, asyncio.StreamWriter):
        await target.drain()
        target = target.transport
    if not all(hasattr(target, name) for name in ("write", "is_closing", "get_protocol")):
        raise TypeError(f"cannot send to {type(target).__name__}")
    return await _to_transport(source, target, offset, count)


def _file_of(stream: Any) -> Any:
    """Give the file beneath a text stream."""
    below = getattr(stream, "buffer", None)
    return below if isinstance(below, File) else stream


async def _flush(file: Any) -> None:
    flush = getattr(file, "flush", None)
    if flush is not None and file.can_write:
        await flush()


# -- to another file ------------------------------------------------------------------------------


async def _to_file(
    source: File, target: File, offset: int, count: int | None, target_offset: int
) -> int:
    sent = 0
    copying = sys.platform == "linux"
    while count is None or sent < count:
        wanted = COPY_PIECE_BYTES if count is None else min(COPY_PIECE_BYTES, count - sent)
        if copying:
            lent = _Lent(source, target)
            moved = await lent.hop(
                partial(_copy_piece, wanted, offset + sent, target_offset + sent)
            )
            if moved:
                sent += moved
                continue
            copying = False  # it cannot, or the file ends, which reading tells
        data = await source.read_at(min(wanted, SENDFILE_CHUNK_BYTES), offset + sent)
        if not data:
            break
        await target.write_at(data, target_offset + sent)
        sent += len(data)
    return sent


def _copy_piece(count: int, offset: int, target_offset: int, source: int, target: int) -> int:
    """Copy a piece in a thread; 0 at the end of the file, or where this cannot be done."""
    if sys.platform == "linux":
        try:
            return os.copy_file_range(source, target, count, offset, target_offset)
        except OSError as exc:
            if exc.errno not in _CANNOT:
                raise
    return 0


class _Lent:
    """Numbers of its own for a thread, so that the files can be closed meanwhile."""

    def __init__(self, *files: File) -> None:
        self._numbers = [os.dup(file.fileno()) for file in files]
        self._lock = threading.Lock()
        self._begun = False

    async def hop(self, call: Callable[..., int]) -> int:
        """Call with the numbers in a thread."""
        try:
            return await hop(partial(self._run, call))
        except asyncio.CancelledError:
            with self._lock:
                if not self._begun:
                    self._close()
            raise

    def _run(self, call: Callable[..., int]) -> int:
        with self._lock:
            self._begun = True
            numbers = self._numbers
            if not numbers:
                return 0  # it was cancelled in between
        try:
            return call(*numbers)
        finally:
            self._close()

    def _close(self) -> None:
        numbers = self._numbers
        self._numbers = []
        for number in numbers:
            os.close(number)


# -- to a connection ------------------------------------------------------------------------------


async def _to_transport(
    source: File, transport: asyncio.WriteTransport, offset: int, count: int | None
) -> int:
    if transport.is_closing():
        raise RuntimeError("Transport is closing")
    loop = asyncio.get_running_loop()
    # The position of the number is moved, which no file of noria's uses.
    with io.FileIO(os.dup(source.fileno()), "rb") as file:
        try:
            return await loop.sendfile(transport, file, offset, count)
        except NotImplementedError:
            pass  # a loop that has none, such as uvloop's
    return await _in_pieces(source, transport, offset, count)


async def _in_pieces(source: File, transport: Any, offset: int, count: int | None) -> int:
    sent = 0
    flow = _Flow(transport)
    try:
        while count is None or sent < count:
            wanted = SENDFILE_CHUNK_BYTES
            if count is not None:
                wanted = min(wanted, count - sent)
            data = await source.read_at(wanted, offset + sent)
            if not data:
                break
            await flow.wait_writable()
            transport.write(data)
            sent += len(data)
        await flow.wait_writable()
        return sent
    finally:
        flow.end()


class _Flow(asyncio.Protocol):
    """Stands in for a transport's protocol to learn when it takes more; reading is paused."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._was_reading = hasattr(transport, "is_reading") and transport.is_reading()
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        if self._was_reading:
            transport.pause_reading()
        transport.set_protocol(self)

    async def wait_writable(self) -> None:
        if self._lost or self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if self._waiter is not None:
            await self._waiter

    def pause_writing(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiter = self._waiter
        self._waiter = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)

    def end(self) -> None:
        """Give the transport back."""
        if not self._lost:
            self._transport.set_protocol(self._protocol)
            if self._waiter is not None:
                self._protocol.pause_writing()
            if self._was_reading and not self._transport.is_closing():
                self._transport.resume_reading()
