# cython: boundscheck=False, wraparound=False
"""SendingTransport: the writing half of a stream transport.

An idle transport sends at once (T2). Where the engine defers, small writes wait for the end of the
turn and go out as one send; that never makes the protocol pause, and `close`, `abort` and
`write_eof` do not wait for it. What the kernel does not take waits in a WriteFlow and goes out
vectored. The send operation is borrowed from the loop for that time, so idle connections hold none.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.operation import IN_FLIGHT, Operation
from noria.errors import from_result
from noria.limits import DEFERRED_SEND_BYTES_MAX, SPARE_SENDS_MAX
from noria.native import sockets as native
from noria.transports.reading import ReadingConnection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable


# Names for the compiler, typed in the .pxd.
_SEND = codes.SEND
_SEND_VECTOR = codes.SEND_VECTOR
_EAGAIN = errno.EAGAIN
_ECANCELED = errno.ECANCELED
_IN_FLIGHT = IN_FLIGHT
_DEFERRED_MAX = DEFERRED_SEND_BYTES_MAX
_SPARE_MAX = SPARE_SENDS_MAX


class SendOperation(Operation):
    """A send, lent to one transport at a time."""

    __slots__ = ("transport",)

    if TYPE_CHECKING:
        transport: SendingTransport | None

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass the completion on to the transport."""
        transport = self.transport
        if transport is not None:
            transport._on_sent(result)

    def absorb(self, result: int) -> bool:
        """Let a deferred send that took everything end at once where nobody waits for it."""
        transport = self.transport
        return transport is not None and transport._absorb_sent(self, result)


