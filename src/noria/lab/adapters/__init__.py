"""Contenders: who can be measured, one module each.

A contender's word is a key of ADAPTERS, with an option behind a colon where it takes one
(`noria:epoll-et`); or `name=module:factory` for a loop that nobody here knows. Behind a plus comes
a variant of the server that the scenario has (`noria+buffered`). An adapter of an
event loop offers `new_event_loop(option)`; one without a loop offers SCENARIOS, what it can be
measured with, and `serve(sockets, stop_fd, scenario)`. Both offer `missing()`: why it cannot run
here. An adapter whose loop watches a limited number of descriptors offers `descriptors_max(option)`
as well.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final, cast

from noria.lab import scenarios
from noria.lab.errors import LabError

if TYPE_CHECKING:
    import asyncio
    from typing import Protocol

    class Adapter(Protocol):
        """An event loop that can be measured."""

        def missing(self) -> str | None:
            """Say why this contender cannot run here; None if it can."""

        def new_event_loop(self, option: str) -> asyncio.AbstractEventLoop:
            """Make the loop. Raises LabError for an option that it does not know."""

        def facts(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
            """Version and whatever else tells which code was measured."""

    class BareAdapter(Protocol):
        """A server without an event loop of Python."""

        def missing(self) -> str | None:
            """Say why this contender cannot run here; None if it can."""

        SCENARIOS: frozenset[str]
        """What it does, by the names of scenarios, `spawn` and `pipes`."""

        def serve(self, sockets: list[int], stop_fd: int, scenario: str) -> None:
            """Echo until `stop_fd` is readable or hung up."""


ADAPTERS: Final = {
    "noria": "noria.lab.adapters.noria_loop",
    "asyncio": "noria.lab.adapters.asyncio_loop",
    "uvloop": "noria.lab.adapters.uvloop_loop",
    "any": "noria.lab.adapters.any_loop",
}
"""Contenders with an event loop."""

BARE: Final = {
    "c-epoll": "noria.lab.adapters.bare_epoll",
    "c-mmsg": "noria.lab.adapters.bare_mmsg",
    "c-openssl": "noria.lab.adapters.bare_openssl",
    "c-spawn": "noria.lab.adapters.bare_spawn",
    "c-uring": "noria.lab.adapters.bare_uring",
}
"""Contenders without one: limits to measure the others against."""


def is_bare(contender: str) -> bool:
    """Tell whether a contender has no event loop, and so takes part in network jobs only."""
    return contender in BARE


def split(contender: str) -> tuple[str, str]:
    """Split a contender's word into adapter and option. Raises LabError for an unknown one."""
    contender, _, _ = contender.partition("+")
    label, equals, target = contender.partition("=")
    if equals and label and target.partition(":")[2]:
        return "any", target
    name, _, option = contender.partition(":")
    if (name in ADAPTERS and name != "any") or (name in BARE and not option):
        return name, option
    known = ", ".join([*(word for word in ADAPTERS if word != "any"), *BARE])
    raise LabError(
        f"unknown contender {contender!r}; there are {known} (noria:<engine> as well), "
        "and any other loop as name=module:factory"
    )


def variant(contender: str) -> str:
    """Say which variant of the scenario's server a contender's word asks for; `""` for none."""
    return contender.partition("+")[2]


def missing(contender: str, scenario: str = "") -> str | None:
    """Say why a contender cannot run here, or not this scenario; None if it can.

    Raises LabError for an unknown contender. Whether an event loop implements what a scenario takes
    shows when it is started.
    """
    name, _ = split(contender)
    module = importlib.import_module(ADAPTERS.get(name) or BARE[name])
    if scenario and name in BARE and scenario not in module.SCENARIOS:
        able = ", ".join(sorted(module.SCENARIOS))
        return f"{contender} is a bare server of {able}, not of {scenario}"
    wanted = variant(contender)
    if wanted and (name in BARE or wanted not in scenarios.variants(scenario)):
        return f"{contender}: there is no variant {wanted!r} of what is measured"
    return cast("str | None", module.missing())


def descriptors_max(contender: str) -> int | None:
    """Say how many descriptors a contender can watch, None for no limit. Raises LabError."""
    name, option = split(contender)
    module = importlib.import_module(ADAPTERS.get(name) or BARE[name])
    tell = getattr(module, "descriptors_max", None)
    return None if tell is None else cast("int | None", tell(option))


def load(contender: str) -> tuple[Adapter, str]:
    """Return adapter and option of a contender with an event loop. Raises LabError."""
    name, option = split(contender)
    if name not in ADAPTERS:
        raise LabError(f"{contender} has no event loop")
    adapter = cast("Adapter", importlib.import_module(ADAPTERS[name]))
    reason = adapter.missing()
    if reason is not None:
        raise LabError(reason)
    return adapter, option


def load_bare(contender: str) -> BareAdapter:
    """Return the adapter of a contender without an event loop. Raises LabError."""
    if contender not in BARE:
        raise LabError(f"{contender} is not one of {', '.join(BARE)}")
    return cast("BareAdapter", importlib.import_module(BARE[contender]))
