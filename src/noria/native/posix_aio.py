"""POSIX asynchronous I/O, interpreted twin of posix_aio.pyx: there is none.

A request is a structure with the address of the memory in it, which interpreted code does not have.
"""

from __future__ import annotations

import errno
from typing import Final, NoReturn

from noria.native.transfer import Transfer

COMPILED = False

BY_THREAD: Final = 0
BY_SIGNAL: Final = 1
BY_SUSPEND: Final = 2


class Aiocb(Transfer):
    """A request that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """


class AioQueue:
    """A queue that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """

    def __init__(
        self,
        mode: int,
        bell: int,
        outstanding_max: int,
        check_ns: int,
        suspend_ns: int,
        stack_bytes: int,
    ) -> None:
        raise OSError(errno.ENOSYS, "posix_aio needs the compiled build")

    def __getattr__(self, name: str) -> NoReturn:
        """Methods are those of the compiled class; without a queue nobody can call one."""
        raise AttributeError(name)


def probe(mode: int) -> int:
    """Tell why there can be no queue: minus errno."""
    return -errno.ENOSYS


def free_signal() -> int:
    """Give no signal."""
    return 0
