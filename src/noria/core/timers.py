# cython: boundscheck=False, wraparound=False
"""Timers: the heap of deadlines.

A binary heap of entries ordered by deadline, then by age, so equal deadlines fire in the order they
were set. Cancelling marks the entry; the mark costs nothing when the entry is the youngest one
(popped at once) and is swept out together with others when too many marks have gathered.
"""

from __future__ import annotations

from typing import Any

from noria.limits import TIMERS_CANCELLED_FRACTION, TIMERS_CANCELLED_MIN

# For the compiler, typed in the .pxd.
_ROOM = 64  # the heap's list shrinks no further


class TimerEntry:
    """One deadline in the heap.

    Attributes:
        deadline_ns: when it is due, on the loop's clock.
        sequence: age; decides between equal deadlines.
        scheduled: it lies in the heap.
        dead: it was cancelled; the heap drops it silently.
    """

    __slots__ = ("dead", "deadline_ns", "scheduled", "sequence")

    def __init__(self) -> None:
        self.deadline_ns = 0
        self.sequence = 0
        self.scheduled = False
        self.dead = False


def earlier(one: TimerEntry, other: TimerEntry) -> bool:
    """Order of the heap: deadline first, then age."""
    if one.deadline_ns != other.deadline_ns:
        return one.deadline_ns < other.deadline_ns
    return one.sequence < other.sequence


class Timers:
    """Heap of `TimerEntry` objects.

    Attributes:
        count: entries in the heap, cancelled ones included.
        cancelled: the cancelled ones.

    Its list has room behind the last entry: one timer that comes and goes, as in a chain of short
    delays, would otherwise cost an allocation each time.
    """

    __slots__ = ("_heap", "_sequence", "cancelled", "count")

    def __init__(self) -> None:
        self._heap: list[Any] = []
        self.count = 0
        self._sequence = 0
        self.cancelled = 0

    def __len__(self) -> int:
        """Entries in the heap, cancelled ones included."""
        return self.count

    def add(self, entry: TimerEntry, deadline_ns: int) -> None:
        """Put an entry in, due at `deadline_ns`."""
        heap = self._heap
        self._sequence += 1
        entry.sequence = self._sequence
        entry.deadline_ns = deadline_ns
        entry.scheduled = True
        position = self.count
        if position < len(heap):
            heap[position] = entry
        else:
            heap.append(entry)
        self.count = position + 1
        if position:
            self._rise(position)

    def cancel(self, entry: TimerEntry) -> None:
        """Mark an entry that lies in the heap as dead."""
        if not entry.scheduled or entry.dead:
            return
        heap = self._heap
        entry.dead = True
        if heap[self.count - 1] is entry:
            self.count -= 1
            heap[self.count] = None
            entry.scheduled = False
            return
        self.cancelled += 1
        if (
            self.cancelled >= TIMERS_CANCELLED_MIN
            and self.cancelled > self.count * TIMERS_CANCELLED_FRACTION
        ):
            self._sweep()

    def next_deadline_ns(self) -> int:
        """Deadline of the earliest living entry, -1 if there is none.

        A deadline before the clock's beginning is given as 0: it is due in any case.
        """
        while self.count:
            entry: TimerEntry = self._heap[0]
            if not entry.dead:
                return max(entry.deadline_ns, 0)
            self._pop()
            self.cancelled -= 1
        return -1

    def pop_due(self, now_ns: int) -> TimerEntry | None:
        """Take the earliest living entry that is due at `now_ns`, or None."""
        while self.count:
            entry: TimerEntry = self._heap[0]
            if entry.dead:
                self._pop()
                self.cancelled -= 1
            elif entry.deadline_ns <= now_ns:
                return self._pop()
            else:
                return None
        return None

    def clear(self) -> None:
        """Drop every entry."""
        heap = self._heap
        count = self.count
        self._heap = []
        self.count = 0
        self.cancelled = 0
        for position in range(count):
            heap[position].scheduled = False

    def _pop(self) -> TimerEntry:
        heap = self._heap
        top: TimerEntry = heap[0]
        top.scheduled = False
        self.count -= 1
        last = self.count
        if last:
            heap[0] = heap[last]
            heap[last] = None
            self._sink(0)
            if last * 8 < len(heap) and last > _ROOM:
                del heap[2 * last :]  # a burst is over
        else:
            heap[0] = None
        return top

    def _sweep(self) -> None:
        living = []
        for position in range(self.count):
            entry: TimerEntry = self._heap[position]
            if entry.dead:
                entry.scheduled = False
            else:
                living.append(entry)
        self._heap = living
        self.count = len(living)
        self.cancelled = 0
        for position in range(len(living) // 2 - 1, -1, -1):
            self._sink(position)

    def _rise(self, position: int) -> None:
        heap = self._heap
        entry = heap[position]
        while position > 0:
            parent = (position - 1) >> 1
            above = heap[parent]
            if not earlier(entry, above):
                break
            heap[position] = above
            position = parent
        heap[position] = entry

    def _sink(self, position: int) -> None:
        heap = self._heap
        size = self.count
        entry = heap[position]
        child = 2 * position + 1
        while child < size:
            below = heap[child]
            if child + 1 < size:
                right = heap[child + 1]
                if earlier(right, below):
                    child += 1
                    below = right
            if not earlier(below, entry):
                break
            heap[position] = below
            position = child
            child = 2 * position + 1
        heap[position] = entry
