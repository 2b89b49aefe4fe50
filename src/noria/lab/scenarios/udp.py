"""An asyncio.DatagramProtocol that sends each datagram back to where it came from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from noria.lab.errors import UnableError

if TYPE_CHECKING:
    from noria.lab.scenarios.place import Place


class EchoProtocol(asyncio.DatagramProtocol):
    """The least a server of datagrams can do: one call in, one call out."""

    __slots__ = ("transport",)

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send back what came."""
        self.transport.sendto(data, addr)


async def start(place: Place) -> list[object]:
    """Bind everywhere in `place`; return the transports. Raises UnableError on a Unix path."""
    if place.path:
        raise UnableError("datagrams are measured on UDP only, where clients have addresses")
    loop = asyncio.get_running_loop()
    transports = []
    for host in place.hosts:
        transport, _ = await loop.create_datagram_endpoint(EchoProtocol, local_addr=(host, 0))
        name = transport.get_extra_info("sockname")
        place.addresses.append((name[0], name[1]))
        transports.append(transport)
    return list(transports)
