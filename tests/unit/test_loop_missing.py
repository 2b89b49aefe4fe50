"""What the loop does not offer yet is refused by name, with NotImplementedError."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    import noria


async def _accepted_with_tls(loop: Any) -> None:
    with socket.socket() as sock:
        await loop.connect_accepted_socket(asyncio.Protocol, sock, ssl=object())


async def _writer_with_tls(_: Any) -> None:
    left, right = socket.socketpair()
    with right:
        _, writer = await asyncio.open_connection(sock=left)
        try:
            await writer.start_tls(object())  # type: ignore[arg-type] # never looked at
        finally:
            writer.close()
            await writer.wait_closed()


MISSING: dict[str, tuple[Callable[[Any], Coroutine[Any, Any, Any]], str]] = {
    "create_datagram_endpoint": (
        lambda loop: loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        ),
        "datagram",
    ),
    "start_tls": (lambda loop: loop.start_tls(None, asyncio.Protocol(), None), "TLS"),
    "create_connection with ssl": (
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, ssl=True),
        "TLS",
    ),
    "create_server with ssl": (
        lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=object()),
        "TLS",
    ),
    "connect_accepted_socket with ssl": (
        _accepted_with_tls,
        "TLS",
    ),
    "open_connection with ssl": (
        lambda _: asyncio.open_connection("127.0.0.1", 1, ssl=True),
        "TLS",
    ),
    "start_server with ssl": (
        lambda _: asyncio.start_server(print, "127.0.0.1", 0, ssl=object()),
        "TLS",
    ),
    "start_tls of a writer": (_writer_with_tls, "TLS"),
}

if hasattr(socket, "AF_UNIX"):
    MISSING |= {
        "create_unix_connection with ssl": (
            lambda loop: loop.create_unix_connection(
                asyncio.Protocol, "nowhere", ssl=True, server_hostname="x"
            ),
            "TLS",
        ),
        "create_unix_server with ssl": (
            lambda loop: loop.create_unix_server(asyncio.Protocol, "nowhere", ssl=object()),
            "TLS",
        ),
    }


@pytest.mark.parametrize("method", MISSING)
def test_it_is_refused_by_name(loop: noria.Loop, method: str) -> None:
    call, name = MISSING[method]
    with pytest.raises(NotImplementedError, match=name):
        loop.run_until_complete(call(loop))


def test_what_is_refused_leaves_nothing_behind(
    loop: noria.Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call, name in MISSING.values():
        with pytest.raises(NotImplementedError, match=name):
            loop.run_until_complete(call(loop))
    assert not list(tmp_path.iterdir()), "a socket file was made"
    assert not asyncio.all_tasks(loop)


def test_nothing_of_the_abstract_loop_is_left_out(loop: noria.Loop) -> None:
    """What is not there at all would raise a bare NotImplementedError."""
    names = {name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_")}
    inherited = {
        name
        for name in names
        if getattr(type(loop), name) is getattr(asyncio.AbstractEventLoop, name)
    }
    assert inherited == set()
