# cython: boundscheck=False, wraparound=False
"""Connection: what every transport of a connected descriptor has.

Who it is (addresses, protocol, context), and how it ends: `connection_lost` is called exactly
once, from the loop, and afterwards the descriptor is closed (T5). An error ends this connection
only (T4).
"""

from __future__ import annotations

import asyncio
import socket
import warnings
from asyncio import trsock
from typing import TYPE_CHECKING, Any

from noria.native import calls
from noria.native import sockets as native
from noria.transports.base import BaseTransport

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor
    from noria.loop.core import LoopCore

_Socket = socket.socket
_COMPILED = native.COMPILED  # for the compiler, typed in the .pxd


class Connection(BaseTransport):
    """A connected descriptor, its protocol, and its end."""

    __slots__ = (
        "_closing",
        "_descriptor",
        "_eof",
        "_extra",
        "_fd",
        "_local",
        "_lost",
        "_peer",
        "_server",
        "_sock",
    )

    def _set_up(
        self,
        loop: LoopCore,
        descriptor: Descriptor,
        peer: Any,
        extra: dict[str, Any] | None,
        server: Any,
        context: Any,
    ) -> None:
        """Do what `__init__` does; apart from it, because a call of that one is slow."""
        self._descriptor: Descriptor | None = None  # until all else has succeeded: see __del__
        self._loop = loop
        self._fd = descriptor.fd
        # The compiled calls act on numbers; then a socket object is made only if somebody asks.
        self._sock: Any = None if _COMPILED else descriptor.sock
        self._peer = native.peer_address(self._fd, self._sock) if peer is None else peer
        self._local: Any = None
        self._extra = extra
        self._server = server
        self._context = calls.copy_context() if context is None else context
        self._protocol = None
        self._lost = 0
        self._closing = False
        self._eof = False

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it; see loop/handles.py."""
        return asyncio.Transport

    # -- what a transport adds --------------------------------------------------------------

    def _stop_receiving(self) -> None:
        """Take nothing more from the peer."""

    def _stop_sending(self) -> None:
        """Drop what waits to be sent."""

    def _send_all(self) -> bool:
        """Send what waits and can be sent now; whether that is all."""
        return True

    def _state(self) -> list[str]:
        """Words for `repr` while the descriptor is open."""
        return []

    # -- ending -----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return bool(self._closing)

    def close(self) -> None:
        """Stop reading, send what is buffered, then close. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._stop_receiving()
        if self._send_all() and not self._lost:
            self._lost += 1
            self._loop._soon(self._lose, (None,), self._context)

    def abort(self) -> None:
        """Close without sending what is buffered."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lost += 1
        self._stop_sending()
        if not self._closing:
            self._closing = True
            self._stop_receiving()
        self._loop._soon(self._lose, (exc,), self._context)

    def _lose(self, exc: BaseException | None) -> None:
        """Tell the protocol, then close the socket; runs once."""
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._release()

    def _release(self) -> None:
        self._remember_local()
        loop = self._loop
        descriptor = self._descriptor
        server = self._server
        self._protocol = None
        self._server = None
        if descriptor is not None:
            self._descriptor = None
            loop._engine.forget(self._fd)
            self._fd = -1
            descriptor.close()
        if server is not None:
            server._detach(self)

    def __del__(self) -> None:
        """Warn of a transport that nobody closed, and close its socket."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
        self._release()

    # -- information ------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give what is known of the connection: peername, sockname, socket, or an extra entry."""
        extra = self._extra
        if extra is not None and name in extra:
            return extra[name]
        if name == "peername":
            return native.address_of(self._peer)
        if name == "sockname":
            self._remember_local()
            return native.address_of(self._local)
        if name == "socket":
            return self._socket_info()
        return default

    def _remember_local(self) -> None:
        if self._local is None and self._fd >= 0 and self._descriptor is not None:
            self._local = native.local_address(self._fd, self._sock)

    def _socket_info(self) -> Any:
        descriptor = self._descriptor
        # Without __init__ a socket object is a closed one.
        sock = _Socket.__new__(_Socket) if descriptor is None else descriptor.sock
        wrapped = trsock.TransportSocket(sock)
        if self._extra is None:
            self._extra = {}
        self._extra["socket"] = wrapped
        return wrapped

    def __repr__(self) -> str:
        """State, descriptor and buffer, for logs."""
        info = [type(self).__name__]
        if self._descriptor is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._fd}")
        if self._descriptor is not None:
            info += self._state()
        return f"<{' '.join(info)}>"
