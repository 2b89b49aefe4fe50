"""`noria lab http`: CPU per request of uvicorn, with httptools and an application that says hello.

The load generator learns the response from a server's first one, and demands every further one byte
for byte. It is the same application and the same uvicorn on every loop.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noria.lab.jobs.rows import RowOptions, measure_echoes
from noria.lab.scenarios.http import BODY, load_uvicorn
from noria.lab.settings import FEW_CONNECTIONS

if TYPE_CHECKING:
    from noria.lab.stage import Document, Screen


@dataclass(slots=True)
class HttpOptions(RowOptions):
    """What to measure; the size is that of the response's body, and there is only one."""

    scenario: str = "http"
    sizes: tuple[int, ...] = (len(BODY),)
    connections: tuple[int, ...] = FEW_CONNECTIONS


def run(options: HttpOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    load_uvicorn()
    document = measure_echoes("http", options, screen, transport="http")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("uvicorn", "httptools")]
    document.notes.append(", ".join(versions))
    return document
