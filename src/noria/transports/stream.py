# cython: boundscheck=False, wraparound=False
"""StreamTransport: asyncio's transport for TCP and Unix stream sockets.

Reading. One multishot receive is in flight while the protocol wants data. Pausing cancels it; what
it had already collected is held back and delivered first on resuming, so no byte is lost or doubled
(T1). A BufferedProtocol gets its data received straight into its own memory: there the operation in
flight only waits for readability.

Writing. An idle transport sends at once (T2); what the kernel does not take waits in a WriteFlow
and goes out vectored. The send operation is borrowed from the loop for that time, so idle
connections hold none.

Ending. `connection_lost` is called exactly once, from the loop, and afterwards the descriptor is
closed (T5). An exception in a protocol method ends that connection only (T4).

States of reading (`_receiving`): STOPPED - (start) -> RECEIVING - (pause, close) -> CANCELLING -
(completion -ECANCELED) -> STOPPED, or back to RECEIVING when resumed meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import warnings
from asyncio import constants, protocols, trsock
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.operation import IN_FLIGHT, Operation
from noria.errors import from_result
from noria.limits import (
    RECEIVE_BYTES,
    RECEIVE_BYTES_PER_TURN_MAX,
    WRITES_AFTER_LOSS_LOGGED,
)
from noria.native import calls
from noria.native import sockets as native
from noria.transports import shortcut
from noria.transports.flow import WriteFlow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from noria.core.descriptor import Descriptor
    from noria.loop.core import LoopCore

# Names for the compiler, typed in the .pxd.
_RECEIVE = codes.RECEIVE
_WAIT_READABLE = codes.WAIT_READABLE
_SEND_VECTOR = codes.SEND_VECTOR
_SIZE = RECEIVE_BYTES
_SHARE = RECEIVE_BYTES_PER_TURN_MAX
_EAGAIN = errno.EAGAIN
_ECANCELED = errno.ECANCELED
_IN_FLIGHT = IN_FLIGHT

_STOPPED = 0
_RECEIVING = 1
_CANCELLING = 2

_DATA = 0
_BUFFERED = 1
_STREAM_READER = 2

_Socket = socket.socket


class ReceiveOperation(Operation):
    """The receive of one transport."""

    __slots__ = ("transport",)

    if TYPE_CHECKING:
        transport: StreamTransport | None

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass a completion on to the transport."""
        transport = self.transport
        if transport is not None:
            transport._on_receive(result, flags, data)


