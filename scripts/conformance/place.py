"""Put noria in the place of asyncio's own loops, under programs that do not know noria.

It imports nothing of its neighbours: the suites of other projects load it through plugin.py.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import sys
from typing import Any, ClassVar

import noria
from noria import lowlevel


class PlacedLoop(noria.Loop):
    """noria's loop, made with the arguments of asyncio.SelectorEventLoop.

    Args:
        selector: closed at once; noria's engine takes its place.
    """

    placed_engine: ClassVar[str | None] = None
    made: ClassVar[int] = 0

    def __init__(self, selector: Any = None) -> None:
        if selector is not None:
            selector.close()
        super().__init__(lowlevel.choose(self.placed_engine).engine_class())
        PlacedLoop.made += 1


def stand_in(theirs: str, ours: str) -> None:
    """Have a package of noria's imported, with all modules in it, under the name of another one.

    Args:
        theirs: the name under which it is asked for.
        ours: its own name.
    """
    package = importlib.import_module(ours)
    modules = [item.name for item in pkgutil.walk_packages(package.__path__, f"{ours}.")]
    for name in (ours, *modules):
        sys.modules[theirs + name.removeprefix(ours)] = importlib.import_module(name)


def put(engine: str | None) -> None:
    """Make noria's loop what asyncio and its default policy give, before anybody has asked.

    Args:
        engine: the engine's name; None for the one that noria chooses.
    """
    if sys.platform == "win32":
        raise NotImplementedError("the place of the proactor loop is not known")
    from asyncio import unix_events  # noqa: PLC0415 - not on Windows

    PlacedLoop.placed_engine = engine
    names: dict[str, Any] = {"SelectorEventLoop": PlacedLoop}
    if hasattr(asyncio, "EventLoop"):
        names["EventLoop"] = PlacedLoop
    for name, loop in names.items():
        setattr(asyncio, name, loop)
        setattr(unix_events, name, loop)
    policy: Any = asyncio.DefaultEventLoopPolicy
    policy._loop_factory = PlacedLoop
