"""Engine `kqueue`: readiness by kqueue(2), on macOS and the BSDs.

Facts: reading and writing are two registrations (filters) of one descriptor, changed together in
one call. Level-triggered unless EV_CLEAR. A registration ends when the descriptor is closed and is
not inherited by fork(2); the queue itself does not survive a fork either. EV_EOF on the read filter
tells a half-close, while data may still be there to read; on the write filter, the end of the
connection. Regular files are accepted but mean something else (distance to the end), so they are
refused here as epoll does. Deleting a filter that is gone gives ENOENT, which is no news. Timeouts
are in nanoseconds.
"""

from __future__ import annotations

import errno
import select
import sys

from noria.engines.interface import (
    HANGUP,
    READABLE,
    STOPS_SHORT,
    WRITABLE,
    NewsSink,
    Poller,
    Probe,
    unwatchable,
)
from noria.engines.readiness import ReadinessEngine
from noria.limits import POLL_EVENTS_MAX

_ONE_SECOND_NS = 1_000_000_000

if sys.platform != "linux" and sys.platform != "win32":

    class KqueuePoller(Poller):
        """Poller on `select.kqueue`."""

        def __init__(self) -> None:
            Poller.__init__(self)
            self._queue = select.kqueue()

        def modify(self, fd: int, old: int, new: int, level: bool) -> int:
            """Add and delete the two filters."""
            if new and not old and level and (failure := unwatchable(fd)):
                return failure
            changes = []
            for bit, kind in (
                (READABLE, select.KQ_FILTER_READ),
                (WRITABLE, select.KQ_FILTER_WRITE),
            ):
                if new & bit:
                    changes.append(select.kevent(fd, kind, select.KQ_EV_ADD))
                elif old & bit or not old:  # what is forgotten may still be registered
                    changes.append(select.kevent(fd, kind, select.KQ_EV_DELETE))
            for change in changes:
                try:
                    self._queue.control([change], 0, 0)
                except OSError as exc:
                    if exc.errno != errno.ENOENT:
                        return -(exc.errno or errno.EIO)
            return 0

        def wait(self, timeout_ns: int, sink: NewsSink) -> int:
            """Wait by kevent(2)."""
            timeout = None if timeout_ns < 0 else timeout_ns / _ONE_SECOND_NS
            news = self._queue.control(None, POLL_EVENTS_MAX, timeout)
            for event in news:
                reading = event.filter == select.KQ_FILTER_READ
                ready = READABLE if reading else WRITABLE
                if event.flags & select.KQ_EV_EOF:
                    ready |= STOPS_SHORT if reading else HANGUP
                if event.flags & select.KQ_EV_ERROR:
                    ready |= HANGUP
                sink.news(event.ident, ready)
            return len(news)

        def fileno(self) -> int:
            """Descriptor of the queue."""
            return self._queue.fileno()

        def close(self) -> None:
            """Close the queue."""
            self._queue.close()


class KqueueEngine(ReadinessEngine):
    """Engine on kqueue(2)."""

    name = "kqueue"

    def __init__(self) -> None:
        if sys.platform != "linux" and sys.platform != "win32":
            ReadinessEngine.__init__(self, KqueuePoller())
        else:
            raise OSError(errno.ENOSYS, f"{sys.platform} has no kqueue")

    @classmethod
    def probe(cls) -> Probe:
        """Look for `select.kqueue`."""
        if not hasattr(select, "kqueue"):
            return Probe(False, f"{sys.platform} has no kqueue")
        return Probe(True, "kqueue works here", ("level-triggered", "nanosecond waits"))