class SendOperation(Operation):
    """A send, lent to one transport at a time."""

    __slots__ = ("transport",)

    if TYPE_CHECKING:
        transport: StreamTransport | None

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass the completion on to the transport."""
        transport = self.transport
        if transport is not None:
            transport._on_sent(result)


class StreamTransport:
    """Transport of one connected stream socket.

    Args:
        loop: the loop it belongs to.
        descriptor: owner of the socket, which must be non-blocking.
        protocol: gets the events.
        peer: raw peer address where the caller knows it, else None.
        extra: entries for `get_extra_info`.
        server: the server that accepted the connection.
        context: context that the protocol is called in; None copies the current one.
    """

    __slots__ = (
        "__weakref__",
        "_closing",
        "_context",
        "_descriptor",
        "_eof",
        "_extra",
        "_fd",
        "_feed",
        "_flow",
        "_held",
        "_kind",
        "_local",
        "_loop",
        "_lost",
        "_paused",
        "_peer",
        "_protocol",
        "_receive",
        "_receiving",
        "_send",
        "_server",
        "_sock",
        "_started",
    )

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.UNSUPPORTED  # until it is offered

    def __init__(
        self,
        loop: LoopCore,
        descriptor: Descriptor,
        protocol: asyncio.BaseProtocol,
        peer: Any = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Any = None,
    ) -> None:
        self._descriptor = None  # until all else has succeeded: see __del__
        self._loop = loop
        self._fd = descriptor.fd
        # The compiled calls act on numbers; then a socket object is made only if somebody asks.
        self._sock: Any = None if native.COMPILED else descriptor.sock
        self._peer = native.peer_address(self._fd, self._sock) if peer is None else peer
        self._local: Any = None
        self._extra = extra
        self._server = server
        self._flow: WriteFlow | None = None
        self._send: SendOperation | None = None
        self._held: list[Any] | None = None
        self._lost = 0
        self._closing = False
        self._eof = False
        self._paused = False
        self._started = False
        self._receiving = _STOPPED
        self._receive = ReceiveOperation(codes.RECEIVE, self._fd, self._sock)
        self._receive.transport = self
        self._receive.descriptor = descriptor
        self._receive.expectant = True
        self._context = calls.copy_context() if context is None else context
        self._protocol: Any = None
        self._kind = _DATA
        self.set_protocol(protocol)
        native.set_nodelay(self._fd, self._sock, self._peer)
        if server is not None:
            server._attach(self)
        self._descriptor = descriptor

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it; see loop/handles.py."""
        return asyncio.Transport

    # -- starting ---------------------------------------------------------------------------

    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None:
        """Call `connection_made`, begin to read, release the waiter; once, from the loop."""
        try:
            calls.call_one_in_context(self._context, self._protocol.connection_made, self)
        except (SystemExit, KeyboardInterrupt):
            self._loop.call_soon(self._begin, waiter)  # the next run goes on here (L4)
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": "Exception in protocol.connection_made()",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        self._begin(waiter)

    def _begin(self, waiter: asyncio.Future[Any] | None) -> None:
        self._started = True
        if self._paused and not self._closing:
            self._start_receiving()  # so that the engine knows whose descriptor it is
            self._stop_receiving()
        self._receive_on()
        if waiter is not None and not waiter.cancelled():
            waiter.set_result(None)

    # -- the protocol -----------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._protocol = protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._kind = _BUFFERED
            return
        self._feed: Any = shortcut.short_way_of(protocol)
        self._kind = _DATA if self._feed is None else _STREAM_READER

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the current protocol; None after the connection is lost."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    # -- reading ----------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol may get data now."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Stop `data_received` calls until `resume_reading`. Idempotent."""
        if self._closing or self._paused:
            return
        self._paused = True
        self._stop_receiving()
        if self._loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Let data come again. Idempotent."""
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._loop._debug:
            logger.debug("%r resumes reading", self)
        if self._held is not None:
            self._loop.call_soon(self._release_held)
        elif self._started:
            self._receive_on()

    def _at_end(self) -> bool:
        return self._receive.transport is None

    def _receive_on(self) -> None:
        """Begin or go on to receive, unless something speaks against it."""
        if not (self._paused or self._closing or self._receiving != _STOPPED or self._at_end()):
            self._start_receiving()

    def _start_receiving(self) -> None:
        op = self._receive
        if self._kind == _BUFFERED:
            op.code = _WAIT_READABLE
            op.multishot = False
        else:
            op.code = _RECEIVE
            op.multishot = True
            op.size = _SIZE
        self._receiving = _RECEIVING
        if self._loop.submit(op):
            self._receiving = _STOPPED
            self._read_failed(op.result)

    def _stop_receiving(self) -> None:
        if self._receiving == _RECEIVING:
            self._receiving = _CANCELLING
            self._loop.cancel_operation(self._receive)

    def _on_receive(self, result: int, flags: int, data: Any) -> None:
        """Take one completion of the receive."""
        if result > 0:
            if self._closing:
                return
            if self._paused or self._held is not None:
                self._hold(data)
            else:
                self._deliver_data(data)
            return
        if not flags:
            was_cancelling = self._receiving == _CANCELLING
            self._receiving = _STOPPED
            if was_cancelling and result == -_ECANCELED:
                if self._held is None:
                    self._receive_on()
                return
        if self._closing:
            return
        if result == 0 and self._receive.code == _WAIT_READABLE:
            if self._paused:
                return  # resuming starts a new wait
            if self._kind == _BUFFERED:
                try:
                    self._receive_into_protocol()
                finally:
                    self._receive_on()  # also when it was interrupted (L4)
            else:
                self._start_receiving()
        elif self._paused or self._held is not None:
            self._hold(result or b"")
        elif result < 0:
            self._read_failed(result)
        else:
            self._on_eof()

    def _deliver_data(self, data: Any) -> None:
        kind = self._kind
        if kind == _STREAM_READER:
            if self._feed(self._protocol, data):
                return
            kind = _DATA
        if kind == _DATA:
            exc = calls.try_method_in_context(self._context, self._protocol, "data_received", data)
            if exc is not None:
                self._user_error(exc, "Fatal error: protocol.data_received() call failed.")
            return
        exc = calls.try_in_context(
            self._context,
            protocols._feed_data_to_buffered_proto,  # type: ignore[attr-defined]
            (self._protocol, data),
        )
        if exc is not None:
            self._user_error(exc, "Fatal error: protocol.data_received() call failed.")
            return
        if not self._closing and not self._paused and self._receiving == _STOPPED:
            self._start_receiving()

    def _user_error(self, exc: BaseException, message: str) -> None:
        if isinstance(exc, (SystemExit, KeyboardInterrupt)):
            raise exc
        self._fatal_error(exc, message)

    def _hold(self, data: Any) -> None:
        if self._held is None:
            self._held = []
        self._held.append(data)

    def _release_held(self) -> None:
        """Deliver what came in after a pause, as far as the protocol lets it."""
        try:
            while self._held and not self._paused and not self._closing:
                held = self._held.pop(0)
                if type(held) is int:
                    self._read_failed(held)
                elif held:
                    self._deliver_data(held)
                else:
                    self._on_eof()
        except (SystemExit, KeyboardInterrupt):
            self._loop.call_soon(self._release_held)  # the next run goes on here (L4)
            raise
        if not self._held:
            self._held = None
            self._receive_on()

    def _receive_into_protocol(self) -> None:
        """Receive into the protocol's own memory until the socket is empty or the share is used."""
        share = _SHARE
        while True:
            try:
                buffer = calls.call_method_in_context(
                    self._context, self._protocol, "get_buffer", -1
                )
                size = len(buffer)
                if not size:
                    raise RuntimeError("get_buffer() returned an empty buffer")
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
                return
            try:
                received = native.receive_into(self._fd, self._sock, buffer)
            except (TypeError, ValueError, BufferError) as exc:
                self._fatal_error(exc, "Fatal read error on socket transport")
                return
            if received == -_EAGAIN:
                break
            if received < 0:
                self._read_failed(received)
                return
            if received == 0:
                self._on_eof()
                return
            try:
                calls.call_method_in_context(
                    self._context, self._protocol, "buffer_updated", received
                )
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")
                return
            share -= received
            if (
                received < size
                or share <= 0
                or self._paused
                or self._closing
                or self._kind != _BUFFERED
            ):
                break

    def _on_eof(self) -> None:
        if self._loop._debug:
            logger.debug("%r received EOF", self)
        self._receive.transport = None  # nothing more comes; see _at_end
        try:
            keep_open = calls.call_in_context(self._context, self._protocol.eof_received, ())
        except (SystemExit, KeyboardInterrupt):
            self._receive.transport = self  # the end is read once more, and told again (L4)
            self._receive_on()
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def _read_failed(self, result: int) -> None:
        self._fatal_error(
            from_result(result, "receive", self._fd), "Fatal read error on socket transport"
        )

    # -- writing ----------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data; never waits. What cannot be sent at once is kept.

        Args:
            data: the bytes; a mutable buffer may be changed as soon as this returns.

        Raises:
            TypeError: not bytes, bytearray or memoryview.
            RuntimeError: `write_eof` was called before.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if isinstance(data, memoryview) and not _is_plain(data):
            data = bytes(data)
        if not data:
            return
        if self._lost:
            self._write_after_loss()
            return
        flow = self._flow
        if flow is not None and flow.size:
            flow.add(bytes(data), 0)
            self._maybe_pause_protocol(flow)
            return
        self._write_now(data)

    def _write_now(self, data: Any) -> None:
        sent = self._loop._engine.try_send(self._fd, self._sock, data, 0)
        if sent == len(data):
            return
        full = sent >= 0
        if sent == -_EAGAIN:
            sent = 0
        elif sent < 0:
            self._write_failed(sent)
            return
        flow = self._flow
        if flow is None:
            flow = WriteFlow()
            self._flow = flow
        flow.add(bytes(data), sent)  # the caller may change a mutable buffer now
        self._send_more(full)
        if not self._lost:
            # Last, because only the completion of a send that had to wait resumes the protocol.
            self._maybe_pause_protocol(flow)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces of data as `write` does, in one system call where it can be.

        Raises:
            TypeError: a piece is no bytes-like object.
            RuntimeError: `write_eof` was called before.
        """
        if self._eof:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        chunks = [data if type(data) is bytes else bytes(memoryview(data)) for data in list_of_data]
        chunks = [chunk for chunk in chunks if chunk]
        if not chunks:
            return
        if self._lost:
            self._write_after_loss()
            return
        flow = self._flow
        if flow is None:
            flow = WriteFlow()
            self._flow = flow
        was_idle = flow.size == 0
        for chunk in chunks:
            flow.add(chunk, 0)
        if was_idle:
            self._send_more(False)
        if not self._lost:
            self._maybe_pause_protocol(flow)

    def _send_more(self, full: bool) -> None:
        """Send from the flow until it is empty or the kernel takes no more.

        Args:
            full: the kernel has just taken less than it was given, so wait before trying again.
        """
        flow = self._flow
        assert flow is not None
        while flow.size and not self._lost and self._send is None:
            op = self._borrow_send()
            op.code = _SEND_VECTOR
            op.buffer = flow.vector()
            op.offset = flow.offset
            op.expectant = full
            if not self._loop.submit(op):
                self._send = op
                return
            sent = op.result
            self._return_send(op)
            if sent < 0:
                self._write_failed(sent)
                return
            flow.consume(sent)

    def _on_sent(self, result: int) -> None:
        """Take the completion of a send that had to wait."""
        op = self._send
        assert op is not None
        self._send = None
        self._return_send(op)
        flow = self._flow
        if flow is None or self._lost:
            return
        if result < 0:
            if result != -_ECANCELED:
                self._write_failed(result)
            return
        flow.consume(result)
        if flow.size:
            self._send_more(True)
        if self._lost:
            return
        try:
            self._maybe_resume_protocol(flow)
        finally:
            self._end_if_sent(flow)  # also when the protocol was interrupted (L4)

    def _end_if_sent(self, flow: WriteFlow) -> None:
        """Close, or send the end of the stream, if that had to wait for the last byte."""
        if flow.size or self._send is not None or self._lost:
            return  # not empty yet, or resume_writing has written or closed
        if self._closing:
            self._lost += 1
            self._loop.call_soon(self._lose, None, context=self._context)
        elif self._eof:
            native.shutdown_writing(self._fd, self._sock)

    def _borrow_send(self) -> SendOperation:
        loop = self._loop
        op: SendOperation | None = loop._spare_send
        if op is None:
            op = SendOperation(codes.SEND)
        else:
            loop._spare_send = None
        op.fd = self._fd
        op.sock = self._sock
        op.descriptor = self._descriptor
        op.transport = self
        return op

    def _return_send(self, op: SendOperation) -> None:
        op.buffer = None
        op.transport = None
        op.descriptor = None
        op.sock = None
        self._loop._spare_send = op

    def _write_after_loss(self) -> None:
        if self._lost >= WRITES_AFTER_LOSS_LOGGED:
            logger.warning("socket.send() raised exception.")
        self._lost += 1

    def _write_failed(self, result: int) -> None:
        if self._flow is not None:
            self._flow.clear()
        self._fatal_error(
            from_result(result, "send", self._fd), "Fatal write error on socket transport"
        )

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: it does."""
        return True

    def write_eof(self) -> None:
        """Send the end of the stream after what is buffered; reading goes on. Idempotent."""
        if self._closing or self._eof:
            return
        self._eof = True
        if self._flow is None or not self._flow.size:
            result = native.shutdown_writing(self._fd, self._sock)
            if result < 0:
                raise from_result(result, "shutdown", self._fd)

    # -- flow control -----------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return 0 if self._flow is None else self._flow.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high water mark, in bytes."""
        flow = self._flow or WriteFlow()
        return flow.low, flow.high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks of the write buffer.

        Args:
            high: `pause_writing` is called above it; default 64 KiB, or four times `low`.
            low: `resume_writing` is called at or below it; default a quarter of `high`.

        Raises:
            ValueError: not high >= low >= 0.
        """
        if self._flow is None:
            self._flow = WriteFlow()
        self._flow.set_limits(high, low)
        self._maybe_pause_protocol(self._flow)

    def _maybe_pause_protocol(self, flow: WriteFlow) -> None:
        if flow.size <= flow.high or flow.paused:
            return
        flow.paused = True
        self._call_flow_method("pause_writing")

    def _maybe_resume_protocol(self, flow: WriteFlow) -> None:
        if not flow.paused or flow.size > flow.low:
            return
        flow.paused = False
        self._call_flow_method("resume_writing")

    def _call_flow_method(self, name: str) -> None:
        # In the caller's context, as asyncio does: pausing happens inside the caller's write().
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{name}() failed",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    # -- ending -----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Stop reading, send what is buffered, then close. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._stop_receiving()
        if self._flow is None or not self._flow.size:
            self._lost += 1
            self._loop.call_soon(self._lose, None, context=self._context)

    def abort(self) -> None:
        """Close without sending what is buffered."""
        self._force_close(None)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if isinstance(exc, OSError):
            if self._loop._debug:
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            self._loop.call_exception_handler(
                {
                    "message": message,
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        self._force_close(exc)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lost += 1
        if self._flow is not None:
            self._flow.clear()
        if self._send is not None and self._send.state == _IN_FLIGHT:
            self._loop.cancel_operation(self._send)
        if not self._closing:
            self._closing = True
            self._stop_receiving()
        self._loop.call_soon(self._lose, exc, context=self._context)

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
        self._receive.transport = None
        self._protocol = None
        self._server = None
        self._held = None
        if descriptor is not None:
            self._descriptor = None
            loop.forget(self._fd)
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
            info.append("read=polling" if self._receiving == _RECEIVING else "read=idle")
            state = "polling" if self._send is not None else "idle"
            info.append(f"write=<{state}, bufsize={self.get_write_buffer_size()}>")
        return f"<{' '.join(info)}>"


def _is_plain(view: memoryview) -> bool:
    """Whether the items of a view are its bytes, one after the other."""
    return view.itemsize == 1 and view.ndim == 1 and view.c_contiguous
