"""Transports of pipes, and of what is read and written like one: sockets and character devices.

Readiness and an attempt: one expectant wait is in flight while the transport wants to read, or has
something to write, and the attempt is made here. So a pipe needs nothing of an engine but waiting,
and all engines do that alike. Pausing takes nothing back: news that come while reading is paused
are noted, and no more asked for.

A pipe of the user is duplicated, so that its number stays ours whatever the user does with the
object, and the object is closed when the transport is (D1, D3). A process's own pipes are not: no
one else has them.

A write pipe also waits to be readable. A pipe whose reader is gone reports an error, and a socket
the end of the stream; both show as readability.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
import warnings
from asyncio import protocols
from asyncio.log import logger
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from noria.core.codes import WAIT_READABLE, WAIT_WRITABLE
from noria.core.descriptor import Descriptor
from noria.core.operation import Operation
from noria.errors import from_result
from noria.limits import PIPE_READ_BYTES, WRITES_AFTER_LOSS_LOGGED
from noria.native import calls
from noria.native import pipes as native
from noria.transports.flow import WriteFlow

if TYPE_CHECKING:
    from contextvars import Context

    from noria.loop.core import LoopCore

_TELLS_WRITERS = not sys.platform.startswith("aix")
"""Whether a pipe becomes readable for its writer when the reader has gone."""


class PipeWait(Operation):
    """A transport's wait for news of its descriptor.

    Attributes:
        transport: who waits; None once it has ended.
        waiting: submitted, and its completion has not been delivered yet.
    """

    __slots__ = ("transport", "waiting")

    def __init__(self, code: int, transport: PipeTransport) -> None:
        Operation.__init__(self, code, transport._fd)
        self.descriptor = transport._descriptor
        self.expectant = True
        self.transport: PipeTransport | None = transport
        self.waiting = False

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass the completion on to the transport."""
        self.waiting = False
        transport = self.transport
        if transport is not None:
            transport._on_news(self, result)

    def absorb(self, result: int) -> bool:
        """Let it end unnoticed once the transport is gone."""
        return self.transport is None


