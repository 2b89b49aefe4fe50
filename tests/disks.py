"""Operations on a router of disk backends by itself, without an engine."""

from __future__ import annotations

import errno
import mmap
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria.core.operation import AUTOMATIC, BACKEND, Operation
from noria.disk.disk import Disk
from noria.disk.registry import choose
from noria.native.transfer import COMPILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.disk.interface import BackendStatistics

PATIENCE_SECONDS = 10.0
BLOCK_BYTES = 4096
O_DIRECT: int = getattr(os, "O_DIRECT", 0)

compiled_only = pytest.mark.skipif(not COMPILED, reason="lending memory needs the compiled build")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="calls of Linux")


def traced(directory: Path, program: str, *options: str) -> tuple[str, str]:
    """What a program prints, and its calls as strace sees them; skips the test without strace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = directory / "calls"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path[1:], str(Path.cwd())])}
    result = subprocess.run(
        [strace, "-f", "-o", str(log), *options, sys.executable, "-c", program, str(directory)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Operation not permitted" in result.stderr or not log.exists():
        pytest.skip("strace may not trace here")
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), log.read_text()


def operation(code: int, fd: int, buffer: Any = None, offset: int = 0, size: int = 0) -> Operation:
    """An operation of that code."""
    op = Operation(code, fd)
    op.buffer = buffer
    op.offset = offset
    op.size = size
    return op


class Rig:
    """A router with one backend that was asked for by name."""

    def __init__(self, name: str) -> None:
        self.disk = Disk(lambda: None, choose(name, "there is no ring"))
        self.waiting = 0
        self.done: list[Operation] = []

    def submit(self, *operations: Operation, way: int = AUTOMATIC) -> None:
        """Submit each; all have to be taken."""
        for op in operations:
            op.way = way
            op.begin(BACKEND)
            assert self.disk.submit(op) == 0
            self.waiting += 1

    def step(self, seconds: float = 0.05) -> None:
        """Hand over, wait for a moment unless something is done, and take it."""
        if not self.disk.flush() and self.disk.fileno() >= 0:
            select.select([self.disk.fileno()], [], [], seconds)
            self.disk.silence()
        found: list[Operation] = []
        self.disk.reap(found, 32)
        self._take(found)

    def _take(self, found: list[Operation]) -> None:
        for op in found:
            op.settle(op.result)
            self.waiting -= 1
        self.done += found

    def finish(self) -> list[Operation]:
        """Wait until all are done; give them in the order in which they were."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.waiting:
            assert time.monotonic() < deadline, f"{self.waiting} operations do not end"
            self.step()
        done = self.done
        self.done = []
        return done

    def do(self, *operations: Operation, way: int = AUTOMATIC) -> list[int]:
        """Submit them, wait for all, and give their results."""
        self.submit(*operations, way=way)
        self.finish()
        return [op.result for op in operations]

    def own(self) -> BackendStatistics:
        """What the backend itself has counted."""
        return self.disk.statistics().backends[0]

    def routes(self) -> dict[str, int]:
        """What went where."""
        return dict(self.disk.statistics().routes)

    def close(self) -> None:
        """Close the router; what was in flight is in `done`."""
        found: list[Operation] = []
        self.disk.close(found)
        self._take(found)


class Files:
    """A file of four mebibytes, open with the page cache and, where that can be, without."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "data"
        self.data = bytes(range(256)) * (4 * BLOCK_BYTES)
        self.path.write_bytes(self.data)
        self.buffered = os.open(self.path, os.O_RDWR)
        os.fsync(self.buffered)
        self.opened = [self.buffered]
        self._direct = -1
        if O_DIRECT:
            try:
                self._direct = os.open(self.path, os.O_RDWR | O_DIRECT)
                self.opened.append(self._direct)
            except OSError:
                pass

    @property
    def direct(self) -> int:
        """The descriptor that bypasses the page cache; skips the test if there is none."""
        if self._direct < 0:
            pytest.skip("the file system of the temporary directory has no direct I/O")
        return self._direct

    @property
    def asynchronous(self) -> int:
        """The same; skips the test if the kernel would not begin without waiting either."""
        if not waits_for_no_disk(self.buffered):
            pytest.skip("the file system does not know RWF_NOWAIT, so threads do it")
        return self.direct

    def forget(self) -> None:
        """Drop what is cached of it."""
        os.fsync(self.buffered)
        if sys.platform == "linux":
            os.posix_fadvise(self.buffered, 0, 0, os.POSIX_FADV_RANDOM)
            os.posix_fadvise(self.buffered, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close what is open."""
        for fd in self.opened:
            os.close(fd)


def files_in(directory: Path) -> Iterator[Files]:
    """For a fixture."""
    made = Files(directory)
    yield made
    made.close()


def rig_of(name: str) -> Iterator[Rig]:
    """For a fixture."""
    made = Rig(name)
    yield made
    made.close()


def waits_for_no_disk(fd: int) -> bool:
    """Whether its file system can be asked for what is cached (RWF_NOWAIT)."""
    if sys.platform != "linux":
        return False
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def direct_memory(blocks: int = 1) -> memoryview:
    """Writable memory that direct I/O takes."""
    return memoryview(mmap.mmap(-1, blocks * BLOCK_BYTES))


class FakeRequest:
    """Stands for a native request."""

    def __init__(
        self, token: Any, kind: int, fd: int, buffer: Any, offset: int, size: int, advice: int
    ) -> None:
        self.token = token
        self.kind = kind
        self.fd = fd
        self.buffer = buffer
        self.offset = offset
        self.size = size
        if buffer is not None:
            parts = buffer if isinstance(buffer, list) else [buffer]
            self.size = sum(map(len, parts))
        self.result = 0
        self.was_refused = False

    def refused(self) -> bool:
        return self.was_refused

    def taken(self, size: int) -> bytes:
        return b"x" * size


class FakeQueue:
    """Stands for a native queue: each request ends as `script` says, None for never.

    A negative number in a tuple means that the request was refused with it.
    """

    script: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.gathered: list[FakeRequest] = []
        self.running: list[FakeRequest] = []
        self.ended: list[FakeRequest] = []
        self.closed = 0

    def submit(self, request: FakeRequest) -> int:
        self.gathered.append(request)
        return 0

    def cancel(self, request: FakeRequest) -> bool:
        if request not in self.gathered:
            return False
        self.gathered.remove(request)
        request.result = -errno.ECANCELED
        self.ended.append(request)
        return True

    def flush(self) -> bool:
        for request in self.gathered:
            outcome = type(self).script(request)
            if outcome is None:
                self.running.append(request)
                continue
            request.was_refused = isinstance(outcome, tuple)
            request.result = outcome[0] if isinstance(outcome, tuple) else outcome
            self.ended.append(request)
        self.gathered.clear()
        return bool(self.ended)

    def reap(self, count: int) -> list[FakeRequest]:
        found, self.ended = self.ended[:count], self.ended[count:]
        return found

    def end(self, result: int) -> None:
        """Have what runs end."""
        for request in self.running:
            request.result = result
        self.ended += self.running
        self.running = []

    def attend(self) -> int:
        return -1

    def stop(self) -> None:
        self.closed += 0

    def close(self, timeout_ns: int) -> list[FakeRequest]:
        self.closed += 1
        for request in list(self.gathered):
            self.cancel(request)
        return list(self.running)

    def in_flight(self) -> int:
        return len(self.gathered) + len(self.running) + len(self.ended)

    def threads(self) -> int:
        return 0

    def calls(self) -> dict[str, int]:
        return {}
