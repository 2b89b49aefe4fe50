"""Backend `threads`: blocking calls in a bounded crew of threads.

Facts: a hop to a thread and back costs 60-200 microseconds, many times the call itself when the
data is cached. It is the backend that every system has, and the measure for the others. Threads
start on demand, up to OFFLOAD_THREADS_MAX, and end with the backend. An operation that a thread has
started cannot be stopped; cancelling it only reaches one that still queues.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from typing import TYPE_CHECKING

from noria.disk.interface import BackendStatistics, DiskBackend
from noria.limits import OFFLOAD_QUEUE_MAX, OFFLOAD_THREADS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.operation import Operation


class ThreadBackend(DiskBackend):
    """A crew of threads with one bounded queue."""

    name = "threads"

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        threads_max: int = OFFLOAD_THREADS_MAX,
        queue_max: int = OFFLOAD_QUEUE_MAX,
    ) -> None:
        super().__init__(wake)
        self._threads_max = threads_max
        self._queue_max = queue_max
        self._changed = threading.Condition()
        self._queue: deque[Operation] = deque()
        self._done: deque[tuple[Operation, int]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._running = 0
        self._submitted = 0
        self._closing = False

    def submit(self, op: Operation) -> int:
        """Queue an operation for a thread; -EAGAIN when the queue is full or there is no thread."""
        with self._changed:
            if self._closing:
                return -errno.EBADF
            if len(self._queue) >= self._queue_max:
                return -errno.EAGAIN
            self._queue.append(op)
            if self._idle < len(self._queue) and len(self._threads) < self._threads_max:
                self._start_thread()
            if not self._threads:
                self._queue.pop()
                return -errno.EAGAIN
            self._submitted += 1
            self._changed.notify()
        return 0

    def cancel(self, op: Operation) -> None:
        """Take an operation out of the queue if no thread has started it."""
        with self._changed:
            try:
                self._queue.remove(op)
            except ValueError:
                return
            self._done.append((op, -errno.ECANCELED))
        self._wake()

    def reap(self) -> list[tuple[Operation, int]]:
        """Take what is done."""
        done = self._done
        return [done.popleft() for _ in range(len(done))]

    def statistics(self) -> BackendStatistics:
        """Give the counters."""
        with self._changed:
            in_flight = len(self._queue) + self._running + len(self._done)
            return BackendStatistics(self.name, in_flight, self._submitted, len(self._threads))

    def close(self) -> list[tuple[Operation, int]]:
        """Cancel the queue, wait for the running operations, end the threads."""
        with self._changed:
            self._closing = True
            while self._queue:
                self._done.append((self._queue.popleft(), -errno.ECANCELED))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        return self.reap()

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=self._work, name=f"noria-offload-{len(self._threads)}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            return  # the system has no more threads now; those that there are do the work
        self._threads.append(thread)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                op = self._queue.popleft()
                self._running += 1
            result = _attempt(op)
            with self._changed:
                self._running -= 1
                self._done.append((op, result))
            del op  # an idle thread must not keep a finished operation alive
            self._wake()


def _attempt(op: Operation) -> int:
    try:
        return op.perform()
    except BaseException:
        return -errno.EIO
