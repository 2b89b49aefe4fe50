"""docs/conformance.md, made of the results in build/conformance."""

from __future__ import annotations

import json
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from scripts.conformance import exceptions as files
from scripts.conformance.cpython import RESULTS
from scripts.conformance.execute import Result
from scripts.conformance.plan import BASELINE, LEFT_OUT, Configuration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEAD: Final = """# Conformance

Other people's tests, run on noria. `make conformance` and `make conformance-downstream` make this
page; edit `scripts/conformance/exceptions.toml`, not the page.
[How it is done](decisions/0021-other-peoples-tests.md).

## CPython's test.test_asyncio

Each row is `test.test_asyncio` of that Python, {left_out}
left out, with noria's loop in the place of asyncio's. *On noria's loop* are those tests that made
at least one loop of noria's; the others are of tasks, locks and protocols without a loop. *Not run*
are the same tests for another selector or watcher of the standard library. The rows of asyncio's
own loop are the baseline of the same machine. *Internals*, *platform* and *asyncio too* are the
exceptions below; all of them ran and failed, but for those that say that they are not run.
"""

COLUMNS: Final = (
    *("Python", "build", "engine", "run", "passed", "on noria's loop", "skipped", "internals"),
    *("platform", "asyncio too", "not run", "pending", "wrong", "at the second try"),
)
SHORT: Final = {
    files.INTERNALS: "internals",
    files.PLATFORM: "platform",
    files.ASYNCIO_TOO: "asyncio too",
}


def write(path: Path) -> None:
    """Write the page."""
    cpython = [_load(item) for item in sorted(RESULTS.glob("cpython-*.json"))]
    downstream = [_load(item) for item in sorted(RESULTS.glob("downstream-*.json"))]
    exceptions = files.read()
    lines = [HEAD.format(left_out=", ".join(f"`{name}`" for name in sorted(LEFT_OUT)))]
    lines += _table(COLUMNS, [_row(data, exceptions) for data in sorted(cpython, key=_place)])
    if any(not data["whole"] for data in cpython):
        lines += [
            "",
            "Rows in italics are of `make conformance-quick`, which leaves out modules that make "
            "no loop.",
        ]
    lines += ["", "## Exceptions", ""]
    tests = {test for data in cpython for test in _all_tests(data)}
    for reason in files.REASONS:
        lines += _reason(reason, exceptions, tests)
    lines += _pending(exceptions)
    lines += _downstream(downstream, exceptions)
    path.write_text("\n".join(lines).rstrip() + "\n", "utf-8")


def _load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


def _where(data: dict[str, Any]) -> Configuration:
    return Configuration(**data["configuration"])


def _place(data: dict[str, Any]) -> tuple[str, bool, str, str]:
    where = _where(data)
    return (where.version, where.engine != BASELINE, where.build, where.engine)


