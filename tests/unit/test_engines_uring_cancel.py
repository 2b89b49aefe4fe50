"""D3 and E5 on `uring`: cancelling a sock_* method at any moment loses nothing."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.ledger import Ledger, ledger
from tests.loops import Reports, pattern, reports, serve_loop, turns
from tests.rings import needs_uring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["ledger", "reports"]

pytestmark = needs_uring

ROUNDS = 2_000
ROUNDS_DEEP = 100_000


@pytest.fixture
def loop(ledger: Ledger, reports: Reports) -> Iterator[asyncio.AbstractEventLoop]:
    yield from serve_loop(noria.new_event_loop("uring"), reports)


async def disturb(
    chance: random.Random, begin: Callable[[], Awaitable[None]], make_news: Callable[[], object]
) -> None:
    """Begin something, make news before, while or after it is cancelled."""
    task = asyncio.ensure_future(begin())
    moment = chance.randrange(5)
    if moment == 0:
        await asyncio.sleep(0)
    elif moment == 1:
        await turns(1)
    if chance.random() < 0.5:
        make_news()
    if moment == 2:
        await asyncio.sleep(0)
    elif moment == 3:
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def receive_against_a_counter(loop: asyncio.AbstractEventLoop, rounds: int) -> None:
    chance = random.Random(3)

    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        found = bytearray()
        sent = pattern(8 * rounds)
        done = 0

        async def receive() -> None:
            found.extend(await loop.sock_recv(left, chance.randint(1, 64)))

        def send() -> None:
            nonlocal done
            done += right.send(sent[done : done + chance.randint(1, 8)])

        for _ in range(rounds):
            await disturb(chance, receive, send)
        right.close()
        while data := await loop.sock_recv(left, 100):
            found.extend(data)
        left.close()
        assert found == sent[:done]

    loop.run_until_complete(main())


def receive_datagrams(loop: asyncio.AbstractEventLoop, rounds: int) -> None:
    chance = random.Random(4)

    async def main() -> None:
        left, right = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        for sock in (left, right):
            sock.bind(("127.0.0.1", 0))
        left.setblocking(False)
        found: list[bytes] = []
        sent: list[bytes] = []

        async def receive() -> None:
            data, sender = await loop.sock_recvfrom(left, 64)
            assert sender == right.getsockname()
            found.append(data)

        def send() -> None:
            if len(sent) - len(found) < 50:  # more do not fit, and are lost on the way
                sent.append(b"%d" % len(sent))
                right.sendto(sent[-1], left.getsockname())

        for _ in range(rounds):
            await disturb(chance, receive, send)
        while len(found) < len(sent):
            await asyncio.wait_for(receive(), 5)
        left.close()
        right.close()
        assert found == sent

    loop.run_until_complete(main())


def accept_connections(loop: asyncio.AbstractEventLoop, rounds: int) -> None:
    chance = random.Random(5)

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        listener.setblocking(False)
        accepted: list[Any] = []
        clients: list[socket.socket] = []

        async def accept() -> None:
            conn, address = await loop.sock_accept(listener)
            accepted.append(address)
            conn.close()

        def connect() -> None:
            if len(clients) - len(accepted) < 50:
                clients.append(socket.create_connection(listener.getsockname()))

        names: list[Any] = []
        for _ in range(rounds):
            await disturb(chance, accept, connect)
            while len(clients) > len(names):
                names.append(clients[len(names)].getsockname())
        while len(accepted) < len(clients):
            await asyncio.wait_for(accept(), 5)
        for client in clients:
            client.close()
        listener.close()
        assert accepted == names

    loop.run_until_complete(main())


TRIES = [receive_against_a_counter, receive_datagrams, accept_connections]


@pytest.mark.parametrize("attempt", TRIES)
def test_d3_cancelling_at_random(
    loop: asyncio.AbstractEventLoop, attempt: Callable[[asyncio.AbstractEventLoop, int], None]
) -> None:
    attempt(loop, ROUNDS)


@pytest.mark.deep
@pytest.mark.timeout(300)
@pytest.mark.parametrize("attempt", TRIES[:2])
def test_d3_cancelling_at_random_for_long(
    loop: asyncio.AbstractEventLoop, attempt: Callable[[asyncio.AbstractEventLoop, int], None]
) -> None:
    attempt(loop, ROUNDS_DEEP)
