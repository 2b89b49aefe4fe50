"""Loops to run file tests on: noria's own, and as guests on asyncio's and uvloop's."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import noria
from tests.ledger import Ledger, ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

__all__ = ["ledger"]

PATIENCE_SECONDS = 20.0


def uvloop_factory() -> asyncio.AbstractEventLoop:
    """uvloop's loop, where it is installed."""
    uvloop = pytest.importorskip("uvloop")
    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "noria": noria.new_event_loop,
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop_factory,
}


@pytest.fixture(scope="session")
def warm() -> None:
    """Have uvloop open what it keeps for the whole process."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return
    uvloop.new_event_loop().close()


class Run:
    """Runs a coroutine to its end on a new loop, for PATIENCE_SECONDS at most.

    Attributes:
        name: of the loop: "noria", "asyncio" or "uvloop".
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, main: Coroutine[Any, Any, T]) -> T:
        """Run it."""
        with asyncio.Runner(loop_factory=LOOPS[self.name]) as runner:
            return runner.run(asyncio.wait_for(main, PATIENCE_SECONDS))


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest, warm: None, ledger: Ledger) -> Run:
    """Run a coroutine on each kind of loop; the ledger checks that all was given back."""
    if request.param != "noria" and sys.platform != "linux":
        pytest.skip("no loop but noria's own can watch an engine here")
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return Run(request.param)


@pytest.fixture
def run_once(ledger: Ledger) -> Run:
    """Run a coroutine on noria's loop alone, where the kind of loop makes no difference."""
    return Run("noria")


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds that no event tells of."""
    while not condition():  # noqa: ASYNC110 - `run` bounds the wait
        await asyncio.sleep(0.001)
