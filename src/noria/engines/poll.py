"""Engine `poll`: readiness by poll(2).

Facts: the whole set of descriptors is handed to the kernel at every wait, so the cost of a wait
grows with the number of connections, idle ones included; there is no limit on their number. Always
level-triggered. A closed descriptor is reported as POLLNVAL at every wait; it is dropped and
reported as a hang-up, so that whoever waits finds out. Timeouts are whole milliseconds.
"""

from __future__ import annotations

import errno
import math
import select
import sys

from noria.engines.interface import (
    HANGUP,
    READABLE,
    WRITABLE,
    NewsSink,
    Poller,
    Probe,
    unwatchable,
)
from noria.engines.readiness import ReadinessEngine

if sys.platform != "win32":

    class PollPoller(Poller):
        """Poller on `select.poll`."""

        def __init__(self) -> None:
            Poller.__init__(self)
            self._poll = select.poll()
            self._gone = select.POLLHUP | select.POLLERR | select.POLLNVAL

        def modify(self, fd: int, old: int, new: int, level: bool) -> int:
            """Register, change or drop a descriptor."""
            if not new:
                try:
                    self._poll.unregister(fd)
                except KeyError:
                    return -errno.ENOENT
                return 0
            if not old and level and (failure := unwatchable(fd)):
                return failure
            events = 0
            if new & READABLE:
                events |= select.POLLIN
            if new & WRITABLE:
                events |= select.POLLOUT
            self._poll.register(fd, events)
            return 0

        def wait(self, timeout_ns: int, sink: NewsSink) -> int:
            """Wait by poll(2)."""
            timeout = None if timeout_ns < 0 else math.ceil(timeout_ns / 1e6)
            news = self._poll.poll(timeout)
            for fd, events in news:
                ready = 0
                if events & select.POLLIN:
                    ready = READABLE
                if events & select.POLLOUT:
                    ready |= WRITABLE
                if events & self._gone:
                    ready |= HANGUP
                if events & select.POLLNVAL:
                    self._poll.unregister(fd)
                sink.news(fd, ready)
            return len(news)

        def close(self) -> None:
            """Nothing to release."""


class PollEngine(ReadinessEngine):
    """Engine on poll(2)."""

    name = "poll"

    def __init__(self) -> None:
        if sys.platform != "win32":
            ReadinessEngine.__init__(self, PollPoller())
        else:
            raise OSError(errno.ENOSYS, f"{sys.platform} has no poll")

    @classmethod
    def probe(cls) -> Probe:
        """Look for `select.poll`."""
        if not hasattr(select, "poll"):
            return Probe(False, f"{sys.platform} has no poll")
        return Probe(True, "poll works here", ("level-triggered", "millisecond waits"))
