"""Issue 2: an answer in two writes waits for nobody's delayed acknowledgement.

uvicorn writes the head and the body of an answer one after the other. Without TCP_NODELAY the
second waits until the client has acknowledged the first, which clients do after 40 ms: three other
loops answer at 44 ms each.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from tests.loops import end, run, turns, wire

REQUESTS = 40
SECONDS_MAX = 0.4
"""A tenth of what the delays would sum up to, if only every second answer had one."""


class TwoWrites(asyncio.Protocol):
    """Answers every request in two writes."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(b"head")
        self.transport.write(b"body")


async def ask(loop: asyncio.AbstractEventLoop, client: socket.socket) -> float:
    """Ask often; the seconds until all answers were there."""
    client.setblocking(False)
    started = time.monotonic()
    for _ in range(REQUESTS):
        await loop.sock_sendall(client, b"request")
        answer = b""
        while len(answer) < 8:
            answer += await loop.sock_recv(client, 100)
    return time.monotonic() - started


@pytest.mark.parametrize("way", ["accepted", "connected", "taken over"])
def test_an_answer_in_two_writes_is_not_delayed(both: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> float:
        if way == "taken over":
            one = await wire(TwoWrites(), tcp=True)
            seconds = await ask(both, one.peer)
            await end(one)
            return seconds
        if way == "accepted":
            server = await both.create_server(TwoWrites, "127.0.0.1", 0)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                seconds = await ask(both, client)
            server.close()
            await turns()
            return seconds
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await both.create_connection(TwoWrites, *listener.getsockname())
            client, _ = listener.accept()
            with client:
                seconds = await ask(both, client)
        transport.abort()
        await turns()
        return seconds

    assert run(both, main()) < SECONDS_MAX
