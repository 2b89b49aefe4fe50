"""Files whose disk is stuck, for tests; see noria.lab.files.stuck."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noria.lab.errors import UnableError
from noria.lab.files.stuck import StuckDisk

if TYPE_CHECKING:
    from collections.abc import Iterator


def uninterruptible(pid: int) -> int:
    """How many threads of a process, workers of its rings among them, wait uninterruptibly."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            count += state == "D"
    return count


@contextlib.contextmanager
def stuck_disk(*paths: Path) -> Iterator[None]:
    """Have changes of files, which must exist, wait while this is open."""
    try:
        disk = StuckDisk(paths)
    except UnableError as exc:
        pytest.skip(str(exc))
    try:
        yield
    finally:
        disk.free()
