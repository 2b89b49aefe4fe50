# cython: boundscheck=False, wraparound=False
"""TLSSending: the writing half of a TLS transport.

What is written is encrypted at once and handed to the transport below, in records as large as they
may be. While that one has its protocol paused, and before the handshake is done, it waits in a
WriteFlow, not encrypted. So there is never more than a batch of encrypted bytes beyond the lower
transport's own mark.

The water marks count both, what waits here and what waits below. They are looked at when something
waits here; to know that the rest has gone, the lower transport's mark must not lie above the low
mark here, and is lowered where the user wants it lower.
"""

from __future__ import annotations

import ssl
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.limits import (
    TLS_BATCH_BYTES,
    TLS_BIO_BYTES_KEPT,
    TLS_RECORD_BYTES_MAX,
    TLS_RECORD_BYTES_SMALL,
    TLS_WRITE_HIGH_WATER_BYTES,
    WRITE_HIGH_WATER_BYTES,
    WRITES_AFTER_LOSS_LOGGED,
)
from noria.native import bio
from noria.transports.flow import WriteFlow
from noria.transports.tls_session import TLSSession

if TYPE_CHECKING:
    from collections.abc import Iterable

# Names for the compiler, typed in the .pxd.
_PIECE = TLS_RECORD_BYTES_MAX if bio.AVAILABLE else TLS_RECORD_BYTES_SMALL
_KEPT = TLS_BIO_BYTES_KEPT
_BATCH = TLS_BATCH_BYTES
_LOSSES_LOGGED = WRITES_AFTER_LOSS_LOGGED
_NEW = 0
_HANDSHAKE = 1
_OPEN = 2
_FLUSHING = 3

_AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)


