"""The rows `hung` and `stuck`: operations that do not end for a long time, and others beside them.

Of `hung` they are opens for reading of FIFOs that nobody writes to, which wait (fifo(7)); of
`stuck` writes to files whose disk does not answer. Meanwhile other files are looked at, opened,
read, written and closed, each with a clock of its own, and a task that sleeps measures how late the
loop is. The first half of a round is the same without them, for what the machine does to a loop. At
the end somebody opens the FIFOs for writing, or the disk answers, and all must come back.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import LabError
from noria.lab.files.ground import BLOCK_BYTES, HANGING
from noria.lab.files.stuck import StuckDisk
from noria.lab.files.subject import Slot, Subject, close_all
from noria.lab.files.work import Meter, now_ns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from noria.lab.files.ground import Ground

GIVE_UP_S: Final = 2.0
"""An operation that takes longer counts as hung itself, and ends its round."""

RELEASE_S: Final = 10.0
"""What hung comes back within this time of being released."""

NAP_S: Final = 0.001
"""What the task that measures the loop sleeps."""

SETTLE_S: Final = 0.02
"""Time for them to get where they wait."""


async def hung(subject: Subject, ground: Ground, seconds: float, seed: int) -> Meter:
    """Run one round of that row."""
    return await beside(Opens(subject, ground.folder), subject, ground, seconds)


async def stuck(subject: Subject, ground: Ground, seconds: float, seed: int) -> Meter:
    """Run one round of that row."""
    return await beside(Writes(subject, ground.folder), subject, ground, seconds)


async def beside(
    hanging: Opens | Writes, subject: Subject, ground: Ground, seconds: float
) -> Meter:
    """Visit files without and with what hangs."""
    calm = Meter(seconds / 2)
    calm_ns = await visit_for(subject, ground, calm)
    await hanging.prepare()
    meter = Meter(seconds / 2)
    waiting = hanging.begin()
    try:
        await asyncio.sleep(SETTLE_S)
        meter.fail(f"{hanging.what} that did not wait", sum(one.done() for one in waiting))
        late_ns = await visit_for(subject, ground, meter)
    finally:
        meter.fail(f"{hanging.what} that did not come back", await hanging.end(waiting))
    meter.details["late_p99_ns"] = late_ns
    meter.details["calm_p99_ns"] = calm_ns
    return meter


class Opens:
    """Opens of FIFOs that nobody writes to."""

    what = "opens"

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject = subject
        self._fifos = [folder / f"fifo-{number}" for number in range(HANGING)]

    async def prepare(self) -> None:
        """Make the FIFOs, once."""
        if sys.platform == "win32":
            raise LabError("the lab runs on Linux only")
        for fifo in self._fifos:
            with suppress(FileExistsError):
                os.mkfifo(fifo)

    def begin(self) -> list[asyncio.Task[Any]]:
        """Open them."""
        return [asyncio.create_task(self._subject.open_fifo(fifo)) for fifo in self._fifos]

    async def end(self, waiting: Sequence[asyncio.Task[Any]]) -> int:
        """Open the other ends until all opens have ended, and close them; how many did not."""
        # For reading and writing, since that does not wait on Linux (fifo(7)).
        ends = [os.open(fifo, os.O_RDWR) for fifo in self._fifos]
        try:
            failed = await failures_among(waiting)
            for one in waiting:
                if one.done() and not one.cancelled() and one.exception() is None:
                    await one.result().close()
        finally:
            for end in ends:
                os.close(end)
        return failed


class Writes:
    """Writes to files whose disk does not answer."""

    what = "writes"

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject = subject
        self._paths = [folder / f"stuck-{number}" for number in range(HANGING)]
        self._slots: list[Slot] = []
        self._disk: StuckDisk | None = None

    async def prepare(self) -> None:
        """Make the files and open them, and have the disk stuck."""
        for path in self._paths:
            path.write_bytes(bytes(BLOCK_BYTES))
            self._slots += await self._subject.open_slots(path, 1, write=True)
        try:
            self._disk = StuckDisk(self._paths)
        except BaseException:
            await close_all(self._slots)
            raise

    def begin(self) -> list[asyncio.Task[Any]]:
        """Write to each."""
        return [asyncio.create_task(self._write(slot)) for slot in self._slots]

    async def _write(self, slot: Slot) -> None:
        write, offsets = slot.write(bytes(BLOCK_BYTES))
        await write(*offsets(0))

    async def end(self, waiting: Sequence[asyncio.Task[Any]]) -> int:
        """Have the disk answer, and close the files; how many writes did not end."""
        assert self._disk is not None
        self._disk.free()
        failed = await failures_among(waiting)
        await close_all(self._slots)
        return failed


async def failures_among(waiting: Sequence[asyncio.Task[Any]]) -> int:
    """Wait until they end, and give up after a while; how many did not end, or not well."""
    _, pending = await asyncio.wait(waiting, timeout=RELEASE_S)
    for one in pending:
        one.cancel()
    return sum(1 for one in waiting if not one.done() or one.exception() is not None)


async def visit_for(subject: Subject, ground: Ground, meter: Meter) -> int:
    """Visit files until the time is over; how late the loop was meanwhile, 99 of 100, in ns."""
    worst_ns: dict[str, int] = {}
    napping = asyncio.create_task(nap(late_ns := list[int]()))
    try:
        with meter:
            while now_ns() < meter.end_ns:
                async with asyncio.timeout(GIVE_UP_S):
                    await visit(subject, ground, meter, worst_ns)
    except TimeoutError:
        meter.fail("operations hung")
        worst_ns["hung"] = int(GIVE_UP_S * 1e9)
    finally:
        napping.cancel()
        with suppress(asyncio.CancelledError):
            await napping
    meter.details = {"worst_ns": max(worst_ns.values(), default=0), "worst_of_ns": worst_ns}
    return sorted(late_ns)[int(len(late_ns) * 0.99)] if late_ns else 0


async def nap(late_ns: list[int]) -> None:
    """Sleep again and again, and note how late it was."""
    while True:
        start_ns = now_ns()
        await asyncio.sleep(NAP_S)
        late_ns.append(now_ns() - start_ns - int(NAP_S * 1e9))


async def visit(subject: Subject, ground: Ground, meter: Meter, worst_ns: dict[str, int]) -> None:
    """Look at a file, open, read, write and close it, with a clock for each."""

    def note(what: str, start_ns: int) -> int:
        end_ns = now_ns()
        worst_ns[what] = max(worst_ns.get(what, 0), end_ns - start_ns)
        meter.operations += 1
        return end_ns

    look, names = subject.stat(ground.hot)
    start_ns = now_ns()
    await look(*names(0))
    start_ns = note("stat", start_ns)
    slots = await subject.open_slots(ground.hot, 1, write=True)
    start_ns = note("open", start_ns)
    read, offsets = slots[0].read(BLOCK_BYTES)
    data = await read(*offsets(BLOCK_BYTES))
    start_ns = note("read", start_ns)
    write, offsets = slots[0].write(data)
    await write(*offsets(BLOCK_BYTES))  # what was there
    start_ns = note("write", start_ns)
    await close_all(slots)
    note("close", start_ns)
