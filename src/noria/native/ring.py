"""One io_uring, interpreted twin of ring.pyx: there is none.

A ring is shared memory that the kernel writes on another processor. Reading it in the right order
takes instructions that interpreted code cannot ask for, so here no ring can be made, and the engine
`uring` says that it needs the compiled build.
"""

from __future__ import annotations

import errno
from typing import Any, NoReturn

COMPILED = False


class Lent:
    """Memory for the kernel; without a ring there is nobody to lend to.

    Raises:
        OSError: always (ENOSYS).
    """

    address: int
    size: int

    def __init__(self, source: object, size: int = 0) -> None:
        raise OSError(errno.ENOSYS, "io_uring needs the compiled build")

    def written(self, size: int) -> bytes:
        """Take what the kernel has written."""
        raise AttributeError("written")


class Ring:
    """A ring that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """

    token: Any
    tag: int
    result: int
    more: bool
    calls: int
    taken: int

    def __init__(self, entries: int, completions: int) -> None:
        raise OSError(errno.ENOSYS, "io_uring needs the compiled build")

    def __getattr__(self, name: str) -> NoReturn:
        """Methods are those of the compiled class; without a ring nobody can call one."""
        raise AttributeError(name)
