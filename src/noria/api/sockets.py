"""The sock_* methods: coroutines over sockets that the user owns.

Each tries at once and, when it would block, waits for readiness and tries again in the coroutine
itself. Nothing is taken from the kernel while the coroutine sleeps, so cancelling it at any moment
loses no byte, no datagram and no connection.
"""

from __future__ import annotations

import errno
import inspect
import socket
from asyncio import CancelledError, coroutines
from typing import TYPE_CHECKING, Any

from noria.api.resolve import ResolveMixin
from noria.api.watch import WatchMixin
from noria.core.buffer import lend_writable
from noria.core.codes import WAIT_READABLE, WAIT_WRITABLE
from noria.errors import EngineClosedError, from_result
from noria.loop.coroutines import ReceiveCoroutine, SendCoroutine
from noria.loop.waits import FutureOperation, wait_for
from noria.native import sockets as native

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeVar

    from _typeshed import ReadableBuffer, WriteableBuffer

    Result = TypeVar("Result")

try:
    import ssl
except ImportError:  # a Python built without OpenSSL
    _TLS_SOCKETS: tuple[type, ...] = ()
else:
    _TLS_SOCKETS = (ssl.SSLSocket,)

_EAGAIN = errno.EAGAIN
_IP_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})


def _coroutine_function(method: Any) -> Any:
    """Have a method that returns a coroutine taken for the coroutine function that it is."""
    if hasattr(inspect, "markcoroutinefunction"):
        return inspect.markcoroutinefunction(method)
    method._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined] # Python 3.11
    return method


class SocketsMixin(WatchMixin, ResolveMixin):
    """Operations on the user's own sockets."""

    @_coroutine_function
    def sock_recv(self, sock: socket.socket, n: int) -> Coroutine[Any, Any, bytes]:
        """Receive at most `n` bytes; empty bytes at the end of the stream (recv(2)).

        Where receives have often found nothing at first, the next one waits before it tries.

        Raises:
            TypeError: it is a TLS socket.
            ValueError: (debug mode) the socket is blocking.
            RuntimeError: a transport uses it.
            OSError: the socket failed.
        """
        return ReceiveCoroutine(self, sock, n)

    async def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> int:
        """Receive into `buf`; how many bytes, 0 at the end of the stream. Errors of `sock_recv`."""
        fd = self._socket_number(sock)
        view = lend_writable(buf)
        while True:
            count = native.receive_into(fd, sock, view)
            if count >= 0:
                return count
            if count != -_EAGAIN:
                raise from_result(count, "sock_recv_into", fd)
            await self._wait_for_socket(sock, fd, WAIT_READABLE)

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive one datagram of at most `bufsize` bytes: (bytes, address). See `sock_recv`."""
        return await self._try_or_wait(sock, WAIT_READABLE, lambda: sock.recvfrom(bufsize))

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive one datagram into `buf`: (length, address); at most `nbytes`, 0 meaning all."""
        size = nbytes or len(memoryview(buf))
        return await self._try_or_wait(sock, WAIT_READABLE, lambda: sock.recvfrom_into(buf, size))

    @_coroutine_function
    def sock_sendall(self, sock: socket.socket, data: ReadableBuffer) -> Coroutine[Any, Any, None]:
        """Send all of `data` (send(2)); on an error it is unknown how much went out."""
        return SendCoroutine(self, sock, data)

    async def sock_sendto(self, sock: socket.socket, data: ReadableBuffer, address: Any) -> int:
        """Send one datagram to `address`; its length (sendto(2))."""
        return await self._try_or_wait(sock, WAIT_WRITABLE, lambda: sock.sendto(data, address))

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect to `address`; a host name is resolved first (connect(2)).

        Raises:
            OSError: it cannot be resolved or reached; BlockingIOError if the backlog of a Unix
                listener is full.
        """
        fd = self._socket_number(sock)
        if sock.family in _IP_FAMILIES:
            infos = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto
            )
            address = infos[0][4]
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError) as exc:
            if sock.family not in _IP_FAMILIES and exc.errno == _EAGAIN:
                raise  # nothing is under way: there is no readiness to wait for
        else:
            return
        await self._wait_for_socket(sock, fd, WAIT_WRITABLE)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, f"Connect call failed {address}")

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: (non-blocking socket, address) (accept(2))."""
        connection, address = await self._try_or_wait(sock, WAIT_READABLE, sock.accept)
        connection.setblocking(False)
        return connection, address

    async def _try_or_wait(
        self, sock: socket.socket, code: int, attempt: Callable[[], Result]
    ) -> Result:
        fd = self._socket_number(sock)
        while True:
            try:
                return attempt()
            except (BlockingIOError, InterruptedError):
                pass
            await self._wait_for_socket(sock, fd, code)

    def _begin_to_wait(self, sock: socket.socket, fd: int, code: int) -> FutureOperation:
        if self._engine.owned(fd):
            self._ensure_fd_no_transport(sock)
        try:
            return wait_for(self, code, sock, fd)
        except EngineClosedError:
            self._check_closed()  # asyncio's words for it
            raise

    async def _wait_for_socket(self, sock: socket.socket, fd: int, code: int) -> None:
        op = self._begin_to_wait(sock, fd, code)
        try:
            await op.future
        except CancelledError:
            self.cancel_operation(op)
            raise
        finally:
            del op  # its future knows the exception, which knows this frame

    def _check_tls_socket(self, sock: socket.socket) -> None:
        if isinstance(sock, _TLS_SOCKETS):
            raise TypeError("Socket cannot be of type SSLSocket")

    def _check_socket(self, sock: socket.socket) -> None:
        self._check_tls_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    def _socket_number(self, sock: socket.socket) -> int:
        self._check_socket(sock)
        fd = sock.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, "the socket is closed")
        self._engine.acted = True
        return fd