class TLSSending(TLSSession):
    """A TLS connection that data is written to."""

    __slots__ = ()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send data; never waits. What cannot be sent at once is kept.

        Args:
            data: the bytes; a mutable buffer may be changed as soon as this returns.

        Raises:
            TypeError: not bytes, bytearray or memoryview.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
        if isinstance(data, memoryview) and not _is_plain(data):
            data = bytes(data)
        if data:
            self._write_data(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces of data as one `write`.

        Raises:
            TypeError: a piece is no bytes-like object.
        """
        data = b"".join(list_of_data)
        if data:
            self._write_data(data)

    def write_eof(self) -> None:
        """Refuse: TLS has no half-closed connections in asyncio.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a TLS transport cannot be half-closed; see can_write_eof()")

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: it does not."""
        return False

    def _write_data(self, data: Any) -> None:
        if self._closing:
            self._write_after_end()
            return
        flow = self._flow
        if self._state != _OPEN or self._lower_paused or (flow is not None and flow.size):
            flow = self._make_flow()
            flow.add(bytes(data), 0)
            self._maybe_pause_protocol(flow)
            return
        size = len(data)
        if size <= _PIECE:
            sent = self._encrypt(data)
            if sent == size:
                self._lower.write(self._outgoing.read())
                if size > _KEPT:
                    bio.shrink(self._outgoing)
        else:
            sent = self._encrypt_all(data)
        if sent < size and not self._closing:
            flow = self._make_flow()
            flow.add(bytes(data), sent)
        if self._lower_paused and not self._closing:
            self._maybe_pause_protocol(self._make_flow())

    def _write_after_end(self) -> None:
        if self._lost_writes >= _LOSSES_LOGGED:
            logger.warning("SSL connection is closed")
        else:
            self._lost_writes += 1

    # -- encrypting -------------------------------------------------------------------------

    def _encrypt(self, data: Any) -> int:
        """Encrypt one piece into the outgoing BIO; 0 if the engine has to read first."""
        try:
            count: int = self._engine.write(data)
        except _AGAIN:
            return 0  # a renegotiation is under way; what comes next goes on here
        except OSError as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")
            return 0
        return count

    def _encrypt_all(self, data: Any) -> int:
        """Encrypt and hand over piece by piece until the transport below pauses: bytes taken."""
        view = memoryview(data)
        lower = self._lower
        outgoing = self._outgoing
        size = len(data)
        sent = 0
        while sent < size and not self._lower_paused:
            records: list[bytes] = []
            until = min(size, sent + _BATCH)
            while sent < until:
                count = self._encrypt(view[sent : sent + _PIECE])
                if count == 0:
                    break
                sent += count
                records.append(outgoing.read())
            if lower.is_closing() or self._state > _FLUSHING:
                return size  # nobody gets it any more
            lower.writelines(records)
            if sent < until:
                break
        if size > _KEPT:
            bio.shrink(outgoing)
        return sent

    def _send_backlog(self) -> None:
        """Encrypt and send what waits, as far as the transport below takes it."""
        flow = self._flow
        if flow is None or not flow.size:
            return
        while flow.size and not self._lower_paused and self._state in (_OPEN, _FLUSHING):
            piece = flow.piece(_PIECE)
            count = self._encrypt_all(piece)
            if not flow.size:
                return  # dropped meanwhile
            flow.consume(count)
            if count < len(piece):
                break
        if self._state == _FLUSHING:
            self._end_if_flushed()

    # -- flow control -----------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Wait with what is written; called by the transport below."""
        self._lower_paused = True

    def resume_writing(self) -> None:
        """Go on to send; called by the transport below."""
        self._lower_paused = False
        self._send_backlog()
        if self._flow is not None and not self._closing:
            self._maybe_resume_protocol(self._flow)

    def _take_over_pause(self) -> None:
        if not getattr(self._lower, "_protocol_paused", False):
            return
        self._lower_paused = True
        if self._upgraded:
            self._make_flow().paused = True  # its protocol was told by the transport below

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent, here and in the transport below."""
        size = 0 if self._flow is None else self._flow.size
        return size if self._lower is None else size + int(self._lower.get_write_buffer_size())

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high water mark, in bytes."""
        flow = self._flow
        if flow is None:
            return TLS_WRITE_HIGH_WATER_BYTES // 4, TLS_WRITE_HIGH_WATER_BYTES
        return flow.low, flow.high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks of the write buffer.

        Args:
            high: `pause_writing` is called above it; default 512 KiB, or four times `low`.
            low: `resume_writing` is called at or below it; default a quarter of `high`.

        Raises:
            ValueError: not high >= low >= 0.
        """
        if high is None and low is None:
            high = TLS_WRITE_HIGH_WATER_BYTES
        flow = self._make_flow()
        flow.set_limits(high, low)
        if self._lower is not None and self._state <= _FLUSHING:
            self._lower.set_write_buffer_limits(min(flow.low, WRITE_HIGH_WATER_BYTES))
        if self._state == _NEW or self._closing:
            return
        self._maybe_pause_protocol(flow)
        self._maybe_resume_protocol(flow)

    @property
    def _protocol_paused(self) -> bool:
        """Whether `pause_writing` was called last; asked by sendfile and by layers above."""
        return self._flow is not None and bool(self._flow.paused)

    def _make_flow(self) -> WriteFlow:
        flow = self._flow
        if flow is None:
            flow = WriteFlow()
            flow.set_limits(TLS_WRITE_HIGH_WATER_BYTES, None)
            self._flow = flow
        return flow

    def _maybe_pause_protocol(self, flow: WriteFlow) -> None:
        if not flow.paused and self.get_write_buffer_size() > flow.high:
            self._pause_protocol(flow)

    def _maybe_resume_protocol(self, flow: WriteFlow) -> None:
        if flow.paused and self.get_write_buffer_size() <= flow.low:
            self._resume_protocol(flow)


def _is_plain(view: memoryview) -> bool:
    """Whether the items of a view are its bytes, one after the other."""
    return view.itemsize == 1 and view.ndim == 1 and view.c_contiguous
