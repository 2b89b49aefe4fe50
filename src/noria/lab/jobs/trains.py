"""`noria lab trains`: CPU per datagram of trains, which go in one direction only.

A train is many datagrams of one length and a short one that ends it; another short one goes the
other way, to acknowledge or to ask. What those two cost is in the figures. `noria+offload` is noria
with what its transports have beside asyncio's (UDP_GRO, UDP_SEGMENT), and is compared with noria
without.
"""

from __future__ import annotations

import dataclasses
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from noria.lab.jobs.rows import RowOptions, measure_echoes
from noria.lab.settings import TRAIN_CONNECTIONS, TRAIN_DATAGRAMS, TRAIN_SIZES_BYTES

if TYPE_CHECKING:
    from noria.lab.stage import Document, Screen

DIRECTIONS: Final = {"in": "train-in", "out": "train-out"}
"""Seen from the server, and what it does."""

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
"""From linux/udp.h; Python has no names for them."""


@dataclass(slots=True)
class TrainOptions(RowOptions):
    """What to measure; `train` is how many datagrams are in one."""

    train: int = TRAIN_DATAGRAMS
    sizes: tuple[int, ...] = TRAIN_SIZES_BYTES
    connections: tuple[int, ...] = TRAIN_CONNECTIONS
    contenders: tuple[str, ...] = ("noria+offload",)
    against: tuple[str, ...] = ("noria", "uvloop", "asyncio")


def run(options: TrainOptions, screen: Screen) -> Document:
    """Measure all rows, those of trains to the server first. Raises LabError."""
    document: Document | None = None
    for direction, scenario in DIRECTIONS.items():
        one_way = dataclasses.replace(options, scenario=scenario)
        transport = f"{scenario}:{options.train}"
        done = measure_echoes("trains", one_way, screen, transport=transport)
        for row in done.rows:
            row |= {"direction": direction, "train": options.train}
        if document is None:
            document = done
        else:
            document.rows += done.rows
            document.notes += [note for note in done.notes if note not in document.notes]
    assert document is not None, "there are two directions"
    if not kernel_cuts():
        document.notes.append(
            "this kernel does not cut trains (UDP_SEGMENT), so none arrives in one piece over "
            "loopback, and nothing can be saved"
        )
    return document


def kernel_cuts() -> bool:
    """Tell whether the kernel cuts what it is given into datagrams; the load generator uses it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.setsockopt(SOL_UDP, UDP_SEGMENT, TRAIN_SIZES_BYTES[0])
        except OSError:
            return False
    return True
