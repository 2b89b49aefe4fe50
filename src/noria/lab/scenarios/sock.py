"""The loop's sock_* methods: one task accepts, one per connection receives and sends."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from noria.lab.scenarios.place import Place

RECEIVE_BYTES: Final = 65536
ACCEPT_RETRY_S: Final = 0.1


async def serve_one(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Echo until the client half-closes."""
    try:
        while data := await loop.sock_recv(connection, RECEIVE_BYTES):
            await loop.sock_sendall(connection, data)
    except ConnectionError:
        pass
    finally:
        connection.close()


async def accept(listener: socket.socket, tasks: set[asyncio.Task[None]]) -> None:
    """Accept for ever; `tasks` keeps the connections' tasks alive."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError:
            await asyncio.sleep(ACCEPT_RETRY_S)
            continue
        if listener.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(serve_one(loop, connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def start(place: Place) -> list[object]:
    """Listen everywhere in `place`; return the accepting tasks."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    return [loop.create_task(accept(listener, tasks)) for listener in place.listen()]
