"""D1 to D3 under stress: no operation that was given up touches a descriptor of somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.conftest import DEEP, build_under_test
from tests.soak.stress import CAUGHT, MUTANTS, run_stress
from tests.tree import ROOT

pytestmark = pytest.mark.posix

CANCELLED = 250_000 if DEEP else 5_000
"""Cancelled operations on each engine; there are four on Linux."""

COUNT_MAX = 16_000
"""Most rounds of one try to catch a mutant."""

TRIES_SECONDS = 100.0
"""How long mutants are tried."""


@pytest.mark.timeout(3600 if DEEP else 60)
def test_d_no_foreign_descriptor_is_touched(loop: Any) -> None:
    stress, complaints, checked = run_stress(loop, CANCELLED)
    assert complaints == []
    assert stress.cancelled >= CANCELLED
    assert min(stress.done.values()) > CANCELLED // 20, f"not all kinds were tried: {stress.done}"
    assert checked > 1000, "the neighbours had no time"


@pytest.mark.timeout(160)
@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("engine", ["poll", "epoll"])
def test_the_detector_catches_a_mutant(mutant: str, engine: str) -> None:
    """In a process of its own, which has to be given up afterwards."""
    if build_under_test() == "compiled":
        pytest.skip("the methods of compiled classes cannot be replaced")
    if engine == "epoll" and sys.platform != "linux":
        pytest.skip("epoll is Linux's own")
    # Whether two threads meet on one number is chance, and a busy machine lowers it: try longer.
    # The mutant may also close what the loop itself cannot do without, which ends a try early.
    deadline = time.monotonic() + TRIES_SECONDS
    count = 1000
    while True:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.soak.stress",
                mutant,
                "--engine",
                engine,
                "--count",
                str(count),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        if done.returncode == CAUGHT or time.monotonic() > deadline:
            break
        count = min(count * 2, COUNT_MAX)
    assert done.returncode == CAUGHT, done.stdout + done.stderr


def test_the_detector_does_not_cry_wolf() -> None:
    """The same program without a mutant ends well."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.stress", "none", "--count", "300"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
