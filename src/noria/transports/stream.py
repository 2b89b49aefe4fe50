# cython: boundscheck=False, wraparound=False
"""StreamTransport: asyncio's transport for TCP and Unix stream sockets.

The receive in flight (see transports/reading.py) is a multishot one. A BufferedProtocol gets its
data received straight into its own memory: there the operation in flight only waits for
readability.

Writing is in transports/sending.py, ending in transports/connection.py.
"""

from __future__ import annotations

import asyncio
import errno
from asyncio import constants, protocols
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.errors import from_result
from noria.limits import RECEIVE_BYTES, RECEIVE_BYTES_PER_TURN_MAX
from noria.native import calls
from noria.native import sockets as native
from noria.transports.inner import Inner
from noria.transports.reading import ReceiveOperation
from noria.transports.sending import SendingTransport

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor
    from noria.loop.core import LoopCore

# Names for the compiler, typed in the .pxd.
_RECEIVE = codes.RECEIVE
_WAIT_READABLE = codes.WAIT_READABLE
_SIZE = RECEIVE_BYTES
_SHARE = RECEIVE_BYTES_PER_TURN_MAX
_EAGAIN = errno.EAGAIN
_ECANCELED = errno.ECANCELED
_BufferedProtocol = asyncio.BufferedProtocol

_STOPPED = 0
_RECEIVING = 1
_CANCELLING = 2


class StreamTransport(SendingTransport):
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

    __slots__ = ()

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

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
        self._set_up(loop, descriptor, peer, extra, server, context)
        self._set_up_sending()
        self._set_up_reading(ReceiveOperation(self, _RECEIVE, descriptor, self._fd, self._sock))
        self._take_protocol(protocol)
        if server is not None:
            server._attach(self)
        self._descriptor = descriptor

    def _set_nodelay(self) -> None:
        """Switch Nagle's algorithm off where the socket is TCP, as asyncio does."""
        native.set_nodelay(self._fd, self._sock, self._peer)

    # -- the protocol -----------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._take_protocol(protocol)

    def _take_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._inner = isinstance(protocol, Inner)
        self._buffered = isinstance(protocol, _BufferedProtocol)

    # -- reading ----------------------------------------------------------------------------

    def _start_receiving(self) -> None:
        op = self._receive
        if self._buffered:
            op.code = _WAIT_READABLE
            op.multishot = False
        else:
            op.code = _RECEIVE
            op.multishot = True
            op.size = _SIZE
        self._receiving = _RECEIVING
        if self._loop._engine.submit(op):
            self._receiving = _STOPPED
            self._read_failed(op.result)

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
            if self._buffered:
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
        if self._inner:
            inner = self._protocol
            inner._take(data)
            return
        if not self._buffered:
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

    def _deliver_held(self, held: Any) -> None:
        if type(held) is int:
            self._read_failed(held)
        elif held:
            self._deliver_data(held)
        else:
            self._on_eof()

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
            if received < size or share <= 0 or self._paused or self._closing or not self._buffered:
                break

    def _on_eof(self) -> None:
        if self._loop._debug:
            logger.debug("%r received EOF", self)
        self._receive.transport = None  # nothing more comes
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
