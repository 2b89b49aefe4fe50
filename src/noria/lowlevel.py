"""The door for library authors: engines and what they work on.

What stands here keeps its meaning between releases like the rest of the public interface; other
modules of noria may change at any time.
"""

from __future__ import annotations

from typing import Final

from noria.core.completion import Completion, Completions
from noria.core.descriptor import Descriptor
from noria.core.operation import MORE, Operation
from noria.disk.interface import DiskBackend
from noria.disk.registry import BACKENDS
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
    "Choice",
    "Completion",
    "Completions",
    "Descriptor",
    "DiskBackend",
    "Engine",
    "EngineStatistics",
    "NewsSink",
    "Operation",
    "Poller",
    "Probe",
    "ReadinessEngine",
    "choose",
    "explain",
]

ENGINE_NAMES: Final = tuple(ENGINES)
"""Every engine, whether it can run here or not."""

AUTOMATIC_ENGINE_NAMES: Final = AUTOMATIC
"""The engines that are tried in this order when none is asked for."""

ENGINE_VARIABLE: Final = VARIABLE
"""Environment variable that names the engine when the program does not."""

DISK_BACKEND_NAMES: Final = tuple(BACKENDS)
"""What does file operations for engines that cannot."""
