"""`noria lab udp`: CPU per datagram that a server sends back.

Each client is a connected socket that has as many datagrams outstanding as `depth` says. One that
gets no answer in time counts as lost and is sent again; its time is not part of the latencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noria.lab.jobs.rows import RowOptions, measure_echoes
from noria.lab.settings import FEW_CONNECTIONS, UDP_SIZES_BYTES

if TYPE_CHECKING:
    from noria.lab.stage import Document, Screen


@dataclass(slots=True)
class UdpOptions(RowOptions):
    """What to measure; `connections` are clients, and `depth` is the window of each."""

    scenario: str = "udp"
    sizes: tuple[int, ...] = UDP_SIZES_BYTES
    connections: tuple[int, ...] = FEW_CONNECTIONS
    against: tuple[str, ...] = ("uvloop", "asyncio", "c-epoll")


def run(options: UdpOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    return measure_echoes("udp", options, screen, transport="datagrams")
