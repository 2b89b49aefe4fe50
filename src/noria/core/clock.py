"""The only reader of time; a simulator puts another Clock in its place.

`MonotonicClock` reads the system's monotonic clock in whole nanoseconds. Seconds as floats exist at
the border to asyncio only; `nanoseconds_at` rounds so that a deadline is never reached early.
"""

from noria.native import clock as native


class Clock:
    """Source of monotonic time."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary fixed point; never goes back."""
        raise NotImplementedError


class MonotonicClock(Clock):
    """The clock of `time.monotonic()` (clock_gettime(2), CLOCK_MONOTONIC)."""

    def now_ns(self) -> int:
        """Nanoseconds of the system's monotonic clock."""
        return native.monotonic_ns()


def nanoseconds_at(when: float) -> int:
    """Convert a deadline from seconds to nanoseconds, never downwards.

    The result `n` is the least integer with ``n / 1e9 >= when``, as far as a float tells one
    nanosecond from the next (exactly for 104 days), so `loop.time()` read when the clock shows `n`
    or more is never below `when`. Infinity becomes NEVER_NS.
    """
    return native.deadline_ns(when)