class PipeTransport(asyncio.BaseTransport):
    """One end of a pipe, its protocol, and its end; what reading and writing have in common.

    Args:
        loop: the loop it belongs to.
        descriptor: owner of the number, which must be non-blocking.
        pipe: the file object, closed with the transport.
        protocol: gets the events.
        extra: entries for `get_extra_info`.
        context: context that the protocol is called in; None copies the current one.
    """

    if TYPE_CHECKING:
        _extra: dict[str, Any]

    def __init__(
        self,
        loop: LoopCore,
        descriptor: Descriptor,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        extra: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        self._descriptor: Descriptor | None = None  # until all else has succeeded: see __del__
        super().__init__(extra)
        self._extra["pipe"] = pipe
        self._loop = loop
        self._fd = descriptor.fd
        self._pipe = pipe
        self._protocol: Any = protocol
        self._context = copy_context() if context is None else context
        self._started = False
        self._closing = False
        self._lost = False
        self._descriptor = descriptor
        self._readable = PipeWait(WAIT_READABLE, self)

    # -- starting ---------------------------------------------------------------------------

    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None:
        """Call `connection_made`, begin, release the waiter; once, from the loop."""
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            self._loop.call_soon(self._begin, waiter)  # the next run goes on here (L4)
            raise
        except BaseException as exc:
            self._report(exc, "Exception in protocol.connection_made()")
        self._begin(waiter)

    def _begin(self, waiter: asyncio.Future[Any] | None = None) -> None:
        self._started = True
        if self._descriptor is not None and not self._closing:
            self._wait_for_peer()
        if waiter is not None and not waiter.cancelled():
            waiter.set_result(None)

    def _wait_for_peer(self) -> None:
        """Begin to wait for what the peer does."""
        raise NotImplementedError

    # -- waiting ----------------------------------------------------------------------------

    def _wait(self, op: PipeWait) -> None:
        if op.waiting or self._descriptor is None:
            return
        op.waiting = True
        if self._loop.submit_operation(op):
            # In the next turn, as if it had been news. A device that cannot be watched, such as
            # /dev/null, is always ready.
            result = 0 if op.result == -errno.EPERM else op.result
            self._loop.call_soon(op.deliver, result, 0, None)

    def _on_news(self, op: PipeWait, result: int) -> None:
        """Take the completion of a wait."""
        raise NotImplementedError

    # -- the protocol -----------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the current protocol; None after the connection is lost."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": message,
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    # -- ending -----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._closing

    def _fatal_error(
        self, exc: BaseException, message: str = "Fatal error on pipe transport"
    ) -> None:
        if self._is_ordinary(exc):
            if self._loop._debug:
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            self._report(exc, message)
        self._close(exc)

    def _is_ordinary(self, exc: BaseException) -> bool:
        """Whether it is a way in which such a pipe ends, and nothing to report."""
        raise NotImplementedError

    def _close(self, exc: BaseException | None = None) -> None:
        """End without further ado; the protocol is told from the loop, once (T5)."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._lose, exc, context=self._context)

    def _lose(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._release()

    def _release(self) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            return
        self._descriptor = None
        self._closing = True
        self._lost = True
        self._protocol = None
        self._end_waits()
        self._loop.forget(self._fd)
        pipe = self._pipe
        self._pipe = None
        try:
            descriptor.close()
        finally:
            if pipe is not None:
                pipe.close()

    def _look(self) -> None:
        """Take news of the peer now, without waiting for the engine to tell."""
        raise NotImplementedError

    def _end_waits(self) -> None:
        self._readable.transport = None

    def __del__(self) -> None:
        """Warn of a transport that nobody closed, and close its pipe."""
        if self._descriptor is None:
            return
        warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
        self._release()

    # -- information ------------------------------------------------------------------------

    def _state(self) -> list[str]:
        """Words for `repr` while the pipe is open."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """State, descriptor and buffer, for logs."""
        info = [type(self).__name__]
        if self._descriptor is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._fd}")
        if self._descriptor is not None:
            info += ["open"] if self._loop._closed else self._state()
        return f"<{' '.join(info)}>"


class ReadPipeTransport(PipeTransport, asyncio.ReadTransport):
    """The end of a pipe that is read from. Arguments are those of PipeTransport."""

    _paused = False

    def close(self) -> None:
        """Close the pipe; what has not been read is lost. Idempotent."""
        if not self._closing:
            self._close(None)

    # -- reading ----------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol may get data now."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Stop `data_received` calls until `resume_reading`. Idempotent."""
        if not self.is_reading():
            return
        self._paused = True
        if self._loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Let data come again. Idempotent."""
        if self._closing or not self._paused:
            return
        self._paused = False
        self._wait_for_peer()
        if self._loop._debug:
            logger.debug("%r resumes reading", self)

    def _wait_for_peer(self) -> None:
        if self._started and self.is_reading():
            self._wait(self._readable)

    def _on_news(self, op: PipeWait, result: int) -> None:
        if self._paused or self._closing:
            return  # resuming waits anew
        if result < 0:
            self._read_failed(result)
            return
        try:
            self._read()
        finally:  # also when the protocol was interrupted (L4)
            if not self._paused and not self._closing:
                self._wait(op)

    def _read(self) -> bool:
        """Read once and deliver; whether there was something."""
        data: Any = native.read(self._fd, PIPE_READ_BYTES)
        if type(data) is int:
            if data != -errno.EAGAIN:
                self._read_failed(data)
            return False
        if not data:
            self._on_eof()
            return False
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            feed = protocols._feed_data_to_buffered_proto  # type: ignore[attr-defined]
            exc = calls.try_in_context(self._context, feed, (protocol, data))
        else:
            exc = calls.try_method_in_context(self._context, protocol, "data_received", data)
        if exc is not None:
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                raise exc
            self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")
        return True

    def _read_failed(self, result: int) -> None:
        exc = from_result(result, "read", self._fd)
        self._fatal_error(exc, "Fatal read error on pipe transport")

    def _on_eof(self) -> None:
        if self._loop._debug:
            logger.info("%r was closed by peer", self)
        self._closing = True
        self._loop.call_soon(self._protocol.eof_received, context=self._context)
        self._close(None)

    def _look(self) -> None:
        """Read what is there already, and the end."""
        while self._started and self.is_reading() and self._read():
            pass

    # -- ending -----------------------------------------------------------------------------

    def _is_ordinary(self, exc: BaseException) -> bool:
        # What a terminal answers when its other end has been closed.
        return isinstance(exc, OSError) and exc.errno == errno.EIO

    def _state(self) -> list[str]:
        return ["polling" if self._readable.waiting and not self._paused else "idle"]


class WritePipeTransport(PipeTransport, asyncio.WriteTransport):
    """The end of a pipe that is written to. Arguments are those of PipeTransport."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._flow = WriteFlow()
        self._writable = PipeWait(WAIT_WRITABLE, self)
        self._writes_lost = 0

    # -- writing ----------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write data; never waits. What cannot be written at once is kept.

        Args:
            data: the bytes; a mutable buffer may be changed as soon as this returns.

        Raises:
            TypeError: not bytes, bytearray or memoryview.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if isinstance(data, memoryview):
            data = data.cast("B") if data.c_contiguous else memoryview(data.tobytes())
        if not data:
            return
        if self._closing:
            self._write_after_loss()
            return
        taken = 0
        if not self._flow.size:
            taken = native.write(self._fd, data, 0)
            if taken == len(data):
                return
            if taken < 0:
                if taken != -errno.EAGAIN:
                    self._write_failed(taken)
                    return
                taken = 0
        self._flow.add(bytes(data), taken)
        self._wait(self._writable)
        self._maybe_pause_protocol()

    def _write_after_loss(self) -> None:
        if self._writes_lost >= WRITES_AFTER_LOSS_LOGGED:
            logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")
        self._writes_lost += 1

    def _write_failed(self, result: int) -> None:
        self._writes_lost += 1
        exc = from_result(result, "write", self._fd)
        self._fatal_error(exc, "Fatal write error on pipe transport")

    def _write_more(self) -> None:
        """Write from the flow what the pipe takes."""
        flow = self._flow
        taken = native.write_vector(self._fd, flow.vector(), flow.offset)
        if taken < 0 and taken != -errno.EAGAIN:
            self._write_failed(taken)
            return
        if taken > 0:
            flow.consume(taken)
        try:
            self._maybe_resume_protocol()
        finally:  # also when the protocol was interrupted (L4)
            if flow.size:
                self._wait(self._writable)
            elif self._closing:
                self._close(None)

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: it does."""
        return True

    def write_eof(self) -> None:
        """Close the pipe after what is buffered. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if not self._flow.size:
            self._close(None)

    def close(self) -> None:
        """Close the pipe after what is buffered. Idempotent."""
        self.write_eof()

    def abort(self) -> None:
        """Close the pipe without writing what is buffered."""
        self._close(None)

    # -- the reader -------------------------------------------------------------------------

    def _wait_for_peer(self) -> None:
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISSOCK(mode) or (stat.S_ISFIFO(mode) and _TELLS_WRITERS):
            self._wait(self._readable)

    def _on_news(self, op: PipeWait, result: int) -> None:
        if self._lost:
            return
        if op is self._readable:
            if result >= 0:
                self._on_reader_gone()
        elif result < 0:
            self._write_failed(result)
        elif self._flow.size:
            self._write_more()

    def _on_reader_gone(self) -> None:
        if self._loop._debug:
            logger.info("%r was closed by peer", self)
        self._close(BrokenPipeError() if self._flow.size else None)

    def _look(self) -> None:
        """Close if the reader is gone."""
        if self._started and not self._lost and _is_broken(self._fd):
            self._on_reader_gone()

    # -- ending -----------------------------------------------------------------------------

    def _is_ordinary(self, exc: BaseException) -> bool:
        return isinstance(exc, OSError)

    def _close(self, exc: BaseException | None = None) -> None:
        self._flow.clear()
        super()._close(exc)

    def _end_waits(self) -> None:
        super()._end_waits()
        self._writable.transport = None

    def _state(self) -> list[str]:
        state = "polling" if self._writable.waiting else "idle"
        return [state, f"bufsize={self._flow.size}"]

    # -- flow control -----------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be written."""
        return self._flow.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high water mark, in bytes."""
        return self._flow.low, self._flow.high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks of the write buffer.

        Args:
            high: `pause_writing` is called above it; default 64 KiB, or four times `low`.
            low: `resume_writing` is called at or below it; default a quarter of `high`.

        Raises:
            ValueError: not high >= low >= 0.
        """
        self._flow.set_limits(high, low)
        self._maybe_pause_protocol()

    def _maybe_pause_protocol(self) -> None:
        flow = self._flow
        if flow.size > flow.high and not flow.paused:
            flow.paused = True
            self._call_flow_method("pause_writing")

    def _maybe_resume_protocol(self) -> None:
        flow = self._flow
        if flow.paused and flow.size <= flow.low:
            flow.paused = False
            self._call_flow_method("resume_writing")

    def _call_flow_method(self, name: str) -> None:
        # In the caller's context, as asyncio does: pausing happens inside the caller's write().
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, f"protocol.{name}() failed")


