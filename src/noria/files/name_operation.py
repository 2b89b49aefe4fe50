"""NameOperation: a change of names without a thread of Python's.

Facts: the kernel hands what changes a directory to a worker of the ring, which is a thread as well,
but one that needs no interpreter: removing a name takes 20 microseconds of processor time by the
ring, 52 by a thread of Python's and 10 by the call itself. A thread of C's needs none either, and
can watch for the next call where a worker has to be woken.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from noria.core.operation import NAMES
from noria.errors import from_result
from noria.files.hops import hop
from noria.files.host import Host, running_host
from noria.files.operation import FileOperation

if TYPE_CHECKING:
    from collections.abc import Callable


class NameOperation(FileOperation):
    """One call on one name or two.

    Args:
        host: what gets it done.
        code: row of the catalog.
        name: the name.
        second: the other name, None if there is none.
        mode: permissions of what is made.
        dir_fd: directory that relative names start from, -1 for the current one.
    """

    __slots__ = ("second",)

    def __init__(
        self, host: Host, code: int, name: Any, second: Any, mode: int, dir_fd: int
    ) -> None:
        FileOperation.__init__(self, host, code, dir_fd)
        self.buffer = self.path = name
        self.address = self.second = second
        self.offset = mode
        self.crew = NAMES
        self.way = host.names_way

    def advance(self, result: int, data: Any) -> int:
        """Give nothing."""
        self.outcome = None
        return 0

    def exception_of(self, result: int) -> BaseException:
        """Make the exception, with both names."""
        exc = from_result(result, path=self.path)
        if self.second is not None:
            exc.filename2 = self.second
        return exc


async def change(
    call: Callable[[], object],
    code: int,
    name: Any,
    second: Any = None,
    *,
    mode: int = 0,
    dir_fd: int | None = None,
) -> None:
    """Change names by a thread of C or the ring, or by a call in a thread where there is neither.

    Args:
        call: the call, for a thread of Python's; it also tells what is wrong with odd arguments.
        code: row of the catalog.
        name: the name.
        second: the other name, None if there is none.
        mode: permissions of what is made.
        dir_fd: directory that relative names start from.

    Raises:
        TypeError, ValueError, OSError: what `call` raises.
    """
    host = running_host()
    names = [name] if second is None else [name, second]
    plain = host.naming and all(map(is_plain, names)) and (dir_fd is None or dir_fd >= 0)
    if not plain or not isinstance(mode, int):
        await hop(call, host=host)
        return
    paths = [os.fspath(each) for each in names]
    start = -1 if dir_fd is None else dir_fd
    await NameOperation(host, code, paths[0], (*paths, None)[1], mode, start).start()


def is_plain(name: Any) -> bool:
    """Whether a name is one that the kernel takes as it is."""
    if not isinstance(name, (str, bytes, os.PathLike)):
        return False
    try:
        encoded = os.fsencode(name)
    except (TypeError, ValueError):
        return False
    return bool(encoded) and b"\0" not in encoded
