"""A plain asyncio.Protocol, or a BufferedProtocol, that writes back what it receives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import ssl

    from noria.lab.scenarios.place import Place


BUFFER_BYTES: Final = 65536


class EchoProtocol(asyncio.Protocol):
    """The least a server can do: one call in, one call out."""

    __slots__ = ("transport",)

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send back what came."""
        self.transport.write(data)


class BufferedEchoProtocol(asyncio.BufferedProtocol):
    """The same, given its data in a buffer of its own."""

    __slots__ = ("buffer", "transport")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER_BYTES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer, whatever size is thought best."""
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Send back what came, as a copy: not every loop has done with it when write returns."""
        self.transport.write(bytes(self.buffer[:nbytes]))


class LentEchoProtocol(BufferedEchoProtocol):
    """The same without a copy: right on a loop that keeps no reference to what it was given.

    noria's transports promise that; where a loop does, it shows as a wrong byte.
    """

    __slots__ = ()

    def buffer_updated(self, nbytes: int) -> None:
        """Send back what came, from the buffer itself."""
        self.transport.write(self.buffer[:nbytes])


PROTOCOLS: Final[dict[str, type[asyncio.BaseProtocol]]] = {
    "": EchoProtocol,
    "buffered": BufferedEchoProtocol,
    "lent": LentEchoProtocol,
}
VARIANTS: Final = frozenset(PROTOCOLS) - {""}


async def start(place: Place) -> list[object]:
    """Listen everywhere in `place`; return the servers."""
    return await listen(place)


async def listen(place: Place, context: ssl.SSLContext | None = None) -> list[object]:
    """Listen everywhere in `place`, with TLS where a context is given; return the servers."""
    loop = asyncio.get_running_loop()
    protocol = PROTOCOLS[place.variant]
    servers: list[asyncio.AbstractServer] = []
    if place.path:
        servers.append(
            await loop.create_unix_server(protocol, place.path, backlog=place.backlog, ssl=context)
        )
    else:
        servers.extend(
            [
                await loop.create_server(protocol, host, 0, backlog=place.backlog, ssl=context)
                for host in place.hosts
            ]
        )
    for server in servers:
        place.note(list(cast("asyncio.Server", server).sockets))
    return list(servers)
