"""What the sock_* methods refuse, and with which exception."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.loops import POSIX, run, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.loops import Users

METHODS: dict[str, Callable[[Any, Any], Coroutine[Any, Any, Any]]] = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 9)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_blocking_socket_is_refused_in_debug_mode(
    both: asyncio.AbstractEventLoop, users: Users, method: str
) -> None:
    left, _ = users
    both.set_debug(True)
    for timeout in (None, 1.0):
        left.settimeout(timeout)
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            run(both, METHODS[method](both, left))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("debug", [False, True])
def test_a_closed_socket_is_an_oserror(
    both: asyncio.AbstractEventLoop, tcp_users: Users, method: str, debug: bool
) -> None:
    left, _ = tcp_users
    left.close()
    both.set_debug(debug)
    said = r"Bad file descriptor|closed" if POSIX else f"closed|WinError {errno.ENOTSOCK}"
    with pytest.raises(OSError, match=said):
        run(both, METHODS[method](both, left))


@pytest.mark.parametrize("method", METHODS)
def test_tls_sockets_are_refused(both: asyncio.AbstractEventLoop, method: str) -> None:
    ssl = pytest.importorskip("ssl")
    context = ssl.create_default_context()
    with (
        context.wrap_socket(socket.socket(), server_hostname="localhost") as sock,
        pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"),
    ):
        run(both, METHODS[method](both, sock))


@pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into", "sock_recvfrom"])
def test_a_socket_of_a_transport_is_refused(both: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        transport, _ = await both.create_connection(asyncio.Protocol, sock=left)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await METHODS[method](both, left)
        if sys.version_info >= (3, 12) or isinstance(both, noria.Loop):
            with pytest.raises(RuntimeError, match="is used by transport"):
                await both.create_connection(asyncio.Protocol, sock=left)
        right.send(b"x")
        transport.abort()
        right.close()
        await turns()

    run(both, main())


def test_wrong_arguments(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        right.send(b"still there")
        with pytest.raises(ValueError, match="negative"):
            await both.sock_recv(left, -1)
        for wrong in ("text", None, 5, b"read-only"):
            with pytest.raises(TypeError):
                await both.sock_recv_into(left, wrong)  # type: ignore[arg-type]
        for wrong in ("text", None, 5):
            with pytest.raises(TypeError):
                await both.sock_sendall(left, wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await both.sock_recv(left, "10")  # type: ignore[arg-type]
        assert await both.sock_recv(left, 0) == b""
        assert await both.sock_recv(left, 100) == b"still there"

    run(both, main())
