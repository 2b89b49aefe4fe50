"""The event loop that Python comes with."""

from __future__ import annotations

import asyncio
import platform
from typing import Any

from noria.lab.errors import LabError


def missing() -> str | None:
    """Nothing is missing: it is part of Python."""
    return None


def new_event_loop(option: str) -> asyncio.AbstractEventLoop:
    """Make asyncio's own selector loop. Raises LabError for any option."""
    if option:
        raise LabError(f"asyncio takes no option, not {option!r}")
    return asyncio.SelectorEventLoop()


def facts(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Tell version and class."""
    return {"version": platform.python_version(), "loop": type(loop).__qualname__}
