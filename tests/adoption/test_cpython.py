"""CPython's own tests of event loops, as they are installed, pass on noria's."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria import lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.posix

PROGRAM = Path(__file__).with_name("cpython.py")
RAN_MIN = 115
NOT_ABOUT_NORIA = {
    "test_create_server_multiple_hosts_ipv4": "replaces methods of asyncio's own loop",
    "test_create_server_multiple_hosts_ipv6": "as above",
    "test_timeout_rounding": "calls a method of asyncio's own loop",
    "test_pause_reading": "replaces connect_read_pipe, which asyncio's own processes call",
}
"""Tests that look inside; the others fail only for what noria refuses by name."""


def engines() -> Iterator[Any]:
    """The engine that is chosen by itself; the others, which have tests of their own, when deep."""
    chosen = lowlevel.choose().name
    for name, probe in lowlevel.explain():
        if probe.available:
            yield pytest.param(name, marks=() if name == chosen else pytest.mark.deep)


@pytest.mark.parametrize("engine", list(engines()))
def test_what_noria_offers_passes(engine: str) -> None:
    if not all(importlib.util.find_spec(name) for name in ("test", "test.test_asyncio")):
        pytest.skip("this Python has come without its tests")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), engine],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    failed = {
        name: line
        for name, line in result["failed"].items()
        if name not in NOT_ABOUT_NORIA and not line.startswith("NotImplementedError: noria ")
    }
    assert failed == {}
    assert result["ran"] - result["skipped"] >= RAN_MIN
    assert len(result["failed"]) < result["ran"] // 2
