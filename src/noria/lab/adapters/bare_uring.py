"""A bare io_uring echo server in C: what any server could reach at best with a ring."""

from __future__ import annotations

from typing import Final

from noria import lowlevel
from noria.lab.client import load_native
from noria.lab.errors import LabError

SCENARIOS: Final = frozenset({"echo", "streams", "sock"})


def missing() -> str | None:
    """Say so where the native module was not built, or where there is no io_uring."""
    try:
        load_native()
    except LabError as error:
        return str(error)
    probe = dict(lowlevel.explain())["uring"]
    return None if probe.available else probe.reason


def serve(sockets: list[int], stop_fd: int, scenario: str) -> None:
    """Echo until `stop_fd` is readable or hung up."""
    assert scenario in SCENARIOS
    load_native().serve_ring(sockets, stop_fd)
