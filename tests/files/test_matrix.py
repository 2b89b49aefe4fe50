"""Every operation of open files: by each way, on each kind of loop and filesystem, cached or not.

What is open for direct I/O takes whole blocks only, so all of it is in blocks here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.disk.registry import BACKENDS, RING
from noria.engines.registry import ENGINES, engine_class
from noria.files.aligned import aligned
from noria.files.file import File
from noria.files.opening import open_file
from noria.limits import VECTOR_PARTS_MAX
from noria.lowlevel import DISK_BACKEND_NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from tests.files.conftest import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are ways of Linux")

BLOCK = 4096
SHARED_MEMORY = Path("/dev/shm")
DISKS = tuple(dict.fromkeys([RING, *DISK_BACKEND_NAMES]))
WRITE = os.O_RDWR | os.O_CREAT


def block(number: int, blocks: int = 1) -> bytes:
    """Blocks that are unlike their neighbours."""
    return b"".join(b"%08d" % (number + each) * (BLOCK // 8) for each in range(blocks))


def memory(data: bytes) -> memoryview:
    """The same bytes where direct I/O takes them."""
    made = aligned(len(data))
    made[:] = data
    return made


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How operations are done, asked for by the environment as a program's user would."""
    name: str = request.param
    engine = RING if name == RING else "epoll"
    if engine not in ENGINES:
        pytest.skip(f"there is no engine {engine} in this build")
    probe = engine_class(engine).probe()
    if probe.available and name != RING:
        told = BACKENDS[name].probe()
        if not told.available:
            pytest.skip(told.reason)
    elif not probe.available:
        pytest.skip(probe.reason)
    monkeypatch.setenv("NORIA_DISK", name)
    monkeypatch.setenv("NORIA_ENGINE", engine)
    return name


