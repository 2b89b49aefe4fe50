"""TLS: start_tls, and what the makers of connections and servers need for their `ssl` argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from noria.api.sockets import SocketsMixin

try:
    import ssl
except ImportError:  # a Python that was built without OpenSSL
    TLSTransport: Any = None
else:
    from noria.transports.tls import TLSTransport
    from noria.transports.tls_session import check_seconds

if TYPE_CHECKING:
    import asyncio


class TLSSettings(NamedTuple):
    """How TLS is to be done on a connection, or on those of a server.

    Attributes:
        context: the SSLContext; None for a client's default one.
        server_side: accept handshakes instead of beginning one.
        server_hostname: the server's name, for SNI and the check of its certificate.
        handshake_seconds: time limit of the handshake; None for asyncio's default.
        shutdown_seconds: time limit of closing; None for asyncio's default.
    """

    context: Any
    server_side: bool
    server_hostname: str | None
    handshake_seconds: float | None
    shutdown_seconds: float | None

    def wrap(
        self,
        loop: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None,
        call_connection_made: bool = True,
    ) -> TLSTransport:
        """Make the TLS transport of one connection; the transport below comes later.

        Raises:
            RuntimeError: this Python has no ssl module.
            ValueError: a timeout is not positive, or the name is none.
        """
        if TLSTransport is None:
            raise RuntimeError("Python ssl module is not available")
        return TLSTransport(
            loop,
            protocol,
            self.context,
            waiter,
            self.server_side,
            self.server_hostname,
            call_connection_made,
            self.handshake_seconds,
            self.shutdown_seconds,
        )


class TLSMixin(SocketsMixin):
    """Upgrading a connection to TLS."""

    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Do TLS on a connection from now on, also on one that does TLS already.

        What has been written before is sent before; writing may be paused. The old transport must
        not be used any more.

        Args:
            transport: the connection's transport.
            protocol: its protocol, which stays; it gets no second `connection_made`.
            sslcontext: certificates and rules.
            server_side: accept a handshake instead of beginning one.
            server_hostname: the server's name, for SNI and the check of its certificate.
            ssl_handshake_timeout: seconds; None for 60.
            ssl_shutdown_timeout: seconds that closing waits for the peer; None for 30.

        Returns:
            The new transport, once the handshake is done; None if the old one was closing already.

        Raises:
            RuntimeError: this Python has no ssl module.
            TypeError: it is no SSLContext, or a transport that cannot be upgraded.
            ValueError: a timeout is not positive.
            ssl.SSLError, ConnectionError: the handshake failed; the connection is closed.
        """
        if TLSTransport is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        lower: Any = transport
        waiter = self.create_future()
        settings = TLSSettings(
            sslcontext, server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        upgraded: Any = settings.wrap(self, protocol, waiter, call_connection_made=False)
        closing = lower.is_closing()
        # Nothing may reach the new protocol before its connection_made.
        lower.pause_reading()
        lower.set_protocol(upgraded)
        begun = self.call_soon(upgraded.connection_made, lower)
        resumed = self.call_soon(lower.resume_reading)
        try:
            await waiter
        except BaseException as exc:
            begun.cancel()
            resumed.cancel()
            lower.close()
            if closing and isinstance(exc, ConnectionError) and exc.errno is None:
                return None  # it ended as its user wanted, and not by an error of the system
            raise
        made: asyncio.Transport = upgraded
        return made


def settings_of_client(
    ssl_argument: Any,
    server_hostname: str | None,
    handshake_seconds: float | None,
    shutdown_seconds: float | None,
    host: str | None,
) -> TLSSettings | None:
    """Check the TLS arguments of a client; None without TLS.

    Raises:
        ValueError: they contradict each other.
    """
    if not ssl_argument:
        _refuse_without_tls(
            server_hostname=server_hostname,
            ssl_handshake_timeout=handshake_seconds,
            ssl_shutdown_timeout=shutdown_seconds,
        )
        return None
    if server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host
    _check(handshake_seconds, shutdown_seconds)
    context = None if isinstance(ssl_argument, bool) else ssl_argument
    return TLSSettings(context, False, server_hostname, handshake_seconds, shutdown_seconds)


def settings_of_server(
    ssl_argument: Any, handshake_seconds: float | None, shutdown_seconds: float | None
) -> TLSSettings | None:
    """Check the TLS arguments of a server; None without TLS.

    Raises:
        TypeError: `ssl` is a bool; a server needs a certificate.
        ValueError: a timeout comes without `ssl`, or is not positive.
    """
    if isinstance(ssl_argument, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    return settings_of_accepted(ssl_argument, handshake_seconds, shutdown_seconds)


def settings_of_accepted(
    ssl_argument: Any, handshake_seconds: float | None, shutdown_seconds: float | None
) -> TLSSettings | None:
    """Check the TLS arguments for a connection that was accepted elsewhere; None without TLS."""
    if not ssl_argument:
        _refuse_without_tls(
            ssl_handshake_timeout=handshake_seconds, ssl_shutdown_timeout=shutdown_seconds
        )
        return None
    _check(handshake_seconds, shutdown_seconds)
    context = None if isinstance(ssl_argument, bool) else ssl_argument
    return TLSSettings(context, True, None, handshake_seconds, shutdown_seconds)


def _refuse_without_tls(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} is only meaningful with ssl")


def _check(handshake_seconds: float | None, shutdown_seconds: float | None) -> None:
    if TLSTransport is None:
        raise RuntimeError("Python ssl module is not available")
    check_seconds(handshake_seconds, shutdown_seconds)
