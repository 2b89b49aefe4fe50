"""Operations on child processes."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

from noria.core.catalog import READ, operation, result_of
from noria.core.codes import WAIT_CHILD

if TYPE_CHECKING:
    from noria.core.operation import Operation

_wait: Any = getattr(os, "waitid", None)
_BY_DESCRIPTOR: Any = getattr(os, "P_PIDFD", None)


@operation(code=WAIT_CHILD, lane=READ)
def wait_child(op: Operation) -> int:
    """Reap the child whose descriptor is `op.fd` (pidfd_open(2)): 0.

    `op.buffer` gets os.waitid's result. The descriptor becomes readable when the child has ended.
    -ECHILD if somebody else has reaped it, -ENOSYS where there are no such descriptors.
    """
    if sys.platform == "win32" or _wait is None or _BY_DESCRIPTOR is None:
        return -errno.ENOSYS
    try:
        ended = _wait(_BY_DESCRIPTOR, op.fd, os.WEXITED | os.WNOHANG)
    except OSError as exc:
        return result_of(exc)
    if ended is None:
        return -errno.EAGAIN
    op.buffer = ended
    return 0