@pytest.fixture(params=["disk", "tmpfs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on the disk's filesystem, and one in memory."""
    if request.param == "disk":
        yield tmp_path
        return
    if not SHARED_MEMORY.is_dir():
        pytest.skip("there is no tmpfs here")
    made = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
    yield made
    shutil.rmtree(made)


class Place:
    """Where files of a test are, and how they are opened."""

    def __init__(self, disk: str, run: Run, folder: Path, direct: bool) -> None:
        self.disk = disk
        self.run = run
        self.folder = folder
        self.direct = direct

    async def open(self, flags: int = WRITE, name: str = "file") -> File:
        """Open a file whose operations all take the way under test."""
        file = await open_file(File, self.folder / name, flags, direct=self.direct)
        file.looks = False
        return file


@pytest.fixture(params=["buffered", "direct"])
def place(request: pytest.FixtureRequest, disk: str, run: Run, folder: Path) -> Place:
    """One field of the matrix."""
    direct = request.param == "direct"
    if direct:
        try:
            os.close(os.open(folder / "probe", WRITE | os.O_DIRECT))
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            pytest.skip("this filesystem has no direct I/O")
    return Place(disk, run, folder, direct)


def test_operations(place: Place) -> None:
    async def main() -> None:
        file = await place.open()
        path = place.folder / "file"
        assert await file.write_at(memory(block(0, 4)), 0) == 4 * BLOCK
        assert await file.writev_at([memory(block(4)), memory(block(5))], 4 * BLOCK) == 2 * BLOCK
        assert path.read_bytes() == block(0, 6)
        assert await file.read_at(2 * BLOCK, BLOCK) == block(1, 2)
        room, more = aligned(BLOCK), aligned(BLOCK)
        assert await file.readinto_at(room, 3 * BLOCK) == BLOCK
        assert room == block(3)
        assert await file.readv_at([room, more], 4 * BLOCK) == 2 * BLOCK
        assert bytes(room) + bytes(more) == block(4, 2)

        await file.truncate_at(5 * BLOCK + 100)
        assert await file.read_at(2 * BLOCK, 4 * BLOCK) == block(4) + block(5)[:100]
        assert await file.readinto_at(room, 5 * BLOCK) == 100
        assert await file.readv_at([room, more], 5 * BLOCK) == 100
        for end in (6 * BLOCK, 100 * BLOCK):
            assert await file.read_at(BLOCK, end) == b""
            assert await file.readinto_at(room, end) == 0
            assert await file.readv_at([room], end) == 0

        assert await file.write_at(memory(block(9)), 9 * BLOCK) == BLOCK
        found = await file.read_at(BLOCK * 5, 5 * BLOCK)
        assert found == block(5)[:100] + bytes(4 * BLOCK - 100) + block(9), "a hole is zeros"
        await file.allocate(9 * BLOCK, 3 * BLOCK)
        assert path.stat().st_size == 12 * BLOCK
        await file.advise(0, 0, os.POSIX_FADV_RANDOM)
        await file.datasync()
        await file.sync()
        await file.truncate_at(0)
        assert await file.read_at(BLOCK, 0) == b""

        told = file.statistics()
        assert (told.in_flight, told.hits) == (0, 0)
        assert told.bytes_written == 7 * BLOCK
        assert (told.native > 0) == (place.disk == RING)
        backend = place.disk if place.disk != RING else "threads"
        routes = fs.disk_statistics()
        assert routes.forced
        least = 12 if backend == "posix_aio" else 20  # POSIX AIO has no vectors
        assert place.disk == RING or routes.routes[backend] >= least
        await file.close()

    place.run(main())


def test_appending(place: Place) -> None:
    async def main() -> None:
        file = await place.open(os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        written = [file.append(memory(block(number))) for number in range(20)]
        assert await asyncio.gather(*written) == [BLOCK] * 20
        await file.close()
        data = (place.folder / "file").read_bytes()
        parts = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
        assert sorted(parts) == [block(number) for number in range(20)], "whole, in any order"

    place.run(main())


def test_many_at_once_and_much_at_once(place: Place) -> None:
    async def main() -> None:
        file = await place.open()
        pieces = [file.write_at(memory(block(n, 8)), n * BLOCK) for n in range(0, 256, 8)]
        assert await asyncio.gather(*pieces) == [8 * BLOCK] * 32
        assert await file.read_at(300 * BLOCK, 0) == block(0, 256)
        places = [(7 * number) % 256 for number in range(200)]
        found = await asyncio.gather(*(file.read_at(BLOCK, n * BLOCK) for n in places))
        assert found == [block(number) for number in places]
        if not place.direct:
            parts = [bytearray(16) for _ in range(2 * VECTOR_PARTS_MAX + 5)]
            assert await file.readv_at(parts, 8) == 16 * len(parts)
            assert b"".join(parts) == block(0, 256)[8 : 8 + 16 * len(parts)]
            assert await file.writev_at(parts, 16) == 16 * len(parts)
            assert await file.read_at(16 * len(parts), 16) == b"".join(parts)
        await file.close()

    place.run(main())


def test_what_is_cancelled_keeps_its_memory(place: Place) -> None:
    async def main() -> None:
        blocks = 64
        (place.folder / "file").write_bytes(block(0, blocks))
        file = await place.open()
        rooms = [aligned(blocks * BLOCK) for _ in range(24)]
        begun: list[Any] = [file.readinto_at(room, 0) for room in rooms]
        for number, each in enumerate(begun):
            if number % 2:
                assert each.cancel() or each.done()
        for number, each in enumerate(begun):
            if number % 2 == 0:
                assert await each == blocks * BLOCK
            elif each.cancelled():
                with pytest.raises(asyncio.CancelledError):
                    await each
        await file.drain()
        assert file.statistics().in_flight == 0
        for each, room in zip(begun, rooms, strict=True):
            assert each.moved in (0, blocks * BLOCK) or each.cancelled()
            assert room[: each.moved] == block(0, blocks)[: each.moved]
        writes: list[Any] = [file.write_at(memory(block(n)), n * BLOCK) for n in range(100, 132)]
        for each in writes:
            each.cancel()
        await file.close()
        data = (place.folder / "file").read_bytes()
        for number, each in enumerate(writes, 100):
            there = data[number * BLOCK : (number + 1) * BLOCK] == block(number)
            assert there == (each.moved == BLOCK), "what was moved is told of"

    place.run(main())


def test_closing_waits_for_what_is_in_flight(place: Place) -> None:
    async def main() -> None:
        file = await place.open()
        begun: list[Any] = [file.write_at(memory(block(n)), n * BLOCK) for n in range(40)]
        await file.close()
        assert file.closed
        assert [each.result() for each in begun] == [BLOCK] * 40
        assert (place.folder / "file").read_bytes() == block(0, 40)
        with pytest.raises(ValueError, match="closed file"):
            file.read_at(BLOCK, 0)

    place.run(main())


def test_failures_tell_where(place: Place) -> None:
    async def main() -> None:
        path = place.folder / "file"
        file = await place.open(os.O_WRONLY | os.O_CREAT)
        await file.write_at(memory(block(0)), 0)
        file.can_read = True  # the kernel knows better
        rooms: list[Any] = [aligned(BLOCK), aligned(BLOCK)]
        attempt: Awaitable[Any]
        for attempt in (
            file.read_at(BLOCK, BLOCK),
            file.readinto_at(rooms[0], BLOCK),
            file.readv_at(rooms, BLOCK),
        ):
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
                await attempt
            failure: Any = caught.value
            assert (failure.errno, failure.filename) == (errno.EBADF, path)
            assert (failure.offset, failure.bytes_done) == (BLOCK, 0)
        rooms[0][:] = block(7)  # its memory is the caller's again
        await file.close()
        file = await place.open(os.O_RDONLY)
        file.can_write = True
        for attempt in (
            file.write_at(memory(block(0)), BLOCK),
            file.writev_at([memory(block(0))], BLOCK),
            file.truncate_at(5),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - ftruncate(2) says EINVAL
                await attempt
            assert caught.value.errno in (errno.EBADF, errno.EINVAL)
            assert caught.value.filename == path
        await file.close()
        assert path.read_bytes() == block(0)

    place.run(main())


def test_a_device_that_is_full(disk: str, run: Run) -> None:
    async def main() -> None:
        file = await open_file(File, "/dev/full", os.O_RDWR)
        for attempt in (file.write_at(b"data", 100), file.writev_at([b"da", b"ta"], 100)):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
                await attempt
            failure: Any = caught.value
            assert (failure.errno, failure.filename) == (errno.ENOSPC, "/dev/full")
            assert (failure.offset, failure.bytes_done) == (100, 0)
        assert await file.read_at(10, 5) == bytes(10)
        await file.close()

    run(main())


LIMITED = textwrap.dedent(
    """
    import asyncio, errno, os, resource, sys
    import noria
    from noria.files.file import File
    from noria.files.opening import open_file

    async def main(name):
        file = await open_file(File, name, os.O_RDWR | os.O_CREAT)
        assert file.host.engine.disk_statistics().forced
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
        for write in (file.write_at, lambda data, place: file.writev_at([data], place)):
            try:
                await write(bytes(8192), 1000)
            except OSError as exc:
                told = (exc.errno, exc.filename, exc.offset, exc.bytes_done)
                assert told == (errno.EFBIG, name, 1000, 5000), told
            else:
                raise AssertionError("it was not refused")
        assert os.stat(name).st_size == 6000
        await file.close()

    loop = sys.argv[1]
    if loop == "noria":
        factory = noria.new_event_loop
    elif loop == "uvloop":
        import uvloop
        factory = uvloop.new_event_loop
    else:
        factory = asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(sys.argv[2]))
    """
)


def test_a_file_that_may_not_grow(disk: str, run: Run, tmp_path: Path) -> None:
    """A write in two parts: the first fits, the second does not (setrlimit(2), RLIMIT_FSIZE)."""
    command = [sys.executable, "-c", LIMITED, run.name, str(tmp_path / "file")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


def test_hung_opens_hold_nobody_up(disk: str, run: Run, tmp_path: Path) -> None:
    pipes = [tmp_path / f"pipe{number}" for number in range(64)]
    for pipe in pipes:
        os.mkfifo(pipe)

    async def main() -> None:
        hung = [asyncio.ensure_future(open_file(File, pipe, os.O_RDONLY)) for pipe in pipes]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        for number in range(8):
            path = tmp_path / f"file{number}"
            file = await open_file(File, path, WRITE)
            file.looks = False
            assert await file.write_at(b"data", 0) == 4
            assert await file.read_at(10, 0) == b"data"
            await file.sync()
            assert (await fs.stat(path)).st_size == 4
            await file.close()
            assert await fs.read_bytes(path) == b"data"
        assert time.monotonic() - began < 1
        assert not any(each.done() for each in hung)
        for each in hung[::2]:
            each.cancel()
        writers = [os.open(pipe, os.O_RDWR | os.O_NONBLOCK) for pipe in pipes]
        for file in await asyncio.gather(*hung[1::2]):
            await file.close()
        for writer in writers:
            os.close(writer)

    run(main())
