"""pytest -p scripts.conformance.plugin: another project's suite on noria, or as it is.

The order and the events are those of child.py; the environment names their files.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

ORDER: dict[str, Any] = json.loads(Path(os.environ["NORIA_CONFORMANCE_ORDER"]).read_text("utf-8"))
TEXT_CHARACTERS = 3000
GOOD_ENDS = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}

_running: dict[str, tuple[str, str]] = {}
_begun: dict[str, tuple[int, float]] = {}

if ORDER["loop"] != "asyncio":
    from scripts.conformance import place

    place.put(ORDER["loop"])

if STAND_IN := os.environ.get("NORIA_CONFORMANCE_STAND_IN"):
    from scripts.conformance import place

    place.stand_in(*STAND_IN.split("="))


def loops_made() -> int:
    """How many loops of noria's there have been so far."""
    return place.PlacedLoop.made if ORDER["loop"] != "asyncio" else 0


def tell(**event: Any) -> None:
    """Append one event."""
    with Path(os.environ["NORIA_CONFORMANCE_EVENTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell what there is, and keep what is wanted."""
    tell(all=[item.nodeid for item in items])
    not_now, only = set(ORDER["not_now"]), ORDER["only"]
    wanted = [
        item
        for item in items
        if item.nodeid not in not_now and (only is None or item.nodeid in only)
    ]
    items[:] = wanted


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be read is a failure of its own."""
    if report.failed:
        tell(end=report.nodeid, outcome="failed", text=report.longreprtext[-TEXT_CHARACTERS:])


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    _running[nodeid] = ("passed", "")
    _begun[nodeid] = (loops_made(), time.monotonic())
    tell(begin=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst of set-up, call and end. What fails as expected counts as skipped."""
    if report.outcome == "passed" or _running[report.nodeid][0] == "failed":
        return
    text = str(report.longrepr) if report.skipped else report.longreprtext
    _running[report.nodeid] = (report.outcome, text[-TEXT_CHARACTERS:])


def pytest_runtest_logfinish(nodeid: str) -> None:
    """A test is over."""
    outcome, text = _running.pop(nodeid)
    loops_before, begun = _begun.pop(nodeid)
    tell(
        end=nodeid,
        outcome=outcome,
        text=text,
        loops=loops_made() - loops_before,
        seconds=round(time.monotonic() - begun, 3),
    )


def pytest_sessionfinish(exitstatus: int) -> None:
    """All of it is over."""
    if exitstatus in GOOD_ENDS:
        tell(done=True)
