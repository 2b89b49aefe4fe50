"""A bare epoll echo server in C: what any server could reach at best with readiness."""

from __future__ import annotations

from noria.lab.client import load_native
from noria.lab.errors import LabError


def missing() -> str | None:
    """Say so where the native module was not built."""
    try:
        load_native()
    except LabError as error:
        return str(error)
    return None


def serve(listeners: list[int], stop_fd: int) -> None:
    """Echo until `stop_fd` is readable or hung up."""
    load_native().serve(listeners, stop_fd)
