"""A crew of threads written in C, interpreted twin of crew.pyx: there is none.

Interpreted, the disk backend `threads` has threads of Python's for everything.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from noria.native.transfer import Transfer

COMPILED = False

THREADS: Final = 0
IN_FLIGHT: Final = 1
STARTED: Final = 2
CALLS: Final = 3
BELLS: Final = 4
WATCHES: Final = 5
VAIN_WATCHES: Final = 6


class Job(Transfer):
    """A job that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """

    def set_beside(self) -> None:
        """Let a write go on beside other writes of its file, as direct ones can."""

    def set_names(self, name: bytes, second: bytes) -> None:
        """Say what names it is about, the second one perhaps empty; without null bytes in them."""

    def opened(self) -> tuple[int, int]:
        """Give the mode and the device (stat(2)) of what OPEN_FILE has opened."""
        return 0, 0


class Crew:
    """A crew that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """

    def __init__(
        self,
        bell: int,
        threads_max: int,
        bulk_max: int,
        queue_max: int,
        idle_ns: int,
        stack_bytes: int,
        watch_ns: int = 0,
    ) -> None:
        raise OSError(errno.ENOSYS, "threads of C need the compiled build")

    def __getattr__(self, name: str) -> Any:
        """Methods are those of the compiled class; without a crew nobody can call one."""
        raise AttributeError(name)
