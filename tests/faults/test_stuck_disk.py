"""A disk that does not answer: nothing that is to end waits for it without a bound.

D2: what is given up keeps its memory and its lease. E1: it settles once all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import noria
from noria import fs
from noria.core import codes
from noria.core.completion import Completions
from noria.core.descriptor import Descriptor
from noria.core.operation import NATIVE
from noria.disk.registry import DISKS, RING, VARIABLE, choose
from noria.engines import ring_left
from noria.engines.uring import UringEngine
from noria.errors import EngineUnavailableError
from tests.driver import Driver, Recorded
from tests.rings import needs_uring
from tests.stuck import stuck_disk, uninterruptible

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOUND_SECONDS = 0.3
_QUICK_SECONDS = 3.0  # many times the bound, for a slow machine
_EXIT_SECONDS = 60.0
_STUCK = 64
_OTHERS = 40  # one of 64 would share its hash with one of the ring's


def _make_rings_until_none_is_kept() -> None:
    """Making a ring looks whether requests of those that were left have ended."""
    deadline = time.monotonic() + _QUICK_SECONDS
    while ring_left.count():
        assert time.monotonic() < deadline, "a ring is kept though its requests have ended"
        UringEngine().close(Completions())
        time.sleep(0.001)


def make_file(path: Path) -> Path:
    """Make a file that is not empty."""
    path.write_bytes(bytes(8192))
    return path


def opened_files() -> list[str]:
    """What this process has open."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that the list was read by
            found.append(str(number.readlink()))
    return found


class Stage:
    """A driven ring, a file on a stuck disk, and a write to it that a worker does not end."""

    def __init__(self, path: Path) -> None:
        engine = UringEngine()
        engine.use_disk(RING)
        self.driver = Driver(engine)
        self.fd = os.open(path, os.O_RDWR)
        self.descriptor = Descriptor(self.fd, None)
        self.op = Recorded(codes.WRITE_AT, self.fd)
        self.op.descriptor = self.descriptor
        self.op.buffer = b"late"
        self.op.size = 4

    def begin(self) -> None:
        """Have the worker wait for the disk."""
        self.driver.submit(self.op)
        deadline = time.monotonic() + _QUICK_SECONDS
        while not uninterruptible(os.getpid()):
            assert time.monotonic() < deadline, "no worker waits for the disk"
            self.driver.poll(0.001)

    def end(self) -> None:
        """Take everything down, once the disk answers."""
        self.driver.close()
        self.descriptor.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is not empty."""
    return make_file(tmp_path / "file")


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closing waits for a short time only, and nothing is left of it afterwards."""
    for module in ("noria.engines.uring", "noria.disk.threads", "noria.disk.queued"):
        monkeypatch.setattr(f"{module}.OFFLOAD_CLOSE_SECONDS", _BOUND_SECONDS)
    yield
    _make_rings_until_none_is_kept()


@needs_uring
def test_e1_a_stuck_request_is_waited_for_once_and_ends_in_a_later_run(file: Path) -> None:
    """Parking leaves it with the ring, at once the second time, and its result is its own."""
    stage = Stage(file)
    with stuck_disk(file):
        stage.begin()
        started = time.monotonic()
        stage.driver.engine.park()
        assert _BOUND_SECONDS <= time.monotonic() - started < _QUICK_SECONDS
        stage.driver.poll()
        started = time.monotonic()
        stage.driver.engine.park()
        assert time.monotonic() - started < _BOUND_SECONDS
        assert stage.op.in_flight
        assert stage.driver.statistics().in_flight == 1
    stage.driver.finish(stage.op)
    assert stage.op.terminal == [4]
    assert file.read_bytes()[:4] == b"late"
    stage.end()


@needs_uring
def test_parking_waits_for_what_began_after_the_stuck_one(file: Path, tmp_path: Path) -> None:
    """What parking takes back is done in the next run."""
    stage = Stage(file)
    others = [os.open(tmp_path / f"{index}", os.O_RDWR | os.O_CREAT) for index in range(6)]
    with stuck_disk(file):
        stage.begin()
        stage.driver.engine.park()
        cuts = []
        for size, other in enumerate(others):
            op = Recorded(codes.TRUNCATE, other)
            op.offset = size
            cuts.append(op)
        stage.driver.submit(*cuts)
        stage.driver.poll()
        stage.driver.engine.park()
        stage.driver.finish(*cuts)
        assert [op.terminal for op in cuts] == [[0]] * 6
        assert [op.route for op in cuts] == [NATIVE] * 6
        assert [os.fstat(other).st_size for other in others] == list(range(6))
        assert stage.op.in_flight
    stage.driver.finish(stage.op)
    stage.end()
    for other in others:
        os.close(other)


@needs_uring
def test_e1_cancelling_while_parked_is_asked_in_the_next_run(file: Path) -> None:
    """The kernel cannot stop it: the completion is the truth, four bytes written."""
    stage = Stage(file)
    with stuck_disk(file):
        stage.begin()
        stage.driver.engine.park()
        stage.driver.engine.cancel(stage.op)
        stage.driver.poll()
        assert stage.op.in_flight
    stage.driver.finish(stage.op)
    assert stage.op.terminal in ([4], [-errno.ECANCELED])
    written = file.read_bytes()[:4]
    assert written == (b"late" if stage.op.terminal == [4] else bytes(4))
    stage.end()


