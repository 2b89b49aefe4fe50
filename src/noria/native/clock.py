"""The monotonic clock, interpreted twin of clock.pyx."""

import math
from time import monotonic_ns

__all__ = ["NEVER_NS", "deadline_ns", "monotonic_ns"]

NEVER_NS = 2**63 - 1
"""A deadline that is never reached."""

_SECONDS_MAX = 9.2e9
_EXACT = 2**53  # below, a float tells one nanosecond from the next


def deadline_ns(when: float) -> int:
    """Convert seconds to the least count of nanoseconds that is not earlier."""
    if not when < _SECONDS_MAX:
        return NEVER_NS  # also infinity and not-a-number
    if when < -_SECONDS_MAX:
        return -NEVER_NS
    nanoseconds = math.floor(when * 1e9)
    while nanoseconds / 1e9 < when:
        nanoseconds += 1
    if nanoseconds < _EXACT and (nanoseconds - 1) / 1e9 >= when:
        nanoseconds -= 1  # the product was rounded up
    return nanoseconds
