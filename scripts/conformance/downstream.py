"""The suites of other projects, pinned, on noria and on asyncio's own loop of the same machine.

The tests come from a project's source distribution, what they test is installed beside them, both
by pip. A test may fail on noria if it fails on asyncio's own loop too.

A suite of a library for which noria has a module of the same interface runs on that: on noria's
loop, and on asyncio's, where noria's files are guests. The library itself is the baseline.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from scripts.conformance import exceptions as files
from scripts.conformance.cpython import CANNOT, RESULTS, default_jobs
from scripts.conformance.execute import Command, ModuleRun, run_tests
from scripts.conformance.plan import BASELINE, ROOT, Configuration, Interpreter, look_at

FOLDER: Final = ROOT / "build" / "conformance" / "suites"
REQUIREMENTS: Final = Path(__file__).with_name("suites")
SUITE_SECONDS: Final = 1500.0
TEST_SECONDS: Final = 45.0
INSTALL_SECONDS: Final = 600
STAND_IN: Final = "NORIA_CONFORMANCE_STAND_IN"
"""The variable that tells plugin.py which module of noria's stands in: `theirs=ours`."""


@dataclass(frozen=True)
class Suite:
    """Another project's tests.

    Attributes:
        name: of the project, and of the file of requirements.
        version: which one.
        packages: folders of the source distribution that must not hide what is installed.
        options: for pytest.
        stands_in: the module of noria's that takes the place of the project's; "" for none.
        alone: its tests use files and ports of their own, so it runs on one loop at a time.
    """

    name: str
    version: str
    packages: tuple[str, ...]
    options: tuple[str, ...]
    stands_in: str = ""
    alone: bool = False


_COMMON: Final = ("-o", "addopts=", "-p", "no:cacheprovider", "--timeout", "30", "-q")

SUITES: Final = (
    Suite(
        "aiohttp",
        "3.14.5",
        ("aiohttp",),
        (
            *("-p", "pytest_cov", "-m", "not dev_mode and not autobahn and not internal"),
            *("--aiohttp-fast", "tests"),
        ),
    ),
    Suite("uvicorn", "0.54.0", ("uvicorn",), ("tests",)),
    Suite("anyio", "4.16.0", ("src",), ("-m", "not network", "-k", "not trio", "tests")),
    Suite("hypercorn", "0.18.0", ("src",), ("-k", "not trio", "tests")),
    Suite("aiofiles", "25.1.0", ("src",), ("tests",), "noria.compat.aiofiles", alone=True),
)
"""`-k` leaves out what runs on trio, which is another event loop."""


def run(python: str, names: tuple[str, ...], engine: str | None) -> int:
    """Run suites, print the verdict, leave the results in build/conformance.

    Args:
        python: the interpreter.
        names: of the suites; empty for all.
        engine: noria's engine; None for the one that it chooses.

    Returns:
        The exit status: 0, 1, or 77 if a suite cannot be had here.
    """
    interpreter = look_at(python)
    exceptions = files.read()
    ours = Configuration(
        interpreter.python,
        interpreter.version,
        "compiled",
        engine or interpreter.chosen["compiled"],
    )
    wrong: list[str] = []
    pending: list[str] = []
    cannot = False
    for suite in SUITES:
        if names and suite.name not in names:
            continue
        if (reason := _set_up(suite, interpreter)) is not None:
            print(f"{suite.name}: NOT RUN, {reason}")
            cannot = True
            continue
        runs = _run_suite(suite, interpreter, ours)
        for run_of_ours in runs[1:]:
            _judge(suite, runs[0], run_of_ours, exceptions, wrong, pending)
        wrong += _idle(suite, runs, exceptions)
        _save(suite, interpreter, runs)
        for item in runs:
            counts = [result.outcome for result in item.results.values()]
            told = ", ".join(
                f"{counts.count(word)} {word}" for word in ("passed", "failed", "skipped")
            )
            print(f"{suite.name} {suite.version} on {item.configuration.name}: {told}", flush=True)
    for title, lines in (("PENDING", pending), ("WRONG", wrong)):
        if lines:
            print(f"\n{title} ({len(lines)}):\n  " + "\n  ".join(lines))
    if wrong:
        return 1
    return CANNOT if cannot else 0


def _home(suite: Suite, interpreter: Interpreter) -> Path:
    return FOLDER / f"cp{interpreter.version.replace('.', '')}" / suite.name


