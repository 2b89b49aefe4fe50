"""posix_spawn and waitpid in C: what any loop could reach at best with processes."""

from __future__ import annotations

from typing import Final

from noria.lab.adapters.bare_epoll import missing
from noria.lab.errors import UnableError

__all__ = ["SCENARIOS", "missing", "serve"]

SCENARIOS: Final = frozenset({"spawn"})


def serve(sockets: list[int], stop_fd: int, scenario: str) -> None:
    """Serve nobody: noria.lab.spawner spawns. Raises UnableError."""
    raise UnableError(f"{scenario} on {len(sockets)} sockets until {stop_fd}: it serves nobody")