@needs_uring
def test_d2_closing_gives_up_what_is_stuck_and_keeps_its_memory_and_lease(file: Path) -> None:
    """EIO for its owner; the lease ends with the request, when the thread's next ring is made."""
    stage = Stage(file)
    with stuck_disk(file):
        stage.begin()
        lent = weakref.ref(stage.op)
        started = time.monotonic()
        stage.driver.close()
        assert time.monotonic() - started < _QUICK_SECONDS
        assert stage.op.terminal == [-errno.EIO]
        assert stage.op.lent is None
        assert stage.descriptor.leases == 1
        assert ring_left.count() == 1
        UringEngine().close(stage.driver.batch)
        assert ring_left.count() == 1
        stage.descriptor.close()
        os.fstat(stage.fd)  # its number is not free yet
    _make_rings_until_none_is_kept()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(stage.fd)
    assert file.read_bytes()[:4] == b"late"
    del stage
    gc.collect()
    assert lent() is None


@needs_uring
def test_d2_what_is_opened_too_late_is_closed(file: Path) -> None:
    """Cutting a file needs its lock, so opening it so is stuck too; nobody takes the number."""
    driver = Driver(UringEngine())
    op = Recorded(codes.OPEN_AT)
    op.buffer, op.size = file, os.O_RDWR | os.O_TRUNC
    with stuck_disk(file):
        driver.submit(op)
        deadline = time.monotonic() + _QUICK_SECONDS
        while not uninterruptible(os.getpid()):
            assert time.monotonic() < deadline, "no worker waits for the disk"
            driver.poll(0.001)
        driver.close()
        assert op.terminal == [-errno.EIO]
        assert str(file) not in opened_files()
    _make_rings_until_none_is_kept()
    assert file.stat().st_size == 0
    assert str(file) not in opened_files()


@needs_uring
def test_d2_another_thread_goes_on_without_what_is_stuck(file: Path) -> None:
    """Only the ring's own thread could learn of its end, so it is given up when that is left."""
    stage = Stage(file)
    polled: list[int] = []

    def work() -> None:
        stage.driver.poll()
        polled.append(threading.get_ident())
        stage.driver.engine.park()

    with stuck_disk(file):
        stage.begin()
        stage.driver.engine.park()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(_QUICK_SECONDS)
        assert polled
        assert stage.op.terminal == [-errno.EIO]
        assert stage.driver.statistics().in_flight == 0
    stage.driver.close()
    assert stage.descriptor.leases == 1
    stage.descriptor.close()


@pytest.mark.parametrize("engine", ["uring", "epoll"])
def test_many_files_that_hang_hold_up_no_other(tmp_path: Path, engine: str) -> None:
    """Writes and what follows them, as many as the threads of the ring and more."""
    try:
        noria.new_event_loop(engine).close()
    except EngineUnavailableError as exc:
        pytest.skip(str(exc))
    stuck = [make_file(tmp_path / f"stuck{index}") for index in range(_STUCK)]
    others = [make_file(tmp_path / f"other{index}") for index in range(_OTHERS)]

    async def main() -> None:
        files = [await noria.open(path, "rb+", buffering=0) for path in stuck]
        free = [await noria.open(path, "rb+", buffering=0) for path in others]
        with stuck_disk(*stuck):
            hanging = [file.write_at(b"late", 0) for file in files]
            await asyncio.sleep(0.1)
            async with asyncio.timeout(_EXIT_SECONDS / 2):
                for path, file in zip(others, free, strict=True):
                    assert await file.write_at(b"early", 5) == 5
                    await file.datasync()
                    await file.truncate_at(10)
                    assert await file.read_at(20, 5) == b"early"
                    assert (await fs.stat(path)).st_size == 10
                    await fs.write_bytes(path, b"new")
                    assert await fs.read_bytes(path) == b"new"
            assert [file.statistics().in_flight for file in files] == [1] * _STUCK
        assert await asyncio.gather(*hanging) == [4] * _STUCK
        for file in files + free:
            await file.close()

    noria.run(main(), engine=engine)


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("engine", ["uring", "epoll"])
def test_a_loop_closes_though_the_disk_is_stuck(file: Path, engine: str, disk: str) -> None:
    """The run ends by its time-out, and closing the loop waits a bounded time."""
    try:
        noria.new_event_loop(engine).close()
        choose(disk, "" if engine == RING else "no ring")
    except EngineUnavailableError as exc:
        pytest.skip(str(exc))
    with stuck_disk(file):
        script = _SCRIPT.format(engine=engine, path=str(file), bound=_BOUND_SECONDS)
        environment = os.environ | {VARIABLE: disk}
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
        )
        assert child.stdout is not None
        with child.stdout as output:
            told = output.read()
    assert child.wait(_EXIT_SECONDS) == 0
    assert told == b"timed out\nclosed\n"


_SCRIPT = """
import asyncio, os, sys
import noria
import noria.engines.uring, noria.disk.threads, noria.disk.queued
for module in (noria.engines.uring, noria.disk.threads, noria.disk.queued):
    module.OFFLOAD_CLOSE_SECONDS = {bound}

async def main():
    file = await noria.open({path!r}, "rb+", buffering=0)
    try:
        async with asyncio.timeout(0.2):
            await file.write_at(b"late", 0)
    except TimeoutError:
        print("timed out", flush=True)

with noria.Runner(engine={engine!r}) as runner:
    runner.run(main())
print("closed", flush=True)
os.close(1)  # the process itself ends with its last request, as the system has it
"""
