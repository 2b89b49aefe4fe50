"""new_event_loop: from the name of an engine to a loop."""

from __future__ import annotations

import logging

from noria.api.loop import Loop
from noria.engines.registry import choose

logger = logging.getLogger("noria")

_announced: set[tuple[str, str]] = set()


def new_event_loop(engine: str | None = None) -> Loop:
    """Make an event loop.

    The choice of the engine is logged with its reason on the logger `noria`, at level INFO when it
    is made for the first time and at DEBUG when it is made again.

    Args:
        engine: name of an engine; None or "auto" asks NORIA_ENGINE, then takes the best available.

    Returns:
        The loop, not running. Its owner closes it.

    Raises:
        EngineUnavailableError: the named engine is unknown or cannot run here, or none can.
    """
    choice = choose(engine)
    made = choice.engine_class()
    known = (choice.name, choice.reason)
    level = logging.DEBUG if known in _announced else logging.INFO
    _announced.add(known)
    logger.log(level, "engine %s: %s", choice.name, choice.reason)
    return Loop(made)
