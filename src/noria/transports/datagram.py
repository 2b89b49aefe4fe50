# cython: boundscheck=False, wraparound=False
"""DatagramTransport: asyncio's transport for UDP, Unix and other datagram sockets.

Receiving. One multishot operation is in flight while the protocol wants datagrams; each of its
completions brings a batch. The protocol gets them one by one. What is left when it pauses or is
interrupted is held back and delivered first later on, so no datagram is lost or doubled by it (L4).
An error, such as the answer "port unreachable" to something sent, goes to `error_received`, and the
operation is submitted again: an endpoint never goes deaf.

Sending is in transports/datagram_sender.py, ending in transports/connection.py. States of receiving
are those of transports/stream.py. What the protocol raises is reported and ends nothing: anybody
may send a datagram that makes it raise (decision 0017).
"""

from __future__ import annotations

import asyncio
import errno
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.operation import Operation
from noria.errors import from_result
from noria.limits import DATAGRAMS_PER_RECEIVE_MAX
from noria.native import calls
from noria.transports.datagram_sender import DatagramSender

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor
    from noria.loop.core import LoopCore

# Names for the compiler, typed in the .pxd.
_RECEIVE_DATAGRAMS = codes.RECEIVE_DATAGRAMS
_BATCH_MAX = DATAGRAMS_PER_RECEIVE_MAX
_ECANCELED = errno.ECANCELED

_STOPPED = 0
_RECEIVING = 1
_CANCELLING = 2


class _Kind(asyncio.DatagramTransport, asyncio.Transport):
    """What asyncio's own datagram transport is an instance of."""


