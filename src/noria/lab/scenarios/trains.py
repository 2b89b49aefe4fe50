"""Servers of trains of datagrams: one takes them in, the other sends them out.

A train is many datagrams of one length, and behind them a short one that ends it, the tail. What is
in a tail is told in trains.h, on the load generator's side.

The variant `offload` lets the kernel do for many at once what it does for each otherwise, with what
noria's transports have beside asyncio's: `set_receive_coalescing` where trains come in,
`send_segments` where they go out.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import UnableError
from noria.lab.settings import TRAIN_RECEIVE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.lab.scenarios.place import Place

OFFLOAD: Final = "offload"
VARIANTS: Final = frozenset({OFFLOAD})

TAIL_BYTES: Final = 16
_TOLD: Final = struct.Struct("=Q")
_MEASURES: Final = struct.Struct("=II")


class Incoming(asyncio.DatagramProtocol):
    """Counts what comes in, and tells the count whenever a train ends."""

    __slots__ = ("count", "transport")

    transport: Any

    def __init__(self) -> None:
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Count a datagram, or answer a tail. Trains of several clients do not mix."""
        if len(data) == TAIL_BYTES:
            self.transport.sendto(data + _TOLD.pack(self.count), addr)
            self.count = 0
        else:
            self.count += 1


class Outgoing(asyncio.DatagramProtocol):
    """Sends the train that a tail asks for, and the tail behind it."""

    __slots__ = ("measures", "size", "train", "transport", "wagons")

    transport: Any

    def __init__(self) -> None:
        self.measures = b""
        self.size = 0
        self.train = b""
        self.wagons: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send a train."""
        if data[-_MEASURES.size :] != self.measures:
            self.prepare(data[-_MEASURES.size :])
        self.send(addr)
        self.transport.sendto(data, addr)

    def prepare(self, measures: bytes) -> None:
        """Make the train that is asked for from now on."""
        count, self.size = _MEASURES.unpack(measures)
        self.measures = measures
        self.train = train_bytes(count * self.size)
        self.wagons = [
            self.train[at : at + self.size] for at in range(0, len(self.train), self.size)
        ]

    def send(self, addr: Any) -> None:
        """Send it one by one."""
        for wagon in self.wagons:
            self.transport.sendto(wagon, addr)


class SegmentedOutgoing(Outgoing):
    """The same, cut by the kernel."""

    __slots__ = ()

    def send(self, addr: Any) -> None:
        """Send it as one piece."""
        self.transport.send_segments(self.train, self.size, addr)


def train_bytes(count: int) -> bytes:
    """Make the bytes of a train: each is told by its place, as in trains.h."""
    return bytes((place * 2654435761 & 0xFFFFFFFF) >> 24 for place in range(count))


def coalesce(transport: Any) -> bool:
    """Have the kernel hand over trains in one piece; whether it does."""
    return hasattr(transport, "set_receive_coalescing") and transport.set_receive_coalescing(True)


def segments(transport: Any) -> bool:
    """Tell whether the kernel cuts trains."""
    return hasattr(transport, "can_segment") and transport.can_segment()


async def start_incoming(place: Place) -> list[object]:
    """Take trains in. Raises UnableError where loop or kernel lack what it takes."""
    if place.variant == OFFLOAD:
        return await listen(place, Incoming, coalesce)
    return await listen(place, Incoming)


async def start_outgoing(place: Place) -> list[object]:
    """Send trains out. Raises UnableError where loop or kernel lack what it takes."""
    if place.variant == OFFLOAD:
        return await listen(place, SegmentedOutgoing, segments)
    return await listen(place, Outgoing)


async def listen(
    place: Place,
    protocol: Callable[[], asyncio.DatagramProtocol],
    offload: Callable[[Any], bool] | None = None,
) -> list[object]:
    """Bind everywhere in `place`, with the kernel's help where it is asked for; the transports."""
    if place.path:
        raise UnableError("datagrams are measured on UDP only, where clients have addresses")
    loop = asyncio.get_running_loop()
    transports: list[object] = []
    for host in place.hosts:
        transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=(host, 0))
        transports.append(transport)
        if offload is not None and not offload(transport):
            raise UnableError("its loop or this kernel has no offload of datagrams")
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TRAIN_RECEIVE_BYTES)
        name = transport.get_extra_info("sockname")
        place.addresses.append((name[0], name[1]))
    return transports
