# cython: boundscheck=False, wraparound=False
"""Engines `epoll` and `epoll-et`: readiness by epoll(7), level- or edge-triggered.

The facts about epoll are in engines/epoll_poller.py.
"""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

from noria.engines.epoll_poller import EpollPoller
from noria.engines.interface import Probe
from noria.engines.readiness import ReadinessEngine

if TYPE_CHECKING or sys.platform == "linux":
    from noria.native import epoll as native


class EpollEngine(ReadinessEngine):
    """Level-triggered epoll."""

    name = "epoll"

    def __init__(self) -> None:
        ReadinessEngine.__init__(self, EpollPoller())

    @classmethod
    def probe(cls) -> Probe:
        """Try to make an epoll set."""
        return _probe(cls.name)


class EpollEdgeEngine(ReadinessEngine):
    """Edge-triggered epoll with a fair ready list."""

    name = "epoll-et"

    def __init__(self) -> None:
        ReadinessEngine.__init__(self, EpollPoller(edge=True))

    @classmethod
    def probe(cls) -> Probe:
        """Try to make an epoll set."""
        return _probe(cls.name)


def _probe(name: str) -> Probe:
    if not hasattr(select, "epoll"):
        return Probe(False, f"{sys.platform} has no epoll")
    try:
        trial = native.EpollSet(1)
    except OSError as exc:
        return Probe(False, f"epoll_create1 failed: {exc.strerror}")
    precise = trial.precise()
    trial.close()
    features = ("edge-triggered" if name == "epoll-et" else "level-triggered",)
    resolution = "nanosecond waits" if precise else "millisecond waits"
    return Probe(True, "epoll works here", (*features, resolution))
