"""Engine `select`: readiness by select(2), the one mechanism every system has.

Facts: on Unix the kernel's sets hold numbers below FD_SETSIZE (1024), and a larger one would write
beyond them; such a descriptor is refused with EINVAL. On Windows the sets hold up to 512 sockets of
any number, and one more is refused with EMFILE; they hold sockets only, and what the user wants
watched and is none is refused with ENOTSOCK; a failed connect is reported in the third set alone.
Waits copy the whole set and are level-triggered. One closed descriptor makes the whole call fail
with EBADF; the culprits are then looked for one by one, dropped, and reported as hang-ups.
"""

from __future__ import annotations

import errno
import select
import sys

from noria.engines.interface import HANGUP, READABLE, WRITABLE, NewsSink, Poller, Probe, unwatchable
from noria.engines.readiness import ReadinessEngine
from noria.limits import SELECT_NUMBER_MAX, SELECT_SOCKETS_MAX

_WINDOWS = sys.platform == "win32"
_ONE_SECOND_NS = 1_000_000_000

# Windows says ENOTSOCK of whatever is no socket, Wine EOPNOTSUPP where the number is a handle.
_REFUSALS = {errno.EBADF, errno.ENOTSOCK, errno.EOPNOTSUPP} if _WINDOWS else {errno.EBADF}


class SelectPoller(Poller):
    """Poller on `select.select`."""

    def __init__(self) -> None:
        Poller.__init__(self)
        self._readers: set[int] = set()
        self._writers: set[int] = set()

    def modify(self, fd: int, old: int, new: int, level: bool) -> int:
        """Change the sets."""
        if not _WINDOWS and fd >= SELECT_NUMBER_MAX:
            return -errno.EINVAL
        if _WINDOWS and (
            (new & READABLE and _would_overflow(self._readers, fd))
            or (new & WRITABLE and _would_overflow(self._writers, fd))
        ):
            return -errno.EMFILE
        if new and not old and level and (failure := _failure(fd) if _WINDOWS else unwatchable(fd)):
            return failure
        known = fd in self._readers or fd in self._writers
        (self._readers.add if new & READABLE else self._readers.discard)(fd)
        (self._writers.add if new & WRITABLE else self._writers.discard)(fd)
        return 0 if new or known else -errno.ENOENT

    def wait(self, timeout_ns: int, sink: NewsSink) -> int:
        """Wait by select(2)."""
        timeout = None if timeout_ns < 0 else timeout_ns / _ONE_SECOND_NS
        # A failed connect on Windows shows up as an exceptional condition and nowhere else.
        exceptional = list(self._writers) if _WINDOWS else []
        try:
            readable, writable, failed = select.select(
                list(self._readers), list(self._writers), exceptional, timeout
            )
        except OSError as exc:
            if exc.errno not in _REFUSALS:
                raise
            return self._report_closed(sink)
        ready: dict[int, int] = dict.fromkeys(readable, READABLE)
        for fd in (*writable, *failed):
            ready[fd] = ready.get(fd, 0) | WRITABLE
        for fd, what in ready.items():
            sink.news(fd, what)
        return len(ready)

    def close(self) -> None:
        """Forget the sets."""
        self._readers.clear()
        self._writers.clear()

    def _report_closed(self, sink: NewsSink) -> int:
        closed = [fd for fd in self._readers | self._writers if _failure(fd)]
        for fd in closed:
            self._readers.discard(fd)
            self._writers.discard(fd)
            sink.news(fd, HANGUP)
        return len(closed)


def _would_overflow(numbers: set[int], fd: int) -> bool:
    return len(numbers) >= SELECT_SOCKETS_MAX and fd not in numbers


def _failure(fd: int) -> int:
    """Tell why select does not take a number: minus errno, or 0."""
    try:
        select.select([fd], [], [], 0)
    except OSError as exc:
        if _WINDOWS and exc.errno in _REFUSALS:
            return -errno.ENOTSOCK
        return -(exc.errno or errno.EBADF)
    except ValueError:
        return -errno.EINVAL
    return 0


class SelectEngine(ReadinessEngine):
    """Engine on select(2)."""

    name = "select"

    def __init__(self) -> None:
        ReadinessEngine.__init__(self, SelectPoller())

    @classmethod
    def probe(cls) -> Probe:
        """Always there."""
        if _WINDOWS:
            limit, most = f"{SELECT_SOCKETS_MAX} sockets", SELECT_SOCKETS_MAX
        else:
            limit, most = f"numbers below {SELECT_NUMBER_MAX}", SELECT_NUMBER_MAX
        return Probe(True, "select works everywhere", ("level-triggered", limit), most)
