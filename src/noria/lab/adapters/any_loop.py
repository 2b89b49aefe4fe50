"""Any event loop: `name=module:factory`, where the factory takes no argument."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, Any, cast

from noria.lab.errors import LabError

if TYPE_CHECKING:
    import asyncio


def missing() -> str | None:
    """Nothing is known to be missing: whether the module can be imported shows when it is used."""
    return None


def new_event_loop(option: str) -> asyncio.AbstractEventLoop:
    """Call the factory. Raises LabError if it cannot be found."""
    module_name, _, factory_name = option.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError) as exc:
        raise LabError(f"there is no {option!r}: {exc}") from exc
    return cast("asyncio.AbstractEventLoop", factory())


def facts(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Tell the class, and the version of the distribution it comes in."""
    package = type(loop).__module__.partition(".")[0]
    distributions = importlib.metadata.packages_distributions().get(package, [])
    version = importlib.metadata.version(distributions[0]) if distributions else "unknown"
    return {"version": version, "loop": f"{type(loop).__module__}.{type(loop).__qualname__}"}
