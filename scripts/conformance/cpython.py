"""The run of CPython's tests: every module on every configuration that is asked for."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.conformance import exceptions as files
from scripts.conformance.execute import ModuleRun, Result, run_module
from scripts.conformance.plan import ROOT, Configuration, Interpreter, look_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scripts.conformance.exceptions import Exceptions, Verdict

CANNOT: Final = 77
RESULTS: Final = ROOT / "build" / "conformance"
WITHOUT_LOOPS: Final = (
    "test_futures",
    "test_pep492",
    "test_protocols",
    "test_selector_events",
    "test_transports",
)
"""Modules whose tests make no loop of noria's; a quick run leaves them out, a full one checks."""


@dataclass(frozen=True)
class Wish:
    """What of everything is wanted.

    Attributes:
        quick: the part that every change has to pass.
        modules: some modules only, and no results are kept; empty for all.
        engines: some engines only; empty for all. So for `builds`.
        jobs: how many modules run at a time.
    """

    quick: bool
    modules: tuple[str, ...]
    engines: tuple[str, ...]
    builds: tuple[str, ...]
    jobs: int


def configurations(interpreter: Interpreter, wish: Wish, *, newest: bool) -> list[Configuration]:
    """On what an interpreter is tested: in a quick run the newest on more than the others."""
    found = interpreter.configurations()
    if wish.quick:
        wanted = {("compiled", interpreter.chosen["compiled"])}
        if newest:
            wanted |= {("compiled", "epoll"), ("interpreted", "epoll")}
        found = [item for item in found if (item.build, item.engine) in wanted]
    return [
        item
        for item in found
        if item.engine in (wish.engines or (item.engine,))
        and item.build in (wish.builds or (item.build,))
    ]


def run(pythons: Iterable[str], wish: Wish) -> int:
    """Run what is wanted, print the verdict, leave the results in build/conformance.

    Returns:
        The exit status: 0, 1, or 77 if nothing could be run.
    """
    interpreters = [look_at(python) for python in pythons]
    for item in interpreters:
        if not item.modules:
            print(f"Python {item.full} has come without test.test_asyncio: NOT RUN on it")
    interpreters = [item for item in interpreters if item.modules]
    if not interpreters:
        print("no Python with test.test_asyncio: nothing was run")
        return CANNOT
    exceptions = files.read()
    begun = time.monotonic()
    runs: list[ModuleRun] = []
    baselines: list[ModuleRun] = []
    newest = max(interpreters, key=lambda item: [int(part) for part in item.version.split(".")])
    for item in interpreters:
        wanted = modules(item, wish)
        where = configurations(item, wish, newest=item is newest)
        with ThreadPoolExecutor(wish.jobs) as pool:
            ours = _everything(pool, where, wanted, exceptions)
            runs += ours
            baselines += _baseline(pool, item, wanted, exceptions, None if not wish.quick else ours)
    _once_more(runs, exceptions)
    verdict = files.judge(exceptions, runs, _by_test(baselines))
    verdict.wrong += _claims(runs)
    if not wish.modules:
        _save(interpreters, runs, baselines, exceptions, whole=not wish.quick)
    _tell(runs, baselines, verdict, time.monotonic() - begun)
    return 1 if verdict.wrong else 0


def modules(interpreter: Interpreter, wish: Wish) -> list[str]:
    """The modules that are wanted, those that take longest first."""
    found = [name for name in interpreter.modules if name in (wish.modules or (name,))]
    if wish.quick and not wish.modules:
        found = [name for name in found if name not in WITHOUT_LOOPS]
    long = ("test_tasks", "test_subprocess", "test_ssl", "test_sslproto", "test_events")
    return sorted(found, key=lambda name: (name not in long, name))


def _everything(
    pool: ThreadPoolExecutor,
    wanted: list[Configuration],
    names: list[str],
    exceptions: Exceptions,
) -> list[ModuleRun]:
    """Every module on every configuration; a line for each as it is done."""

    def one(configuration: Configuration, module: str) -> ModuleRun:
        return _module(configuration, module, exceptions)

    jobs = [pool.submit(one, item, name) for item in wanted for name in names]
    found = []
    for job in as_completed(jobs):
        found.append(job.result())
        print(line(found[-1]), flush=True)
    return sorted(found, key=lambda run: (run.configuration.name, run.module))


def _module(configuration: Configuration, module: str, exceptions: Exceptions) -> ModuleRun:
    """One module, without the tests that are left out. They are known once it has been loaded."""
    listed = run_module(configuration, module, only=())
    if listed.skipped or not listed.found:
        return listed
    left_out = exceptions.left_out(listed.found, configuration)
    return run_module(configuration, module, left_out)


