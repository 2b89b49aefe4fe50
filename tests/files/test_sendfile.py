"""Sending a file to a connection and into another file."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria import fs
from noria.limits import SENDFILE_CHUNK_BYTES
from tests.files.conftest import eventually
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.files.conftest import Run

DATA = os.urandom(SENDFILE_CHUNK_BYTES * 20 + 17)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of some size."""
    (tmp_path / "source").write_bytes(DATA)
    return tmp_path / "source"


class Receiver:
    """A server that keeps what it gets, and the connection to it."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Receiver:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.reader, self.writer = await asyncio.open_connection(
            *self.server.sockets[0].getsockname()[:2]
        )
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.got += data
        writer.write(b"answer")
        writer.close()
        self.ended.set()

    async def __aexit__(self, *exc: object) -> None:
        self.writer.close()
        self.server.close()
        await self.server.wait_closed()


@pytest.mark.parametrize("stream", [True, False], ids=["writer", "transport"])
def test_to_a_connection(run: Run, source: Path, stream: bool) -> None:
    async def main() -> None:
        async with Receiver() as receiver, noria.open(source, "rb") as file:
            target: Any = receiver.writer if stream else receiver.writer.transport
            receiver.writer.write(b"before")
            assert await fs.sendfile(file, target) == len(DATA)
            assert await fs.sendfile(file, target, 5, 10) == 10
            assert await fs.sendfile(file, target, len(DATA)) == 0
            assert await fs.sendfile(file, target, len(DATA) - 3, 10) == 3
            assert await file.tell() == 0
            receiver.writer.write(b"behind")
            receiver.writer.write_eof()
            await receiver.ended.wait()
            expected = b"before" + DATA + DATA[5:15] + DATA[-3:] + b"behind"
            assert receiver.got == expected
            assert await receiver.reader.read() == b"answer"
            receiver.writer.close()
            await eventually(receiver.writer.transport.is_closing)
            with pytest.raises(RuntimeError, match="closing"):
                await fs.sendfile(file, receiver.writer.transport)

    run(main())


@pytest.mark.parametrize("refused", [False, True], ids=["kernel", "pieces"])
def test_to_another_file(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    def cannot(*arguments: Any) -> int:
        raise OSError(errno.EXDEV, "not between these")

    if refused and sys.platform == "linux":
        monkeypatch.setattr(os, "copy_file_range", cannot)

    async def main() -> None:
        async with noria.open(source, "rb") as file:
            async with noria.open(tmp_path / "target", "wb") as target:
                await target.write(b"head")
                assert await fs.sendfile(file, target, target_offset=4) == len(DATA)
                assert await fs.sendfile(file, target, 7, 3, target_offset=0) == 3
                assert await fs.sendfile(file, target, len(DATA) + 5) == 0
                assert await target.tell() == 4
            assert (tmp_path / "target").read_bytes() == DATA[7:10] + b"d" + DATA
            async with noria.open(tmp_path / "end", "ab") as target:
                await fs.sendfile(file, target, 0, 5)
                await fs.sendfile(file, target, 0, 5)
            assert (tmp_path / "end").read_bytes() == DATA[:5] * 2
        text = await noria.open(source, encoding="latin-1")
        async with text, noria.open(tmp_path / "text", "w", encoding="latin-1") as written:
            assert await fs.sendfile(text, written, 1, 2) == 2
        assert (tmp_path / "text").read_bytes() == DATA[1:3]

    run(main())


def test_misuse(run: Run, source: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with noria.open(source, "rb") as file, noria.open(tmp_path / "to", "wb") as target:
            for wrong in (-1, 1.5):
                with pytest.raises((TypeError, ValueError), match="offset must be"):
                    await fs.sendfile(file, target, wrong)  # type: ignore[arg-type]
                with pytest.raises((TypeError, ValueError), match="count must be"):
                    await fs.sendfile(file, target, 0, wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="cannot send to int"):
                await fs.sendfile(file, 5)
            with pytest.raises(TypeError, match="noria file"):
                await fs.sendfile(5, target)
            with pytest.raises(OSError, match="not open for reading"):
                await fs.sendfile(target, file)
            with pytest.raises(OSError, match="not open for writing"):
                await fs.sendfile(file, file)
            assert await fs.sendfile(file, target, 0, 0) == 0
        with pytest.raises(ValueError, match="closed"):
            await fs.sendfile(file, target)

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_files_may_be_closed_while_a_thread_copies(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, going = threading.Event(), threading.Event()
    real = os.copy_file_range

    def slowly(*arguments: Any) -> int:
        begun.set()
        going.wait(10)
        return real(*arguments)

    monkeypatch.setattr(os, "copy_file_range", slowly)

    async def main() -> None:
        await fs.listdir(tmp_path)
        before = open_descriptors()
        async with noria.open(source, "rb") as file, noria.open(tmp_path / "to", "wb") as target:
            for wait in (True, False):
                begun.clear()
                going.clear()
                task = asyncio.ensure_future(fs.sendfile(file, target))
                if wait:
                    await eventually(begun.is_set)
                else:
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                going.set()
        await eventually(lambda: not open_descriptors() - before)

    run(main())
