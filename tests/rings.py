"""What tests of the engine `uring` and of its ring share."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from noria.engines.uring import UringEngine
from noria.native.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

    import noria

_PROBE = UringEngine.probe()
_CHILD_SECONDS = 20

needs_uring = pytest.mark.skipif(not _PROBE.available, reason=_PROBE.reason)
"""For tests that make a ring."""


class Token:
    """Stands for a request; an object that tells when it is gone."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes = b"") -> None:
        self.data = data


def open_ring(entries: int = 8, completions: int = 32, buffers: int = 4, size: int = 4096) -> Ring:
    """Make a ring of the calling thread, with all its buffers provided."""
    ring = Ring(entries, completions)
    assert ring.make_group(1, max(buffers, 1), size) == 0
    assert ring.provide(buffers) == buffers
    assert ring.enable() == 0
    return ring


def engine_of(loop: Any) -> Any:
    """Give a loop's engine; its inner parts have no types here."""
    made: noria.Loop = loop
    return made._engine


def in_child(action: Callable[[], None]) -> int:
    """Run in a forked child; its exit code, which is negative if a signal has ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        # A child that hangs must not hang the test, nor run the handler that it got from it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_CHILD_SECONDS)
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def refused(number: int) -> OSError:
    """Make the error of a ring that cannot be made."""
    return OSError(number, os.strerror(number))


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Let other threads run until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.001)


BADF = -errno.EBADF
