"""Prove the Windows Python under Wine before noria is run on it, with asyncio's own loops.

Run by pytest, so that it proves pytest too.  What fails here is not noria's fault.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLIENTS = 50
_PAYLOAD = bytes(range(256)) * 64


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _client(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_PAYLOAD)
    answer = await reader.readexactly(len(_PAYLOAD))
    writer.close()
    await writer.wait_closed()
    return answer == _PAYLOAD


async def _serve() -> int:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        port = server.sockets[0].getsockname()[1]
        return sum(await asyncio.gather(*(_client(port) for _ in range(_CLIENTS))))


def test_python() -> None:
    """The Python is a Windows one, and finds its library and its own extension modules."""
    if sys.platform != "win32":
        pytest.fail(f"the platform is {sys.platform}")
    else:
        assert sys.getwindowsversion() >= (10, 0)
    assert os.name == "nt"
    assert sys.version_info[:2] == (3, 11)
    assert not hasattr(select, "poll")
    assert socket.gethostbyname("localhost")


def test_threads_and_files(tmp_path: Path) -> None:
    """A thread writes a file that the loop's thread reads back."""
    path = tmp_path / "file"
    assert asyncio.run(asyncio.to_thread(path.write_bytes, _PAYLOAD)) == len(_PAYLOAD)
    assert path.read_bytes() == _PAYLOAD


@pytest.mark.parametrize("loop", ["SelectorEventLoop", "ProactorEventLoop"])
def test_echo(loop: str) -> None:
    """Fifty clients get back what they sent, on readiness and on completion ports."""
    factory: Callable[[], asyncio.AbstractEventLoop] = getattr(asyncio, loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(_serve()) == _CLIENTS