def _set_up(suite: Suite, interpreter: Interpreter) -> str | None:
    """Install a suite and unpack its tests, once; why this cannot be done, or None."""
    home = _home(suite, interpreter)
    requirements = REQUIREMENTS / f"{suite.name}.txt"
    stamp = home / ".stamp"
    wanted = requirements.read_text("utf-8") + suite.version
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return None
    home.mkdir(parents=True, exist_ok=True)
    pip = (str(home / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q")
    steps = (
        (interpreter.python, "-m", "venv", "--clear", str(home / "venv")),
        (*pip, "install", "-r", str(requirements)),
        (
            *(*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", str(home)),
            f"{suite.name}=={suite.version}",
        ),
    )
    for step in steps:
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"took longer than {INSTALL_SECONDS} s: {' '.join(step)}"
        if done.returncode:
            return f"failed: {' '.join(step)}\n{done.stdout}{done.stderr}"
    _unpack(suite, home)
    stamp.write_text(wanted, "utf-8")
    return None


def _unpack(suite: Suite, home: Path) -> None:
    """Unpack the source distribution without the packages: those are installed, and compiled."""
    top = f"{suite.name}-{suite.version}"
    hidden = tuple(f"{top}/{package}/" for package in suite.packages)
    with tarfile.open(home / f"{top}.tar.gz") as archive:
        members = [item for item in archive.getmembers() if not item.name.startswith(hidden)]
        archive.extractall(home, members=members, filter="data")


def _run_suite(suite: Suite, interpreter: Interpreter, ours: Configuration) -> list[ModuleRun]:
    """A suite on asyncio's own loop and on noria; what fails on one alone runs twice.

    Returns:
        The baseline, then noria: its loop, and its files as guests if they stand in.
    """
    home = _home(suite, interpreter)
    python = str(home / "venv" / "bin" / "python")
    command = Command(
        (python, "-m", "pytest", "-p", "scripts.conformance.plugin", *_COMMON, *suite.options),
        home / f"{suite.name}-{suite.version}",
        {"CI": "", "PYTHONDONTWRITEBYTECODE": "1"},
        TEST_SECONDS,
        SUITE_SECONDS,
    )
    places = [replace(ours, build="", engine=BASELINE), ours]
    commands = [command, command]
    if suite.stands_in:
        variables = {**command.variables, STAND_IN: f"{suite.name}={suite.stands_in}"}
        places.append(replace(ours, engine=BASELINE))
        commands[1:] = [replace(command, variables=variables)] * 2
    runs = [ModuleRun(replace(where, python=python), suite.name) for where in places]
    with ThreadPoolExecutor(1 if suite.alone else min(2, default_jobs())) as pool:
        list(pool.map(run_tests, runs, commands))
    for number, mine in enumerate(runs):
        _once_more(mine, runs[0 if number else 1], commands[number])
    return runs


def _once_more(mine: ModuleRun, other: ModuleRun, command: Command) -> None:
    """Run again, alone, what has failed here and not there."""
    failed = [
        test
        for test, result in mine.results.items()
        if result.outcome == "failed"
        and (test not in other.results or other.results[test].outcome != "failed")
    ]
    if not failed:
        return
    second = run_tests(ModuleRun(mine.configuration, mine.module), command, only=failed)
    for test in failed:
        found = second.results.get(test)
        if found is not None and found.outcome == "passed":
            found.again = True
            mine.results[test] = found


def _judge(
    suite: Suite,
    asyncio_run: ModuleRun,
    ours: ModuleRun,
    exceptions: files.Exceptions,
    wrong: list[str],
    pending: list[str],
) -> None:
    """Sort what fails on noria and not on asyncio's own loop into what is pending and what not."""
    where = "" if ours.configuration.engine != BASELINE else f" ({ours.configuration.name})"
    for test, result in ours.results.items():
        name = f"{suite.name}:{test}"
        theirs = asyncio_run.results.get(test)
        entry = exceptions.entry(name, ours.configuration)
        if result.outcome != "failed" or (theirs is not None and theirs.outcome == "failed"):
            if entry is not None and result.outcome == "passed":
                wrong.append(f"{name}: passes, remove its exception ({entry.reason}){where}")
        elif entry is not None:
            continue
        elif found := exceptions.pending_entry(name, result, ours.configuration):
            pending.append(f"{name}: waits for {found.room}")
        else:
            wrong.append(f"{name}: {result.said}{where}")
    # What stands in brackets may be the name of the loop's class.
    ran, expected = (
        Counter(test.split("[")[0] for test in item.results) for item in (ours, asyncio_run)
    )
    wrong += [f"{suite.name}:{test}: did not run{where}" for test in sorted(expected - ran)]


def _idle(suite: Suite, runs: list[ModuleRun], exceptions: files.Exceptions) -> list[str]:
    """What the exceptions name and nobody has found."""
    seen = [f"{suite.name}:{test}" for run in runs[1:] for test in run.found]
    wrong = [
        f"{files.FILE.name}: {pattern}: matches no test that was run"
        for entry in exceptions.listed
        for pattern in entry.tests
        if pattern.startswith(f"{suite.name}:") and not fnmatch.filter(seen, pattern)
    ]
    if not runs[0].found:
        wrong.append(f"{suite.name}: no test was found")
    return wrong


def _save(suite: Suite, interpreter: Interpreter, runs: list[ModuleRun]) -> None:
    """Write what report.py reads."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    data = {
        "suite": suite.name,
        "version": suite.version,
        "python": interpreter.full,
        "runs": [
            {
                "configuration": asdict(run.configuration) | {"python": ""},
                "results": {test: asdict(result) for test, result in run.results.items()},
            }
            for run in runs
        ],
    }
    path = RESULTS / f"downstream-{suite.name}.json"
    path.write_text(json.dumps(data, indent=1), "utf-8")
