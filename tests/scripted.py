"""Files whose operations end as a test says, and what tests of files at positions begin with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core.codes import READ_AT, READ_VECTOR_AT, WRITE_AT, WRITE_VECTOR_AT
from noria.core.descriptor import Descriptor, open_count
from noria.core.operation import BACKEND, Operation
from noria.disk.interface import DiskStatistics
from noria.engines.interface import Engine
from noria.files.file import File
from noria.files.host import Host

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(100_000)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    before = open_count()
    made = noria.new_event_loop(engine="epoll") if os.name == "posix" else noria.new_event_loop()
    yield made
    made.close()
    assert open_count() == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


def content(path: Path) -> bytes:
    return path.read_bytes()


class Scripted(Engine):
    """Does what a test says, one answer for each operation: a most number of bytes, or -errno."""

    name = "scripted"

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: list[int]) -> None:
        Engine.__init__(self)
        self.loop = loop
        self.answers = answers

    def disk_statistics(self) -> DiskStatistics:
        return DiskStatistics(self.name, "scripted", True, {}, ())

    def submit(self, op: Operation) -> bool:
        op.begin(BACKEND)
        answer = self.answers.pop(0) if self.answers else 10**9
        if answer >= 0:
            result = self._moved(op, answer)
            self.loop.call_soon(self._end, op, result)
            return False
        op.settle(answer)
        return True

    def cancel(self, op: Operation) -> None:
        """Come too late, as for what the kernel is at."""

    def _moved(self, op: Any, most: int) -> int:
        if op.code == READ_AT:
            op.size, wanted = min(op.size, most), op.size
            result = op.perform()
            op.size = wanted
        elif op.code == WRITE_AT:
            result = os.pwrite(op.fd, memoryview(op.buffer)[:most], op.offset)
        elif op.code in (READ_VECTOR_AT, WRITE_VECTOR_AT):
            (first, *_), whole = op.buffer, op.buffer
            op.buffer = [memoryview(first)[:most]]
            result = op.perform()
            op.buffer = whole
        else:
            result = op.perform()
        return int(result)

    def _end(self, op: Operation, result: int) -> None:
        op.settle(result)
        op.deliver(result, 0, op.buffer if op.code == READ_AT else None)


def scripted(loop: asyncio.AbstractEventLoop, path: Path, answers: list[int]) -> File:
    """A file whose operations end as a test says."""
    host = Host(loop, Scripted(loop, answers))
    file = File(host, Descriptor(os.open(path, os.O_RDWR)), path, None)
    file.looks = False
    return file
