# cython: boundscheck=False, wraparound=False
"""EpollPoller: readiness by epoll(7), level- or edge-triggered.

Facts about epoll, and what follows from them here:

- A registration belongs to the open file, not to the number. It ends when the last copy of the
  descriptor is closed, so a duplicate (dup(2), fork(2)) keeps it alive and its news keep coming
  under the old number. Hence every owned descriptor is removed before it is closed. What a user
  closes first cannot be removed any more (EBADF, or ENOENT when the number is in use again); if it
  goes on reporting, only a new set gets rid of it. Compiled, every registration has a tag that
  tells its news from those of the number's next owner.
- After a close the same number may be another file. Adding a number that is known gives EEXIST,
  changing one that is not gives ENOENT; both are answered by trying the other.
- Regular files and directories are always ready and cannot be registered: EPERM.
- EPOLLERR and EPOLLHUP are reported whether asked for or not; a registration without interest would
  make a dead connection spin, so no interest means no registration.
- Edge-triggered, news come when something arrives, not as long as something is there. A reader
  that stops early has to remember it; the readiness engine's list does, and it takes turns
  between busy descriptors (epoll(7), "Questions and answers", no. 9 and the starvation note).
- A short receive from a stream socket means that it is empty (same answer), with three exceptions:
  the end of the stream, the urgent mark of TCP, and descriptors sent over a Unix socket. The first
  two are told by EPOLLRDHUP and EPOLLPRI; Unix sockets are read until EAGAIN.
- EPOLLRDHUP tells the peer's half-close together with the last data, which saves a wait for it.
- The kernel's timeout was in milliseconds until epoll_pwait2 (Linux 5.11). Where it is missing
  waits are rounded up, so no timer is early.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Final

from noria.engines.interface import (
    HANGUP,
    READABLE,
    STOPS_SHORT,
    WRITABLE,
    NewsSink,
    Poller,
)
from noria.limits import POLL_EVENTS_MAX

if TYPE_CHECKING or sys.platform == "linux":
    from noria.native import epoll as native

# The kernel's numbers (sys/epoll.h), the same on every architecture.
EPOLLIN: Final = 0x001
EPOLLPRI: Final = 0x002
EPOLLOUT: Final = 0x004
EPOLLERR: Final = 0x008
EPOLLHUP: Final = 0x010
EPOLLRDHUP: Final = 0x2000
EPOLLET: Final = 1 << 31

_IN = EPOLLIN
_PRI = EPOLLPRI
_OUT = EPOLLOUT
_RDHUP = EPOLLRDHUP
_GONE = EPOLLERR | EPOLLHUP
_ET = EPOLLET
_READABLE = READABLE
_WRITABLE = WRITABLE
_HANGUP = HANGUP
_STOPS_SHORT = STOPS_SHORT
_EEXIST = errno.EEXIST
_ENOENT = errno.ENOENT
_EMFILE = errno.EMFILE


class EpollPoller(Poller):
    """Poller on one epoll set."""

    def __init__(self, *, edge: bool = False) -> None:
        Poller.__init__(self, edge=edge, lasting=True)
        self._set = native.EpollSet(POLL_EVENTS_MAX)

    def modify(self, fd: int, old: int, new: int, level: bool) -> int:
        """Add, change or remove a registration."""
        if not new:
            return self._set.remove(fd)
        events = 0
        if new & _READABLE:
            events |= _IN | _RDHUP
        if new & _WRITABLE:
            events |= _OUT
        if self.edge and not level:
            events |= _ET | _PRI
        if old:
            result = self._set.modify(fd, events)
            return self._set.add(fd, events) if result == -_ENOENT else result
        result = self._set.add(fd, events)
        return self._set.modify(fd, events) if result == -_EEXIST else result

    def wait(self, timeout_ns: int, sink: NewsSink) -> int:
        """Wait by epoll_pwait2(2), or epoll_wait(2) where that is missing."""
        count = self._set.wait(timeout_ns)
        for index in range(count):
            events = self._set.events_at(index)
            ready = 0
            if events & _IN:
                ready = _READABLE
            if events & _OUT:
                ready |= _WRITABLE
            if events & (_RDHUP | _PRI):
                ready |= _STOPS_SHORT
                if events & _RDHUP:
                    ready |= _READABLE
            if events & _GONE:
                ready |= _HANGUP
            sink.news(self._set.fd_at(index), ready)
        return count

    def renew(self) -> int:
        """Make a new set in place of this one."""
        try:
            fresh = native.EpollSet(POLL_EVENTS_MAX)
        except OSError as exc:
            return -(exc.errno or _EMFILE)
        self._set.close()
        self._set = fresh
        return 0

    def fileno(self) -> int:
        """Descriptor of the epoll set."""
        return self._set.fileno()

    def close(self) -> None:
        """Close the set."""
        self._set.close()
