"""The work of the rows: what is called, counted and timed, the same for every subject of Python.

Each function of WORKS runs one round of a subject with a loop. Files are opened, arguments made and
caches dropped before the clock starts, and what was read is compared after it has stopped.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import LabError
from noria.lab.files.ground import (
    BLOCK_BYTES,
    HOT_BYTES,
    LINES,
    PIECE_BYTES,
    SMALL_BYTES,
    Checker,
    Ground,
    aligned_memory,
    drop_cache,
    shuffled,
    warm_cache,
)
from noria.lab.files.subject import Call, Subject, close_all

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    Work = Callable[..., Coroutine[Any, Any, "Meter"]]

now_ns = time.monotonic_ns

CHECKED: Final = 16
"""How many blocks are compared after a round of reads that were not kept."""

STATS: Final = 256
"""How many names are looked at between two looks at the clock."""


@dataclass(slots=True)
class Meter:
    """The clocks of one round: started with `with`, and what was counted in it."""

    seconds: float
    operations: int = 0
    elapsed_ns: int = 0
    user_ns: int = 0
    kernel_ns: int = 0
    end_ns: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    _began: tuple[int, float, float] = (0, 0.0, 0.0)

    def __enter__(self) -> Meter:
        gc.collect()
        user_s, kernel_s = cpu_s()
        start_ns = now_ns()
        self.end_ns = start_ns + int(self.seconds * 1e9)
        self._began = start_ns, user_s, kernel_s
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed_ns = now_ns() - self._began[0]
        user_s, kernel_s = cpu_s()
        self.user_ns = int((user_s - self._began[1]) * 1e9)
        self.kernel_ns = int((kernel_s - self._began[2]) * 1e9)

    def fail(self, what: str, count: int = 1) -> None:
        """Count what went wrong."""
        if count:
            self.failures[what] = self.failures.get(what, 0) + count

    def result(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {
            "elapsed_ns": self.elapsed_ns,
            "operations": self.operations,
            "user_ns": self.user_ns,
            "kernel_ns": self.kernel_ns,
            "cpu_known": True,
            "failures": self.failures,
            "details": self.details,
        }


def cpu_s() -> tuple[float, float]:
    """User and kernel time of this process with all its threads, those of a ring included."""
    if sys.platform == "win32":
        raise LabError("the lab runs on Linux only")
    import resource  # noqa: PLC0415 - absent on Windows, where this module is still type-checked

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


async def hot(subject: Subject, ground: Ground, seconds: float, seed: int) -> Meter:
    """Read cached blocks, one after the other."""
    meter = Meter(seconds)
    warm_cache(ground.hot)
    slots = await subject.open_slots(ground.hot, 1)
    try:
        read, arguments = slots[0].read(BLOCK_BYTES)
        offsets = shuffled(HOT_BYTES, seed)
        calls = [arguments(offset) for offset in offsets]
        with meter:
            while now_ns() < meter.end_ns:
                for call in calls:
                    await read(*call)
                meter.operations += len(calls)
        checker = Checker()
        for offset in offsets[:CHECKED]:
            right = checker.is_right(await read(*arguments(offset)), offset)
            meter.fail("wrong blocks", not right)
        meter.details = subject.routes(slots)
    finally:
        await close_all(slots)
    return meter


async def stat(subject: Subject, ground: Ground, seconds: float, seed: int) -> Meter:
    """Look at one cached name, again and again."""
    meter = Meter(seconds)
    look, arguments = subject.stat(ground.hot)
    calls = [arguments(0)] * STATS
    found = await look(*arguments(0))
    meter.fail("wrong sizes", found.st_size != HOT_BYTES)
    with meter:
        while now_ns() < meter.end_ns:
            for call in calls:
                await look(*call)
            meter.operations += len(calls)
    return meter


@dataclass(slots=True)
class Lane:
    """One operation at a time, and its memory."""

    call: Call
    memory: memoryview
    offsets: list[int]
    done: int = 0
    last: Any = None

    async def run(self, calls: Iterator[tuple[Any, ...]], end_ns: int) -> None:
        """Go through the calls until the time is over."""
        function, done, got = self.call.function, 0, None
        for call in calls:
            got = await function(*call)
            done += 1
            if now_ns() >= end_ns:
                break
        self.done, self.last = done, got

    def is_right(self, checker: Checker) -> bool:
        """Compare what came last with what lies there."""
        if not self.done:
            return True
        offset = self.offsets[(self.done - 1) % len(self.offsets)]
        if isinstance(self.last, int):
            if self.last != len(self.memory):
                return False
            return checker.is_right(self.memory, offset)
        return len(self.last) == len(self.memory) and checker.is_right(self.last, offset)


async def blocks(
    subject: Subject, ground: Ground, seconds: float, seed: int, *, depth: int, direct: bool
) -> Meter:
    """Read blocks of the large file at random, `depth` at a time."""
    meter = Meter(seconds)
    if not direct:
        drop_cache(ground.large)
    slots = await subject.open_slots(ground.large, depth, direct=direct)
    try:
        offsets = shuffled(ground.large_bytes, seed)
        memory = aligned_memory(depth * BLOCK_BYTES)
        lanes = []
        for number, slot in enumerate(slots):
            mine = memory[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
            lanes.append(Lane(slot.read_into(mine), mine, offsets[number::depth]))
        await race(meter, lanes, again=direct)
        checker = Checker()
        meter.fail("wrong blocks", sum(not lane.is_right(checker) for lane in lanes))
        meter.details = subject.routes(slots)
    finally:
        await close_all(slots)
    return meter


async def race(meter: Meter, lanes: list[Lane], *, again: bool) -> None:
    """Run all lanes at the same time; from the beginning again, or each offset once."""
    prepared = []
    for lane in lanes:
        calls = [lane.call.arguments(offset) for offset in lane.offsets]
        prepared.append(itertools.cycle(calls) if again else iter(calls))
    with meter:
        pairs = zip(lanes, prepared, strict=True)
        await asyncio.gather(*(lane.run(calls, meter.end_ns) for lane, calls in pairs))
    meter.operations = sum(lane.done for lane in lanes)


async def durable(subject: Subject, ground: Ground, seconds: float, seed: int) -> Meter:
    """Write a block and have it reach the disk, one after the other."""
    meter = Meter(seconds)
    slots = await subject.open_slots(ground.scratch, 1, write=True)
    try:
        write, arguments = slots[0].write(bytes(BLOCK_BYTES))
        datasync = slots[0].datasync
        calls = [arguments(offset) for offset in shuffled(ground.scratch_bytes, seed)]
        with meter:
            for call in itertools.cycle(calls):
                await write(*call)
                await datasync()
                meter.operations += 1
                if now_ns() >= meter.end_ns:
                    break
    finally:
        await close_all(slots)
    return meter


async def lines(
    subject: Subject, ground: Ground, seconds: float, seed: int, *, binary: bool
) -> Meter:
    """Go through the lines of a cached text."""
    meter = Meter(seconds)
    warm_cache(ground.lines)
    passes = 0
    with meter:
        while now_ns() < meter.end_ns:
            count = 0
            async with subject.lines(ground.lines, binary=binary) as file:
                async for _ in file:
                    count += 1
            meter.operations += count
            passes += 1
    meter.fail("wrong lines", abs(meter.operations - passes * LINES))
    return meter


async def small(
    subject: Subject, ground: Ground, seconds: float, seed: int, *, depth: int, sync: bool
) -> Meter:
    """Make small files, write, close, read and remove each: all of them, however long it takes."""
    meter = Meter(seconds)
    data = os.urandom(SMALL_BYTES)
    names = small_names(ground, seed)

    async def lane(mine: list[Path]) -> int:
        wrong = 0
        for name in mine:
            wrong += await subject.live(name, data, sync=sync) != data
        return wrong

    with meter:
        wrong = await asyncio.gather(*(lane(names[start::depth]) for start in range(depth)))
    meter.operations = len(names)
    meter.fail("wrong files", sum(wrong))
    meter.fail("files left", len(list(ground.small.iterdir())))
    return meter


def small_names(ground: Ground, seed: int) -> list[Path]:
    """Give the names of a round."""
    return [ground.small / f"{seed}-{number}" for number in range(ground.small_files)]


async def sequence(
    subject: Subject, ground: Ground, seconds: float, seed: int, *, write: bool, depth: int = 2
) -> Meter:
    """Read the large file, or write over the scratch file, by MiB from its beginning on."""
    meter = Meter(seconds)
    path, size = begin_sequence(ground, write=write)
    slots = await subject.open_slots(path, depth, write=write)
    try:
        memory = aligned_memory(depth * PIECE_BYTES)
        lanes = []
        for number, slot in enumerate(slots):
            mine = memory[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
            call = slot.write(mine) if write else slot.read_into(mine)
            offsets = list(range(number * PIECE_BYTES, size, depth * PIECE_BYTES))
            lanes.append(Lane(call, mine, offsets))
        await race(meter, lanes, again=write)
        if not write:
            checker = Checker()
            meter.fail("wrong pieces", sum(not lane.is_right(checker) for lane in lanes))
        meter.details = subject.routes(slots)
    finally:
        await close_all(slots)
    return meter


def begin_sequence(ground: Ground, *, write: bool) -> tuple[Path, int]:
    """Choose the file of a sequence and give everybody the same beginning; path and size."""
    if write:
        force(ground.scratch)
        return ground.scratch, ground.scratch_bytes
    drop_cache(ground.large)
    return ground.large, ground.large_bytes


def force(path: Path) -> None:
    """Have a file reach the disk, so that no round pays for what another one wrote."""
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    warm_cache(path)


WORKS: Final[dict[str, Work]] = {
    work.__name__: work for work in (hot, stat, blocks, durable, lines, small, sequence)
}
