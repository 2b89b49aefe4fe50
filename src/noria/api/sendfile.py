"""SendfileMixin: files over transports and over sockets of the user.

Where the kernel can, it moves the bytes from file to socket by itself (transports/sendfile.py).
Otherwise pieces are read in the default executor, so that a slow disk stops nobody, and written as
the connection takes them.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
from asyncio import constants
from typing import TYPE_CHECKING, Any

from noria.api.executor import ExecutorMixin
from noria.api.sockets import SocketsMixin
from noria.errors import from_result
from noria.limits import SENDFILE_BYTES_PER_ATTEMPT_MAX, SENDFILE_CHUNK_BYTES
from noria.transports.sendfile import FileOperation, FlowProtocol
from noria.transports.sending import SendingTransport

if TYPE_CHECKING:
    from typing import BinaryIO

_Mode = constants._SendfileMode


class SendfileMixin(ExecutorMixin, SocketsMixin):
    """Sending files."""

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: BinaryIO,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send a file over a transport; parameters and behaviour are asyncio's.

        What was written before leaves first, and reading is paused meanwhile. A write in between
        raises RuntimeError where the kernel sends the file; `write_eof` waits for its end, and
        `close` and `abort` break it off. The position of the file is left behind the last byte
        sent, also after an error or a cancellation.

        Args:
            transport: of a stream: TCP, Unix or TLS.
            file: a regular file opened in binary mode.
            offset: first byte to send.
            count: bytes to send, fewer if the file ends before; None sends up to its end.
            fallback: read and write in pieces where the kernel cannot send the file by itself.

        Returns:
            How many bytes were sent.

        Raises:
            RuntimeError: the transport is closing, or takes no files, or is sending one already,
                or `write_eof` was called.
            SendfileNotAvailableError: the kernel cannot send it, and `fallback` is false.
            ConnectionError: the connection ended on the way.
            TypeError, ValueError: a wrong offset or count, or a file opened in text mode.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        mode = getattr(transport, "_sendfile_compatible", _Mode.UNSUPPORTED)
        if mode is _Mode.UNSUPPORTED:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        if mode is _Mode.TRY_NATIVE:
            try:
                return await self._sendfile_native(transport, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        elif not fallback:
            raise RuntimeError(
                f"fallback is disabled and native sendfile is not supported for transport "
                f"{transport!r}"
            )
        return await self._sendfile_in_pieces(transport, file, offset, count)

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: BinaryIO,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file over a connected stream socket of the user.

        Args:
            sock: the socket, which must be non-blocking and of no transport.
            file: a regular file opened in binary mode.
            offset: first byte to send.
            count: bytes to send, fewer if the file ends before; None sends up to its end.
            fallback: read and send in pieces where the kernel cannot send the file by itself.

        Returns:
            How many bytes were sent. The position of the file is left behind them, also after an
            error or a cancellation.

        Raises:
            SendfileNotAvailableError: the kernel cannot send it, and `fallback` is false.
            TypeError, ValueError: a TLS socket or one of datagrams, a wrong offset or count, a file
                opened in text mode, or (debug mode) a blocking socket.
            RuntimeError: a transport uses the socket.
            OSError: the socket or the file failed.
        """
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        self._check_tls_socket(sock)
        _check_arguments(sock, file, offset, count)
        try:
            return await self._sock_sendfile_native(sock, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._sock_sendfile_in_pieces(sock, file, offset, count)

    # -- by the kernel ----------------------------------------------------------------------

    async def _sendfile_native(
        self, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        if not isinstance(transport, SendingTransport):
            raise asyncio.SendfileNotAvailableError("sendfile syscall is not supported")
        was_reading = transport.is_reading()
        written = transport._begin_file()
        try:
            transport.pause_reading()
            await written
            _check_open(transport)
            _check_arguments(transport.get_extra_info("socket"), file, offset, count)
            return await self._transfer(file, offset, count, transport._fd, None, transport)
        finally:
            transport._end_file()
            if was_reading:
                transport.resume_reading()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        fd = sock.fileno()
        if self._engine.owned(fd):
            self._ensure_fd_no_transport(sock)
        return await self._transfer(file, offset, count, fd, sock, None)

    async def _transfer(
        self,
        file: Any,
        offset: int,
        count: int | None,
        fd: int,
        sock: socket.socket | None,
        transport: SendingTransport | None,
    ) -> int:
        """Have the kernel send a file, for a socket of the user or for a transport."""
        number, size = _number_and_size(file)
        if not (count or size):
            return 0
        op = FileOperation(file, number, offset, fd, sock)
        if transport is None:
            op.borrowed = True
        else:
            op.descriptor = transport._descriptor
        try:
            while count is None or op.sent < count:
                wanted = SENDFILE_BYTES_PER_ATTEMPT_MAX if count is None else count - op.sent
                if transport is not None:
                    _check_open(transport)
                result = await op.send_piece(self, wanted)
                if result == -errno.ECANCELED and transport is not None:
                    _check_open(transport)  # its end has taken the number away
                if result < 0:
                    raise _failure(result, op)
                if result == 0:
                    break
            return op.sent
        finally:
            op.end()

    # -- in pieces --------------------------------------------------------------------------

    async def _sendfile_in_pieces(
        self, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        if offset:
            file.seek(offset)
        pieces = _Pieces(self, file, count, SENDFILE_CHUNK_BYTES)
        flow = FlowProtocol(transport, self)  # type: ignore[arg-type] # a mixin of Loop
        try:
            while piece := await pieces.read():
                await flow.wait_writable()
                transport.write(piece)
                pieces.sent += len(piece)
            return pieces.sent
        finally:
            pieces.set_position(offset)
            flow.end()

    async def _sock_sendfile_in_pieces(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        if offset:
            file.seek(offset)
        pieces = _Pieces(self, file, count, constants.SENDFILE_FALLBACK_READBUFFER_SIZE)
        try:
            while piece := await pieces.read():
                await self.sock_sendall(sock, piece)
                pieces.sent += len(piece)
            return pieces.sent
        finally:
            pieces.set_position(offset)


class _Pieces:
    """A file, read in pieces from where it stands.

    Attributes:
        sent: bytes that have been sent so far.
    """

    def __init__(self, loop: ExecutorMixin, file: Any, count: int | None, size: int) -> None:
        self.sent = 0
        self._loop = loop
        self._file = file
        self._count = count
        self._memory = memoryview(bytearray(min(count, size) if count else size))

    async def read(self) -> memoryview:
        """Give the next piece, valid until the one after it is read; empty at the end."""
        view = self._memory
        if self._count:
            view = view[: self._count - self.sent]
            if not view:
                return view
        return view[: await self._loop.run_in_executor(None, self._file.readinto, view)]

    def set_position(self, offset: int) -> None:
        """Leave the position of the file behind what was sent."""
        if self.sent and hasattr(self._file, "seek"):
            self._file.seek(offset + self.sent)


def _check_arguments(sock: Any, file: Any, offset: Any, count: Any) -> None:
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _check_open(transport: SendingTransport) -> None:
    if transport.is_closing():
        raise ConnectionError("Connection closed by peer")


def _number_and_size(file: Any) -> tuple[int, int]:
    """Descriptor number and size in bytes of a file.

    Raises:
        SendfileNotAvailableError: the kernel cannot send such a thing.
    """
    if not hasattr(os, "sendfile"):
        raise asyncio.SendfileNotAvailableError("os.sendfile() is not available")
    try:
        number: int = file.fileno()
        return number, os.fstat(number).st_size
    except (AttributeError, io.UnsupportedOperation, OSError) as exc:
        raise asyncio.SendfileNotAvailableError("not a regular file") from exc


def _failure(result: int, op: FileOperation) -> Exception:
    """Make the exception of a failed piece; before the first byte the file may be the reason."""
    if not op.sent:
        return asyncio.SendfileNotAvailableError("os.sendfile call failed")
    if result == -errno.ENOTCONN:
        return ConnectionError("socket is not connected", errno.ENOTCONN)
    return from_result(result, "sendfile", op.fd)
