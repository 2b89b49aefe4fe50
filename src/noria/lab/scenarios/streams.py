"""asyncio's streams: one task per connection reads, writes and drains."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from noria.lab.scenarios.place import Place

READ_BYTES: Final = 65536


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo until the client half-closes."""
    try:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def start(place: Place) -> list[object]:
    """Listen everywhere in `place`; return the servers."""
    if sys.platform != "win32" and place.path:
        servers = [await asyncio.start_unix_server(handle, place.path, backlog=place.backlog)]
    else:
        servers = [
            await asyncio.start_server(handle, host, 0, backlog=place.backlog)
            for host in place.hosts
        ]
    for server in servers:
        place.note(list(server.sockets))
    return list(servers)
