"""Which filesystem a file lies on, and how it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from noria.files import filesystems

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TABLE = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:22 / /proc rw,nosuid shared:5 master:1 - proc proc rw
43 27 0:39 / /mnt/with\\040spaces rw - btrfs /dev/loop0 rw,subvol=/
"""


@pytest.mark.parametrize(
    ("field", "wanted", "found"),
    [(2, "254:0", "ext4"), (2, "0:22", "proc"), (2, "0:40", ""), (0, "43", "btrfs"), (0, "", "")],
)
def test_a_line_of_the_table(field: int, wanted: str, found: str) -> None:
    assert filesystems._type_in(TABLE, field, wanted) == found


@pytest.mark.parametrize("by", ["name", "bytes", "descriptor"])
def test_the_mount_is_that_of_the_device(tmp_path: Path, by: str) -> None:
    """Its line in the table is the one that names the file's device, or its subvolume's one."""
    path = tmp_path / "file"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    try:
        of: Any = {"name": path, "bytes": os.fsencode(path), "descriptor": fd}[by]
        mount = filesystems._mount_of(os.fstat(fd).st_dev, of)
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        (line,) = (line for line in table.splitlines() if line.split()[0] == mount)
        known = filesystems._type_of(os.fstat(fd).st_dev, of)
        assert f" - {known} " in line
        os.fstat(fd)  # a descriptor of the caller's stays open
    finally:
        os.close(fd)


def test_a_device_that_the_table_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a subvolume: the mount tells."""
    status = Path("/proc/self").stat()
    major, minor = os.major, os.minor
    for name, real in (("major", major), ("minor", minor)):
        monkeypatch.setattr(os, name, lambda device, real=real: real(device) + 100_000)
    assert filesystems._type_of(status.st_dev, "/proc/self") == "proc"


def test_nobody_tells_of_what_is_not_there_or_elsewhere(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    assert filesystems._mount_of(device, tmp_path / "nothing") == ""
    assert filesystems._mount_of(device, "nul\0l") == ""
    assert filesystems._mount_of(device, -1) == ""
    link = tmp_path / "link"
    link.symlink_to("/proc/self")  # what it points to lies on another one
    assert filesystems._mount_of(device, link) == ""
