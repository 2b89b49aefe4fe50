"""The door for library authors: engines and what they work on.

What stands here keeps its meaning between releases like the rest of the public interface; other
modules of noria may change at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noria.core.completion import Completion, Completions
from noria.core.descriptor import Descriptor
from noria.core.operation import MORE, Operation
from noria.disk import registry as disks
from noria.disk.interface import BackendStatistics, DiskBackend, DiskProbe, DiskStatistics
from noria.disk.registry import BACKENDS, DiskChoice
from noria.engines.interface import (
    HANGUP,
    READABLE,
    WRITABLE,
    Engine,
    EngineStatistics,
    NewsSink,
    Poller,
    Probe,
)
from noria.engines.readiness import ReadinessEngine
from noria.engines.registry import AUTOMATIC, ENGINES, VARIABLE, Choice, choose, explain
from noria.native.sockets import COMPILED

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AUTOMATIC_ENGINE_NAMES",
    "COMPILED",
    "DISK_BACKEND_NAMES",
    "ENGINE_NAMES",
    "ENGINE_VARIABLE",
    "HANGUP",
    "MORE",
    "READABLE",
    "WRITABLE",
    "BackendStatistics",
    "Choice",
    "Completion",
    "Completions",
    "Descriptor",
    "DiskBackend",
    "DiskChoice",
    "DiskProbe",
    "DiskStatistics",
    "Engine",
    "EngineStatistics",
    "NewsSink",
    "Operation",
    "Poller",
    "Probe",
    "ReadinessEngine",
    "choose",
    "choose_disk",
    "explain",
    "explain_disks",
]

ENGINE_NAMES: Final = tuple(ENGINES)
"""Every engine, whether it can run here or not."""

AUTOMATIC_ENGINE_NAMES: Final = AUTOMATIC
"""The engines that are tried in this order when none is asked for."""

ENGINE_VARIABLE: Final = VARIABLE
"""Environment variable that names the engine when the program does not."""

DISK_BACKEND_NAMES: Final = tuple(BACKENDS)
"""What does file operations for engines that cannot."""


def explain_disks(engine: str) -> Iterator[tuple[str, DiskProbe]]:
    """Give every disk backend and whether it can be used with an engine, best first.

    Args:
        engine: name of the engine; "uring" does file operations by its own ring.
    """
    return disks.explain(_no_ring(engine))


def choose_disk(engine: str, name: str | None = None) -> DiskChoice:
    """Choose as an event loop on that engine would.

    Args:
        engine: name of the engine.
        name: of a backend; None or "auto" asks NORIA_DISK, then takes the best available.

    Raises:
        EngineUnavailableError: the named backend is unknown or cannot work here.
    """
    return disks.choose(name, _no_ring(engine))


def _no_ring(engine: str) -> str:
    return "" if engine == disks.RING else f"the engine {engine} has no ring"
