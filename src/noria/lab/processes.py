"""Child processes of a measurement: started, spoken to in JSON lines, always ended and reaped."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

from noria.lab.errors import UNABLE, LabError, UnableError
from noria.lab.settings import END_TIMEOUT_S, READY_TIMEOUT_S, REPLY_GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

LINE_BYTES_MAX = 1 << 24
PROGRESS_WORDS = 8
STDERR_TAIL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Progress:
    """What a load generator has counted since it was started."""

    phase: int = 0
    connected: int = 0
    answered: int = 0
    failures: int = 0
    received_bytes: int = 0
    alive: int = 0


class Child:
    """A Python module in a process of its own that answers lines of JSON with lines of JSON."""

    module: str
    process: subprocess.Popen[bytes]
    _stderr: IO[bytes]
    _buffer: bytearray

    def __init__(
        self, module: str, arguments: Sequence[str] = (), *, pass_fds: Sequence[int] = ()
    ) -> None:
        """Start `python -m module`, out of reach of the terminal's Ctrl-C: its owner ends it."""
        if sys.platform == "win32":
            raise LabError("the lab runs on Linux only")
        self.module = module
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._buffer = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=tuple(pass_fds),
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Write one line. Raises LabError when the process is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self.failure("has ended") from None

    def receive(
        self, timeout_s: float, watch: Callable[[], None] | None = None, watch_s: float = 0.2
    ) -> dict[str, Any]:
        """Wait for one line, calling `watch` every `watch_s`. Raises LabError after `timeout_s`."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        give_up_s = time.monotonic() + timeout_s
        while (end := self._buffer.find(b"\n")) < 0:
            left_s = give_up_s - time.monotonic()
            if left_s <= 0:
                raise self.failure(f"said nothing for {timeout_s:g} s")
            if self._readable(min(left_s, watch_s) if watch else left_s):
                data = os.read(fd, 65536)
                if not data or len(self._buffer) > LINE_BYTES_MAX:
                    raise self.failure("has ended")
                self._buffer += data
            elif watch:
                watch()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self.failure(f"said {line[:80]!r}, which is no answer") from None
        return message

    def _readable(self, timeout_s: float) -> bool:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def failure(self, what: str) -> LabError:
        """Make the error that tells what this process did and what it said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip()[-STDERR_TAIL_CHARACTERS:]
        code = self.process.poll()
        if code == UNABLE:
            return UnableError(said)
        state = "is still running" if code is None else f"exit code {code}"
        return LabError(f"{self.module} (process {self.pid}, {state}) {what}\n{said}".strip())

    def close(self) -> None:
        """End the process, by force if it takes too long, and reap it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.process.kill()  # its work is void, and it may be in the middle of a long phase
        self.close()


class ServerProcess(Child):
    """A contender's server, ready when this returns."""

    def __init__(
        self,
        contender: str,
        scenario: str,
        core: int,
        *,
        hosts: Sequence[str] = ("127.0.0.1",),
        path: str = "",
    ) -> None:
        """Start it. Raises LabError with what it said if it does not come up."""
        arguments = ["--contender", contender, "--scenario", scenario, "--core", str(core)]
        for host in hosts:
            arguments += ["--host", host]
        if path:
            arguments += ["--path", path]
        super().__init__("noria.lab.server", arguments)
        self.contender = contender
        try:
            ready = self.receive(READY_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        self.addresses: list[Any] = ready["addresses"]
        self.facts: dict[str, Any] = ready["facts"]


class ClientProcess(Child):
    """The load generator; its counters can be read while it runs a phase."""

    _progress: mmap.mmap

    def __init__(self, core: int) -> None:
        """Start it on a CPU. Raises LabError where it cannot run."""
        if sys.platform != "linux":
            raise LabError("the load generator needs Linux")
        fd = os.memfd_create("noria-lab-progress", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            self._progress = mmap.mmap(fd, mmap.PAGESIZE)
            super().__init__(
                "noria.lab.client", ["--core", str(core), "--progress-fd", str(fd)], pass_fds=[fd]
            )
        finally:
            os.close(fd)

    def progress(self) -> Progress:
        """Read the counters as they are now."""
        with memoryview(self._progress)[: PROGRESS_WORDS * 8].cast("Q") as words:
            return Progress(*words[:6])

    def ask(
        self,
        operation: str,
        name: str,
        *,
        limit_s: float = 0.0,
        watch: Callable[[Progress], None] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Run a command of noria.lab.client; it may take `limit_s` and the grace time.

        `watch` is called with the counters every 0.2 s. Raises LabError when the command fails.
        """
        self.send({"op": operation, "name": name, **arguments})
        looker = None if watch is None else (lambda: watch(self.progress()))
        answer = self.receive(limit_s + REPLY_GRACE_S, looker)
        if not answer["ok"]:
            raise LabError(f"the load generator could not {operation}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """End the process and forget its counters."""
        super().close()
        self._progress.close()
