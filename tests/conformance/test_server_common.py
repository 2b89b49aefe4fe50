"""What the connections of a listener have in common is as if each had been asked for it."""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import run, until

if TYPE_CHECKING:
    from pathlib import Path


class Kept(asyncio.Protocol):
    """Keeps its transport."""

    made: list[Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(transport)


def is_gone(transport: Any) -> bool:
    return "closed" in repr(transport)


async def accepted(server: Any, addresses: list[Any], family: int) -> list[Any]:
    """Connect to these addresses; the servers' transports, in that order, and the clients."""
    found = []
    for address in addresses:
        client = socket.socket(family)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, address)
        await until(lambda: Kept.made)
        found.append((Kept.made.pop(), client))
    return found


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1", "127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2", "127.0.0.1"]),
        ("::1", ["::1", "::1"]),
        ("::", ["::1", "::ffff:127.0.0.1", "::ffff:127.0.0.3"]),
    ],
)
@pytest.mark.parametrize("asked", ["at once", "after the end"])
def test_addresses_and_delay(loop: Any, host: str, reached: list[str], asked: str) -> None:
    if sys.platform == "darwin" and "127.0.0.2" in reached:
        pytest.skip("there is one loopback address only")
    Kept.made = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    async def main() -> None:
        sock = socket.socket(family)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((host, 0))
        except OSError as exc:
            sock.close()
            pytest.skip(f"no such address here: {exc}")
        server = await loop.create_server(Kept, sock=sock)
        port = sock.getsockname()[1]
        pairs = await accepted(server, [(each, port) for each in reached], family)
        for transport, client in pairs:
            name = client.getpeername()
            accepted_sock = transport.get_extra_info("socket")
            assert accepted_sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if asked == "at once":
                assert transport.get_extra_info("sockname") == name
            transport.close()
            client.close()
            await until(functools.partial(is_gone, transport))
            assert transport.get_extra_info("sockname") == name
        server.close()
        await server.wait_closed()

    run(loop, main())


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
def test_the_path_of_a_unix_server(loop: Any, tmp_path: Path) -> None:
    Kept.made = []
    path = str(tmp_path / "s")

    async def main() -> None:
        server = await loop.create_unix_server(Kept, path)
        for transport, client in await accepted(server, [path, path], socket.AF_UNIX):
            assert transport.get_extra_info("sockname") == path
            assert transport.get_extra_info("peername") == ""
            transport.close()
            client.close()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_server_whose_sockets_are_not_tcp_is_not_tuned(loop: Any) -> None:
    """An option that does not exist there is no error."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("there are no Unix sockets")

    async def main() -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(b"\0noria-test-%d" % id(loop) if sys.platform == "linux" else "")
        server = await loop.create_unix_server(Kept, sock=sock)
        server.close()
        await server.wait_closed()

    if sys.platform != "linux":
        pytest.skip("there are no abstract names")
    run(loop, main())
