"""Which way a file's operations go, from how long they took."""

from __future__ import annotations

import pytest

from noria.core.operation import AUTOMATIC, BY_THREAD
from noria.files.ways import MEASURED, Ways
from noria.limits import WAY_PAUSE_MAX, WAY_PAUSE_MIN, WAY_RUN

Times = dict[int, int]
RING_IS_QUICK: Times = {AUTOMATIC: 50_000, BY_THREAD: 60_000}
THREADS_ARE_QUICK: Times = {AUTOMATIC: 50_000, BY_THREAD: 7_000}


def go(ways: Ways, count: int, times: Times) -> list[int]:
    """Do operations one after the other; the ways that they went."""
    taken = []
    for _ in range(count):
        way = ways.choose()
        taken.append(way & ~MEASURED)
        if way & MEASURED:
            ways.note(taken[-1], times[taken[-1]])
    return taken


def until_settled(ways: Ways, times: Times) -> None:
    """Take both for the first time."""
    assert go(ways, 2 * WAY_RUN, times) == [AUTOMATIC] * WAY_RUN + [BY_THREAD] * WAY_RUN


@pytest.mark.parametrize(
    ("fraction", "times", "way"),
    [
        (0.75, RING_IS_QUICK, AUTOMATIC),
        (0.75, THREADS_ARE_QUICK, BY_THREAD),
        (0.10, THREADS_ARE_QUICK, AUTOMATIC),
    ],
)
def test_the_quicker_one_goes_on(fraction: float, times: Times, way: int) -> None:
    ways = Ways(fraction)
    assert not ways.are_known()
    until_settled(ways, times)
    assert ways.are_known()
    assert (ways.engine_count, ways.thread_count) == (WAY_RUN // 2, WAY_RUN // 2)
    assert (ways.engine_ns, ways.thread_ns) == (times[AUTOMATIC], times[BY_THREAD])
    assert go(ways, WAY_PAUSE_MIN, times) == [way] * WAY_PAUSE_MIN
    assert go(ways, 1, times) == [AUTOMATIC], "both are tried again"


def test_the_first_half_of_a_run_is_not_measured() -> None:
    """It is what it takes to wake those who do it."""
    ways = Ways(0.75)
    measured = []
    for _ in range(2 * WAY_RUN):
        way = ways.choose()
        measured.append(bool(way & MEASURED))
        if measured[-1]:
            ways.note(way & ~MEASURED, 1)
    assert measured == ([False] * (WAY_RUN // 2) + [True] * (WAY_RUN // 2)) * 2
    assert not any(ways.choose() & MEASURED for _ in range(WAY_PAUSE_MIN))


def pause(ways: Ways, times: Times) -> int:
    """How many operations went the chosen way until both are tried again."""
    count = 0
    while True:
        way = ways.choose()
        if way & MEASURED:
            ways.note(way & ~MEASURED, times[way & ~MEASURED])
            break
        count += 1
    go(ways, 2 * WAY_RUN - WAY_RUN // 2 - 1, times)
    return count - WAY_RUN // 2


def test_they_are_tried_less_often_while_the_result_is_the_same() -> None:
    ways = Ways(0.75)
    until_settled(ways, RING_IS_QUICK)
    pauses = [pause(ways, RING_IS_QUICK) for _ in range(5)]
    assert pauses[:2] == [WAY_PAUSE_MIN, 4 * WAY_PAUSE_MIN]
    assert pauses[3:] == [WAY_PAUSE_MAX, WAY_PAUSE_MAX]
    assert pause(ways, THREADS_ARE_QUICK) == WAY_PAUSE_MAX
    assert ways.prefers_thread(), "one run tells"
    assert pause(ways, THREADS_ARE_QUICK) == WAY_PAUSE_MIN


def test_many_at_a_time_are_tried_until_some_have_ended() -> None:
    ways = Ways(0.75)
    begun = [ways.choose() for _ in range(4 * WAY_RUN)]
    assert begun[WAY_RUN : 2 * WAY_RUN] == begun[3 * WAY_RUN :]
    for way in begun:
        if way & MEASURED:
            ways.note(way & ~MEASURED, THREADS_ARE_QUICK[way & ~MEASURED])
    assert go(ways, WAY_PAUSE_MIN, THREADS_ARE_QUICK) == [BY_THREAD] * WAY_PAUSE_MIN
