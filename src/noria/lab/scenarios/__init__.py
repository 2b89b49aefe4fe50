"""What servers do: one module each, the same code on every contender's loop.

A scenario offers `start(place)`, a coroutine function that listens everywhere in `place` and
returns what has to be kept until the process ends: servers, tasks, or transports. A loop that does
not implement what it takes raises NotImplementedError and is left out of the comparison. One whose
server can be built in another way offers VARIANTS, the words for it; `place.variant` is the one
that was asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, cast

from noria.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from noria.lab.scenarios.place import Place

SCENARIOS: Final = {
    "echo": "noria.lab.scenarios.echo",
    "streams": "noria.lab.scenarios.streams",
    "sock": "noria.lab.scenarios.sock",
    "udp": "noria.lab.scenarios.udp",
    "tls": "noria.lab.scenarios.tls",
    "http": "noria.lab.scenarios.http",
    "train-in": "noria.lab.scenarios.trains",
    "train-out": "noria.lab.scenarios.trains",
}

STARTS: Final = {"train-in": "start_incoming", "train-out": "start_outgoing"}
"""What stands for `start` where two are in one module."""


def variants(name: str) -> frozenset[str]:
    """Tell in which other ways a scenario's server can be built; none for what is no scenario."""
    if name not in SCENARIOS:
        return frozenset()
    found: frozenset[str] = getattr(
        importlib.import_module(SCENARIOS[name]), "VARIANTS", frozenset()
    )
    return found


def load(name: str) -> Callable[[Place], Awaitable[list[object]]]:
    """Return the `start` of a scenario. Raises LabError for an unknown name."""
    if name not in SCENARIOS:
        raise LabError(f"unknown scenario {name!r}; there are {', '.join(SCENARIOS)}")
    found = getattr(importlib.import_module(SCENARIOS[name]), STARTS.get(name, "start"))
    return cast("Callable[[Place], Awaitable[list[object]]]", found)
