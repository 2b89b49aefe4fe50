"""Loops that are not noria's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from noria.engines.registry import ENGINES, engine_class
from tests.ledger import Ledger, ledger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ledger"]


def uvloop_factory() -> asyncio.AbstractEventLoop:
    """uvloop's loop, where it is installed."""
    uvloop = pytest.importorskip("uvloop")
    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


class Blind(asyncio.SelectorEventLoop):
    """A loop that watches no descriptors, as asyncio's for Windows."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        """Refuse."""
        raise NotImplementedError


@pytest.fixture(
    params=[asyncio.SelectorEventLoop, uvloop_factory, Blind], ids=["asyncio", "uvloop", "blind"]
)
def factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes a loop of somebody else's."""
    made: Callable[[], asyncio.AbstractEventLoop] = request.param
    return made


@pytest.fixture(scope="session")
def warm() -> None:
    """Have uvloop open what it keeps for the whole process."""
    with contextlib.suppress(ImportError):
        importlib.import_module("uvloop").new_event_loop().close()


@pytest.fixture(params=["uring", "epoll"])
def engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, warm: None, ledger: Ledger
) -> str:
    """The engine that serves the files; everything it has is given back at the end."""
    name: str = request.param
    if name not in ENGINES or sys.platform != "linux":
        pytest.skip("no loop but noria's own can watch an engine here")
    probe = engine_class(name).probe()
    if not probe.available:
        pytest.skip(probe.reason)
    monkeypatch.setenv("NORIA_ENGINE", name)
    return name