class ReceiveDatagrams(Operation):
    """The receive of one endpoint."""

    __slots__ = ("transport",)

    if TYPE_CHECKING:
        transport: DatagramTransport | None

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass a completion on to the transport."""
        transport = self.transport
        if transport is not None:
            transport._on_receive(result, flags, data)

    def absorb(self, result: int) -> bool:
        """Let it end unnoticed once the transport is gone."""
        return self.transport is None


class DatagramTransport(DatagramSender):
    """Transport of one datagram socket.

    Args:
        loop: the loop it belongs to.
        descriptor: owner of the socket, which must be non-blocking.
        protocol: gets the events.
        address: the only address to send to, None for any.
        context: context that the protocol is called in; None copies the current one.
    """

    __slots__ = ("_held", "_paused", "_receive", "_receiving", "_started")

    def __init__(
        self,
        loop: LoopCore,
        descriptor: Descriptor,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        context: Any = None,
    ) -> None:
        self._set_up(loop, descriptor, None, None, None, context)
        self._set_up_sending(descriptor, address)
        self._protocol = protocol
        self._held: list[Any] | None = None
        self._paused = False
        self._started = False
        self._receiving = _STOPPED
        op = ReceiveDatagrams(_RECEIVE_DATAGRAMS, self._fd, descriptor.sock)
        op.transport = self
        op.descriptor = descriptor
        op.address = self._endpoint
        op.size = _BATCH_MAX
        op.multishot = True
        op.expectant = True
        self._receive = op
        self._descriptor = descriptor
        if address is not None:
            self._target = self._target_of(address)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's classes, so that `isinstance` finds them; see loop/handles.py."""
        return _Kind

    # -- starting ---------------------------------------------------------------------------

    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None:
        """Call `connection_made`, begin to receive, release the waiter; once, from the loop."""
        exc = calls.try_method_in_context(self._context, self._protocol, "connection_made", self)
        if exc is not None:
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                self._loop.call_soon(self._begin, waiter)  # the next run goes on here (L4)
            self._protocol_raised(exc, "connection_made")
        self._begin(waiter)

    def _begin(self, waiter: asyncio.Future[Any] | None) -> None:
        self._started = True
        if self._paused and not self._closing:
            self._start_receiving()  # so that the engine knows whose descriptor it is
            self._stop_receiving()
        self._receive_on()
        if waiter is not None and not waiter.cancelled():
            waiter.set_result(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._protocol = protocol

    # -- ending -----------------------------------------------------------------------------

    def _release(self) -> None:
        self._receive.transport = None
        self._held = None
        DatagramSender._release(self)

    def _state(self) -> list[str]:
        reading = "polling" if self._receiving == _RECEIVING else "idle"
        return [f"read={reading}", *DatagramSender._state(self)]

    # -- receiving --------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol may get datagrams now."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Stop `datagram_received` calls until `resume_reading`. Idempotent."""
        if self._closing or self._paused:
            return
        self._paused = True
        self._stop_receiving()
        if self._loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Let datagrams come again. Idempotent."""
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._loop._debug:
            logger.debug("%r resumes reading", self)
        if self._held is not None:
            self._loop.call_soon(self._release_held)
        elif self._started:
            self._receive_on()

    def set_receive_coalescing(self, enabled: bool) -> bool:
        """Let the kernel hand over datagrams of one sender in one piece (UDP_GRO, udp(7)).

        The protocol still gets each for itself. It saves CPU time where long trains of datagrams of
        equal length arrive.

        Args:
            enabled: switch it on or off.

        Returns:
            Whether it is on now; False where the kernel (before Linux 5.0), the system or the kind
            of socket does not have it.
        """
        descriptor = self._descriptor
        if descriptor is None:
            return False
        result = self._endpoint.coalesce(self._fd, descriptor.sock, enabled)
        return bool(enabled) and result == 0

    def _receive_on(self) -> None:
        """Begin or go on to receive, unless something speaks against it."""
        if (
            not (self._paused or self._closing)
            and self._receiving == _STOPPED
            and self._receive.transport is not None
        ):
            self._start_receiving()

    def _start_receiving(self) -> None:
        self._receiving = _RECEIVING
        if self._loop.submit(self._receive):
            self._receiving = _STOPPED
            self._fatal_error(
                from_result(self._receive.result, "receive", self._fd),
                "Fatal read error on datagram transport",
            )

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
                self._deliver_batch(data)
            return
        self._receiving = _STOPPED
        if result == -_ECANCELED:
            if self._held is None:
                self._receive_on()
        elif self._closing:
            pass
        elif self._paused or self._held is not None:
            self._hold(result)
        else:
            try:
                self._tell(from_result(result, "receive", self._fd), False)
            finally:
                self._receive_on()  # also when it was interrupted (L4)

    def _deliver_batch(self, batch: list[Any]) -> None:
        """Give a batch to the protocol, and send what it has sent meanwhile."""
        count = len(batch)
        position = 0
        interrupted = True
        try:
            while position < count and not self._closing and not self._paused:
                position += 2
                # What the last one sends need not wait for others.
                self._collecting = position < count
                exc = calls.try_method_two_in_context(
                    self._context,
                    self._protocol,
                    "datagram_received",
                    batch[position - 2],
                    batch[position - 1],
                )
                if exc is not None:
                    self._protocol_raised(exc, "datagram_received")
            interrupted = False
        finally:
            self._collecting = False
            if position < count and not self._closing:
                rest = batch[position:]
                self._held = [rest] if self._held is None else [rest, *self._held]
            if interrupted and self._held is not None:
                self._loop.call_soon(self._release_held)  # the next run goes on here (L4)
            if self._waiting and not self._blocked and not self._sending:
                self._send_waiting(False)

    def _hold(self, data: Any) -> None:
        if self._held is None:
            self._held = []
        self._held.append(data)

    def _release_held(self) -> None:
        """Deliver what came in after a pause, as far as the protocol lets it."""
        while self._held and not self._paused and not self._closing:
            held = self._held.pop(0)
            if type(held) is list:
                self._deliver_batch(held)
                continue
            try:
                self._tell(from_result(held, "receive", self._fd), False)
            except (SystemExit, KeyboardInterrupt):
                self._loop.call_soon(self._release_held)  # the next run goes on here (L4)
                raise
        if not self._held:
            self._held = None
            self._receive_on()
