# cython: boundscheck=False, wraparound=False
"""WritePipeTransport: the end of a pipe that is written to.

An idle transport writes at once (T2). What the pipe does not take waits in a WriteFlow and goes out
vectored.

The transport also waits for its descriptor to be readable. A pipe whose reader is gone reports an
error, and a socket the end of the stream; both show as readability.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import stat
import sys
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.core.codes import WAIT_WRITABLE
from noria.errors import from_result
from noria.limits import PIPE_DEFAULT_BYTES, WRITES_AFTER_LOSS_LOGGED
from noria.native import pipes as native
from noria.transports.flow import WriteFlow
from noria.transports.pipe import PipeTransport, PipeWait

if TYPE_CHECKING:
    from collections.abc import Iterable

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_LOSSES_LOGGED = WRITES_AFTER_LOSS_LOGGED
_DEFAULT_BYTES = PIPE_DEFAULT_BYTES

_TELLS_WRITERS = not sys.platform.startswith("aix")
"""Whether a pipe becomes readable for its writer when the reader has gone."""


class WritePipeTransport(PipeTransport):
    """The end of a pipe that is written to. Arguments are those of PipeTransport."""

    __slots__ = ("_flow", "_writable", "_writes_lost")

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's class, so that `isinstance` finds it; see loop/handles.py."""
        return asyncio.WriteTransport

    def __init__(self, *args: Any, **keywords: Any) -> None:
        PipeTransport.__init__(self, *args, **keywords)
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
            self._loop._engine.acted = True
            taken = native.write(self._fd, data, 0)
            if taken == len(data):
                return
            if taken < 0:
                if taken != -_EAGAIN:
                    self._write_failed(taken)
                    return
                taken = 0
        if self._grows and len(data) > _DEFAULT_BYTES:
            self._grow()
        self._flow.add(bytes(data), taken)
        self._wait(self._writable)
        self._maybe_pause_protocol()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several pieces of data as `write` does one."""
        self.write(b"".join(list_of_data))

    def _write_after_loss(self) -> None:
        if self._writes_lost >= _LOSSES_LOGGED:
            logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")
        self._writes_lost += 1

    def _write_failed(self, result: int) -> None:
        self._writes_lost += 1
        exc = from_result(result, "write", self._fd)
        self._fatal_error(exc, "Fatal write error on pipe transport")

    def _write_more(self) -> None:
        """Write from the flow what the pipe takes."""
        flow = self._flow
        self._loop._engine.acted = True
        taken = native.write_vector(self._fd, flow.vector(), flow.offset)
        if taken < 0 and taken != -_EAGAIN:
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
                self._force_close(None)

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: it does."""
        return True

    def write_eof(self) -> None:
        """Close the pipe after what is buffered. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if not self._flow.size:
            self._force_close(None)

    def close(self) -> None:
        """Close the pipe after what is buffered. Idempotent."""
        self.write_eof()

    def abort(self) -> None:
        """Close the pipe without writing what is buffered."""
        self._force_close(None)

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
        self._force_close(BrokenPipeError() if self._flow.size else None)

    def _look(self) -> None:
        """Close if the reader is gone."""
        if self._started and not self._lost and _is_broken(self._fd):
            self._on_reader_gone()

    # -- ending -----------------------------------------------------------------------------

    def _force_close(self, exc: BaseException | None) -> None:
        self._flow.clear()
        PipeTransport._force_close(self, exc)

    def _end_waits(self) -> None:
        PipeTransport._end_waits(self)
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
        if not flow.paused and flow.size > flow.high:
            self._pause_protocol(flow)

    def _maybe_resume_protocol(self) -> None:
        flow = self._flow
        if flow.paused and flow.size <= flow.low:
            self._resume_protocol(flow)


def _is_broken(fd: int) -> bool:
    """Whether the reader of a pipe has gone, so that every write would fail."""
    if not hasattr(select, "poll"):
        return False  # the engine will tell
    asked = select.poll()
    asked.register(fd, 0)
    return bool(asked.poll(0))
