"""Loops for unit tests."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import noria
from noria import lowlevel
from tests.signals import wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

PATIENCE_SECONDS = 20.0


@pytest.fixture
def loop() -> Iterator[noria.Loop]:
    """noria's loop, on the engine that it chooses by itself."""
    made = noria.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=[name for name, probe in lowlevel.explain() if probe.available])
def on_engine(request: pytest.FixtureRequest) -> Iterator[noria.Loop]:
    """noria's loop, on each engine that can run here."""
    made = noria.new_event_loop(request.param)
    yield made
    made.close()


@pytest.fixture(params=["noria", "asyncio"])
def either(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """noria's loop and asyncio's: for tests of what both do, where asyncio is the specification."""
    made = noria.new_event_loop() if request.param == "noria" else asyncio.SelectorEventLoop()
    yield made
    made.close()


@pytest.fixture(params=["noria", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Run a coroutine on noria's loop, and on asyncio's, where noria's files are guests."""
    if request.param != "noria" and sys.platform != "linux":
        pytest.skip("no loop but noria's own can watch an engine here")
    own = request.param == "noria"
    factory = noria.new_event_loop if own else asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield lambda main: runner.run(asyncio.wait_for(main, PATIENCE_SECONDS))


@pytest.fixture
def run_python() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a program in an interpreter of its own, which has to end within half a minute."""

    def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *options, "-c", program],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def put_back() -> Iterator[None]:
    """Fail a test that leaves behind what it changed in the whole process; and put it back."""
    kinds = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    assert wakeup() == -1
    yield
    after = {kind: signal.getsignal(kind) for kind in kinds}
    left = signal.set_wakeup_fd(-1)
    for kind, handler in before.items():
        signal.signal(kind, handler)
    assert after == before
    assert left == -1
