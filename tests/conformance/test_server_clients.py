"""What a server knows of its connections: all that live, and none that are gone."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import warnings
from typing import Any

import pytest

from tests.loops import run, turns, until

LOOPBACK = "127.0.0.1"


class Quiet(asyncio.Protocol):
    """Keeps its transport."""

    def __init__(self, made: list[Quiet]) -> None:
        self.transport: Any = None
        made.append(self)

    def connection_made(self, transport: Any) -> None:
        """Keep it."""
        self.transport = transport


async def serve(loop: Any, clients: int) -> tuple[Any, list[Quiet], list[socket.socket]]:
    """A server with so many connections."""
    made: list[Quiet] = []
    server = await loop.create_server(lambda: Quiet(made), LOOPBACK, 0)
    address = server.sockets[0].getsockname()
    sockets = [socket.create_connection(address) for _ in range(clients)]
    await until(lambda: sum(one.transport is not None for one in made) == clients)
    return server, made, sockets


def known(server: Any) -> set[int]:
    """The connections that a server would close."""
    return {id(transport) for transport in server._clients.copy()}


async def finish(server: Any, sockets: list[socket.socket]) -> None:
    """Close everything."""
    server.close()
    server.abort_clients()
    for sock in sockets:
        sock.close()
    await turns(3)
    assert len(server._clients) == 0
    await asyncio.wait_for(server.wait_closed(), 5)


def test_a_server_knows_who_is_there(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, made, sockets = await serve(loop, 40)
        living = {id(one.transport): one.transport for one in made}
        rng = random.Random(3)
        while living:
            assert known(server) == set(living)
            gone = rng.sample(list(living), min(7, len(living)))
            for number in gone:
                living.pop(number).abort()
            await turns(2)
            assert len(server._clients) == len(living)
        await finish(server, sockets)

    run(loop, main())


@pytest.mark.parametrize("collected", [False, True], ids=["dropped", "in a cycle"])
def test_an_abandoned_connection_is_found_out(
    loop: asyncio.AbstractEventLoop, collected: bool
) -> None:
    """A server does not keep it alive, and does not know it any more when it is gone."""

    async def main() -> None:
        server, made, sockets = await serve(loop, 10)
        for one in made[:5]:
            one.transport.pause_reading()
        await turns(2)  # the engine lets go of what is paused
        for one in made[:5]:
            if not collected:
                one.transport.set_protocol(asyncio.Protocol())
                one.transport = None
        del made[:5], one
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gc.collect()
        assert sum("unclosed transport" in str(each.message) for each in caught) == 5
        assert known(server) == {id(one.transport) for one in made}
        await finish(server, sockets)

    run(loop, main())


class Foreign:
    """A transport that noria does not know; it counts as a user, and may forget to leave."""

    def __init__(self) -> None:
        self.ended = ""

    def close(self) -> None:
        """Note it."""
        self.ended = "closed"

    def abort(self) -> None:
        """Note it."""
        self.ended = "aborted"


@pytest.mark.parametrize(
    ("method", "ended"), [("close_clients", "closed"), ("abort_clients", "aborted")]
)
def test_transports_of_others_count_too(
    loop: asyncio.AbstractEventLoop, method: str, ended: str
) -> None:
    async def main() -> None:
        server, _, sockets = await serve(loop, 1)
        careful, careless = Foreign(), Foreign()
        server._attach(careful)
        server._attach(careless)
        assert len(server._clients) == 3
        getattr(server, method)()
        assert (careful.ended, careless.ended) == (ended, ended)
        server._detach(careful)
        del careless  # it never leaves; nothing may follow its address
        gc.collect()
        await turns(2)
        getattr(server, method)()
        assert len(server._clients) == 0
        server.close()
        for sock in sockets:
            sock.close()

    run(loop, main())
