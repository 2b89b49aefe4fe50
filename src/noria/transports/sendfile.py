"""Sending files: one operation that the kernel does, and a protocol for where it cannot.

FileOperation sends from file to socket inside the kernel, a bounded piece at a time (sendfile(2)).
It works on a duplicate of the file's descriptor that it owns: should the user close the file
meanwhile, the number that comes to be somebody else's is never read. Its lease of the socket keeps
that number as well. What was moved is counted where the operation settles, so that a cancellation
that comes too late loses no byte of the count.

FlowProtocol stands in for the protocol of a transport while a file is written to it in pieces. It
needs nothing but what every transport has: flow control, pausing, and the size of its buffer.
"""

from __future__ import annotations

import asyncio
import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.descriptor import Descriptor
from noria.core.operation import IN_FLIGHT, Operation
from noria.limits import SENDFILE_BYTES_PER_ATTEMPT_MAX

if TYPE_CHECKING:
    from noria.loop.core import LoopCore


class FileOperation(Operation):
    """The transfer of a file, submitted once for each piece.

    Args:
        file: the file object; its position follows what was sent.
        number: the descriptor number of the file.
        offset: first byte to send.
        fd: number of the socket.
        sock: its socket object where there is one.

    Attributes:
        sent: bytes that the kernel has taken so far.
        future: the coroutine waits for it while a piece is in flight.

    Raises:
        OSError: the number cannot be duplicated.
    """

    __slots__ = ("_ended", "_file", "future", "sent")

    def __init__(self, file: Any, number: int, offset: int, fd: int, sock: Any) -> None:
        Operation.__init__(self, codes.SEND_FILE, fd, sock)
        self.buffer = Descriptor(os.dup(number))
        self.offset = offset
        self.sent = 0
        self.future: asyncio.Future[None] | None = None
        self._file = file
        self._ended = False

    def settle(self, result: int) -> None:
        """Count what was moved, whoever still wants to know."""
        Operation.settle(self, result)
        self._count(result)

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Wake the coroutine that waits for this piece."""
        if self._ended:
            self._release()
        elif self.future is not None and not self.future.done():
            self.future.set_result(None)

    async def send_piece(self, loop: LoopCore, size: int) -> int:
        """Send at most `size` bytes as soon as the socket has room.

        Others have had their turn when this returns. A cancellation takes effect at once.

        Returns:
            Bytes sent, 0 at the end of the file, or minus errno.
        """
        self.size = min(size, SENDFILE_BYTES_PER_ATTEMPT_MAX)
        if loop.submit_operation(self):
            self._count(self.result)
            if self.result > 0:
                await asyncio.sleep(0)
            return self.result
        self.future = loop.create_future()
        try:
            await self.future
        except asyncio.CancelledError:
            loop.cancel_operation(self)
            raise
        finally:
            self.future = None
        return self.result

    def end(self) -> None:
        """Let go of the file, and leave its position behind the last byte sent. Idempotent."""
        self._ended = True
        if self.state != IN_FLIGHT:
            self._release()

    def _count(self, result: int) -> None:
        if result > 0:
            self.sent += result
            self.offset += result

    def _release(self) -> None:
        held: Descriptor | None = self.buffer
        if held is None:
            return
        self.buffer = None
        self.descriptor = None
        try:
            if self.sent:
                _set_position(self._file, held.fd, self.offset)
        finally:
            self._file = None
            held.close()


def _set_position(file: Any, number: int, position: int) -> None:
    """Move the position of a file, that of its buffered reader included."""
    with suppress(OSError, ValueError):  # it was closed meanwhile, or has no position
        if isinstance(file, io.BufferedReader | io.BufferedRandom):
            file.seek(position)  # it has read ahead, and would not notice the other way
        else:
            os.lseek(number, position, os.SEEK_SET)


class FlowProtocol(asyncio.Protocol):
    """Protocol of a transport that a file is written to; reading is paused meanwhile.

    Args:
        transport: any transport with flow control.
        loop: the loop it belongs to.

    Raises:
        TypeError: the transport has no flow control.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        for name in ("get_write_buffer_size", "get_write_buffer_limits", "pause_reading"):
            if not callable(getattr(transport, name, None)):
                raise TypeError("transport should be _FlowControlMixin instance")
        self._transport = transport
        self._loop = loop
        self._protocol: asyncio.Protocol = transport.get_protocol()
        self._was_reading: bool = transport.is_reading()
        self._was_paused: bool = getattr(transport, "_protocol_paused", self._is_full())
        self._paused = self._was_paused
        self._room: asyncio.Future[None] | None = None
        self._lost = False
        transport.pause_reading()
        transport.set_protocol(self)

    def _is_full(self) -> bool:
        """Whether so much is buffered that the transport has surely paused its protocol."""
        _, high = self._transport.get_write_buffer_limits()
        return bool(self._transport.get_write_buffer_size() > high)

    async def wait_writable(self) -> None:
        """Wait until the transport wants more.

        Raises:
            ConnectionError: it is closing or lost; also what it was lost for.
        """
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if not self._paused:
            return
        self._room = self._loop.create_future()
        try:
            await self._room
        finally:
            self._room = None

    def end(self) -> None:
        """Give the transport its own protocol back, told what it has missed."""
        if self._lost:
            return
        transport = self._transport
        transport.set_protocol(self._protocol)
        if self._was_reading:
            transport.resume_reading()
        if self._was_paused and not self._paused:
            self._protocol.resume_writing()
        elif self._paused and not self._was_paused:
            self._protocol.pause_writing()

    def pause_writing(self) -> None:
        """Take a break."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the transfer, and tell the transport's own protocol."""
        self._lost = True
        if self._room is not None and not self._room.done():
            # Nobody waits here after the last piece, so there is more that did not go out.
            self._room.set_exception(exc or ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse."""
        raise RuntimeError("Invalid state: connection should have been established already.")

    def data_received(self, data: bytes) -> None:
        """Refuse."""
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> None:
        """Refuse."""
        raise RuntimeError("Invalid state: reading should be paused")