def _is_broken(fd: int) -> bool:
    """Whether the reader of a pipe has gone, so that every write would fail."""
    import select  # noqa: PLC0415 - needed when a process has ended, and not everywhere

    if not hasattr(select, "poll"):
        return False  # the engine will tell
    asked = select.poll()
    asked.register(fd, 0)
    return bool(asked.poll(0))


def check_pipe(pipe: Any, *, writes: bool) -> int:
    """Tell the number of what can be a pipe.

    Raises:
        ValueError: it is none: a regular file, a directory, ...
    """
    fd: int = pipe.fileno()
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        if writes:
            raise ValueError("Pipe transport is only for pipes, sockets and character devices")
        raise ValueError("Pipe transport is for pipes/sockets only.")
    return fd


def own_copy(fd: int) -> Descriptor:
    """Duplicate a number (F_DUPFD_CLOEXEC, fcntl(2)); non-blocking, as the user's is from now on.

    Raises:
        OSError: there is no number left (EMFILE).
    """
    descriptor = Descriptor(os.dup(fd))
    try:
        set_nonblocking(descriptor.fd)
    except BaseException:
        descriptor.close()
        raise
    return descriptor


def set_nonblocking(fd: int) -> None:
    """Have reads and writes of an open file answer EAGAIN rather than wait (fcntl(2))."""
    system: Any = os  # a matter of Unix
    system.set_blocking(fd, False)
