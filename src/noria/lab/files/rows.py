"""The rows: what is done, by whom, and what has to be reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Measure = Literal["time", "rate", "worst", "lateness"]

DISKS: Final = ("uring", "linux_aio", "posix_aio", "threads")
FIO_OF: Final = {
    "uring": "fio:io_uring",
    "linux_aio": "fio:libaio",
    "posix_aio": "fio:posixaio",
    "threads": "fio:psync",
}
"""Disk backends, and the engine of fio's that asks the kernel the same way."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row has to reach.

    Attributes:
        measure: `time` and `rate` are those of an operation, as ratio to `other`'s; `worst` is the
            longest operation and `lateness` the loop's, 99 of 100, both in ms and nobody's ratio.
        limit: at most this for all but `rate`, at least this for `rate`.
        other: whom it is a ratio to; empty for a figure by itself.
        base: whose; empty for every contender.
    """

    measure: Measure
    limit: float
    other: str = ""
    base: str = ""


PEERS_WORD: Final = "peers"
"""As a goal's other: the quickest of all other libraries."""

NOT_BEHIND: Final = Goal("rate", 1.0, PEERS_WORD)
"""What holds for every row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: its word.
        what: what one operation is, for tables.
        work: a function of noria.lab.files.work, `hung` or `stuck`.
        files: what of the ground it needs.
        goals: what has to be reached.
        arguments: of the work.
        fio: of the command, where fio can do it.
        bases: who is measured unless somebody says otherwise.
        oracles: whom they are compared with, beside the peers.
        peers: the other libraries that can do it.
        needs_direct: the filesystem has to have direct I/O.
    """

    name: str
    what: str
    work: str
    files: tuple[str, ...]
    goals: tuple[Goal, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    fio: dict[str, Any] = field(default_factory=dict)
    bases: tuple[str, ...] = ("noria",)
    oracles: tuple[str, ...] = ("os",)
    peers: tuple[str, ...] = ()
    needs_direct: bool = False


ALL_AT_POSITIONS: Final = (
    "turbofile",
    "urio",
    "caio",
    "aiofile",
    "pyaio",
    "asyncfiles",
    "aiofiles",
    "anyio",
)
WITH_DIRECT: Final = ("caio:linux_aio", "caio", "aiofile", "pyaio", "aiofiles", "anyio")
WITH_DATASYNC: Final = ("urio", "caio", "aiofile", "pyaio")
WITH_LINES: Final = ("turbofile", "urio", "aiofile", "aiofiles", "anyio")
WITH_NAMES: Final = ("turbofile", "urio", "asyncfiles", "aiofiles", "anyio")
WITH_FORCING: Final = ("urio", "aiofiles", "anyio")
WITH_STAT: Final = ("urio", "aiofiles", "anyio")


def _direct(depth: int) -> Row:
    return Row(
        name=f"direct-{depth}",
        what=f"4 KiB read from the disk at random, O_DIRECT, {depth} at a time",
        work="blocks",
        files=("large",),
        goals=(
            *(Goal("rate", 0.9, FIO_OF[disk], f"noria/{disk}") for disk in DISKS),
            Goal("rate", 1.0, PEERS_WORD, "noria/uring"),
        ),
        arguments={"depth": depth, "direct": True},
        fio={"depth": depth, "direct": True},
        bases=tuple(f"noria/{disk}" for disk in DISKS),
        oracles=tuple(FIO_OF.values()),
        peers=WITH_DIRECT,
        needs_direct=True,
    )


def _cold(depth: int) -> Row:
    return Row(
        name=f"cold-{depth}",
        what=f"4 KiB read at random, not in the page cache, {depth} at a time",
        work="blocks",
        files=("large",),
        goals=(Goal("rate", 0.9, "fio:io_uring"), NOT_BEHIND),
        arguments={"depth": depth, "direct": False},
        fio={"depth": depth, "direct": False, "once": True},
        oracles=("fio:io_uring",),
        peers=ALL_AT_POSITIONS,
    )


def _lines(name: str, *, binary: bool) -> Row:
    return Row(
        name=name,
        what=f"line of {'bytes' if binary else 'text'}, of 10,000 that are cached",
        work="lines",
        files=("lines",),
        goals=(Goal("time", 2.0, "os"), NOT_BEHIND),
        arguments={"binary": binary},
        peers=WITH_LINES,
    )


def _small(depth: int, limit: float, *, sync: bool) -> Row:
    forced = ", fsync" if sync else ""
    return Row(
        name=f"small-{depth}",
        what=f"file of 4 KiB made, written{forced}, closed, read, removed, {depth} at a time",
        work="small",
        files=("small",),
        goals=(Goal("time", limit, "os"), NOT_BEHIND),
        arguments={"depth": depth, "sync": sync},
        peers=WITH_FORCING if sync else WITH_NAMES,
    )


def _hanging(name: str, what: str) -> Row:
    return Row(
        name=name,
        what=what,
        work=name,
        files=("hot",),
        goals=(Goal("worst", 20.0), Goal("lateness", 1.0)),
        oracles=(),
        peers=("aiofiles", "anyio", "urio"),
    )


def _sequence(name: str, *, write: bool) -> Row:
    how = "written over in the page cache" if write else "read, not in the page cache"
    return Row(
        name=name,
        what=f"1 MiB {how}, one behind the other, 2 at a time",
        work="sequence",
        files=("scratch",) if write else ("large",),
        goals=(Goal("rate", 0.95, "os"), NOT_BEHIND),
        arguments={"write": write},
        peers=ALL_AT_POSITIONS,
    )


ROWS: Final[dict[str, Row]] = {
    row.name: row
    for row in (
        Row(
            name="hot",
            what="4 KiB read from the page cache",
            work="hot",
            files=("hot",),
            goals=(Goal("time", 1.5, "os"), Goal("rate", 1.5, "turbofile"), NOT_BEHIND),
            peers=ALL_AT_POSITIONS,
        ),
        Row(
            name="stat",
            what="stat of a cached name",
            work="stat",
            files=("hot",),
            goals=(Goal("time", 4.0, "os"), NOT_BEHIND),
            peers=WITH_STAT,
        ),
        _direct(32),
        _direct(256),
        _cold(32),
        _cold(256),
        Row(
            name="durable",
            what="4 KiB written at random and fdatasync",
            work="durable",
            files=("scratch",),
            goals=(Goal("rate", 0.9, "fio:psync"), Goal("rate", 0.9, "os"), NOT_BEHIND),
            fio={"depth": 1, "direct": False, "write": True, "datasync": True},
            oracles=("os", "fio:psync"),
            peers=WITH_DATASYNC,
        ),
        _lines("lines", binary=False),
        _lines("lines-binary", binary=True),
        _small(1, 3.0, sync=False),
        _small(32, 1.0, sync=True),
        _sequence("read", write=False),
        _sequence("write", write=True),
        _hanging("hung", "stat, open, read, write, close while 64 opens of FIFOs wait"),
        _hanging("stuck", "the same while 64 writes wait for a disk that does not answer"),
    )
}
"""All of them, in the order of the tables."""
