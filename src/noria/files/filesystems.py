"""What is known of each filesystem: its type, what it can do at once, and which way is quickest.

Facts: data of tmpfs is in memory, but it does not support RWF_NOWAIT, so it is read as by
pread(2). Network filesystems and FUSE may wait in any call, for ever, also in close(2). Of the ways
to do what does wait, the ring or a thread, neither is the quicker one everywhere, so they are
measured (ways.py). Times vary, and a read by a thread costs three times the ring's processor time,
so it has to be quicker by far. Writing and forcing are a thread's work either way, for the ring has
workers do it, so there the times decide.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from noria.files.hops import hop
from noria.files.host import running_host
from noria.files.ways import Ways
from noria.limits import WAY_THREAD_FRACTION, WAY_WORKER_FRACTION

if TYPE_CHECKING:
    from noria.disk.interface import DiskStatistics

Named = str | bytes | os.PathLike[str] | os.PathLike[bytes]

READING: Final = 0
WRITING: Final = 1
FORCING: Final = 2
_KINDS = ("reading", "writing", "forcing")
ALONE: Final = len(_KINDS)
"""What is added to a kind for operations that have no other one of files beside them."""

KIND_NAMES: Final = (*_KINDS, *(f"{kind} alone" for kind in _KINDS))
"""Kinds of operations that are measured apart."""

_FRACTIONS = (WAY_THREAD_FRACTION, WAY_WORKER_FRACTION, WAY_WORKER_FRACTION)

_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
_DISTANT = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse"}
)


class WayStatistics(NamedTuple):
    """How long operations of one kind took by one way.

    Attributes:
        kind: "reading", "writing" or "forcing", and the same with " alone", where no other
            operation on a file was in flight.
        way: "engine" or "thread".
        measured: how many were measured.
        microseconds: time of the latest, weighed.
    """

    kind: str
    way: str
    measured: int
    microseconds: float


class FilesystemStatistics(NamedTuple):
    """What is known of one filesystem.

    Attributes:
        device: its number, `st_dev` of its files.
        type: such as "ext4"; empty where the system does not tell.
        in_memory: nothing of it waits for a device.
        distant: any call may wait for a server.
        looks: reads look into the page cache first; None until one has been tried.
        ways: the measurements behind the choice of a way.
        chosen: the way that is taken now, for each kind.
    """

    device: int
    type: str
    in_memory: bool
    distant: bool
    looks: bool | None
    ways: tuple[WayStatistics, ...]
    chosen: dict[str, str]


class Filesystem:
    """One filesystem, as far as it has been met.

    Attributes:
        looks: as in the statistics.
        ways: how operations of each kind go.
    """

    def __init__(self, device: int, type_: str) -> None:
        self.device = device
        self.type = type_
        self.in_memory = type_ in _IN_MEMORY
        self.distant = type_.partition(".")[0] in _DISTANT
        self.looks: bool | None = None
        self.ways = tuple(map(Ways, _FRACTIONS * 2))

    def statistics(self) -> FilesystemStatistics:
        """Give what is known as one immutable record."""
        ways = []
        chosen = {}
        for name, known in zip(KIND_NAMES, self.ways, strict=True):
            if known.engine_count:
                microseconds = known.engine_ns / 1000
                ways.append(WayStatistics(name, "engine", known.engine_count, microseconds))
            if known.thread_count:
                microseconds = known.thread_ns / 1000
                ways.append(WayStatistics(name, "thread", known.thread_count, microseconds))
            if known.are_known():
                chosen[name] = "thread" if known.prefers_thread() else "engine"
        return FilesystemStatistics(
            self.device,
            self.type,
            self.in_memory,
            self.distant,
            self.looks,
            tuple(ways),
            chosen,
        )


_known: dict[int, Filesystem] = {}


def filesystem_of(device: int, of: Named | int) -> Filesystem:
    """Give the filesystem with that `st_dev`; reads the system's table if it is a new one.

    Args:
        device: its number.
        of: a file that lies on it, by descriptor or name.
    """
    found = _known.get(device)
    if found is None:
        found = _known.setdefault(device, Filesystem(device, _type_of(device, of)))
    return found


def filesystem_at(path: Named) -> Filesystem:
    """Give the filesystem that something lies on; may wait for a disk.

    Raises:
        OSError: there is nothing of that name.
    """
    return filesystem_of(os.stat(path).st_dev, path)  # noqa: PTH116 - bytes stay bytes


async def filesystem(path: Named) -> FilesystemStatistics:
    """Tell what is known of the filesystem that something lies on.

    Raises:
        OSError: there is nothing of that name.
    """
    found = await hop(lambda: filesystem_at(path))
    return found.statistics()


def filesystems() -> list[FilesystemStatistics]:
    """Tell of every filesystem that files have been opened on in this process."""
    return [each.statistics() for each in list(_known.values())]


def disk_statistics() -> DiskStatistics:
    """Tell how the running loop's operations on files were done, those that took more than a look.

    Returns:
        The disk backend, why it was chosen, and how many operations went where.

    Raises:
        RuntimeError: no event loop is running in this thread.
        EngineUnavailableError: the loop is not noria's, and no engine can serve it.
    """
    return running_host().engine.disk_statistics()


def _type_of(device: int, of: Named | int) -> str:
    """Look a filesystem up in the table of mounts; empty if it is not there."""
    if sys.platform == "win32":
        return ""
    try:
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    found = _type_in(table, 2, number)
    if not found:  # btrfs gives the files of each subvolume a number that no mount has
        found = _type_in(table, 0, _mount_of(device, of))
    return found


def _type_in(table: str, field: int, wanted: str) -> str:
    """Find the type of what has a certain field in that table (proc_pid_mountinfo(5))."""
    for line in table.splitlines():
        fields = line.split(" ")
        if fields[field] == wanted:
            return fields[fields.index("-") + 1]
    return ""


def _mount_of(device: int, of: Named | int) -> str:
    """Tell by which mount a file was reached (proc_pid_fdinfo(5)); empty if nobody tells.

    The name of a symbolic link that was not followed would give the mount of what it points to.
    """
    fd = -1
    try:
        if not isinstance(of, int):
            of = fd = os.open(of, getattr(os, "O_PATH", 0))
        if os.fstat(of).st_dev != device:
            return ""
        told = Path(f"/proc/self/fdinfo/{of}").read_text("ascii")
    except (OSError, ValueError):
        return ""
    finally:
        if fd >= 0:
            os.close(fd)
    line = next((each for each in told.splitlines() if each.startswith("mnt_id:")), "")
    return line.rpartition("\t")[2]
