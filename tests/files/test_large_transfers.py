"""Transfers of more than the system moves at a time: they go on, and lose or repeat no byte."""

from __future__ import annotations

import asyncio
import itertools
import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core.catalog import CATALOG
from noria.core.codes import READ_AT, READ_INTO_AT, READ_VECTOR_AT, WRITE_AT, WRITE_VECTOR_AT
from noria.engines.registry import engine_class
from noria.limits import TRANSFER_BYTES_MAX
from noria.operations import files as operations

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.ledger import Ledger

    Main = Callable[[], Coroutine[Any, Any, None]]

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="positions are Unix's")

GIBIBYTE = 1 << 30
SIZE = 2 * GIBIBYTE + 12 * 1024
MEMORY_BYTES_MIN = 8 * GIBIBYTE
ROOM_BYTES_MIN = 6 * GIBIBYTE
PATIENCE_SECONDS = 50.0
# Offset and bytes: where the transfer begins, where the system stops, and where it ends.
MARKS = {
    1: b"first",
    TRANSFER_BYTES_MAX - 4: b"theseams",
    TRANSFER_BYTES_MAX + 4096: b"second",
    SIZE - 4: b"last",
}
AROUND = 64
DATA = os.urandom(300_000)


def run(main: Main, engine: str, disk: str | None = None) -> None:
    """Run a coroutine on a loop with this engine; skip where it cannot run."""
    probe = engine_class(engine).probe()
    if not probe.available:
        pytest.skip(probe.reason)
    loop = noria.new_event_loop(engine=engine, disk=disk)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(main(), PATIENCE_SECONDS))


@pytest.fixture(params=["uring", "epoll"])
def engine(request: pytest.FixtureRequest, ledger: Ledger) -> str:
    """Name of an engine; the ledger checks that all was given back."""
    name: str = request.param
    return name


@pytest.fixture
def room() -> Iterator[Path]:
    """A path for a large file, in memory where that is possible; the file is removed."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        if shutil.disk_usage(folder).free < ROOM_BYTES_MIN:
            pytest.skip("not enough room for a large file")
        yield Path(folder) / "large"


def large_memory() -> mmap.mmap:
    """SIZE bytes of zeros, none of which is there before it is touched."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < MEMORY_BYTES_MIN:
        pytest.skip("not enough memory for large transfers")
    return mmap.mmap(-1, SIZE)


def write_marks(path: Path) -> None:
    """Make a file of SIZE bytes, the marks among zeros."""
    with path.open("wb") as file:
        file.truncate(SIZE)
        for offset, mark in MARKS.items():
            file.seek(offset)
            file.write(mark)


def check_marks(part: Callable[[int, int], bytes]) -> None:
    """Look for each mark at its place, and for zeros around it; `part` gives a slice."""
    for offset, mark in MARKS.items():
        begin = max(offset - AROUND, 0)
        end = min(offset + len(mark) + AROUND, SIZE)
        expected = mark.rjust(offset - begin + len(mark), b"\0").ljust(end - begin, b"\0")
        assert part(begin, end) == expected, f"around {offset:#x}"


def check_file(path: Path) -> None:
    """Look for the marks in a file of SIZE bytes."""
    with path.open("rb") as file:
        assert os.fstat(file.fileno()).st_size == SIZE
        check_marks(lambda begin, end: os.pread(file.fileno(), end - begin, begin))


# -- a limit that is small -------------------------------------------------------------------------


