# cython: boundscheck=False, wraparound=False
"""Listener: accepts the connections of one listening socket.

One multishot accept is in flight. The engine takes a bounded number of connections per turn; when
the process or the machine is out of descriptors or memory, the listener rests for
ACCEPT_RETRY_SECONDS instead of spinning on a socket that stays readable. A connection that was
given up before it was accepted is passed over.

What all connections of a listener have in common is found out once: their local address unless it
listens on all, and on Linux, where an accepted socket inherits it, TCP_NODELAY.
"""

from __future__ import annotations

import errno
import functools
import socket
import sys
from asyncio import trsock
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.descriptor import Descriptor
from noria.core.operation import IN_FLIGHT, Operation
from noria.errors import from_result
from noria.limits import ACCEPT_RETRY_SECONDS
from noria.native import calls
from noria.native import sockets as native
from noria.transports.stream import StreamTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from noria.loop.core import LoopCore
    from noria.loop.handles import Handle

_GIVEN_UP = frozenset(
    {errno.ECONNABORTED, errno.ECONNRESET, errno.ENOTCONN}  # Winsock says the second, Wine the last
    if sys.platform == "win32"
    else {errno.ECONNABORTED}
)

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AcceptOperation(Operation):
    """The accept of one listener."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener, descriptor: Descriptor) -> None:
        Operation.__init__(self, codes.ACCEPT, descriptor.fd, descriptor.sock)
        self.listener: Listener | None = listener
        self.descriptor = descriptor
        self.multishot = True
        self.expectant = True

    def deliver(self, result: int, flags: int, data: Any) -> None:
        """Make a transport of a new connection, or take the end of accepting."""
        listener = self.listener
        if listener is None:
            self.discard(result, data)
        elif result >= 0:
            listener._on_connection(data)
        elif result != -errno.ECANCELED:
            listener._on_failure(result)


_IP = (socket.AF_INET, socket.AF_INET6)
_ANY = ("0.0.0.0", "::")
_TRANSPARENT = ((getattr(socket, "SOL_IP", 0), 19), (getattr(socket, "IPPROTO_IPV6", 41), 75))
"""IP_TRANSPARENT and IPV6_TRANSPARENT (ip(7)): connections to any address are accepted."""


class Listener:
    """Accepts on one socket until closed.

    Args:
        loop: the loop.
        sock: a listening, non-blocking socket; closed with the listener.
        protocol_factory: makes the protocol of each connection.
        server: the server it accepts for.
        tls: how TLS is done; its `wrap(loop, protocol, waiter)` makes the layer of a connection.
            None for no TLS.
    """

    def __init__(
        self,
        loop: LoopCore,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: Any,
        tls: Any = None,
    ) -> None:
        self._descriptor: Any = None  # until it is made: see __del__
        self._loop = loop
        self._sock = sock
        self._protocol_factory = protocol_factory
        self._server = server
        self._tls = tls
        self._context = calls.copy_context()
        self._retry: Handle | None = None
        self._descriptor = Descriptor(sock.fileno(), sock)
        self._accept = AcceptOperation(self, self._descriptor)
        self._local = _common_address(sock)
        self._nodelay = _passes_nodelay_on(sock)

    def start(self) -> None:
        """Begin to accept.

        Raises:
            OSError: the engine cannot watch the socket.
        """
        self._retry = None
        if self._loop.submit_operation(self._accept):
            raise from_result(self._accept.result, "accept", self._descriptor.fd)

    def close(self) -> None:
        """Stop accepting and close the socket. Idempotent."""
        self._accept.listener = None
        if self._retry is not None:
            self._retry.cancel()
        if not self._descriptor.closing:
            if self._accept.state == IN_FLIGHT:
                self._loop.cancel_operation(self._accept)
            self._loop.forget(self._descriptor.fd)
            self._descriptor.close()

    def __del__(self) -> None:
        """Leave the socket of a server that nobody closed to the collector, as asyncio does."""
        if self._descriptor is not None:
            self._descriptor.abandon()

    def _on_connection(self, accepted: tuple[int, socket.socket | None, Any]) -> None:
        number, sock, peer = accepted
        descriptor = Descriptor(number, sock)
        context = self._context.copy()
        protocol = transport = None
        try:
            protocol = calls.call_in_context(context, self._protocol_factory, ())
            _ = protocol.connection_made  # what is no protocol gets no transport, as in asyncio
            below = protocol if self._tls is None else self._add_tls(protocol)
            transport = StreamTransport(
                self._loop, descriptor, below, peer, None, self._server, context
            )
        except BaseException as exc:
            descriptor.close()
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                raise
            self._report(exc, protocol)
            return
        transport._local = self._local
        if not self._nodelay:
            transport._set_nodelay()
        transport._start()

    def _add_tls(self, protocol: Any) -> Any:
        waiter = None
        if self._loop.get_debug():  # asyncio is silent otherwise
            waiter = self._loop.create_future()
            waiter.add_done_callback(functools.partial(self._report_handshake, protocol))
        return self._tls.wrap(self._loop, protocol, waiter)

    def _report_handshake(self, protocol: Any, waiter: asyncio.Future[None]) -> None:
        exc = waiter.exception()
        if exc is not None:
            self._report(exc, protocol)

    def _report(self, exc: BaseException, protocol: asyncio.BaseProtocol | None) -> None:
        if not self._loop.get_debug():
            return  # asyncio is silent here as well
        context: dict[str, Any] = {
            "message": "Error on transport creation for incoming connection",
            "exception": exc,
        }
        if protocol is not None:
            context["protocol"] = protocol
        self._loop.call_exception_handler(context)

    def _on_failure(self, result: int) -> None:
        if -result in _GIVEN_UP:
            self._retry = self._loop.call_soon(self.start)
            return
        exc = from_result(result, "accept", self._descriptor.fd)
        if -result not in _EXHAUSTED:
            self._loop.call_exception_handler(
                {
                    "message": "socket.accept() failed; the listener goes on",
                    "exception": exc,
                    "socket": trsock.TransportSocket(self._sock),
                }
            )
        else:
            self._loop.call_exception_handler(
                {
                    "message": "socket.accept() out of system resource",
                    "exception": exc,
                    "socket": trsock.TransportSocket(self._sock),
                }
            )
        self._retry = self._loop.call_later(ACCEPT_RETRY_SECONDS, self.start)


def _common_address(sock: socket.socket) -> Any:
    """Give the raw local address that every accepted connection has; None if they may differ."""
    if sock.family in _IP:
        try:
            if sock.getsockname()[0] in _ANY or any(_is_set(sock, *each) for each in _TRANSPARENT):
                return None
        except OSError:
            return None
    return native.local_address(sock.fileno(), sock)


def _is_set(sock: socket.socket, level: int, option: int) -> bool:
    try:
        return bool(sock.getsockopt(level, option))
    except OSError:
        return False  # the option is not for this kind of socket


def _passes_nodelay_on(sock: socket.socket) -> bool:
    """Switch Nagle's algorithm off for what is accepted; whether that could be done."""
    if sys.platform != "linux" or sock.family not in _IP or sock.type != socket.SOCK_STREAM:
        return False
    if sock.proto not in (0, socket.IPPROTO_TCP):
        return False
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return False
    return True
