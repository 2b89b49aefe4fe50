"""`noria lab unix`: CPU per echo over stream sockets of Unix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noria.lab.jobs.rows import RowOptions, measure_echoes
from noria.lab.settings import FEW_CONNECTIONS, UNIX_SIZES_BYTES

if TYPE_CHECKING:
    from noria.lab.stage import Document, Screen


@dataclass(slots=True)
class UnixOptions(RowOptions):
    """What to measure."""

    sizes: tuple[int, ...] = UNIX_SIZES_BYTES
    connections: tuple[int, ...] = FEW_CONNECTIONS
    unix: bool = True


def run(options: UnixOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    return measure_echoes("unix", options, screen)