def _baseline(
    pool: ThreadPoolExecutor,
    interpreter: Interpreter,
    names: list[str],
    exceptions: Exceptions,
    ours: list[ModuleRun] | None,
) -> list[ModuleRun]:
    """asyncio's own loop: everything, or for a quick run the tests that are said to fail on it."""
    if ours is None:
        return _everything(pool, [interpreter.baseline], names, exceptions)
    needed: dict[str, set[str]] = {}
    for run in ours:
        for test, result in run.results.items():
            entry = exceptions.entry(test, run.configuration)
            if result.outcome == "failed" and (
                entry.reason == files.ASYNCIO_TOO
                if entry is not None
                else exceptions.pending_entry(test, result, run.configuration) is None
            ):
                needed.setdefault(run.module, set()).add(test)
    jobs = [
        pool.submit(run_module, interpreter.baseline, module, (), only)
        for module, only in needed.items()
    ]
    return [job.result() for job in jobs]


def _once_more(runs: list[ModuleRun], exceptions: Exceptions) -> None:
    """Run each unexpected failure again, alone: a busy machine makes some tests of time fail."""
    for run in runs:
        where = run.configuration
        failed = [
            test
            for test, result in run.results.items()
            if result.outcome == "failed"
            and test in run.found
            and exceptions.entry(test, where) is None
            and exceptions.pending_entry(test, result, where) is None
        ]
        if not failed:
            continue
        second = run_module(where, run.module, only=failed)
        for test in failed:
            found = second.results.get(test)
            if found is not None and found.outcome == "passed":
                found.again = True
                run.results[test] = found


def _by_test(baselines: list[ModuleRun]) -> dict[tuple[str, str], Result]:
    return {
        (run.configuration.version, test): result
        for run in baselines
        for test, result in run.results.items()
    }


def _claims(runs: list[ModuleRun]) -> list[str]:
    """What is wrong with WITHOUT_LOOPS."""
    return [
        f"{run.configuration.name}: {run.module}: makes loops of noria's, it is in WITHOUT_LOOPS"
        for run in runs
        if run.module in WITHOUT_LOOPS and any(item.loops for item in run.results.values())
    ]


def line(run: ModuleRun) -> str:
    """A run in one line."""
    if run.skipped:
        return f"{run.configuration.name:24} {run.module:24} skipped: {run.skipped}"
    counts = {
        word: sum(item.outcome == word for item in run.results.values())
        for word in ("passed", "failed", "skipped")
    }
    seconds = sum(item.seconds for item in run.results.values())
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{run.configuration.name:24} {run.module:24} {told or 'no tests'}, {seconds:.0f} s"


def _save(
    interpreters: list[Interpreter],
    runs: list[ModuleRun],
    baselines: list[ModuleRun],
    exceptions: Exceptions,
    *,
    whole: bool,
) -> None:
    """Write what report.py reads: a file for each configuration."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    full = {item.version: item.full for item in interpreters}
    by_name: dict[str, list[ModuleRun]] = {}
    for run in [*runs, *(baselines if whole else [])]:
        by_name.setdefault(run.configuration.name, []).append(run)
    for name, some in by_name.items():
        where = some[0].configuration
        data: dict[str, Any] = {
            "python": full[where.version],
            "configuration": asdict(where) | {"python": ""},
            "whole": whole,
            "modules": {
                run.module: {
                    "skipped": run.skipped,
                    "left_out": sorted(exceptions.left_out(run.found, where)),
                    "results": {test: asdict(item) for test, item in run.results.items()},
                }
                for run in some
            },
        }
        path = RESULTS / f"cpython-{name.replace(' ', '-')}.json"
        path.write_text(json.dumps(data, indent=1), "utf-8")


def _tell(
    runs: list[ModuleRun], baselines: list[ModuleRun], verdict: Verdict, seconds: float
) -> None:
    """Print what came of it, what is wrong last."""
    for title, lines in (
        ("PENDING: failures that are tolerated until something is written", verdict.pending),
        ("passed only when run once more", verdict.again),
        ("WRONG", verdict.wrong),
    ):
        if lines:
            print(f"\n{title} ({len(lines)}):")
            shown = lines if title == "WRONG" else lines[:20]
            print("\n".join(f"  {text}" for text in shown))
            if len(lines) > len(shown):
                print(f"  and {len(lines) - len(shown)} more")
    counts = [item.outcome for run in runs for item in run.results.values()]
    print(
        f"\n{len(counts)} tests run, {counts.count('passed')} passed, "
        f"{counts.count('skipped')} skipped, {counts.count('failed')} failed: "
        f"{len(verdict.wrong)} wrong, {len(verdict.pending)} pending; {seconds:.0f} s"
    )


def default_jobs() -> int:
    """Tests mostly wait: one more than there are processors."""
    return (os.cpu_count() or 2) + 1
