"""Put noria in the place of asyncio's own loops, under programs that do not know noria.

It imports nothing of its neighbours: the suites of other projects load it through plugin.py.
"""

from __future__ import annotations

import asyncio
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
