"""Keywords of connecting and serving that no other test uses have the effect of asyncio's."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import HAS_IPV6, Recorder, run, turns

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"
NAME = "house.invalid"
"""A name for the resolver: numbers are not looked up."""

HINTS = {
    "family": socket.AF_INET,
    "proto": socket.IPPROTO_TCP,
    "flags": socket.AI_ADDRCONFIG,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the system's resolver was asked for; it always answers with the loopback address."""
    questions: list[tuple[Any, ...]] = []

    def getaddrinfo(
        host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        questions.append((host, family, type, proto, flags))
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return questions


@pytest.mark.parametrize("hint", [*HINTS, None])
def test_hints_of_create_connection_reach_the_resolver(
    both: asyncio.AbstractEventLoop, asked: list[tuple[Any, ...]], hint: str | None
) -> None:
    given: Any = {} if hint is None else {hint: HINTS[hint]}

    async def main() -> None:
        with socket.create_server((LOOPBACK, 0)) as listener:
            port = listener.getsockname()[1]
            transport, _ = await both.create_connection(asyncio.Protocol, NAME, port, **given)
            transport.abort()
            await turns()

    run(both, main())
    family, proto, flags = (given.get(name, 0) for name in HINTS)
    assert asked == [(NAME, family, socket.SOCK_STREAM, proto, flags)]


@pytest.mark.parametrize("hint", ["family", "flags", None])
def test_hints_of_create_server_reach_the_resolver(
    both: asyncio.AbstractEventLoop, asked: list[tuple[Any, ...]], hint: str | None
) -> None:
    given: Any = {} if hint is None else {hint: HINTS[hint]}

    async def main() -> None:
        server = await both.create_server(asyncio.Protocol, NAME, 0, **given)
        server.close()
        await turns(1)

    run(both, main())
    flags = given.get("flags", socket.AI_PASSIVE)
    assert asked == [(NAME, given.get("family", 0), socket.SOCK_STREAM, 0, flags)]


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_server_of_one_family(both: asyncio.AbstractEventLoop, family: int) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, None, 0, family=family)
        assert [sock.family for sock in server.sockets] == [family]
        server.close()
        await turns(1)

    run(both, main())


def backlog_of(sock: Any) -> int:
    """The length of the kernel's queue: of a listening socket, TCP_INFO tells it as `sacked`."""
    (length,) = struct.unpack_from(
        "I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28
    )
    return int(length)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the length of the queue")
def test_the_backlog_is_the_kernels_queue(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for backlog in (1, 7, 100):
            server = await both.create_server(Recorder, LOOPBACK, 0, backlog=backlog)
            assert backlog_of(server.sockets[0]) == backlog
            server.close()
        plain = await both.create_server(Recorder, LOOPBACK, 0)
        assert backlog_of(plain.sockets[0]) == 100
        plain.close()
        await turns(1)

    run(both, main())


@pytest.mark.posix
@pytest.mark.parametrize("reuse", [None, True, False])
def test_an_address_is_used_again_unless_that_is_not_wanted(
    both: asyncio.AbstractEventLoop, reuse: bool | None
) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, LOOPBACK, 0, reuse_address=reuse)
        option = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert bool(option) is (reuse is not False)
        server.close()
        await turns(1)

    run(both, main())


@pytest.mark.posix
def test_the_backlog_of_a_unix_server(both: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Connections beyond it are refused while nobody accepts."""

    async def main() -> None:
        path = str(tmp_path / "socket")
        server = await both.create_unix_server(Recorder, path, backlog=2)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect(path)
        with socket.socket(socket.AF_UNIX) as late:
            late.setblocking(False)
            with pytest.raises(BlockingIOError):
                late.connect(path)
        for client in clients:
            client.close()
        server.close()
        await turns()

    run(both, main())
