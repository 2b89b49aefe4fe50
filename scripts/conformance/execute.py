"""Run tests in processes of their own: every test gets a result, whatever happens.

A test that exceeds its time, or with which the process dies, has that as its result, and the rest
runs in a new process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scripts.conformance.plan import Configuration

TEST_SECONDS: Final = 60.0
MODULE_SECONDS: Final = 900.0
"""On asyncio's own loop the longest test of CPython's takes 5 s, and the longest module 20 s."""
LOOK_SECONDS: Final = 0.05
TAIL_CHARACTERS: Final = 1500
LINE_CHARACTERS: Final = 200


_groups: set[int] = set()
"""The process groups that are at work."""


@dataclass
class Result:
    """What became of one test.

    Attributes:
        outcome: "passed", "skipped" or "failed".
        text: why, or the end of the traceback.
        loops: how many loops of noria's the test has made.
        seconds: how long it took.
        again: it failed at first and passed when it was run once more, alone.
    """

    outcome: str
    text: str = ""
    loops: int = 0
    seconds: float = 0.0
    again: bool = False

    @property
    def said(self) -> str:
        """The line of the text that says most: the exception."""
        lines = self.text.strip().splitlines() or ["failed"]
        raised = [line[1:].strip() for line in lines if line.startswith("E  ")]
        return (raised or lines)[-1][:LINE_CHARACTERS]


@dataclass
class ModuleRun:
    """What became of one module, or of another project's suite, on one loop.

    Attributes:
        configuration: on what it ran.
        module: its name.
        found: the ids of all its tests.
        results: by the test's id.
        skipped: why the module as a whole cannot run here.
    """

    configuration: Configuration
    module: str
    found: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True)
class Command:
    """How tests are started.

    Attributes:
        words: the command; the paths of its order and of its file of events are put behind it, and
            into the variables NORIA_CONFORMANCE_ORDER and NORIA_CONFORMANCE_EVENTS.
        folder: where it runs; None for an empty folder.
        variables: more of the environment.
        test_seconds: how long one test may take.
        seconds: how long everything may take.
    """

    words: Sequence[str]
    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    test_seconds: float = TEST_SECONDS
    seconds: float = MODULE_SECONDS


class _Process:
    """A child at work, and what it has told."""

    def __init__(
        self, run: ModuleRun, command: Command, folder: Path, order: dict[str, Any]
    ) -> None:
        self.run = run
        self.test_seconds = command.test_seconds
        self.events = folder / "events"
        self.events.touch()
        self.read_bytes = 0
        self.running = ""
        self.since = time.monotonic()
        self.done = False
        order_path = folder / "order"
        order_path.write_text(json.dumps(order), "utf-8")
        self.log = folder / "log"
        work = folder / "work"
        work.mkdir()
        paths = {
            "NORIA_CONFORMANCE_ORDER": str(order_path),
            "NORIA_CONFORMANCE_EVENTS": str(self.events),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command.words, *paths.values()] if command.folder is None else command.words,
                cwd=command.folder or work,
                env={
                    **os.environ,
                    **run.configuration.environment(),
                    **command.variables,
                    **paths,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _groups.add(self.process.pid)

    def watch(self, deadline: float) -> None:
        """Wait for the end of the process; what it did last has failed if it was not its own."""
        while self.process.poll() is None:
            time.sleep(LOOK_SECONDS)
            self.look()
            now = time.monotonic()
            if now - self.since > self.test_seconds or now > deadline:
                self.kill()
                self.look()
                self.fail(f"took longer than {now - self.since:.0f} s and was ended")
                return
        self.kill()
        self.look()
        if not self.done:
            self.fail(f"{self.tail()}\nthe process ended with {self.process.returncode}")

    def look(self) -> None:
        """Take in what the child has told since."""
        with self.events.open("rb") as file:
            file.seek(self.read_bytes)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.read_bytes += len(whole)
        for line in whole.splitlines():
            self.take(json.loads(line))

    def take(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        self.since = time.monotonic()
        if "begin" in event:
            self.running = event["begin"]
        elif "end" in event:
            self.running = ""
            name = event.pop("end")
            self.run.results[name] = Result(**event)
        elif "all" in event:
            self.run.found = event["all"]
            self.run.skipped = event.get("skipped", "")
            self.done = bool(self.run.skipped)
        else:
            self.done = True

    def fail(self, text: str) -> None:
        """Record the failure of the test that was running, or else of the module."""
        name = self.running or f"{self.run.module} (outside of its tests)"
        self.run.results[name] = Result("failed", text)

    def tail(self) -> str:
        """The end of what the process has printed."""
        return self.log.read_text("utf-8", "replace")[-TAIL_CHARACTERS:]

    def kill(self) -> None:
        """End the process with everything it has started and left in its group."""
        _groups.discard(self.process.pid)
        _kill_group(self.process.pid)
        self.process.wait()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def end_with(number: int, _: object = None) -> NoReturn:
    """Take a signal: end everything that is at work, and this process."""
    for group in _groups.copy():
        _kill_group(group)
    os._exit(128 + number)


def run_tests(
    run: ModuleRun,
    command: Command,
    left_out: Collection[str] = (),
    only: Collection[str] | None = None,
) -> ModuleRun:
    """Run tests, in as many processes as it takes.

    Args:
        run: takes the results.
        command: what starts them.
        left_out: the ids of tests that are not to run.
        only: the ids of those that are; None for all.

    Returns:
        The same run.
    """
    deadline = time.monotonic() + command.seconds
    while True:
        before = len(run.results)
        order = {
            "module": run.module,
            "loop": run.configuration.engine,
            "not_now": sorted({*left_out, *run.results}),
            "only": sorted(only) if only is not None else None,
        }
        with tempfile.TemporaryDirectory(
            prefix="noria-conformance-", ignore_cleanup_errors=True
        ) as folder:
            process = _Process(run, command, Path(folder), order)
            process.watch(deadline)
        if process.done:
            return run
        if time.monotonic() > deadline or len(run.results) == before or not process.running:
            wanted = set(run.found) - set(left_out)
            for name in (wanted if only is None else wanted & set(only)) - set(run.results):
                run.results[name] = Result("failed", "was not reached: the process had to be ended")
            return run


def run_module(
    configuration: Configuration,
    module: str,
    left_out: Collection[str] = (),
    only: Collection[str] | None = None,
) -> ModuleRun:
    """Run a module of CPython's tests; the arguments are those of run_tests."""
    command = Command((configuration.python, "-m", "scripts.conformance.child"))
    return run_tests(ModuleRun(configuration, module), command, left_out, only)
