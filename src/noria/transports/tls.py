# cython: boundscheck=False, wraparound=False
"""TLSTransport: asyncio's transport for TLS over any stream transport.

Reading. What the transport below delivers is cut into records, by the five bytes that each begins
with, and the engine is asked to decrypt when it has a whole one. So it never answers "want read",
which is an exception and costs as much as decrypting some kilobytes, and its memory BIO never holds
more than a record; where that memory cannot be given back, half a record. All complete records of
one delivery are decrypted into one piece of memory, without a copy: a bytes object of their size,
or the memory of a BufferedProtocol.

Pausing pauses the transport below; what it had delivered already is kept, encrypted. What the end
of the connection looks like (`_verdict`) is told behind the data before it.
"""

from __future__ import annotations

import ssl
from asyncio import protocols
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.limits import (
    TLS_BIO_BYTES_KEPT,
    TLS_DELIVERY_BYTES_MAX,
    TLS_RECORD_BYTES_MAX,
    TLS_RECORD_BYTES_SMALL,
)
from noria.native import bio, calls
from noria.native.block import Block
from noria.transports.tls_sending import TLSSending

if TYPE_CHECKING:
    from noria.transports.inner import Inner

# Names for the compiler, typed in the .pxd.
_KEPT = TLS_BIO_BYTES_KEPT
_DELIVERY = TLS_DELIVERY_BYTES_MAX
_HEADER = 5  # type, version, length: RFC 8446, 5.1
_OVERHEAD = 16  # no cipher of TLS 1.2 or later adds less to a record
_PLAIN_MAX = TLS_RECORD_BYTES_MAX
_RECORD_MAX = _PLAIN_MAX + 2048  # what RFC 5246, 6.2.3 allows; RFC 8446 allows less
# Bytes given to the engine at a time; half a record is a little more with what comes around it.
_FEED = _HEADER + _RECORD_MAX if bio.AVAILABLE else TLS_RECORD_BYTES_SMALL + 32
_NEW = 0
_HANDSHAKE = 1
_OPEN = 2
_FLUSHING = 3
_ENDING = 4

_WantRead = ssl.SSLWantReadError
_CLOSE_NOTIFY = True  # a verdict; the others are exceptions


