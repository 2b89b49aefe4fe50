"""One transfer with its memory, interpreted twin of transfer.pyx: there is none.

Memory that is lent to the kernel or to a thread of C's is known by its address, which interpreted
code does not have.
"""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

COMPILED = False


class Transfer:
    """A transfer that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """

    token: Any
    kind: int
    fd: int
    advice: int
    offset: int
    size: int
    result: int
    parts: int

    def __init__(
        self, token: object, kind: int, fd: int, buffer: object, offset: int, size: int, advice: int
    ) -> None:
        self.fill(token, kind, fd, buffer, offset, size, advice)

    def fill(
        self, token: object, kind: int, fd: int, buffer: object, offset: int, size: int, advice: int
    ) -> NoReturn:
        """Do what `__init__` does."""
        raise OSError(errno.ENOSYS, "lending memory needs the compiled build")

    def __getattr__(self, name: str) -> NoReturn:
        """Methods are those of the compiled class; without one nobody can call them."""
        raise AttributeError(name)


def has_position(fd: int) -> bool:
    """Tell whether an open file has a position, as a pipe has not (lseek(2))."""
    try:
        os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        return False
    return True
