"""A bare epoll echo server in C: what any server could reach at best with readiness.

It makes one receive and one send for each small echo, and for each datagram.
"""

from __future__ import annotations

from typing import Final

from noria.lab.client import load_native
from noria.lab.errors import LabError

SCENARIOS: Final = frozenset({"echo", "streams", "sock", "udp"})


def missing() -> str | None:
    """Say so where the native module was not built."""
    try:
        load_native()
    except LabError as error:
        return str(error)
    return None


def serve(sockets: list[int], stop_fd: int, scenario: str) -> None:
    """Echo until `stop_fd` is readable or hung up."""
    native = load_native()
    if scenario == "udp":
        native.serve_datagrams(sockets, stop_fd)
    else:
        native.serve(sockets, stop_fd)