class TLSTransport(TLSSending):
    """TLS over a transport; arguments and errors are those of TLSSession."""

    __slots__ = ()

    # -- from the transport below -----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take encrypted data from a transport that is not noria's."""
        self._take(bytes(data))

    def _take(self, data: bytes) -> None:
        if self._input is None:
            self._input = data
        else:
            self._input = self._input[self._at :] + data
        self._at = 0
        if not self._paused:
            self._go_on()

    def _go_on(self) -> None:
        """Work on what has come in already."""
        try:
            while not self._paused and (
                self._input is not None or self._ready or self._verdict is not None
            ):
                if self._state == _OPEN:
                    self._receive()
                elif self._state == _HANDSHAKE:
                    if self._feed():
                        self._shake()
                elif self._state in (_FLUSHING, _ENDING):
                    self._discard()
                else:
                    self._drop_input()
            if self._state != _NEW and self._lower is not None:
                self._flush_outgoing()
                if self._flow is not None and self._flow.size:
                    self._send_backlog()
            if self._grown and self._fed == 0 and not self._ready:
                self._grown = False
                bio.shrink(self._incoming)
        except (SystemExit, KeyboardInterrupt):
            self._loop.call_soon(self._go_on)  # L4
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")

    def _drop_input(self) -> None:
        self._input = None
        self._at = 0
        self._ready = False
        self._verdict = None

    # -- records ----------------------------------------------------------------------------

    def _feed(self) -> bool:
        """Give the engine more of what has come in, of one record; whether it should try now."""
        data = self._input
        at = self._at
        size = len(data)
        if self._missing == 0:
            if self._header is not None or size - at < _HEADER:
                if not self._complete_header():
                    return False
                data = self._input
                at = self._at
                size = len(data)
            self._missing = self._record_size(data, at, size)
        piece = min(self._missing, size - at, _FEED - self._fed)
        if piece == size:
            self._incoming.write(data)
        else:
            self._incoming.write(memoryview(data)[at : at + piece])
        self._missing -= piece
        self._fed += piece
        if self._fed > _KEPT:
            self._grown = True
        if at + piece == size:
            self._input = None
            self._at = 0
        else:
            self._at = at + piece
        if self._missing == 0 or self._fed >= _FEED:
            self._fed = 0
            return True
        return False

    def _complete_header(self) -> bool:
        """Keep the first bytes of a record until its header is there; whether it is."""
        data = self._input[self._at :] if self._at else self._input
        if self._header is not None:
            data = self._header + data
        self._at = 0
        if len(data) < _HEADER:
            self._header = data
            self._input = None
            return False
        self._header = None
        self._input = data
        return True

    def _record_size(self, data: bytes, at: int, size: int) -> int:
        """Read a record's length; what is no record is for the engine to complain of."""
        length = data[at + 3] << 8 | data[at + 4]
        if data[at + 1] != 3 or not 20 <= data[at] <= 24 or length > _RECORD_MAX:
            length = size - at - _HEADER
        self._room = min(max(length - _OVERHEAD, 1), _PLAIN_MAX)
        return length + _HEADER

    # -- reading ----------------------------------------------------------------------------

    def _receive(self) -> None:
        """Decrypt what is complete and deliver it."""
        if not self._ready:
            if self._verdict is not None:
                self._act_on_verdict()
                return
            if not self._feed():
                return
            self._ready = True
        if self._buffered:
            self._receive_into_protocol()
        elif self._input is None or not self._direct:
            self._receive_record()
        else:
            self._receive_records()

    def _receive_record(self) -> None:
        self._ready = False
        try:
            data = self._engine.read(self._room)
        except _WantRead:
            return  # half a record, or one for the engine itself
        except OSError as exc:
            self._verdict = exc
            return
        if not data:
            self._verdict = _CLOSE_NOTIFY
            return
        if len(data) >= self._room:
            self._look_for_more()
        self._deliver(data)

    def _receive_records(self) -> None:
        size = min(self._room + len(self._input) - self._at, _DELIVERY)
        block = Block(size)
        filled = self._fill(block.view(), size)
        if filled:
            self._deliver(block.take(filled))

    def _receive_into_protocol(self) -> None:
        try:
            hint = self._room
            if self._input is not None:
                hint += len(self._input) - self._at
            buffer = calls.call_method_in_context(self._context, self._protocol, "get_buffer", hint)
            kind = type(buffer)
            if kind is bytearray:
                size = len(buffer)
            else:
                size = buffer.nbytes if kind is memoryview else memoryview(buffer).nbytes
            if not size:
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return
        filled = self._fill(buffer, size)
        if not filled:
            return
        try:
            calls.call_method_in_context(self._context, self._protocol, "buffer_updated", filled)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")

    def _fill(self, memory: Any, size: int) -> int:
        """Decrypt record after record into memory, as long as they fit: bytes written."""
        engine = self._engine
        view: Any = None
        filled: int = 0
        while True:
            self._ready = False
            count = 0
            try:
                if filled:
                    if view is None:
                        view = memoryview(memory).cast("B")
                    count = engine.read(min(size - filled, _PLAIN_MAX), view[filled:])
                else:
                    count = engine.read(min(size, _PLAIN_MAX), memory)
            except _WantRead:
                pass  # half a record, or one for the engine itself
            except OSError as exc:
                self._verdict = exc.with_traceback(None)  # its frames would keep the view
                return filled
            else:
                if count == 0:
                    self._verdict = _CLOSE_NOTIFY
                    return filled
                filled += count
                if filled == size:
                    self._look_for_more()
                    return filled
            while True:
                if self._input is None:
                    return filled
                if self._feed():
                    self._ready = True
                    break
            if filled and size - filled < self._room:
                return filled

    def _look_for_more(self) -> None:
        """Find out whether the engine has decrypted more than it could hand over."""
        more = self._engine.pending()
        if more:
            self._ready = True
            self._room = more

    def _deliver(self, data: bytes) -> None:
        if self._inner:
            inner: Inner = self._protocol
            inner._take(data)
            return
        if self._buffered:  # only since get_buffer or buffer_updated
            exc = calls.try_in_context(
                self._context,
                protocols._feed_data_to_buffered_proto,  # type: ignore[attr-defined]
                (self._protocol, data),
            )
        else:
            exc = calls.try_method_in_context(self._context, self._protocol, "data_received", data)
        if exc is not None:
            self._user_error(exc, "Fatal error: protocol.data_received() call failed.")

    # -- the end ----------------------------------------------------------------------------

    def _act_on_verdict(self) -> None:
        """Take the end that the engine has found, now that all data before it are delivered."""
        verdict = self._verdict
        self._verdict = None
        if verdict is _CLOSE_NOTIFY:
            self._input = None  # nothing counts behind it
            self._on_close_notify()
        else:
            self._flush_outgoing()  # the alert that tells the peer why
            self._fatal_error(verdict, "Fatal error on SSL protocol")

    def _discard(self) -> None:
        """Decrypt and drop what comes after `close`, up to the peer's close_notify."""
        if not self._ready:
            if self._verdict is not None:
                self._verdict = None
                self._input = None
                if self._state == _ENDING:
                    self._finish()
                else:
                    self._peer_closed = True
                return
            if not self._feed():
                return
            self._ready = True
        self._drop_ready()

    def _drop_ready(self) -> None:
        while self._ready:
            self._ready = False
            try:
                if self._engine.read(_PLAIN_MAX):
                    self._look_for_more()
                else:
                    self._verdict = _CLOSE_NOTIFY
            except _WantRead:
                pass
            except OSError as exc:
                self._verdict = exc

    # -- pausing ----------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol may get data now."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Stop `data_received` calls until `resume_reading`. Idempotent."""
        if self._closing or self._paused:
            return
        self._paused = True
        self._lower.pause_reading()
        if self._loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Let data come again. Idempotent."""
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._loop._debug:
            logger.debug("%r resumes reading", self)
        if self._input is not None or self._ready or self._verdict is not None:
            self._loop.call_soon(self._resume)
        else:
            self._lower.resume_reading()

    def _resume(self) -> None:
        self._go_on()
        if not self._paused and self._state != _NEW:
            self._lower.resume_reading()

    def get_read_buffer_size(self) -> int:
        """Bytes that came in and wait for the protocol, encrypted."""
        return 0 if self._input is None else len(self._input) - self._at
