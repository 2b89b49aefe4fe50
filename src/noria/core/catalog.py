"""What can be asked for: one decorated function is one operation.

The function is the blocking form: given an Operation it makes the attempt and returns a value >= 0
or minus errno. On a non-blocking descriptor -EAGAIN means "not now", and the lane says which
readiness to wait for; OFFLOAD operations have none and run in a thread where no engine knows
better. Engines may add a faster form of an operation, never another meaning.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.operation import Operation

    Attempt = Callable[[Operation], int]
    Discard = Callable[[int, object], object]

READ: Final = 0
"""Lane: may succeed once the descriptor is readable."""
WRITE: Final = 1
"""Lane: may succeed once the descriptor is writable."""
OFFLOAD: Final = 2
"""Lane: has no readiness; blocks a thread where the kernel offers nothing better."""

LANE_NAMES: Final = ("read", "write", "offload")


class Spec(NamedTuple):
    """One row of the catalog: an operation's code, name, lane and blocking form.

    `discard` frees what a success carries when nobody wants it any more; None if that is nothing.
    """

    code: int
    name: str
    lane: int
    attempt: Attempt
    discard: Discard | None = None


LANES: Final = bytearray([255]) * 128
"""Lane of each operation whose code is below its length, as every operation made asks for it."""

CATALOG: Final[dict[int, Spec]] = {}
"""Every operation by its code. Tests and fault injection replace rows, so look up at run time."""


def operation(
    *, code: int, lane: int, discard: Discard | None = None
) -> Callable[[Attempt], Attempt]:
    """Enter the decorated function into the catalog as the operation `code`.

    Args:
        code: number of the operation, unique and never reused.
        lane: READ, WRITE or OFFLOAD.
        discard: called with result and data of a success that nobody takes, such as a descriptor.

    Raises:
        ValueError: the code is taken, or the lane is none of the three.
    """

    def enter(function: Attempt) -> Attempt:
        if code in CATALOG:
            raise ValueError(f"operation code {code} is taken by {CATALOG[code].name!r}")
        if lane not in (READ, WRITE, OFFLOAD):
            raise ValueError(f"operation {function.__name__!r}: no such lane: {lane}")
        if 0 <= code < len(LANES):
            LANES[code] = lane
        CATALOG[code] = Spec(code, function.__name__, lane, function, discard)
        return function

    return enter


def result_of(exc: OSError) -> int:
    """Turn what a standard library call raised into a result: minus errno, never zero.

    Whatever means "would block" or "in progress" becomes -EAGAIN or -EINPROGRESS of this system's
    errno module, also for the numbers that Windows sockets use.
    """
    if isinstance(exc, BlockingIOError):
        code = exc.errno or errno.EAGAIN
        in_progress = code in (errno.EINPROGRESS, getattr(errno, "WSAEINPROGRESS", -1))
        return -errno.EINPROGRESS if in_progress else -errno.EAGAIN
    return -(exc.errno or errno.EIO)
