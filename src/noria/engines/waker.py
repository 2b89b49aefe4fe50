"""Waker: ends a wait from other threads and from signal handlers.

A pair of connected sockets, because that is what every poller can watch, what
`signal.set_wakeup_fd` can write to, and what Windows has. Nobody writes unless the loop sleeps:
`wake` leaves a note and writes only if `sleeping` is set; the loop sets `sleeping` and then looks
for a note. Under the interpreter lock these steps have one order, so a wake is never missed.
"""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK = 4096  # more than wakes and signals leave between two turns


class Waker:
    """One wake-up channel.

    Attributes:
        sleeping: the loop is in, or about to enter, a wait.
        noted: somebody asked for a wake since the last wait ended.
        sent: how many times a byte was really written.
    """

    __slots__ = ("_lock", "_reader", "_writer", "noted", "sent", "sleeping")

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # Re-entrant: a signal handler may interrupt a wake of its own thread and wake as well.
        self._lock = threading.RLock()
        self.sleeping = False
        self.noted = False
        self.sent = 0

    def fileno(self) -> int:
        """Descriptor to watch, -1 once closed."""
        return self._reader.fileno()

    def signal_fileno(self) -> int:
        """Descriptor for `signal.set_wakeup_fd`, -1 once closed."""
        return self._writer.fileno()

    def wake(self) -> None:
        """End the current or next wait; any thread, signal handlers too."""
        self.noted = True
        if not self.sleeping:
            return
        # The lock keeps `close` away while the number is in use: a write must never reach a
        # descriptor that was closed meanwhile and belongs to somebody else now (E7).
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._writer.fileno() >= 0:
                self.sent += 1
                self._writer.send(b"\0")

    def drain(self) -> bytes:
        """Take what was written: zeros from `wake`, numbers of signals from the interpreter."""
        data = b""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while chunk := self._reader.recv(_CHUNK):
                data += chunk
                if len(chunk) < _CHUNK:
                    break
        return data.replace(b"\0", b"")

    def close(self) -> None:
        """Close both ends. Idempotent."""
        with self._lock:
            self._writer.close()  # first, or a wake in between would write to nobody
            self._reader.close()

    def abandon(self) -> None:
        """Close both ends in a forked child; a thread that is not there may hold the lock."""
        self._reader.close()
        self._writer.close()
