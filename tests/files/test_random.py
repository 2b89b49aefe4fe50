"""Random sequences of operations at positions, against what `os` does with a file of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noria.files.batch import batch
from noria.files.file import File
from noria.files.opening import open_file
from tests.files.conftest import LOOPS, PATIENCE_SECONDS
from tests.files.test_matrix import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["disk"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are ways of Linux")

EXAMPLES = 20
OFFSETS = st.one_of(st.integers(0, 300), st.sampled_from([4095, 4096, 8191, 70_000]))
SIZES = st.one_of(st.integers(0, 50), st.sampled_from([4096, 4097, 66_000]))
PARTS = st.lists(st.integers(0, 60), max_size=5)

STEPS = st.one_of(
    st.tuples(st.just("write"), OFFSETS, SIZES),
    st.tuples(st.just("writev"), OFFSETS, PARTS),
    st.tuples(st.just("read"), OFFSETS, SIZES),
    st.tuples(st.just("readinto"), OFFSETS, SIZES),
    st.tuples(st.just("readv"), OFFSETS, PARTS),
    st.tuples(st.just("truncate"), OFFSETS, st.just(0)),
    st.tuples(st.just("allocate"), OFFSETS, st.integers(1, 5000)),
    st.tuples(st.just("sync"), st.just(0), st.just(0)),
    st.tuples(st.just("append"), st.just(0), SIZES),
)
"""What to do, where, and how much of it."""

Step = tuple[str, int, Any]


def data_of(step: int, size: int) -> bytes:
    """Bytes that tell which step wrote them."""
    return bytes((step * 37 + place) % 251 + 1 for place in range(size))


def parts_of(step: int, sizes: list[int]) -> list[bytes]:
    return [data_of(step + 3 * number, size) for number, size in enumerate(sizes)]


def oracle(fd: int, number: int, step: Step) -> Any:
    """Do a step by `os`; what it gives."""
    what, place, amount = step
    if what == "write":
        return os.pwrite(fd, data_of(number, amount), place)
    if what == "writev":
        return os.pwritev(fd, parts_of(number, amount), place) if amount else 0
    if what == "read":
        return os.pread(fd, amount, place)
    if what == "readinto":
        return os.pread(fd, amount, place)
    if what == "readv":
        return os.pread(fd, sum(amount), place)
    if what == "truncate":
        return os.ftruncate(fd, place)
    if what == "allocate":
        return os.posix_fallocate(fd, place, amount)
    if what == "append":
        return os.pwrite(fd, data_of(number, amount), os.fstat(fd).st_size)
    return os.fsync(fd)


async def do(file: File, ending: File, number: int, step: Step) -> Any:
    """Do a step by noria; what it gives, in the form of the oracle's."""
    what, place, amount = step
    if what == "write":
        return await file.write_at(data_of(number, amount), place)
    if what == "writev":
        return await file.writev_at(parts_of(number, amount), place)
    if what == "read":
        return await file.read_at(amount, place)
    if what == "readinto":
        room = bytearray(amount)
        return bytes(room[: await file.readinto_at(room, place)])
    if what == "readv":
        rooms = [bytearray(size) for size in amount]
        count = await file.readv_at(rooms, place)
        return b"".join(rooms)[:count]
    if what == "truncate":
        return await file.truncate_at(place)
    if what == "allocate":
        return await file.allocate(place, amount)
    if what == "append":
        return await ending.append(data_of(number, amount))
    return await file.sync()


async def compare(folder: Path, steps: list[Step], looks: bool) -> None:
    """Do the steps in both ways, and compare what they give and what they leave."""
    plain = os.open(folder / "oracle", os.O_RDWR | os.O_CREAT)
    file = await open_file(File, folder / "file", os.O_RDWR | os.O_CREAT)
    ending = await open_file(File, folder / "file", os.O_WRONLY | os.O_APPEND)
    file.looks = file.looks and looks
    try:
        for number, step in enumerate(steps):
            assert await do(file, ending, number, step) == oracle(plain, number, step), step
        assert (folder / "file").read_bytes() == (folder / "oracle").read_bytes()
    finally:
        os.close(plain)
        await file.close()
        await ending.close()


async def compare_at_once(folder: Path, steps: list[Step]) -> None:
    """Do reads and writes of places that do not overlap all at once, and then in a chain."""
    stride = 70_000
    plain = os.open(folder / "oracle", os.O_RDWR | os.O_CREAT)
    file = await open_file(File, folder / "file", os.O_RDWR | os.O_CREAT)
    try:
        async with batch() as b:
            for number, (_, _, amount) in enumerate(steps):
                size = amount if isinstance(amount, int) else sum(amount)
                os.pwrite(plain, data_of(number, size), number * stride)
                with b.chain():
                    b.write_at(file, data_of(number, size), number * stride)
                    item = b.read_at(file, size, number * stride)
                    b.link(item, b.sync(file))
        b.raise_failures()
        assert (folder / "file").read_bytes() == (folder / "oracle").read_bytes()
        reads = [item.result() for item in b if item.name == "read_at"]
        assert b"".join(reads).count(0) == 0
    finally:
        os.close(plain)
        await file.close()


@pytest.fixture(params=["noria", "asyncio"])
def runner(request: pytest.FixtureRequest, disk: str) -> Iterator[asyncio.Runner]:
    """One loop for all examples of a test; the guest's for each way too."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as made:
        yield made


@settings(max_examples=EXAMPLES)
@given(steps=st.lists(STEPS, max_size=15), looks=st.booleans())
@example(steps=[("allocate", 100, 1), ("append", 0, 9), ("read", 0, 200)], looks=False)
@example(steps=[("write", 4095, 4097), ("truncate", 4096, 0), ("readv", 4000, [96, 9])], looks=True)
def compare_examples(runner: asyncio.Runner, steps: list[Step], looks: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        runner.run(asyncio.wait_for(compare(Path(name), steps, looks), PATIENCE_SECONDS))


@settings(max_examples=EXAMPLES // 2)
@given(steps=st.lists(STEPS, max_size=10))
def compare_examples_at_once(runner: asyncio.Runner, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as name:
        runner.run(asyncio.wait_for(compare_at_once(Path(name), steps), PATIENCE_SECONDS))


def test_one_after_the_other_as_os_does(runner: asyncio.Runner) -> None:
    compare_examples(runner)


def test_all_at_once_as_os_does(runner: asyncio.Runner) -> None:
    compare_examples_at_once(runner)
