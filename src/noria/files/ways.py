# cython: boundscheck=False, wraparound=False
"""Ways: which of two ways operations of one kind go on one filesystem, chosen by their times.

Both take turns until each has been measured; then the slower one is tried again now and then.
"""

from __future__ import annotations

from typing import Final

from noria.core.operation import AUTOMATIC, BY_THREAD
from noria.limits import WAY_SAMPLES_MIN, WAY_TRIAL_EVERY

MEASURED: Final = 16
"""Flag of a chosen way: its time is to be noted."""

# Names for the compiler, typed in the .pxd.
_AUTOMATIC = AUTOMATIC
_BY_THREAD = BY_THREAD
_MEASURED = MEASURED
_SAMPLES_MIN = WAY_SAMPLES_MIN
_TRIAL_EVERY = WAY_TRIAL_EVERY


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
        self._chosen = 0

    def are_known(self) -> bool:
        """Whether both were measured often enough."""
        return min(self.engine_count, self.thread_count) >= _SAMPLES_MIN

    def prefers_thread(self) -> bool:
        """Whether a thread is quicker, as far as is known."""
        return self.thread_ns < self.engine_ns * self.fraction

    def choose(self) -> int:
        """Choose a way: AUTOMATIC, which is the engine's, or BY_THREAD; perhaps with MEASURED."""
        self._chosen += 1
        if not self.are_known():
            return (_BY_THREAD if self.thread_count < self.engine_count else _AUTOMATIC) | _MEASURED
        by_thread = self.prefers_thread()
        turn = self._chosen % _TRIAL_EVERY
        if turn == 0:
            return (_AUTOMATIC if by_thread else _BY_THREAD) | _MEASURED
        way = _BY_THREAD if by_thread else _AUTOMATIC
        return way | _MEASURED if turn == 1 else way

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
