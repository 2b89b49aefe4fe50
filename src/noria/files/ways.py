# cython: boundscheck=False, wraparound=False
"""Ways: which of two ways operations of one kind go on one filesystem, chosen by their times.

A way is measured in a run of operations, not by one now and then: threads that have just worked
watch for more and take a tenth of the time of one that has to be woken, and the ring's workers are
alike. The first half of a run is not counted. Both ways have a run each, then the quicker one goes
on for a while, four times as long whenever the next two runs say the same again, and shortly after
they did not, since what is quicker depends on what the program does.
"""

from __future__ import annotations

from typing import Final

from noria.core.operation import AUTOMATIC, BY_THREAD
from noria.limits import WAY_PAUSE_MAX, WAY_PAUSE_MIN, WAY_RUN, WAY_SAMPLES_MIN

MEASURED: Final = 16
"""Flag of a chosen way: its time is to be noted."""

# Names for the compiler, typed in the .pxd.
_AUTOMATIC = AUTOMATIC
_BY_THREAD = BY_THREAD
_MEASURED = MEASURED
_SAMPLES_MIN = WAY_SAMPLES_MIN
_RUN = WAY_RUN
_PAUSE_MIN = WAY_PAUSE_MIN
_PAUSE_MAX = WAY_PAUSE_MAX
_BY_ENGINE = 0  # stages
_BY_THREADS = 1
_CHOSEN = 2


class Ways:
    """The times of both ways.

    Args:
        fraction: share of the engine's time that a thread may take at most, so that it is chosen.

    Attributes:
        engine_count: how often the engine's way was measured.
        thread_count: how often a thread was.
        engine_ns: time of the latest by the engine, weighed.
        thread_ns: the same by a thread.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self.engine_count = 0
        self.thread_count = 0
        self.engine_ns = 0.0
        self.thread_ns = 0.0
        self._stage = _CHOSEN
        self._way = _AUTOMATIC
        self._left = 0
        self._last = -1
        self._pause = _PAUSE_MIN

    def are_known(self) -> bool:
        """Whether both were measured often enough."""
        return min(self.engine_count, self.thread_count) >= _SAMPLES_MIN

    def prefers_thread(self) -> bool:
        """Whether a thread is quicker, as far as is known."""
        return self.thread_ns < self.engine_ns * self.fraction

    def choose(self) -> int:
        """Choose a way: AUTOMATIC, which is the engine's, or BY_THREAD; perhaps with MEASURED."""
        if self._left == 0:
            self._turn()
        self._left -= 1
        if self._stage != _CHOSEN and self._left < _RUN // 2:
            return self._way | _MEASURED
        return self._way

    def _turn(self) -> None:
        """Begin the next stage."""
        if self._stage == _BY_ENGINE:
            self._stage = _BY_THREADS
            self._way = _BY_THREAD
            self._left = _RUN
        elif self._stage == _BY_THREADS and self.are_known():
            self._stage = _CHOSEN
            self._settle()
        else:
            self._stage = _BY_ENGINE
            self._way = _AUTOMATIC
            self._left = _RUN

    def _settle(self) -> None:
        """Go the quicker way for a while."""
        way = _BY_THREAD if self.prefers_thread() else _AUTOMATIC
        if way == self._last:
            self._pause = min(self._pause * 4, _PAUSE_MAX)
        else:
            self._pause = _PAUSE_MIN
        self._last = self._way = way
        self._left = self._pause

    def note(self, way: int, nanoseconds: int) -> None:
        """Take a measurement."""
        if way == _BY_THREAD:
            self.thread_count += 1
            weight = 1.0 / min(self.thread_count, _SAMPLES_MIN)
            self.thread_ns += (nanoseconds - self.thread_ns) * weight
        else:
            self.engine_count += 1
            weight = 1.0 / min(self.engine_count, _SAMPLES_MIN)
            self.engine_ns += (nanoseconds - self.engine_ns) * weight
