"""Timers: a heap that agrees with a sorted list, whatever is added, cancelled and taken."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.core.timers import TimerEntry, Timers
from noria.limits import TIMERS_CANCELLED_MIN

Steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(-5, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 60)),
        st.tuples(st.just("take"), st.integers(-6, 31)),
    ),
    max_size=120,
)


def filled(*deadlines: int) -> tuple[Timers, list[TimerEntry]]:
    timers = Timers()
    entries = [TimerEntry() for _ in deadlines]
    for entry, deadline in zip(entries, deadlines, strict=True):
        timers.add(entry, deadline)
    return timers, entries


def take_all(timers: Timers, now_ns: int) -> list[TimerEntry]:
    taken = []
    while (entry := timers.pop_due(now_ns)) is not None:
        taken.append(entry)
    return taken


@given(Steps)
def test_the_heap_agrees_with_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    timers = Timers()
    model: list[TimerEntry] = []
    everything: list[TimerEntry] = []
    for what, number in steps:
        if what == "add":
            entry = TimerEntry()
            timers.add(entry, number)
            everything.append(entry)
            model.append(entry)
            model.sort(key=lambda each: (each.deadline_ns, each.sequence))
        elif what == "cancel" and everything:
            entry = everything[number % len(everything)]
            timers.cancel(entry)
            if entry in model:
                model.remove(entry)
        elif what == "take":
            expected = model[0] if model and model[0].deadline_ns <= number else None
            assert timers.pop_due(number) is expected
            if expected is not None:
                assert not expected.scheduled
                model.remove(expected)
        assert timers.next_deadline_ns() == (max(model[0].deadline_ns, 0) if model else -1)
    assert take_all(timers, 10**9) == model
    assert len(timers) == 0


@given(st.permutations(range(12)))
def test_l2_deadlines_come_in_order(deadlines: list[int]) -> None:
    timers, _ = filled(*deadlines)
    assert [entry.deadline_ns for entry in take_all(timers, 100)] == sorted(deadlines)


def test_l2_equal_deadlines_come_in_order_of_age() -> None:
    timers, entries = filled(*[5] * 50)
    assert take_all(timers, 5) == entries


def test_l2_equal_deadlines_keep_their_order_through_a_sweep() -> None:
    timers, entries = filled(*[5] * (4 * TIMERS_CANCELLED_MIN))
    kept = entries[::4]
    for entry in entries:
        if entry not in kept:
            timers.cancel(entry)
    assert len(timers) < len(entries), "the sweep came"
    assert take_all(timers, 5) == kept


def test_l1_nothing_comes_before_its_deadline() -> None:
    timers, entries = filled(10, 20)
    assert timers.pop_due(9) is None
    assert timers.pop_due(10) is entries[0]
    assert timers.pop_due(19) is None
    assert len(timers) == 1


def test_the_next_deadline() -> None:
    timers = Timers()
    assert timers.next_deadline_ns() == -1
    timers, entries = filled(30, 10, 20)
    assert timers.next_deadline_ns() == 10
    timers.cancel(entries[1])
    assert timers.next_deadline_ns() == 20
    timers.cancel(entries[2])
    timers.cancel(entries[0])
    assert timers.next_deadline_ns() == -1
    assert len(timers) == 0


@pytest.mark.parametrize("deadline", [-1, -5_000_000_000])
def test_a_deadline_before_time_began_is_due(deadline: int) -> None:
    """It must not look like `there is none`."""
    timers, entries = filled(deadline)
    assert timers.next_deadline_ns() == 0
    assert timers.pop_due(0) is entries[0]


def test_cancelling_the_youngest_frees_it_at_once() -> None:
    timers, entries = filled(1, 2, 3)
    timers.cancel(entries[2])
    assert len(timers) == 2
    assert timers.cancelled == 0
    assert not entries[2].scheduled


def test_cancelling_twice_or_late_is_nothing() -> None:
    timers, entries = filled(1, 2, 3)
    timers.cancel(entries[0])
    timers.cancel(entries[0])
    assert timers.cancelled == 1
    assert timers.pop_due(10) is entries[1]
    timers.cancel(entries[1])
    assert not entries[1].dead, "it has come already"
    assert take_all(timers, 10) == [entries[2]]
    timers.cancel(TimerEntry())
    assert timers.cancelled == 0


def test_memory_of_cancelled_timers_is_bounded() -> None:
    """Timeouts that are set and cancelled for ever must not pile up."""
    timers = Timers()
    chance = random.Random(1)
    alive: list[TimerEntry] = []
    for _ in range(20_000):
        entry = TimerEntry()
        timers.add(entry, chance.randrange(10**9))
        alive.append(entry)
        if len(alive) > 10:
            timers.cancel(alive.pop(chance.randrange(len(alive))))
    assert len(timers) <= 2 * (len(alive) + TIMERS_CANCELLED_MIN)
    expected = sorted(alive, key=lambda each: (each.deadline_ns, each.sequence))
    assert take_all(timers, 10**9) == expected


def test_clear_forgets_everything() -> None:
    timers, entries = filled(3, 1, 2)
    timers.cancel(entries[1])
    timers.clear()
    assert (len(timers), timers.cancelled, timers.next_deadline_ns()) == (0, 0, -1)
    assert not any(entry.scheduled for entry in entries)
    timers.cancel(entries[0])
    assert timers.cancelled == 0


def test_an_entry_can_be_set_again() -> None:
    timers, entries = filled(5)
    assert timers.pop_due(5) is entries[0]
    timers.add(entries[0], 7)
    assert entries[0].scheduled
    assert timers.pop_due(7) is entries[0]


def test_large_deadlines() -> None:
    timers, entries = filled(2**63 - 1, 2**62)
    assert timers.next_deadline_ns() == 2**62
    assert take_all(timers, 2**63 - 1) == entries[::-1]
