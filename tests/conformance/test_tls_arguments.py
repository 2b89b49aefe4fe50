"""The arguments of TLS: what contradicts itself is refused, in asyncio's words."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tests.loops import run, tcp_pair
from tests.tls import NAME, client_context

SECONDS = "should be a positive number, got"
ONLY_WITH = "is only meaningful with ssl"


def _loop(loop: Any) -> Any:
    """Give a loop whose arguments are not checked before it runs."""
    return loop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"server_hostname": "x"}, f"server_hostname {ONLY_WITH}"),
        ({"ssl_handshake_timeout": 1}, f"ssl_handshake_timeout {ONLY_WITH}"),
        ({"ssl_shutdown_timeout": 1}, f"ssl_shutdown_timeout {ONLY_WITH}"),
        ({"ssl": False, "server_hostname": "x"}, f"server_hostname {ONLY_WITH}"),
        ({"ssl": True, "host": None}, "You must set server_hostname when using ssl without a host"),
    ],
)
def test_a_client_s_arguments_have_to_agree(
    both: asyncio.AbstractEventLoop, options: dict[str, Any], message: str
) -> None:
    options = {"host": "127.0.0.1", "port": 1} | options
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(both, _loop(both).create_connection(asyncio.Protocol, **options))


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.5])
def test_timeouts_are_positive(both: asyncio.AbstractEventLoop, name: str, seconds: float) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        with left, right, pytest.raises(ValueError, match=f"^{name} {SECONDS} {seconds}$"):
            await _loop(both).create_connection(
                asyncio.Protocol, sock=left, ssl=True, server_hostname="x", **{name: seconds}
            )

    run(both, main())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"ssl": False}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"ssl_handshake_timeout": 1}, ValueError, f"ssl_handshake_timeout {ONLY_WITH}"),
        ({"ssl_shutdown_timeout": 1}, ValueError, f"ssl_shutdown_timeout {ONLY_WITH}"),
    ],
)
def test_a_server_s_arguments_have_to_agree(
    both: asyncio.AbstractEventLoop,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    with pytest.raises(kind, match=f"^{message}$"):
        run(both, both.create_server(asyncio.Protocol, "127.0.0.1", 0, **options))
    if hasattr(socket, "AF_UNIX"):
        with pytest.raises(kind, match=f"^{message}$"):
            run(both, both.create_unix_server(asyncio.Protocol, "nowhere", **options))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl": True}, "you have to pass server_hostname when using ssl"),
        ({"server_hostname": "x"}, f"server_hostname {ONLY_WITH}"),
        ({"ssl_handshake_timeout": 1}, f"ssl_handshake_timeout {ONLY_WITH}"),
        ({"ssl_shutdown_timeout": 1}, f"ssl_shutdown_timeout {ONLY_WITH}"),
    ],
)
def test_a_unix_client_s_arguments_have_to_agree(
    both: asyncio.AbstractEventLoop, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(both, both.create_unix_connection(asyncio.Protocol, "nowhere", **options))


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_an_accepted_socket_s_arguments_have_to_agree(
    both: asyncio.AbstractEventLoop, name: str
) -> None:
    left, right = tcp_pair()
    with left, right, pytest.raises(ValueError, match=f"^{name} {ONLY_WITH}$"):
        run(both, _loop(both).connect_accepted_socket(asyncio.Protocol, left, **{name: 1}))


def test_an_ssl_socket_is_refused(both: asyncio.AbstractEventLoop) -> None:
    left, right = tcp_pair()
    wrapped = client_context().wrap_socket(
        left, server_hostname=NAME, do_handshake_on_connect=False
    )
    with right, wrapped, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        run(
            both,
            both.create_connection(
                asyncio.Protocol, sock=wrapped, ssl=client_context(), server_hostname=NAME
            ),
        )
