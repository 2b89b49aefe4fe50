"""Linux' asynchronous I/O, interpreted twin of linux_aio.pyx: there is none.

Requests are structures in memory with addresses in them, which interpreted code does not have.
"""

from __future__ import annotations

import errno
from typing import NoReturn

from noria.native.transfer import Transfer

COMPILED = False


class Iocb(Transfer):
    """A request that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """


class AioContext:
    """A context that cannot be made.

    Raises:
        OSError: always (ENOSYS).
    """

    def __init__(self, bell: int, events: int, gathered_max: int) -> None:
        raise OSError(errno.ENOSYS, "linux_aio needs the compiled build")

    def __getattr__(self, name: str) -> NoReturn:
        """Methods are those of the compiled class; without a context nobody can call one."""
        raise AttributeError(name)


def probe() -> int:
    """Tell why there can be no context: minus errno."""
    return -errno.ENOSYS
