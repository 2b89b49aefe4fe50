# cython: boundscheck=False, wraparound=False
"""DatagramTransport: asyncio's transport for UDP, Unix and other datagram sockets.

The receive in flight (see transports/reading.py) is a multishot one; each of its completions brings
a batch, and the protocol gets the datagrams one by one. An error, such as the answer "port
unreachable" to something sent, goes to `error_received`, and the operation is submitted again: an
endpoint never goes deaf.

Sending is in transports/datagram_sender.py, ending in transports/connection.py. What the protocol
raises is reported and ends nothing: anybody may send a datagram that makes it raise (decision
0017).
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.errors import from_result
from noria.limits import DATAGRAMS_PER_RECEIVE_MAX
from noria.native import calls
from noria.transports.datagram_sender import DatagramSender
from noria.transports.reading import ReceiveOperation

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor
    from noria.loop.core import LoopCore

# Names for the compiler, typed in the .pxd.
_RECEIVE_DATAGRAMS = codes.RECEIVE_DATAGRAMS
_BATCH_MAX = DATAGRAMS_PER_RECEIVE_MAX
_ECANCELED = errno.ECANCELED

_STOPPED = 0
_RECEIVING = 1


class _Kind(asyncio.DatagramTransport, asyncio.Transport):
    """What asyncio's own datagram transport is an instance of."""


class DatagramTransport(DatagramSender):
    """Transport of one datagram socket.

    Args:
        loop: the loop it belongs to.
        descriptor: owner of the socket, which must be non-blocking.
        protocol: gets the events.
        address: the only address to send to, None for any.
        context: context that the protocol is called in; None copies the current one.
    """

    __slots__ = ()

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
        op = ReceiveOperation(self, _RECEIVE_DATAGRAMS, descriptor, self._fd, descriptor.sock)
        op.address = self._endpoint
        op.size = _BATCH_MAX
        op.multishot = True
        self._set_up_reading(op)
        self._descriptor = descriptor
        if address is not None:
            self._target = self._target_of(address)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """asyncio's classes, so that `isinstance` finds them; see loop/handles.py."""
        return _Kind

    # -- receiving --------------------------------------------------------------------------

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

    def _start_receiving(self) -> None:
        self._receiving = _RECEIVING
        if self._loop._engine.submit(self._receive):
            self._receiving = _STOPPED
            self._fatal_error(
                from_result(self._receive.result, "receive", self._fd),
                "Fatal read error on datagram transport",
            )

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
                if self._held is not None:
                    self._held.insert(0, rest)
                else:
                    self._held = [rest]
                    if interrupted:
                        self._loop.call_soon(self._release_held)  # the next run goes on here (L4)
            if self._waiting and not self._blocked and not self._sending:
                self._send_waiting(False)

    def _deliver_held(self, held: Any) -> None:
        if type(held) is list:
            self._deliver_batch(held)
        else:
            self._tell(from_result(held, "receive", self._fd), False)
