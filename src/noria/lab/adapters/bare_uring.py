"""A bare io_uring echo server in C: what any server could reach at best with a ring."""

from __future__ import annotations

from noria import lowlevel
from noria.lab.client import load_native
from noria.lab.errors import LabError


def missing() -> str | None:
    """Say so where the native module was not built, or where there is no io_uring."""
    try:
        load_native()
    except LabError as error:
        return str(error)
    probe = dict(lowlevel.explain())["uring"]
    return None if probe.available else probe.reason


def serve(listeners: list[int], stop_fd: int) -> None:
    """Echo until `stop_fd` is readable or hung up."""
    load_native().serve_ring(listeners, stop_fd)
