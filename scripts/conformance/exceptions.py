"""exceptions.toml: the tests that may fail, each with its reason, read and held against results."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scripts.conformance.execute import ModuleRun, Result
    from scripts.conformance.plan import Configuration

FILE: Final = Path(__file__).with_name("exceptions.toml")

INTERNALS: Final = "tests another loop's internals"
PLATFORM: Final = "needs what the platform lacks"
ASYNCIO_TOO: Final = "asyncio's own loop fails it on this machine"
AGAIN: Final = "the same test again for another stdlib selector or watcher"
REASONS: Final = (INTERNALS, PLATFORM, ASYNCIO_TOO, AGAIN)
"""The only ones. What is listed with AGAIN is not run; everything else is, and has to fail."""

_KEYS: Final = {"tests", "reason", "why", "pythons", "builds", "engines", "room", "error", "run"}


@dataclass(frozen=True)
class Entry:
    """One entry of the file.

    Attributes:
        tests: patterns of test ids; each has to match something where it applies.
        why: a sentence.
        reason: one of REASONS; "" for what is pending.
        room: what has to be written for a pending test to pass.
        error: pending only if the failure's text has this in it; "" for any failure.
        run: False if the tests must not even be run; `why` says so.
        pythons: versions to which it applies; empty for all. So for `builds` and `engines`.
    """

    tests: tuple[str, ...]
    why: str
    reason: str = ""
    room: str = ""
    error: str = ""
    run: bool = True
    pythons: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()

    def applies(self, configuration: Configuration) -> bool:
        """Whether it is meant for a configuration."""
        return (
            configuration.version in (self.pythons or (configuration.version,))
            and configuration.build in (self.builds or (configuration.build,))
            and configuration.engine in (self.engines or (configuration.engine,))
        )

    @property
    def leaves_out(self) -> bool:
        """Whether its tests are not run."""
        return self.reason == AGAIN or not self.run

    @property
    def downstream(self) -> bool:
        """Whether it is about the suite of another project: `project:test`."""
        return any(":" in pattern for pattern in self.tests)

    def matches(self, test: str) -> bool:
        """Whether it names a test."""
        return any(fnmatchcase(test, pattern) for pattern in self.tests)

    def tolerates(self, test: str, result: Result) -> bool:
        """Whether this pending entry covers a failure."""
        return self.matches(test) and self.error in result.text


@dataclass(frozen=True)
class Exceptions:
    """The whole file.

    Attributes:
        listed: the exceptions.
        pending: what is missing only until it is written.
    """

    listed: tuple[Entry, ...]
    pending: tuple[Entry, ...]

    def entry(self, test: str, configuration: Configuration) -> Entry | None:
        """The exception that names a test on a configuration."""
        for found in self.listed:
            if found.applies(configuration) and found.matches(test):
                return found
        return None

    def pending_entry(self, test: str, result: Result, where: Configuration) -> Entry | None:
        """The pending entry that covers a failure."""
        for found in self.pending:
            if found.applies(where) and found.tolerates(test, result):
                return found
        return None

    def left_out(self, found: Iterable[str], configuration: Configuration) -> set[str]:
        """Those of some tests that are not run."""
        silent = [
            item
            for item in (*self.listed, *self.pending)
            if item.leaves_out and item.applies(configuration)
        ]
        return {test for test in found if any(item.matches(test) for item in silent)}


def read(path: Path = FILE) -> Exceptions:
    """Read the file.

    Raises:
        ValueError: an entry has no sentence, or another reason than the allowed ones.
    """
    with path.open("rb") as file:
        data = tomllib.load(file)
    if unknown := set(data) - {"exception", "pending"}:
        raise ValueError(f"{path.name}: unknown tables {sorted(unknown)}")
    listed = tuple(_entry(item, path) for item in data.get("exception", ()))
    pending = tuple(_entry(item, path) for item in data.get("pending", ()))
    for entry in listed:
        if entry.reason not in REASONS:
            raise ValueError(f"{path.name}: {entry.tests}: {entry.reason!r} is no allowed reason")
        if entry.room or entry.error:
            raise ValueError(f"{path.name}: {entry.tests}: only what is pending has room and error")
    for entry in pending:
        if entry.reason or not entry.room:
            raise ValueError(f"{path.name}: {entry.tests}: what is pending has a room, no reason")
    return Exceptions(listed, pending)


def _entry(item: dict[str, Any], path: Path) -> Entry:
    if unknown := set(item) - _KEYS:
        raise ValueError(f"{path.name}: {item.get('tests')}: unknown keys {sorted(unknown)}")
    if not item.get("tests") or not item.get("why", "").endswith("."):
        raise ValueError(f"{path.name}: {item}: needs tests, and why as a sentence")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in item.items()
    }
    return Entry(**values)


@dataclass
class Verdict:
    """What a run amounts to.

    Attributes:
        wrong: what fails the run, each a line.
        pending: the failures that are tolerated until something is written, each a line.
        again: the tests that passed only when they were run once more, each a line.
    """

    wrong: list[str]
    pending: list[str]
    again: list[str]


def judge(
    exceptions: Exceptions, runs: Iterable[ModuleRun], baselines: Mapping[tuple[str, str], Result]
) -> Verdict:
    """Hold results against the file.

    Args:
        exceptions: the file.
        runs: of noria.
        baselines: what asyncio's own loop made of tests, by Python version and test.
    """
    verdict = Verdict([], [], [])
    seen: set[tuple[int, str]] = set()
    runs = list(runs)
    for run in runs:
        where = run.configuration
        for number, entry in enumerate(exceptions.listed):
            if entry.applies(where):
                seen |= {
                    (number, pattern)
                    for pattern in entry.tests
                    if any(fnmatchcase(test, pattern) for test in run.found)
                }
        verdict.pending += [
            f"{where.name}: {test}: is not even run, waits for {item.room}"
            for item in exceptions.pending
            if item.leaves_out and item.applies(where)
            for test in run.found
            if item.matches(test)
        ]
        for test, result in run.results.items():
            _judge_one(verdict, exceptions, where, test, result, baselines)
    reached = {(run.configuration, run.module) for run in runs}
    for number, entry in enumerate(exceptions.listed):
        for pattern in entry.tests:
            if (number, pattern) not in seen and any(
                entry.applies(where) and fnmatchcase(module, pattern.split(".")[0])
                for where, module in reached
            ):
                verdict.wrong.append(f"{FILE.name}: {pattern}: matches no test that was run")
    return verdict


def _judge_one(
    verdict: Verdict,
    exceptions: Exceptions,
    where: Configuration,
    test: str,
    result: Result,
    baselines: Mapping[tuple[str, str], Result],
) -> None:
    line = f"{where.name}: {test}"
    entry = exceptions.entry(test, where)
    if result.again:
        verdict.again.append(line)
    if result.outcome != "failed":
        if entry is not None and result.outcome == "passed":
            verdict.wrong.append(f"{line}: passes, remove its exception ({entry.reason})")
        return
    if entry is None:
        if (pending := exceptions.pending_entry(test, result, where)) is not None:
            verdict.pending.append(f"{line}: waits for {pending.room}")
        else:
            verdict.wrong.append(f"{line}: {result.said}{_as_asyncio(where, test, baselines)}")
    elif entry.reason == ASYNCIO_TOO:
        asyncio_too = baselines.get((where.version, test))
        if asyncio_too is None or asyncio_too.outcome != "failed":
            told = "was not run" if asyncio_too is None else asyncio_too.outcome
            verdict.wrong.append(f"{line}: asyncio's own loop does not fail it here: {told}")


def _as_asyncio(
    where: Configuration, test: str, baselines: Mapping[tuple[str, str], Result]
) -> str:
    found = baselines.get((where.version, test))
    return "" if found is None else f" (asyncio's own loop: {found.outcome})"
