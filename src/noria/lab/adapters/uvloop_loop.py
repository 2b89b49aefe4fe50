"""uvloop: libuv under Cython."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, cast

from noria.lab.errors import LabError

if TYPE_CHECKING:
    import asyncio


def missing() -> str | None:
    """Say how to get uvloop where it is not installed."""
    if importlib.util.find_spec("uvloop") is None:
        return "uvloop is not installed: pip install uvloop"
    return None


def new_event_loop(option: str) -> asyncio.AbstractEventLoop:
    """Make uvloop's loop. Raises LabError for any option."""
    if option:
        raise LabError(f"uvloop takes no option, not {option!r}")
    module = importlib.import_module("uvloop")
    return cast("asyncio.AbstractEventLoop", module.new_event_loop())


def facts(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Tell version and class."""
    version = importlib.import_module("uvloop").__version__
    return {"version": str(version), "loop": type(loop).__qualname__}