class SendingTransport(ReadingConnection):
    """A connection that data is written to."""

    __slots__ = ("_sending",)

    def _set_up_sending(self) -> None:
        """Do what `__init__` does; see `_set_up`."""
        self._sending: SendOperation | None = None

    def _stop_sending(self) -> None:
        if self._flow is not None:
            self._flow.clear()
            self._tell_file(ConnectionError("Connection is closed by peer"))
        op = self._sending
        if op is not None and op.state == _IN_FLIGHT:
            self._loop._engine.cancel(op)

    def _send_all(self) -> bool:
        if self._sending is not None and self._sending.amendable:
            self._send_deferred()
        flow = self._flow
        if self._sending is not None or (flow is not None and flow.size):
            return False
        return flow is None or flow.file is None or self._closing  # which ends a file half-way

    def _state(self) -> list[str]:
        state = "idle" if self._sending is None else "polling"
        words = f"write=<{state}, bufsize={self.get_write_buffer_size()}>"
        return [*ReadingConnection._state(self), words]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data; never waits. What cannot be sent at once is kept.

        Args:
            data: the bytes; a mutable buffer may be changed as soon as this returns.

        Raises:
            TypeError: not bytes, bytearray or memoryview.
            RuntimeError: `write_eof` was called before, or a file is being sent.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._flow is not None and self._flow.file is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if isinstance(data, memoryview) and not _is_plain(data):
            data = bytes(data)
        if not data:
            return
        if self._lost:
            self._write_after_loss()
            return
        if self._sending is None:
            self._write_now(data)
        else:
            self._write_behind(self._sending, data)

    def _write_now(self, data: Any) -> None:
        loop = self._loop
        if loop._engine.deferring and self._may_wait(len(data)):
            self._defer(data)
            return
        sent = loop._engine.try_send(self._fd, self._sock, data, 0)
        if sent == len(data):
            return
        full = sent >= 0
        if sent == -_EAGAIN:
            sent = 0
        elif sent < 0:
            self._write_failed(sent)
            return
        flow = self._make_flow()
        flow.add(bytes(data), sent)  # the caller may change a mutable buffer now
        self._send_more(full)
        if not self._lost:
            # Last, because only the completion of a send that had to wait resumes the protocol.
            self._maybe_pause_protocol(flow)

    def _write_behind(self, op: SendOperation, data: Any) -> None:
        """Write while a send is under way."""
        if op.amendable:
            if self._may_wait(op.size + len(data)):
                if type(op.buffer) is not list:
                    op.buffer = [op.buffer]
                op.buffer.append(bytes(data))
                op.size += len(data)
                return
            self._send_deferred()
            if self._lost:
                return
            if self._sending is None:
                self._write_now(data)
                return
        flow = self._make_flow()
        flow.add(bytes(data), 0)
        self._maybe_pause_protocol(flow)

    # -- writes that wait for the end of the turn -------------------------------------------

    def _may_wait(self, size: int) -> bool:
        """Whether so many bytes may wait: never more than the protocol would be paused for."""
        return size <= _DEFERRED_MAX and (self._flow is None or size <= self._flow.high)

    def _defer(self, data: Any) -> None:
        op = self._borrow_send()
        op.code = _SEND
        op.buffer = data if type(data) is bytes else bytes(data)
        op.size = len(data)
        self._sending = op
        self._loop._engine.defer(op)

    def _send_deferred(self) -> None:
        """Send now what waits for the end of the turn."""
        op = self._sending
        assert op is not None
        self._loop._engine.withdraw(op)
        flow = self._make_flow()
        for chunk in op.buffer if type(op.buffer) is list else [op.buffer]:
            flow.add(chunk, 0)
        self._sending = None
        self._return_send(op)
        self._send_more(False)

    # -- writes that the kernel does not take -----------------------------------------------

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces of data as `write` does, in one system call where it can be.

        Raises:
            TypeError: a piece is no bytes-like object.
            RuntimeError: `write_eof` was called before, or a file is being sent.
        """
        if self._eof:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        if self._flow is not None and self._flow.file is not None:
            raise RuntimeError("unable to writelines; sendfile is in progress")
        chunks = [data if type(data) is bytes else bytes(memoryview(data)) for data in list_of_data]
        chunks = [chunk for chunk in chunks if chunk]
        if not chunks:
            return
        if self._lost:
            self._write_after_loss()
            return
        if self._sending is None or self._sending.amendable:
            size = sum(map(len, chunks))
            if self._loop._engine.deferring and self._may_wait(size):
                self.write(b"".join(chunks))
                return
        if self._sending is not None and self._sending.amendable:
            self._send_deferred()
            if self._lost:
                return
        flow = self._make_flow()
        for chunk in chunks:
            flow.add(chunk, 0)
        if self._sending is None:
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
        while flow.size and not self._lost and self._sending is None:
            op = self._borrow_send()
            op.code = _SEND_VECTOR
            op.buffer = flow.vector()
            op.offset = flow.offset
            op.expectant = full
            if not self._loop._engine.submit(op):
                self._sending = op
                return
            sent = op.result
            self._return_send(op)
            if sent < 0:
                self._write_failed(sent)
                return
            flow.consume(sent)

    def _on_sent(self, result: int) -> None:
        """Take the completion of a send."""
        op = self._sending
        assert op is not None
        deferred = op.size
        data = op.buffer  # in one piece by now
        self._sending = None
        self._return_send(op)
        if self._lost:
            return
        flow = self._flow
        if deferred == result and flow is None:
            self._end_if_sent()
            return
        if result < 0 and not (deferred and result in (-_ECANCELED, -_EAGAIN)):
            if result != -_ECANCELED:
                self._write_failed(result)
            return
        flow = self._make_flow()
        if not deferred:
            flow.consume(result)
        elif result < deferred:
            flow.put_first(data, max(result, 0))
        if flow.size:
            self._send_more(not deferred or result < deferred)
        if self._lost:
            return
        try:
            self._maybe_resume_protocol(flow)
        finally:
            self._end_if_sent()  # also when the protocol was interrupted (L4)

    def _absorb_sent(self, op: SendOperation, result: int) -> bool:
        if (
            result != op.size
            or self._flow is not None
            or self._closing
            or self._eof
            or self._sending is not op
        ):
            return False
        self._sending = None
        self._return_send(op)
        return True

    def _end_if_sent(self) -> None:
        """Close, or send the end of the stream, if that had to wait for the last byte."""
        self._tell_file(None)
        if self._lost or not (self._closing or self._eof) or not self._send_all():
            return  # not empty yet, or resume_writing has written or closed
        if self._closing:
            self._lost += 1
            self._loop._soon(self._lose, (None,), self._context)
        else:
            self._loop._engine.acted = True
            native.shutdown_writing(self._fd, self._sock)

    def _borrow_send(self) -> SendOperation:
        loop = self._loop
        spares = loop._spare_sends
        op: SendOperation = spares.pop() if spares else SendOperation(codes.SEND)
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
        op.size = 0
        spares = self._loop._spare_sends
        if len(spares) < _SPARE_MAX:
            spares.append(op)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        size = 0 if self._flow is None else self._flow.size
        return size if self._sending is None else size + self._sending.size

    def _write_failed(self, result: int) -> None:
        exc = from_result(result, "send", self._fd)
        if self._flow is not None:
            self._flow.clear()
            self._tell_file(exc)
        self._fatal_error(exc, "Fatal write error on socket transport")

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: it does."""
        return True

    def write_eof(self) -> None:
        """Send the end of the stream after what is buffered; reading goes on. Idempotent."""
        if self._closing or self._eof:
            return
        self._eof = True
        if self._send_all() and not self._lost:
            self._loop._engine.acted = True
            result = native.shutdown_writing(self._fd, self._sock)
            if result < 0:
                raise from_result(result, "shutdown", self._fd)

    # -- files, which go around the buffer --------------------------------------------------

    def _begin_file(self) -> asyncio.Future[None]:
        """Refuse writes from now on; the future is done when all that was written has been sent.

        Raises:
            RuntimeError: `write_eof` was called before, or another file is being sent.
        """
        if self._eof:
            raise RuntimeError("Cannot call sendfile() after write_eof()")
        flow = self._make_flow()
        if flow.file is not None:
            raise RuntimeError("unable to sendfile; sendfile is in progress")
        flow.file = self._loop.create_future()
        if self._sending is not None and self._sending.amendable:
            self._send_deferred()
        self._tell_file(None)
        return flow.file

    def _tell_file(self, exc: BaseException | None) -> None:
        """Let a file begin if it is its turn, or fail."""
        flow = self._flow
        if flow is None or flow.file is None or flow.file.done():
            return
        if exc is not None:
            flow.file.set_exception(exc)
        elif self._sending is None and flow.size == 0:
            flow.file.set_result(None)

    def _end_file(self) -> None:
        """Take writes again, and send the end of the stream if `write_eof` was called meanwhile."""
        flow = self._flow
        assert flow is not None
        assert flow.file is not None
        if flow.file.done() and not flow.file.cancelled():
            flow.file.exception()  # whoever waited may have been cancelled before it saw that
        flow.file = None
        if self._eof:
            self._end_if_sent()


def _is_plain(view: memoryview) -> bool:
    """Whether the items of a view are its bytes, one after the other."""
    return view.itemsize == 1 and view.ndim == 1 and view.c_contiguous
