"""ENGINES: every engine by its name, best first, and the choice between them.

A name given by the caller or by NORIA_ENGINE decides; otherwise the first available one is taken.
`explain` gives the reasons for all of them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from noria.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.engines.interface import Engine, Probe

ENGINES: Final[dict[str, tuple[str, str]]] = {
    "uring": ("noria.engines.uring", "UringEngine"),
    "epoll": ("noria.engines.epoll", "EpollEngine"),
    "kqueue": ("noria.engines.kqueue", "KqueueEngine"),
    "poll": ("noria.engines.poll", "PollEngine"),
    "select": ("noria.engines.select", "SelectEngine"),
    "epoll-et": ("noria.engines.epoll", "EpollEdgeEngine"),
}

AUTOMATIC: Final = ("uring", "epoll", "kqueue", "poll", "select")
"""Order in which `auto` tries, best first; the others have to be asked for by name."""

VARIABLE: Final = "NORIA_ENGINE"
"""Environment variable that names the engine when the program does not."""


class Choice(NamedTuple):
    """An engine and why it was chosen.

    Attributes:
        name: the engine's name.
        reason: why.
        engine_class: makes it.
        automatic: nobody asked for it, so another one will do as well.
    """

    name: str
    reason: str
    engine_class: type[Engine]
    automatic: bool = False


def engine_class(name: str) -> type[Engine]:
    """Import the class of an engine.

    Raises:
        KeyError: there is no engine of that name.
    """
    module, attribute = ENGINES[name]
    found: type[Engine] = getattr(importlib.import_module(module), attribute)
    return found


def explain() -> Iterator[tuple[str, Probe]]:
    """Give every engine's name and whether it can run here, in the order of ENGINES."""
    for name in ENGINES:
        yield name, engine_class(name).probe()


def choose(name: str | None = None) -> Choice:
    """Choose an engine.

    Args:
        name: an engine's name; None or "auto" asks NORIA_ENGINE, then takes the best available.

    Raises:
        EngineUnavailableError: the named engine is unknown or cannot run here, or none can.
    """
    source = "asked for by the program"
    if name is None or name == "auto":
        name = os.environ.get(VARIABLE) or "auto"
        source = f"asked for by {VARIABLE}"
    if name != "auto":
        return _named(name, source)
    refusals: list[str] = []
    for candidate in AUTOMATIC:
        found = engine_class(candidate)
        probe = found.probe()
        if probe.available:
            reason = "; ".join((f"best available: {probe.reason}", *refusals))
            return Choice(candidate, reason, found, automatic=True)
        refusals.append(f"{candidate}: {probe.reason}")
    raise EngineUnavailableError(f"no engine can run here: {'; '.join(refusals)}")


def _named(name: str, source: str) -> Choice:
    if name not in ENGINES:
        raise EngineUnavailableError(f"unknown engine {name!r} ({source}); {_what_there_is()}")
    found = engine_class(name)
    probe = found.probe()
    if not probe.available:
        raise EngineUnavailableError(
            f"engine {name!r} ({source}) cannot run here: {probe.reason}; {_what_there_is()}"
        )
    return Choice(name, source, found)


def _what_there_is() -> str:
    probes = dict(explain())
    available = ", ".join(name for name, probe in probes.items() if probe.available)
    refused = "; ".join(
        f"{name}: {probe.reason}" for name, probe in probes.items() if not probe.available
    )
    return f"available: {available}" + (f"; not available: {refused}" if refused else "")
