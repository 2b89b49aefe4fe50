"""ThreadCrew: threads of Python's with one bounded queue, for operations in their blocking form.

Threads start on demand and end when they have been idle for OFFLOAD_IDLE_SECONDS, or with the
crew. They are daemons, so a call that never returns does not keep the interpreter from ending.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from typing import TYPE_CHECKING

from noria.limits import OFFLOAD_IDLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.descriptor import Descriptor
    from noria.core.operation import Operation


class ThreadCrew:
    """Threads and what they have to do.

    Args:
        name: of the crew, for the names of its threads.
        wake: called, from any thread, when `reap` has something to give.
        threads_max: most threads.
        queue_max: most operations that may wait for one.
        idle_seconds: how long a thread waits for work before it ends.
    """

    def __init__(
        self,
        name: str,
        wake: Callable[[], None],
        *,
        threads_max: int,
        queue_max: int,
        idle_seconds: float = OFFLOAD_IDLE_SECONDS,
    ) -> None:
        self.name = name
        self._wake = wake
        self._threads_max = threads_max
        self._queue_max = queue_max
        self._idle_seconds = idle_seconds
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._ended = threading.Condition(lock)
        self._queue: deque[Operation] = deque()
        self._done: deque[Operation] = deque()
        self._threads: dict[threading.Thread, Operation | None] = {}
        self._given_up: dict[int, Descriptor | None] = {}
        self._idle = 0
        self._closing = False
        self._numbers = 0
        self.submitted = 0

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
            self.submitted += 1
            self._changed.notify()
        return 0

    def cancel(self, op: Operation) -> None:
        """Take an operation out of the queue if no thread has started it."""
        with self._changed:
            for index, each in enumerate(self._queue):
                if each is op:
                    del self._queue[index]
                    break
            else:
                return
            op.result = -errno.ECANCELED
            self._done.append(op)
        self._wake()

    def ready(self) -> bool:
        """Whether `reap` has something to give."""
        return bool(self._done)

    def reap(self, done: list[Operation], count: int) -> None:
        """Append at most `count` operations that are done, each with its `result`."""
        found = self._done
        done.extend(found.popleft() for _ in range(min(len(found), count)))

    def in_flight(self) -> int:
        """Operations that wait, run, or were not reaped yet."""
        with self._changed:
            running = sum(op is not None for op in self._threads.values())
            return len(self._queue) + running + len(self._done)

    def threads(self) -> int:
        """Threads that there are now."""
        return len(self._threads)

    def close(self, done: list[Operation], seconds: float) -> None:
        """Cancel the queue, wait for the running operations, end the threads.

        What still runs after `seconds` is given up: it settles with -EIO, and its lease is kept
        until its thread returns, so that no number is used again before (D2).
        """
        with self._changed:
            self._closing = True
            while self._queue:
                op = self._queue.popleft()
                op.result = -errno.ECANCELED
                self._done.append(op)
            self._changed.notify_all()
            self._ended.wait_for(self._all_idle, seconds)
            ending = [thread for thread, op in self._threads.items() if op is None]
            for running in self._threads.values():
                if running is not None:
                    self._give_up(running)
        for thread in ending:
            thread.join()
        self.reap(done, len(self._done))

    def _all_idle(self) -> bool:
        return not any(op is not None for op in self._threads.values())

    def _give_up(self, op: Operation) -> None:
        if id(op) in self._given_up:
            return
        self._given_up[id(op)] = op.descriptor
        op.descriptor = None
        op.result = -errno.EIO
        self._done.append(op)

    def _start_thread(self) -> None:
        self._numbers += 1
        thread = threading.Thread(
            target=self._work, name=f"noria-{self.name}-{self._numbers}", daemon=True
        )
        self._threads[thread] = None
        try:
            thread.start()
        except RuntimeError:
            del self._threads[thread]  # the system has no more now; those that there are work on

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing or not self._rest():
                        del self._threads[me]
                        self._ended.notify_all()
                        return
                op = self._queue.popleft()
                self._threads[me] = op
            result = _attempt(op)
            with self._changed:
                self._threads[me] = None
                self._ended.notify_all()
                given_up = id(op) in self._given_up
                if given_up:
                    self._let_go(op, result)
                else:
                    op.result = result
                    self._done.append(op)
            del op  # an idle thread must not keep a finished operation alive
            if not given_up:
                self._wake()

    def _rest(self) -> bool:
        """Wait for work; False if there was none for as long as a thread may idle."""
        self._idle += 1
        called = self._changed.wait(self._idle_seconds)
        self._idle -= 1
        return called or bool(self._queue)

    def _let_go(self, op: Operation, result: int) -> None:
        """Free what was kept for an operation that nobody waits for any more."""
        descriptor = self._given_up.pop(id(op))
        op.discard(result, op.buffer)
        if descriptor is not None:
            descriptor.release()


def _attempt(op: Operation) -> int:
    try:
        return op.perform()
    except (TypeError, ValueError, OverflowError, BufferError):
        return -errno.EINVAL  # misuse that shows only now (E4)
    except BaseException:
        return -errno.EIO
