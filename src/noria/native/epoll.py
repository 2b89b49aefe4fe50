"""An epoll set, interpreted twin of epoll.pyx, on the standard `select` module."""

import math
import select


class EpollSet:
    """One epoll set and the news of its last wait."""

    def __init__(self, capacity: int) -> None:
        self._set = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._capacity = capacity
        self._news: list[tuple[int, int]] = []
        self.count = 0

    def fileno(self) -> int:
        """Descriptor of the set itself, -1 once closed."""
        return -1 if self._set.closed else self._set.fileno()

    def precise(self) -> bool:
        """Whether waits are finer than a millisecond."""
        return False

    def add(self, fd: int, events: int) -> int:
        """Register a descriptor; 0 or minus errno (EPOLL_CTL_ADD)."""
        try:
            self._set.register(fd, events)
        except OSError as exc:
            return -exc.errno if exc.errno else -1
        return 0

    def modify(self, fd: int, events: int) -> int:
        """Change a registration; 0 or minus errno (EPOLL_CTL_MOD)."""
        try:
            self._set.modify(fd, events)
        except OSError as exc:
            return -exc.errno if exc.errno else -1
        return 0

    def remove(self, fd: int) -> int:
        """Drop a registration; 0 or minus errno (EPOLL_CTL_DEL)."""
        try:
            self._set.unregister(fd)
        except OSError as exc:
            return -exc.errno if exc.errno else -1
        return 0

    def wait(self, timeout_ns: int) -> int:
        """Wait for news, at most `timeout_ns` (-1 for ever); how many there are.

        Rounds up to whole milliseconds, so a wait is never too short.
        """
        timeout = -1.0 if timeout_ns < 0 else math.ceil(timeout_ns / 1e6) / 1e3
        self._news = self._set.poll(timeout, self._capacity)
        self.count = len(self._news)
        return self.count

    def fd_at(self, index: int) -> int:
        """Descriptor of one piece of news.

        Unlike its twin it cannot tell that a registration has outlived the number.
        """
        return self._news[index][0]

    def events_at(self, index: int) -> int:
        """Events of one piece of news."""
        return self._news[index][1]

    def close(self) -> None:
        """Close the set. Idempotent."""
        self._set.close()
