"""`noria lab tls`: CPU per echo over TLS 1.3.

Load generator and servers use the OpenSSL of Python's ssl module and the same cipher suite. The
handshakes are not part of the figures; there is no session resumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noria.lab import openssl
from noria.lab.jobs.rows import RowOptions, measure_echoes
from noria.lab.settings import FEW_CONNECTIONS, TLS_SIZES_BYTES

if TYPE_CHECKING:
    from noria.lab.stage import Document, Screen


@dataclass(slots=True)
class TlsOptions(RowOptions):
    """What to measure."""

    scenario: str = "tls"
    sizes: tuple[int, ...] = TLS_SIZES_BYTES
    connections: tuple[int, ...] = FEW_CONNECTIONS
    against: tuple[str, ...] = ("uvloop", "asyncio", "c-openssl")


def run(options: TlsOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    document = measure_echoes("tls", options, screen, transport="tls")
    document.notes.append(openssl.description())
    return document
