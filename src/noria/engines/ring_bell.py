# cython: boundscheck=False, wraparound=False
"""A ring that is polled from another loop: what it has is told by an eventfd.

The kernel writes the eventfd when it completes something, and with DEFER_TASKRUN when it has work
that leads to a completion (io_uring_register(2), IORING_REGISTER_EVENTFD). It stands in the epoll
set with the waker and everything else, so the epoll set's descriptor tells of all of it. The ring
does not poll the epoll set then: each would tell of the other without end.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from noria.engines.interface import READABLE, refuse
from noria.engines.readiness import ReadinessEngine
from noria.engines.ring_single import RingSingle

if TYPE_CHECKING:
    from noria.native import ring as native_ring

_READABLE = READABLE
_COUNTER = 8  # bytes of what an eventfd gives (eventfd(2))


class RingBell(RingSingle):
    """A ring engine that can be attached to another loop; see RingRequests for the arguments."""

    def __init__(self, ring: native_ring.Ring) -> None:
        self._ring_bell = -1
        self._ring_told = False
        RingSingle.__init__(self, ring)

    def fileno(self) -> int:
        """Nobody else can wait for a ring that needs to be entered, unless it is attached."""
        return self.poller.fileno() if self._attached else -1

    def attach(self) -> int:
        """Let the epoll set tell of the ring too, by an eventfd that the kernel writes."""
        if self.closed or self.forked:
            raise refuse(self)
        if self._attached:
            return self.poller.fileno()
        if sys.platform != "linux" or self.restricted:
            return -1  # a restricted ring may not be told of the eventfd
        self.resume()
        self._ring_bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        failure = self._ring.ring_bell(self._ring_bell)
        if failure == 0:
            failure = self._watch_ring()
        if failure < 0:
            os.close(self._ring_bell)
            self._ring_bell = -1
            raise OSError(-failure, "the ring cannot be watched from outside")
        return ReadinessEngine.attach(self)

    def _watch_waker(self) -> int:
        if self._ring_bell >= 0:
            self._watch_ring()
        return ReadinessEngine._watch_waker(self)

    def _watch_ring(self) -> int:
        return self.poller.modify(self._ring_bell, 0, _READABLE, True)

    def take_news(self, fd: int, ready: int) -> None:
        """Note the ring's own news apart from the others'."""
        if fd == self._ring_bell and fd >= 0:
            self._ring_told = True
        else:
            ReadinessEngine.take_news(self, fd, ready)

    def _hear_ring(self) -> None:
        """Have the completions handed over that the eventfd told of."""
        self._ring_told = False
        os.read(self._ring_bell, _COUNTER)
        self._enter(0)

    def _left_over(self) -> bool:
        return (
            bool(self._kept)
            or bool(self._queued)
            or self._ring.completed() > 0
            or self._ring.queued() > 0
            or ReadinessEngine._left_over(self)
        )

    def _close_bell(self) -> None:
        if self._ring_bell >= 0:
            os.close(self._ring_bell)
            self._ring_bell = -1