@pytest.fixture(params=[(1000,), (65_537,), (1, 70_000, 4096, 3)], ids=str)
def attempts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The results of all attempts, each of which moves as many bytes as its limit allows."""
    limits = itertools.cycle(request.param)
    results: list[int] = []

    def shortened(attempt: Callable[[Any], int]) -> Callable[[Any], int]:
        def make(op: Any) -> int:
            monkeypatch.setattr(operations, "TRANSFER_BYTES_MAX", next(limits))
            results.append(attempt(op))
            return results[-1]

        return make

    for code in (READ_AT, READ_INTO_AT, READ_VECTOR_AT, WRITE_AT, WRITE_VECTOR_AT):
        row = CATALOG[code]
        monkeypatch.setitem(CATALOG, code, row._replace(attempt=shortened(row.attempt)))
    return results


def test_reads_go_on_after_a_small_limit(engine: str, attempts: list[int], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)

    async def main() -> None:
        async with await noria.open(path, "rb", buffering=0) as file:
            file.looks = False  # no operation otherwise
            assert await file.read_at(200_000, 777) == DATA[777:200_777]
            assert await file.read_at(200_000, 200_000) == DATA[200_000:]
            memory = bytearray(250_000)
            assert await file.readinto_at(memory, 31) == 250_000
            assert memory == DATA[31:250_031]
            parts = [bytearray(size) for size in (1, 70_000, 4095, 100_000)]
            assert await file.readv_at(parts, 5) == sum(map(len, parts))
            assert b"".join(parts) == DATA[5 : 5 + sum(map(len, parts))]
            assert await file.read() == DATA
            assert await file.seek(10) == 10
            assert await file.readinto(memory) == 250_000
            assert memory == DATA[10:250_010]

    run(main, engine, "threads")
    assert len(attempts) > 6
    assert max(attempts) < 200_000


def test_writes_go_on_after_a_small_limit(engine: str, attempts: list[int], tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        async with await noria.open(path, "wb", buffering=0) as file:
            assert await file.write_at(DATA, 100) == len(DATA)
            assert path.read_bytes() == bytes(100) + DATA
            parts = [DATA[:1], DATA[1:70_001], DATA[70_001:75_000], DATA[75_000:]]
            assert await file.writev_at(parts, 7) == len(DATA)
            assert path.read_bytes()[: 7 + len(DATA)] == bytes(7) + DATA
            assert await file.write(DATA) == len(DATA)
            assert await file.write(DATA[:200_000]) == 200_000
        assert path.read_bytes() == DATA + DATA[:200_000]

    run(main, engine, "threads")
    assert sum(attempts) == 3 * len(DATA) + 200_000
    assert max(attempts) < 200_000


# -- the limit of the system -----------------------------------------------------------------------


def test_writes_go_on_after_what_a_call_moves(engine: str) -> None:
    """The device takes everything, and looks at none of it."""
    memory = mmap.mmap(-1, SIZE)

    async def main() -> None:
        async with await noria.open(os.devnull, "wb", buffering=0) as file:
            assert await file.write_at(memory, 0) == SIZE
            assert await file.writev_at([b"12345", memory, memory], 3) == 5 + 2 * SIZE
            assert await file.write(memory) == SIZE
            found = file.statistics()
            assert (found.in_flight, found.bytes_written) == (0, 5 + 4 * SIZE)

    run(main, engine)
    memory.close()


@pytest.mark.parametrize(
    "looks", [False, pytest.param(True, marks=pytest.mark.deep)], ids=["operation", "cached"]
)
def test_readinto_at_fills_large_memory(engine: str, room: Path, looks: bool) -> None:
    memory = large_memory()
    write_marks(room)

    async def main() -> None:
        async with await noria.open(room, "rb", buffering=0) as file:
            file.looks = file.looks and looks
            assert await file.readinto_at(memory, 0) == SIZE
            assert file.statistics().in_flight == 0

    run(main, engine)
    check_marks(lambda begin, end: memory[begin:end])
    memory.close()


@pytest.mark.deep
def test_write_at_writes_large_memory(engine: str, room: Path) -> None:
    memory = large_memory()
    for offset, mark in MARKS.items():
        memory[offset : offset + len(mark)] = mark

    async def main() -> None:
        async with await noria.open(room, "wb", buffering=0) as file:
            assert await file.write_at(memory, 0) == SIZE
            assert file.statistics().bytes_written == SIZE

    run(main, engine)
    check_file(room)
    memory.close()


@pytest.mark.deep
@pytest.mark.parametrize("cut", [TRANSFER_BYTES_MAX, TRANSFER_BYTES_MAX - 3, 4096], ids=hex)
def test_large_vectors(engine: str, room: Path, cut: int) -> None:
    """The system stops at the end of a part, and within one."""
    memory = large_memory()
    write_marks(room)

    async def main() -> None:
        async with await noria.open(room, "rb+", buffering=0) as file:
            view = memoryview(memory)
            parts = [view[:cut], view[cut:]]
            assert await file.readv_at(parts, 0) == SIZE
            check_marks(lambda begin, end: memory[begin:end])
            await file.truncate_at(0)
            assert await file.writev_at(parts, 0) == SIZE
            for part in (*parts, view):
                part.release()

    run(main, engine)
    check_file(room)
    memory.close()


@pytest.mark.deep
def test_large_streams(engine: str, room: Path) -> None:
    large_memory().close()
    write_marks(room)

    async def main() -> None:
        async with await noria.open(room, "rb+") as file:
            data = await file.read()
            assert await file.tell() == len(data) == SIZE
            check_marks(lambda begin, end: data[begin:end])
            await file.seek(0)
            await file.truncate()
            view = memoryview(data)
            assert await file.write(view[:1]) == 1
            assert await file.write(view[1:]) == SIZE - 1
            assert await file.tell() == SIZE

    run(main, engine)
    check_file(room)