def _all_tests(data: dict[str, Any]) -> set[str]:
    modules = data["modules"].values()
    return {test for module in modules for test in (*module["results"], *module["left_out"])}


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table in Markdown."""
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _row(data: dict[str, Any], exceptions: files.Exceptions) -> tuple[str, ...]:
    """One configuration, counted."""
    where = _where(data)
    count: Counter[str] = Counter()
    for module in data["modules"].values():
        for test in module["left_out"]:
            count["pending" if exceptions.entry(test, where) is None else "not run"] += 1
        for test, told in module["results"].items():
            result = Result(**told)
            count["run"] += 1
            count["on noria's loop"] += result.loops > 0
            count["at the second try"] += result.again
            count[_kind(test, result, where, exceptions)] += 1
    first = (data["python"], where.build or "-", where.engine)
    if where.engine == BASELINE:
        first = (data["python"], "-", "asyncio's own loop")
    if not data["whole"]:
        first = (f"*{first[0]}*", f"*{first[1]}*", f"*{first[2]}*")
    return (*first, *(f"{count[column]:,}" for column in COLUMNS[3:]))


def _kind(test: str, result: Result, where: Configuration, exceptions: files.Exceptions) -> str:
    """The column that counts a result."""
    if result.outcome != "failed":
        return result.outcome
    if where.engine == BASELINE and not where.build:
        return "wrong"
    entry = exceptions.entry(test, where)
    if entry is not None:
        return SHORT[entry.reason]
    return "wrong" if exceptions.pending_entry(test, result, where) is None else "pending"


def _reason(reason: str, exceptions: files.Exceptions, tests: set[str]) -> list[str]:
    """Every exception with one reason."""
    rows = []
    for entry in exceptions.listed:
        if entry.reason == reason and not entry.downstream:
            for pattern in entry.tests:
                count = sum(fnmatchcase(test, pattern) for test in tests)
                rows.append((f"`{pattern}`", f"{count}", _scope(entry), entry.why))
    title = f"### {reason[0].upper()}{reason[1:]}"
    if not rows:
        return [title, "", "None.", ""]
    return [title, "", *_table(("tests", "tests it names", "where", "why"), rows), ""]


def _scope(entry: files.Entry) -> str:
    parts = (*entry.pythons, *entry.builds, *entry.engines)
    scope = ", ".join(parts) or "everywhere"
    return scope if entry.run else f"{scope}; not run"


def _pending(exceptions: files.Exceptions) -> list[str]:
    """What is tolerated until it is written."""
    if not exceptions.pending:
        return []
    rows = [
        (item.room, "<br>".join(f"`{name}`" for name in item.tests), item.error or "any", item.why)
        for item in exceptions.pending
    ]
    return [
        "## Pending",
        "",
        "**Not conforming yet.** These failures are tolerated until the room is written.",
        "",
        *_table(("waits for", "tests", "failure", "why"), rows),
        "",
    ]


def _downstream_row(
    data: dict[str, Any],
    theirs: dict[str, Any],
    ours: dict[str, Any],
    exceptions: files.Exceptions,
) -> tuple[str, ...]:
    """One suite on one loop, counted."""
    where = _where(ours)
    counts = [
        Counter(told["outcome"] for told in run["results"].values()) for run in (theirs, ours)
    ]
    alone: Counter[str] = Counter()
    for test, told in ours["results"].items():
        if told["outcome"] == "failed" and (
            theirs["results"].get(test, {}).get("outcome") != "failed"
        ):
            name = f"{data['suite']}:{test}"
            alone[_kind(name, Result(**told), where, exceptions)] += 1
    excepted = sum(alone[word] for word in SHORT.values())
    engine = "guest on asyncio" if where.engine == BASELINE else where.engine
    return (
        f"{data['suite']} {data['version']}",
        f"{data['python']}, {where.build}, {engine}",
        *(f"{item['passed']:,} / {item['failed']:,} / {item['skipped']:,}" for item in counts),
        *(f"{number:,}" for number in (excepted, alone["pending"], alone["wrong"])),
    )


def _downstream(found: list[dict[str, Any]], exceptions: files.Exceptions) -> list[str]:
    """The suites of other projects; their exceptions also where none has been run."""
    rows = []
    for data in found:
        theirs = data["runs"][0]
        rows += [_downstream_row(data, theirs, ours, exceptions) for ours in data["runs"][1:]]
    columns = (
        *("suite", "noria on", "asyncio: passed / failed / skipped"),
        *("noria: passed / failed / skipped", "only on noria: excepted", "pending", "wrong"),
    )
    listed = [
        (f"`{pattern}`", entry.reason, entry.why)
        for entry in exceptions.listed
        if entry.downstream
        for pattern in entry.tests
    ]
    lines = [
        "## Suites of other projects",
        "",
        "From each project's source distribution, pinned in `scripts/conformance/suites/`. A test",
        "may fail on noria if it fails on asyncio's own loop on the same machine.",
        "",
        *(_table(columns, rows) if rows else ["Not run for this page."]),
        "",
    ]
    if listed:
        lines += [*_table(("tests", "reason", "why"), listed), ""]
    return lines
