"""BACKENDS: the disk backends by name, one line each, and the choice between them.

A name given by the caller or by NORIA_DISK decides; otherwise the engine's ring is taken where it
has one, and else `linux_aio` for direct I/O and `threads` for the rest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from noria.disk.interface import DiskProbe
from noria.disk.linux_aio import LinuxAioBackend
from noria.disk.posix_aio import PosixAioBackend
from noria.disk.threads import ThreadBackend
from noria.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.disk.interface import DiskBackend

BACKENDS: Final[dict[str, type[DiskBackend]]] = {
    "linux_aio": LinuxAioBackend,
    "threads": ThreadBackend,
    "posix_aio": PosixAioBackend,
}

RING: Final = "uring"
"""The name for the engine's own ring, which is no backend but does what one does."""

DISKS: Final = (RING, *BACKENDS)
"""Every name that can be asked for, best first."""

AUTOMATIC: Final = "linux_aio"
"""What direct I/O goes by where there is no ring. Buffered I/O would block its submission, and
`posix_aio` is threads under one lock, so neither is taken unasked."""

VARIABLE: Final = "NORIA_DISK"
"""Environment variable that names the backend when the program does not."""


class DiskChoice(NamedTuple):
    """A disk backend and why it was chosen.

    Attributes:
        name: of the backend.
        reason: why.
        forced: somebody asked for it, so it does everything it can.
    """

    name: str
    reason: str
    forced: bool = False


def explain(no_ring: str) -> Iterator[tuple[str, DiskProbe]]:
    """Give every name and whether it can be had, in the order of DISKS.

    Args:
        no_ring: why the engine's ring does no files, "" if it does.
    """
    yield RING, DiskProbe(not no_ring, no_ring or "the ring of the engine")
    for name, backend in BACKENDS.items():
        yield name, backend.probe()


def choose(name: str | None, no_ring: str) -> DiskChoice:
    """Choose a disk backend.

    Args:
        name: of a backend; None or "auto" asks NORIA_DISK, then takes the best available.
        no_ring: why the engine's ring does no files, "" if it does.

    Raises:
        EngineUnavailableError: the named backend is unknown or cannot work here.
    """
    source = "asked for by the program"
    if name is None or name == "auto":
        name = os.environ.get(VARIABLE) or "auto"
        source = f"asked for by {VARIABLE}"
    probes = dict(explain(no_ring))
    if name != "auto":
        return _named(name, source, probes)
    if not no_ring:
        return DiskChoice(RING, "best available: the ring of the engine")
    found = probes.get(AUTOMATIC)
    if found is not None and found.available:
        return DiskChoice(
            AUTOMATIC, f"best available for direct I/O, threads for the rest; {RING}: {no_ring}"
        )
    refused = f"; {AUTOMATIC}: {found.reason}" if found is not None else ""
    return DiskChoice("threads", f"best available; {RING}: {no_ring}{refused}")


def _named(name: str, source: str, probes: dict[str, DiskProbe]) -> DiskChoice:
    available = ", ".join(each for each, probe in probes.items() if probe.available)
    if name not in probes:
        raise EngineUnavailableError(
            f"unknown disk backend {name!r} ({source}); available: {available}"
        )
    if not probes[name].available:
        raise EngineUnavailableError(
            f"disk backend {name!r} ({source}) cannot work here: {probes[name].reason}; "
            f"available: {available}"
        )
    return DiskChoice(name, source, forced=True)
