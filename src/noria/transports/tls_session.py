# cython: boundscheck=False, wraparound=False
"""TLSSession: one TLS connection over a transport, from the handshake to its end.

The TLS engine is the `ssl` module's SSLObject over two memory BIOs; noria moves bytes between it,
the transport below and the protocol above. Reading is in transports/tls.py, writing in
transports/tls_sending.py.

States: NEW - (connection_made of the transport below) -> HANDSHAKE -> OPEN - (close, the peer's
close_notify or end) -> FLUSHING, while written data wait -> ENDING, when close_notify has been sent
-> OVER. An error leads to OVER from anywhere.

The end. close_notify is sent and writing shut down; what the peer still sends is decrypted and
dropped until its close_notify, its end of the stream, or the timeout. Closing a socket with unread
data would reset the connection, and a reset destroys what the peer has not read yet.
"""

from __future__ import annotations

import _ssl
import asyncio
import ssl
from asyncio import constants, sslproto
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.limits import TLS_HANDSHAKE_SECONDS, TLS_SHUTDOWN_SECONDS
from noria.native import calls
from noria.transports.inner import Inner

if TYPE_CHECKING:
    from noria.loop.core import LoopCore
    from noria.transports.flow import WriteFlow

# Names for the compiler, typed in the .pxd.
_NEW = 0
_HANDSHAKE = 1
_OPEN = 2
_FLUSHING = 3
_ENDING = 4
_OVER = 5

_BufferedProtocol = asyncio.BufferedProtocol
_SSLError = ssl.SSLError
_AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)
_NATIVE = getattr(_ssl, "_SSLSocket", None)
_METHODS = ("read", "write", "pending", "unwrap")


