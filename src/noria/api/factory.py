"""new_event_loop: from the name of an engine to a loop."""

from __future__ import annotations

import logging

from noria.api.loop import Loop
from noria.engines.registry import choose

logger = logging.getLogger("noria")

_announced: set[tuple[str, str]] = set()


def new_event_loop(
    engine: str | None = None, *, write_through: bool = False, restricted: bool = False
) -> Loop:
    """Make an event loop.

    The choice of the engine is logged with its reason on the logger `noria`, at level INFO when it
    is made for the first time and at DEBUG when it is made again.

    Args:
        engine: name of an engine; None or "auto" asks NORIA_ENGINE, then takes the best available.
        write_through: have every `write` of a transport make its system call before it returns.
            Only the engine `uring` does otherwise: there small writes wait for the end of the turn
            of the loop, and several of them cost one call.
        restricted: have the kernel refuse everything but receives, sends, polls and their
            cancellation on the engine `uring`'s ring, for good (io_uring_register(2),
            RESTRICTIONS). Files then go by threads. The other engines have nothing to restrict.

    Returns:
        The loop, not running. Its owner closes it.

    Raises:
        EngineUnavailableError: the named engine is unknown or cannot run here, or none can.
        OSError: there are not enough descriptors, or there is not enough memory, for the engine.
    """
    choice = choose(engine)
    while True:
        try:
            made = choice.engine_class()
        except OSError as exc:
            # What worked when it was tried may be forbidden by now, as by a seccomp filter.
            if not choice.automatic or not choice.engine_class.rule_out(exc):
                raise
            choice = choose(engine)
        else:
            break
    made.write_through = write_through
    made.restricted = restricted
    known = (choice.name, choice.reason)
    level = logging.DEBUG if known in _announced else logging.INFO
    _announced.add(known)
    logger.log(level, "engine %s: %s", choice.name, choice.reason)
    return Loop(made)
