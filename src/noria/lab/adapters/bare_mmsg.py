"""A bare epoll server of datagrams in C that takes and gives many with one call."""

from __future__ import annotations

from typing import Final

from noria.lab.adapters.bare_epoll import missing
from noria.lab.client import load_native

__all__ = ["SCENARIOS", "missing", "serve"]

SCENARIOS: Final = frozenset({"udp"})


def serve(sockets: list[int], stop_fd: int, scenario: str) -> None:
    """Send datagrams back until `stop_fd` is readable or hung up."""
    assert scenario in SCENARIOS
    load_native().serve_datagrams_batched(sockets, stop_fd)