class TLSSession(Inner):
    """State of one TLS connection; a protocol to the transport below, a transport to the user's.

    Args:
        loop: the loop it belongs to.
        protocol: the user's protocol.
        context: the SSLContext; None for a client's default one.
        waiter: gets None once the handshake is done, or the exception that ended it.
        server_side: accept a handshake instead of beginning one.
        server_hostname: the server's name, for SNI and the check of its certificate.
        call_connection_made: False where the protocol has had its `connection_made` (start_tls).
        handshake_seconds: time limit of the handshake; None for 60.
        shutdown_seconds: time limit of closing; None for 30.

    Raises:
        ValueError: a timeout is not positive, or a server has no context.
    """

    __slots__ = (
        "_at",
        "_buffered",
        "_closing",
        "_direct",
        "_engine",
        "_fed",
        "_flow",
        "_grown",
        "_header",
        "_incoming",
        "_inner",
        "_input",
        "_lost_writes",
        "_lower",
        "_lower_paused",
        "_made",
        "_missing",
        "_outgoing",
        "_paused",
        "_peer_closed",
        "_ready",
        "_room",
        "_seconds",
        "_sslcontext",
        "_sslobj",
        "_started",
        "_state",
        "_timer",
        "_upgraded",
        "_verdict",
        "_waiter",
    )

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self,
        loop: LoopCore,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext | None,
        waiter: asyncio.Future[Any] | None = None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        handshake_seconds: float | None = None,
        shutdown_seconds: float | None = None,
    ) -> None:
        check_seconds(handshake_seconds, shutdown_seconds)
        if not context:
            context = _default_context(server_side, server_hostname)
        self._loop = loop
        self._sslcontext = context
        self._waiter = waiter
        self._seconds = (
            TLS_HANDSHAKE_SECONDS if handshake_seconds is None else handshake_seconds,
            TLS_SHUTDOWN_SECONDS if shutdown_seconds is None else shutdown_seconds,
        )
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._sslobj = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=None if server_side else server_hostname or None,
        )
        self._engine: Any = None
        self._direct = False
        self._lower: Any = None
        self._context = None
        self._timer: Any = None
        self._started = 0.0
        self._state = _NEW
        self._closing = False
        self._upgraded = not call_connection_made
        self._made = self._upgraded
        self._peer_closed = False
        self._flow: WriteFlow | None = None
        self._lower_paused = False
        self._lost_writes = 0
        self._paused = False
        self._input: Any = None
        self._at = 0
        self._header: Any = None
        self._missing = 0
        self._fed = 0
        self._grown = False
        self._room = 0
        self._ready = False
        self._verdict: Any = None
        self._take_protocol(protocol)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it; see decision 0008."""
        return sslproto._SSLProtocolTransport

    @property
    def _ssl_protocol(self) -> TLSSession:
        """What asyncio keeps apart: here one object is the protocol and the transport."""
        return self

    # -- what the other halves add ----------------------------------------------------------

    def _go_on(self) -> None:
        """Work on what has come in already."""

    def _send_backlog(self) -> None:
        """Encrypt and send what waits."""

    def _drop_ready(self) -> None:
        """Decrypt and drop what the engine has in hand."""

    def _drop_input(self) -> None:
        """Forget what has come in and not been delivered."""

    # -- the protocol -----------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._take_protocol(protocol)

    def _take_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._inner = isinstance(protocol, Inner)
        self._buffered = isinstance(protocol, _BufferedProtocol)

    # -- the handshake ----------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake; called by the transport below."""
        self._lower = transport
        context = getattr(transport, "_context", None)
        self._context = calls.copy_context() if context is None else context
        if self._state != _NEW:  # given up before it began
            transport.abort()
            return
        self._take_over_pause()
        self._state = _HANDSHAKE
        if self._loop._debug:
            logger.debug("%r starts SSL handshake", self)
            self._started = self._loop.time()
        self._timer = self._loop.call_later(self._seconds[0], self._handshake_timed_out)
        self._shake()

    def _take_over_pause(self) -> None:
        """Find out whether the transport below has its protocol paused (start_tls)."""

    def _shake(self) -> None:
        """Take the handshake as far as what has come allows."""
        try:
            self._sslobj.do_handshake()
        except _AGAIN:
            self._flush_outgoing()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # a context of the user's may make any check
            self._shake_failed(exc)
        else:
            self._shaken()

    def _shaken(self) -> None:
        self._stop_timer()
        self._state = _OPEN
        self._choose_engine()
        self._flush_outgoing()
        if self._loop._debug and self._started:
            took = self._loop.time() - self._started
            logger.debug("%r: SSL handshake took %.1f ms", self, took * 1e3)
        if not self._made:
            self._made = True
            try:
                calls.call_method_in_context(self._context, self._protocol, "connection_made", self)
            except (SystemExit, KeyboardInterrupt):
                self._wake_waiter(None)
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.connection_made() call failed.")
                self._wake_waiter(exc)
                return
        self._wake_waiter(None)
        self._send_backlog()

    def _choose_engine(self) -> None:
        """Take the object in C behind the SSLObject, if that does nothing of its own."""
        kind = type(self._sslobj)
        self._engine = getattr(self._sslobj, "_sslobj", None)
        self._direct = type(self._engine) is _NATIVE and all(
            getattr(kind, name) is getattr(ssl.SSLObject, name) for name in _METHODS
        )
        if not self._direct:
            self._engine = self._sslobj

    def _shake_failed(self, exc: BaseException) -> None:
        self._flush_outgoing()  # the alert that tells the peer why
        verifying = isinstance(exc, ssl.CertificateError)
        self._fatal_error(
            exc,
            "SSL handshake failed on verifying the certificate"
            if verifying
            else "SSL handshake failed",
        )
        self._wake_waiter(exc)

    def _handshake_timed_out(self) -> None:
        self._timer = None
        if self._state == _HANDSHAKE:
            message = (
                f"SSL handshake is taking longer than {self._seconds[0]} seconds: "
                f"aborting the connection"
            )
            self._fatal_error(ConnectionAbortedError(message))

    def _wake_waiter(self, exc: BaseException | None) -> None:
        waiter = self._waiter
        if waiter is None:
            return
        self._waiter = None
        if waiter.done():
            return
        if exc is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush_outgoing(self) -> None:
        """Hand to the transport below what the engine wants to send."""
        if self._outgoing.pending:
            data = self._outgoing.read()
            if self._state != _OVER or not self._lower.is_closing():
                self._lower.write(data)

    # -- ending -----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return bool(self._closing)

    def close(self) -> None:
        """Send what is buffered and close_notify, wait for the peer's, then close. Idempotent.

        Nothing is delivered any more. What the peer still sends is dropped.
        """
        if self._closing:
            return
        if self._state == _OPEN:
            self._shut_down()
        else:
            self._force_close(None)

    def abort(self) -> None:
        """Close at once, without sending what is buffered."""
        self._force_close(None)

    def _shut_down(self) -> None:
        """Begin to end an open connection in good order."""
        self._closing = True
        self._state = _FLUSHING
        self._timer = self._loop.call_later(self._seconds[1], self._shutdown_timed_out)
        self._end_if_flushed()
        if self._paused:
            self._paused = False
            self._lower.resume_reading()
        self._loop.call_soon(self._go_on)

    def _end_if_flushed(self) -> None:
        """Send close_notify once everything written has been encrypted."""
        if self._state != _FLUSHING or (self._flow is not None and self._flow.size):
            return
        lower = self._lower
        self._state = _ENDING
        self._drop_ready()  # or the engine would find data where it looks for close_notify
        try:
            self._engine.shutdown() if self._direct else self._engine.unwrap()
        except OSError:
            pass  # it is sent; that the peer's has not come yet is what it complains of
        self._fed = 0  # the engine has looked into the BIO
        self._flush_outgoing()
        if self._peer_closed:
            self._finish()
        elif not lower.is_closing() and lower.can_write_eof():
            try:
                lower.write_eof()
            except OSError:
                pass  # the peer is gone, as reading will tell

    def _finish(self) -> None:
        """Close the transport below; the timer goes on, in case that cannot send everything."""
        self._state = _OVER
        self._lower.close()

    def _shutdown_timed_out(self) -> None:
        self._timer = None
        if self._lower is not None:
            _force_close(self._lower, TimeoutError("SSL shutdown timed out"))

    def _on_close_notify(self) -> None:
        """Take the peer's close_notify, behind all data before it."""
        self._peer_closed = True
        if self._state == _OPEN:
            try:
                calls.call_in_context(self._context, self._tell_eof, ())
            finally:
                if self._state == _OPEN:
                    self._shut_down()
        elif self._state == _ENDING:
            self._finish()

    def _tell_eof(self) -> None:
        """Call the protocol's eof_received; runs in its context already."""
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if keep_open and not self._inner:
            logger.warning("returning true from eof_received() has no effect when using ssl")

    def eof_received(self) -> bool:
        """Take the end of the stream below; True keeps that open while data wait to be sent.

        Called in the connection's context, as `connection_made` and `connection_lost` are.
        """
        if self._loop._debug:
            logger.debug("%r received EOF", self)
        if self._state == _HANDSHAKE:
            self._shake_failed(ConnectionResetError())
        elif self._state == _OPEN:
            try:
                self._tell_eof()
            finally:
                if self._state == _OPEN:
                    self._end_without_notify()
        elif self._state == _FLUSHING:
            self._peer_closed = True
        elif self._state == _ENDING:
            self._state = _OVER
        return self._state == _FLUSHING

    def _end_without_notify(self) -> None:
        """End a connection whose peer has ended the stream without a word."""
        self._closing = True
        self._peer_closed = True
        self._drop_input()
        if self._flow is None or not self._flow.size:
            self._state = _OVER
            return
        self._state = _FLUSHING
        self._timer = self._loop.call_later(self._seconds[1], self._shutdown_timed_out)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take the end of the transport below, and tell the protocol; called from the loop."""
        lost_early = exc
        if exc is None and self._waiter is not None:
            lost_early = ConnectionResetError("the connection was closed in the TLS handshake")
        protocol = self._protocol
        made = self._made
        self._end()
        self._made = False
        self._protocol = None
        try:
            if made:
                protocol.connection_lost(exc)
        finally:
            self._wake_waiter(lost_early)

    def _end(self) -> None:
        """Let go of everything but what is asked for afterwards."""
        self._state = _OVER
        self._closing = True
        self._stop_timer()
        self._drop_input()
        if self._flow is not None:
            self._flow.clear()

    # -- errors -----------------------------------------------------------------------------

    def _force_close(self, exc: BaseException | None) -> None:
        self._closing = True
        if self._state == _OVER and self._lower is None:
            return
        self._state = _OVER
        self._drop_input()
        if self._flow is not None:
            self._flow.clear()
        if self._lower is not None:
            _force_close(self._lower, exc)

    # -- information ------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give what is known of the connection.

        Args:
            name: sslcontext; after the handshake ssl_object, peercert, cipher and compression; and
                what the transport below knows (peername, sockname, socket).
            default: the answer where nothing is known.
        """
        if name == "sslcontext":
            return self._sslcontext
        if self._engine is not None:
            if name == "ssl_object":
                return self._sslobj
            if name == "peercert":
                return self._sslobj.getpeercert()
            if name == "cipher":
                return self._sslobj.cipher()
            if name == "compression":
                return self._sslobj.compression()
        return default if self._lower is None else self._lower.get_extra_info(name, default)

    def __repr__(self) -> str:
        """State and what is below, for logs."""
        state = ("new", "handshaking", "open", "flushing", "ending", "over")[self._state]
        return f"<{type(self).__name__} {state} over {self._lower!r}>"


def check_seconds(handshake: float | None, shutdown: float | None) -> None:
    """Check the timeouts of a TLS connection.

    Raises:
        ValueError: one is given and not positive.
    """
    for name, seconds in (
        ("ssl_handshake_timeout", handshake),
        ("ssl_shutdown_timeout", shutdown),
    ):
        if seconds is not None and seconds <= 0:
            raise ValueError(f"{name} should be a positive number, got {seconds}")


def _default_context(server_side: bool, server_hostname: str | None) -> ssl.SSLContext:
    if server_side:
        raise ValueError("Server side SSL needs a valid SSLContext")
    context = ssl.create_default_context()
    if not server_hostname:
        context.check_hostname = False
    return context


def _force_close(transport: Any, exc: BaseException | None) -> None:
    """Close a transport at once, with an exception for its protocol where it takes one."""
    force = getattr(transport, "_force_close", None)
    if force is None:
        transport.abort()
    else:
        force(exc)
