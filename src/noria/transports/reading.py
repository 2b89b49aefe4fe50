# cython: boundscheck=False, wraparound=False
"""ReadingConnection: the reading half that stream and datagram transports have in common.

One receive operation is in flight while the protocol wants something. Pausing cancels it; what it
had already collected is held back and delivered first on resuming, and so is what is left when a
protocol pauses or is interrupted halfway. Nothing is lost or doubled by it (T1, L4).

States of reading (`_receiving`): STOPPED - (start) -> RECEIVING - (pause, close) -> CANCELLING -
(completion -ECANCELED) -> STOPPED, or back to RECEIVING when resumed meanwhile.
"""

from __future__ import annotations

from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.core.operation import Operation
from noria.native import calls
from noria.transports.flow_connection import FlowConnection

if TYPE_CHECKING:
    import asyncio

    from noria.core.descriptor import Descriptor

# Names for the compiler, typed in the .pxd.
_STOPPED = 0
_RECEIVING = 1
_CANCELLING = 2


class ReceiveOperation(Operation):
    """The receive of one transport."""

    __slots__ = ("transport",)

    def __init__(
        self, transport: ReadingConnection, code: int, descriptor: Descriptor, fd: int, sock: Any
    ) -> None:
        self._set_up(code, fd, sock)
        self.transport: ReadingConnection | None = transport
        self.descriptor = descriptor
        self.expectant = True

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass a completion on to the transport."""
        transport = self.transport
        if transport is not None:
            transport._on_receive(result, flags, data)

    def absorb(self, result: int) -> bool:
        """Let it end unnoticed once the transport is gone."""
        return self.transport is None


class ReadingConnection(FlowConnection):
    """A connection that is read from."""

    __slots__ = (
        "_buffered",
        "_held",
        "_inner",
        "_paused",
        "_receive",
        "_receiving",
        "_started",
    )

    def _set_up_reading(self, receive: ReceiveOperation) -> None:
        """Do what `__init__` does; see `_set_up`."""
        self._receive = receive
        self._held: list[Any] | None = None
        self._paused = False
        self._started = False
        self._receiving = _STOPPED
        self._buffered = False
        self._inner = False

    # -- what a transport adds --------------------------------------------------------------

    def _start_receiving(self) -> None:
        """Submit the receive."""
        raise NotImplementedError

    def _on_receive(self, result: int, flags: int, data: Any) -> None:
        """Take one completion of the receive."""
        raise NotImplementedError

    def _deliver_held(self, held: Any) -> None:
        """Deliver what `_hold` was given once."""
        raise NotImplementedError

    # -- starting ---------------------------------------------------------------------------

    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None:
        """Call `connection_made`, begin to read, release the waiter; once, from the loop."""
        exc = calls.try_method_in_context(self._context, self._protocol, "connection_made", self)
        if exc is not None:
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                self._loop.call_soon(self._begin, waiter)  # the next run goes on here (L4)
                raise exc
            self._report(exc, "Exception in protocol.connection_made()")
        self._begin(waiter)

    def _begin(self, waiter: asyncio.Future[Any] | None) -> None:
        self._started = True
        if self._paused and not self._closing:
            self._start_receiving()  # so that the engine knows whose descriptor it is
            self._stop_receiving()
        self._receive_on()
        if waiter is not None and not waiter.cancelled():
            waiter.set_result(None)

    # -- ending -----------------------------------------------------------------------------

    def _release(self) -> None:
        self._receive.transport = None
        self._held = None
        FlowConnection._release(self)

    def _state(self) -> list[str]:
        reading = "polling" if self._receiving == _RECEIVING else "idle"
        return [f"read={reading}"]

    # -- reading ----------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol may be given what comes in now."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Give the protocol nothing more until `resume_reading`. Idempotent."""
        if self._closing or self._paused:
            return
        self._paused = True
        self._stop_receiving()
        if self._loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Go on to give the protocol what comes in. Idempotent."""
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._loop._debug:
            logger.debug("%r resumes reading", self)
        if self._held is not None:
            self._loop.call_soon(self._release_held)
        elif self._started:
            self._receive_on()

    def _receive_on(self) -> None:
        """Begin or go on to receive, unless something speaks against it."""
        if not (
            self._paused
            or self._closing
            or self._receiving != _STOPPED
            or self._receive.transport is None  # nothing more comes
        ):
            self._start_receiving()

    def _stop_receiving(self) -> None:
        if self._receiving == _RECEIVING:
            self._receiving = _CANCELLING
            self._loop._engine.cancel(self._receive)

    def _hold(self, data: Any) -> None:
        if self._held is None:
            self._held = []
        self._held.append(data)

    def _release_held(self) -> None:
        """Deliver what came in after a pause, as far as the protocol lets it."""
        try:
            while self._held and not self._paused and not self._closing:
                self._deliver_held(self._held.pop(0))
        except (SystemExit, KeyboardInterrupt):
            self._loop.call_soon(self._release_held)  # the next run goes on here (L4)
            raise
        if not self._held:
            self._held = None
            self._receive_on()
