# cython: boundscheck=False, wraparound=False
"""FlowConnection: a connection whose protocol is paused while too much waits to be sent (T3)."""

from __future__ import annotations

from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.limits import WRITES_AFTER_LOSS_LOGGED
from noria.transports.connection import Connection
from noria.transports.flow import WriteFlow

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor
    from noria.loop.core import LoopCore

# Name for the compiler, typed in the .pxd.
_LOSSES_LOGGED = WRITES_AFTER_LOSS_LOGGED


class FlowConnection(Connection):
    """A connection with water marks."""

    __slots__ = ("_flow",)

    def _set_up(
        self,
        loop: LoopCore,
        descriptor: Descriptor,
        peer: Any,
        extra: dict[str, Any] | None,
        server: Any,
        context: Any,
    ) -> None:
        Connection._set_up(self, loop, descriptor, peer, extra, server, context)
        self._flow: WriteFlow | None = None

    @property
    def _protocol_paused(self) -> bool:
        """Whether `pause_writing` was called last; asked by layers put over it later on."""
        return self._flow is not None and bool(self._flow.paused)

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
        flow = self._make_flow()
        flow.set_limits(high, low)
        self._maybe_pause_protocol(flow)

    def _maybe_pause_protocol(self, flow: WriteFlow) -> None:
        if not flow.paused and flow.size > flow.high:
            self._pause_protocol(flow)

    def _maybe_resume_protocol(self, flow: WriteFlow) -> None:
        if flow.paused and flow.size <= flow.low:
            self._resume_protocol(flow)

    def _make_flow(self) -> WriteFlow:
        flow = self._flow
        if flow is None:
            flow = WriteFlow()
            self._flow = flow
        return flow

    def _write_after_loss(self) -> None:
        if self._lost >= _LOSSES_LOGGED:
            logger.warning("socket.send() raised exception.")
        else:
            self._lost += 1
