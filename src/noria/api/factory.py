"""new_event_loop: from the name of an engine to a loop."""

from __future__ import annotations

import logging

from noria.api.loop import Loop
from noria.core.completion import Completions
from noria.engines.registry import choose

logger = logging.getLogger("noria")

_announced: set[tuple[str, str, str]] = set()


def new_event_loop(
    engine: str | None = None,
    *,
    write_through: bool = False,
    restricted: bool = False,
    disk: str | None = None,
) -> Loop:
    """Make an event loop.

    The choices of the engine and of the disk backend are logged with their reasons on the logger
    `noria`, at level INFO when they are made for the first time and at DEBUG when they are made
    again.

    Args:
        engine: name of an engine; None or "auto" asks NORIA_ENGINE, then takes the best available.
        write_through: have every `write` of a transport make its system call before it returns.
            Only the engine `uring` does otherwise: there small writes wait for the end of the turn
            of the loop, and several of them cost one call.
        restricted: have the kernel refuse everything but receives, sends, polls and their
            cancellation on the engine `uring`'s ring, for good (io_uring_register(2),
            RESTRICTIONS). Files then go by a disk backend. The other engines have nothing to
            restrict.
        disk: name of a disk backend, "uring" (the engine's own ring), "linux_aio", "threads" or
            "posix_aio"; None or "auto" asks NORIA_DISK, then takes the best available.

    Returns:
        The loop, not running. Its owner closes it.

    Raises:
        EngineUnavailableError: the named engine or disk backend is unknown or cannot run here, or
            no engine can.
        OSError: there are not enough descriptors, or there is not enough memory, for the engine or
            the disk backend that was asked for.
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
    try:
        chosen = made.use_disk(disk)
    except BaseException:
        made.close(Completions())
        raise
    _announce("engine", choice.name, choice.reason)
    _announce("disk", chosen.name, chosen.reason)
    return Loop(made)


def _announce(kind: str, name: str, reason: str) -> None:
    """Log a choice, loudly the first time."""
    known = (kind, name, reason)
    level = logging.DEBUG if known in _announced else logging.INFO
    _announced.add(known)
    logger.log(level, "%s %s: %s", kind, name, reason)
