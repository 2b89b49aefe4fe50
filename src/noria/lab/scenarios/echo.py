"""A plain asyncio.Protocol that writes back what it receives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import ssl

    from noria.lab.scenarios.place import Place


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


async def start(place: Place) -> list[object]:
    """Listen everywhere in `place`; return the servers."""
    return await listen(place)


async def listen(place: Place, context: ssl.SSLContext | None = None) -> list[object]:
    """Listen everywhere in `place`, with TLS where a context is given; return the servers."""
    loop = asyncio.get_running_loop()
    servers: list[asyncio.AbstractServer] = []
    if place.path:
        servers.append(
            await loop.create_unix_server(
                EchoProtocol, place.path, backlog=place.backlog, ssl=context
            )
        )
    else:
        servers.extend(
            [
                await loop.create_server(EchoProtocol, host, 0, backlog=place.backlog, ssl=context)
                for host in place.hosts
            ]
        )
    for server in servers:
        place.note(list(cast("asyncio.Server", server).sockets))
    return list(servers)
