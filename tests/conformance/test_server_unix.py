"""Servers on Unix sockets: paths, files left over, and who removes them."""

from __future__ import annotations

import socket
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import Recorder, run, turns, until

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here"),
]

REMOVES = sys.version_info >= (3, 13)
"""Whether the installed asyncio removes the file of a closed server."""


@pytest.mark.parametrize("kind", [str, bytes, lambda path: path], ids=["str", "bytes", "Path"])
def test_it_serves(both: asyncio.AbstractEventLoop, tmp_path: Path, kind: Any) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        path = tmp_path / "socket"
        server = await both.create_unix_server(factory, kind(path))
        assert stat.S_ISSOCK(path.stat().st_mode)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.send(b"hello")
            await until(lambda: made and made[0].data == b"hello")
        await made[0].ended()
        server.close()
        await turns(1)
        assert path.exists() is not REMOVES

    run(both, main())


@pytest.mark.parametrize("cleanup", [True, False])
@pytest.mark.parametrize("serving", [True, False])
def test_the_file_is_removed_if_asked_for(
    loop: Any, tmp_path: Path, cleanup: bool, serving: bool
) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        server = await loop.create_unix_server(
            Recorder, path, cleanup_socket=cleanup, start_serving=serving
        )
        server.close()
        await turns(1)
        assert path.exists() is not cleanup

    run(loop, main())


def test_the_file_of_another_server_stays(loop: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        first = await loop.create_unix_server(Recorder, path, cleanup_socket=True)
        second = await loop.create_unix_server(Recorder, path, cleanup_socket=True)
        first.close()
        assert path.exists(), "it belongs to the second server by now"
        second.close()
        assert not path.exists()
        third = await loop.create_unix_server(Recorder, path, cleanup_socket=True)
        path.unlink()
        third.close()
        await turns(1)

    run(loop, main())


def test_the_file_of_a_socket_of_the_user(both: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        server = await both.create_unix_server(Recorder, sock=sock)
        server.close()
        await turns(1)
        assert sock.fileno() == -1
        assert path.exists() is not REMOVES

    run(both, main())


def test_a_socket_left_over_is_replaced(both: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(str(path))
        server = await both.create_unix_server(Recorder, path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        server.close()
        await turns()

    run(both, main())


def test_another_file_is_not_replaced(both: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        path.write_text("precious")
        with pytest.raises(OSError, match="is already in use"):
            await both.create_unix_server(Recorder, path)
        assert path.read_text() == "precious"
        with pytest.raises(FileNotFoundError):
            await both.create_unix_server(Recorder, tmp_path / "no folder" / "socket")

    run(both, main())


def test_contradictory_arguments(both: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as sock:
            for arguments, message in (
                ({}, "path was not specified"),
                ({"path": tmp_path / "x", "sock": sock}, "can not be specified at the same time"),
                ({"sock": tcp}, "UNIX Domain Stream Socket was expected"),
                ({"path": tmp_path / "x", "ssl_handshake_timeout": 1}, "only meaningful with ssl"),
            ):
                with pytest.raises(ValueError, match=message):
                    await both.create_unix_server(Recorder, **arguments)
            with pytest.raises(TypeError, match="ssl argument must be"):
                await both.create_unix_server(
                    Recorder,
                    tmp_path / "x",
                    ssl=True,
                )

    run(both, main())
