# cython: boundscheck=False, wraparound=False
"""Transports of pipes, and of what is read and written like one: sockets and character devices.

Readiness and an attempt: one expectant wait is in flight while the transport wants to read, or has
something to write, and the attempt is made here. So a pipe needs nothing of an engine but waiting,
and all engines do that alike. Pausing takes nothing back: news that come while reading is paused
are noted, and no more asked for.

A pipe of the user is duplicated, so that its number stays ours whatever the user does with the
object, and the object is closed when the transport is (D1, D3). A process's own pipes are not: no
one else has them.

Writing is in transports/pipe_writing.py.
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
from typing import TYPE_CHECKING, Any

from noria.core.codes import WAIT_READABLE
from noria.core.descriptor import Descriptor
from noria.core.operation import Operation
from noria.errors import from_result
from noria.limits import (
    PIPE_DEFAULT_BYTES,
    PIPE_GROWN_BYTES,
    PIPE_LAST_READS_MAX,
    PIPE_READ_BYTES,
    PIPE_SMALL_BYTES,
)
from noria.native import calls
from noria.native import pipes as native
from noria.transports.base import BaseTransport

if TYPE_CHECKING:
    from contextvars import Context

    from noria.loop.core import LoopCore

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_READ_BYTES = PIPE_READ_BYTES
_SMALL_BYTES = PIPE_SMALL_BYTES
_DEFAULT_BYTES = PIPE_DEFAULT_BYTES

_BufferedProtocol = asyncio.BufferedProtocol


class PipeWait(Operation):
    """A transport's wait for news of its descriptor.

    Attributes:
        transport: who waits; None once it has ended.
        waiting: submitted, and its completion has not been delivered yet.
    """

    __slots__ = ("transport", "waiting")

    def __init__(self, code: int, transport: PipeTransport) -> None:
        self._set_up(code, transport._fd, None)
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


class PipeTransport(BaseTransport):
    """One end of a pipe, its protocol, and its end; what reading and writing have in common.

    Args:
        loop: the loop it belongs to.
        descriptor: owner of the number, which must be non-blocking.
        pipe: the file object, closed with the transport.
        protocol: gets the events.
        extra: entries for `get_extra_info`.
        context: context that the protocol is called in; None copies the current one.

    Attributes:
        _grows: nobody else has the pipe, and it may be made to hold more.
    """

    __slots__ = (
        "_closing",
        "_descriptor",
        "_extra",
        "_fd",
        "_grows",
        "_lost",
        "_pipe",
        "_readable",
        "_started",
    )

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
        self._extra = {} if extra is None else extra
        self._extra["pipe"] = pipe
        self._loop = loop
        self._fd = descriptor.fd
        self._pipe = pipe
        self._protocol = protocol
        self._context = calls.copy_context() if context is None else context
        self._started = False
        self._closing = False
        self._lost = False
        self._grows = False
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
        if self._loop.submit(op):
            # In the next turn, as if it had been news. A device that cannot be watched, such as
            # /dev/null, is always ready.
            result = 0 if op.result == -errno.EPERM else op.result
            self._loop.call_soon(op.deliver, result, 0, None)

    def _on_news(self, op: PipeWait, result: int) -> None:
        """Take the completion of a wait."""
        raise NotImplementedError

    def _grow(self) -> None:
        """Have the pipe hold more, once: what is larger costs a turn for each time it is full."""
        self._grows = False
        hold_more(self._fd)

    # -- ending -----------------------------------------------------------------------------

    def close(self) -> None:
        """Close the pipe. Idempotent."""
        raise NotImplementedError

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._closing

    def _force_close(self, exc: BaseException | None) -> None:
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

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give what is known of the connection: `pipe`, the file object, or an extra entry."""
        return self._extra.get(name, default)

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


class ReadPipeTransport(PipeTransport):
    """The end of a pipe that is read from. Arguments are those of PipeTransport."""

    __slots__ = ("_paused", "_small")

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self._paused = False
        self._small = False  # the last read brought little, so the next may as well
        PipeTransport.__init__(self, *args, **keywords)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it; see loop/handles.py."""
        return asyncio.ReadTransport

    def close(self) -> None:
        """Close the pipe; what has not been read is lost. Idempotent."""
        if not self._closing:
            self._force_close(None)

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
            if self.is_reading():
                self._wait(op)

    def _read(self) -> bool:
        """Read once and deliver; whether there was something."""
        data: Any = native.read(self._fd, _READ_BYTES, self._small)
        if type(data) is int:
            if data != -_EAGAIN:
                self._read_failed(data)
            return False
        if not data:
            self._on_eof()
            return False
        size = len(data)
        self._small = size < _SMALL_BYTES
        if self._grows and size >= _DEFAULT_BYTES:
            self._grow()
        protocol = self._protocol
        if isinstance(protocol, _BufferedProtocol):
            feed = protocols._feed_data_to_buffered_proto  # type: ignore[attr-defined]
            exc = calls.try_in_context(self._context, feed, (protocol, data))
        else:
            exc = calls.try_method_in_context(self._context, protocol, "data_received", data)
        if exc is not None:
            self._user_error(exc, "Fatal error: protocol.data_received() call failed.")
        return True

    def _read_failed(self, result: int) -> None:
        exc = from_result(result, "read", self._fd)
        self._fatal_error(exc, "Fatal read error on pipe transport")

    def _on_eof(self) -> None:
        if self._loop._debug:
            logger.info("%r was closed by peer", self)
        self._closing = True
        self._loop.call_soon(self._protocol.eof_received, context=self._context)
        self._force_close(None)

    def _look(self) -> None:
        """Read what is there already, and the end."""
        reads_left = PIPE_LAST_READS_MAX
        while reads_left and self._started and self.is_reading() and self._read():
            reads_left -= 1

    # -- ending -----------------------------------------------------------------------------

    def _is_ordinary(self, exc: BaseException) -> bool:
        # What a terminal answers when its other end has been closed.
        return isinstance(exc, OSError) and exc.errno == errno.EIO

    def _state(self) -> list[str]:
        return ["polling" if self._readable.waiting and not self._paused else "idle"]


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


def hold_more(fd: int) -> None:
    """Have a pipe hold PIPE_GROWN_BYTES (F_SETPIPE_SZ, fcntl(2)), where that is allowed."""
    if sys.platform != "linux":
        return
    import fcntl  # noqa: PLC0415 - absent on Windows

    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_GROWN_BYTES)
    except OSError:
        pass  # the user has as many pages in pipes as he may, and this goes on as it is
