"""L1 begins here: seconds become nanoseconds so that no deadline is reached early."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noria.core.clock import Clock, MonotonicClock, nanoseconds_at


def test_the_clock_is_that_of_time_monotonic() -> None:
    before = time.monotonic_ns()
    now = MonotonicClock().now_ns()
    assert before <= now <= time.monotonic_ns()


def test_the_clock_does_not_go_back() -> None:
    clock = MonotonicClock()
    readings = [clock.now_ns() for _ in range(1000)]
    assert readings == sorted(readings)


def test_a_clock_of_ones_own() -> None:
    with pytest.raises(NotImplementedError):
        Clock().now_ns()

    class Still(Clock):
        def now_ns(self) -> int:
            return 5

    assert Still().now_ns() == 5


@given(st.floats(0, 9e9))
@example(1.1e-7)
@example(268435456.46875)
@example(123e-9)
@example(0.1 + 0.2)
@example(4194304.000000001)
@example(8388608.536543526)
def test_l1_the_least_nanosecond_that_is_not_early(when: float) -> None:
    deadline = nanoseconds_at(when)
    assert deadline / 1e9 >= when
    if deadline < 2**53:
        assert (deadline - 1) / 1e9 < when, "later than it has to be"
    else:
        assert deadline <= when * 1e9 * (1 + 1e-15)


@given(st.integers(0, 2**53 // 1000))
def test_a_reading_of_the_clock_comes_back(now_ns: int) -> None:
    """`call_at(loop.time())` is due now, not a nanosecond later."""
    deadline = nanoseconds_at(now_ns / 1e9)
    assert deadline / 1e9 == now_ns / 1e9
    assert deadline <= now_ns


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_l2_the_order_of_deadlines_is_kept(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert nanoseconds_at(early) <= nanoseconds_at(late)


@pytest.mark.parametrize("when", [math.inf, 1e300, 1e19])
def test_never_is_never(when: float) -> None:
    assert nanoseconds_at(when) == 2**63 - 1


@pytest.mark.parametrize("when", [-math.inf, -1e300])
def test_long_ago_is_due(when: float) -> None:
    assert nanoseconds_at(when) <= 0


@pytest.mark.parametrize("when", [0, 3, True])
def test_integers_are_seconds_too(when: float) -> None:
    assert nanoseconds_at(when) == when * 1_000_000_000
