"""What servers do: one module each, the same code on every contender's loop.

A scenario offers `start(place)`, a coroutine function that listens everywhere in `place` and
returns what has to be kept until the process ends: servers, tasks, or transports. A loop that does
not implement what it takes raises NotImplementedError and is left out of the comparison.
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
}


def load(name: str) -> Callable[[Place], Awaitable[list[object]]]:
    """Return the `start` of a scenario. Raises LabError for an unknown name."""
    if name not in SCENARIOS:
        raise LabError(f"unknown scenario {name!r}; there are {', '.join(SCENARIOS)}")
    module = importlib.import_module(SCENARIOS[name])
    return cast("Callable[[Place], Awaitable[list[object]]]", module.start)
