"""noria on the engine named by the option, or on the one it chooses by itself."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncio


def missing() -> str | None:
    """Nothing is missing; an engine that cannot run here says so when it is asked for."""
    return None


def descriptors_max(option: str) -> int | None:
    """Tell how many descriptors the engine can watch; None where nothing limits them."""
    noria = importlib.import_module("noria")
    lowlevel = importlib.import_module("noria.lowlevel")
    try:
        name = lowlevel.choose(option or None).name
    except noria.EngineUnavailableError:
        return None  # who starts a server on it hears why
    return cast("int | None", dict(lowlevel.explain())[name].descriptors_max)


def new_event_loop(option: str) -> asyncio.AbstractEventLoop:
    """Make noria's loop. Raises what noria raises for an engine that is unknown or unavailable."""
    noria = importlib.import_module("noria")
    loop = noria.new_event_loop(engine=option) if option else noria.new_event_loop()
    return cast("asyncio.AbstractEventLoop", loop)


def facts(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Tell version, engine, and whether the compiled modules are in use."""
    engine = getattr(loop, "engine", "")
    return {
        "version": str(importlib.import_module("noria").__version__),
        "loop": type(loop).__qualname__,
        "engine": str(getattr(engine, "name", engine)),
        "compiled": any(_is_compiled(base.__module__) for base in type(loop).__mro__),
    }


def _is_compiled(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return module.startswith("noria.") and file is not None and not file.endswith(".py")
