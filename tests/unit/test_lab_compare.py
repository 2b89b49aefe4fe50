"""How figures become ratios, a noise floor, and a winner."""

from __future__ import annotations

from typing import Any

import pytest

from noria.lab.compare import (
    TWIN,
    Round,
    compare_figures,
    compare_rates,
    cycle_orders,
    noise_floor,
    pair_up,
    sum_failures,
    summarize,
    winner,
)
from noria.lab.measure import Usage
from noria.lab.settings import FLOOR_MIN
from noria.lab.stage import hosts_for, lines_up


def made_round(requests: int, cpu_us: float, **changes: Any) -> Round:
    latency = {"p50_ns": 1000, "p90_ns": 2000, "p99_ns": 3000, "p999_ns": 4000}
    result = {
        "requests": requests,
        "elapsed_ns": 1_000_000_000,
        "failures": {},
        "latency": latency,
        "worst_ns": 5000,
        "sleeps": 0,
    }
    result |= changes
    return Round(result, Usage(int(requests * cpu_us * 1000), 10, 30, 5, 1, 0))


def test_every_cycle_has_everybody_and_nobody_is_always_first() -> None:
    orders = cycle_orders(3, 6)
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert {order[0] for order in orders} == {0, 1, 2}
    assert cycle_orders(2, 4) == [[0, 1], [1, 0], [1, 0], [0, 1]]


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine became twice as slow half-way: medians of each side would hide the steady ratio.
    pairs = pair_up("a", "b", [1, 1, 2, 2], [2, 2, 4, 4])
    assert pairs.ratios == (0.5, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="shorter"):
        pair_up("a", "b", [1, 2], [1])


def test_the_floor_is_the_further_quartile_of_the_twins() -> None:
    assert noise_floor(pair_up("a", "a", [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])) == FLOOR_MIN
    floor = noise_floor(pair_up("a", "a", [0.9, 0.96, 1.0, 1.01, 1.02], [1.0] * 5))
    assert floor == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("ratio", "better", "expected"),
    [
        (0.9, "lower", "a"),
        (1.1, "lower", "b"),
        (0.9, "higher", "b"),
        (1.1, "higher", "a"),
        (0.97, "lower", "equal"),
        (1.03, "higher", "equal"),
    ],
)
def test_the_winner_lies_outside_the_noise(ratio: float, better: Any, expected: str) -> None:
    assert winner("a", "b", ratio, 0.05, better) == expected


def test_comparisons_begin_with_the_contender_itself() -> None:
    figures = {"a": [1.0, 1.0], "a" + TWIN: [1.0, 1.02], "b": [2.0, 2.0], "c": [0.5, 0.5]}
    rows = compare_figures(figures, ["a"], ["b", "c", "absent", "a"], "lower")
    assert [row["other"] for row in rows] == ["a" + TWIN, "b", "c"]
    assert [row["winner"] for row in rows] == ["equal", "a", "c"]
    assert all(row["pairs"] == 2 for row in rows)
    assert rows[1]["ratio"] == 0.5
    assert rows[1]["noise_floor"] == rows[0]["noise_floor"] > 0


def test_rates_are_compared_pair_by_pair_and_more_is_better() -> None:
    rounds = {
        "a": [made_round(1200, 4.0), made_round(2300, 4.0)],
        "a" + TWIN: [made_round(1200, 4.0), made_round(2300, 4.0)],
        "b": [made_round(1000, 1.0), made_round(2000, 1.0)],
        "dead": [made_round(0, 0.0, failures={"ECONNREFUSED": 9})] * 2,
    }
    itself, slower, dead = compare_rates(rounds, ["a"], ["b", "dead"])
    assert (itself["ratio"], itself["noise_floor"]) == (1.0, FLOOR_MIN)
    assert slower["ratio"] == pytest.approx((1.2 + 1.15) / 2)
    assert (slower["pairs"], slower["winner"]) == (2, "a")
    assert (dead["winner"], dead["ratio"] > 1e6) == ("a", True)


def test_a_summary_is_made_of_medians_and_splits_by_the_sum_of_ticks() -> None:
    rounds = [made_round(1000, 4.0), made_round(2000, 6.0), made_round(1000, 100.0)]
    summary = summarize("a", rounds, {"version": "1"})
    assert summary["cpu_us"] == pytest.approx(6.0)
    assert summary["user_us"] == pytest.approx(1.5)
    assert summary["kernel_us"] == pytest.approx(4.5)
    assert summary["requests"] == 4000
    assert summary["requests_per_s"] == 1000
    assert summary["p99_ns"] == 3000
    assert summary["failures"] == {}


def test_a_round_without_answers_is_no_division_by_zero() -> None:
    summary = summarize("a", [made_round(0, 0, latency={}, failures={"ECONNRESET": 2})], {})
    assert summary["requests_per_s"] == 0
    assert summary["p50_ns"] is None
    assert summary["failures"] == {"ECONNRESET": 2}


def test_failures_add_up_by_name() -> None:
    results: list[dict[str, Any]] = [
        {"failures": {"a": 1}},
        {"failures": {}},
        {"failures": {"a": 2, "b": 1}},
    ]
    assert sum_failures(results) == {"a": 3, "b": 1}


def test_who_takes_part() -> None:
    assert lines_up(["a"], ["b", "a"], twins=True) == [("a", "a"), ("a" + TWIN, "a"), ("b", "b")]
    assert lines_up(["a", "b"], [], twins=False) == [("a", "a"), ("b", "b")]


def test_many_clients_need_many_addresses() -> None:
    assert hosts_for(1) == hosts_for(10_000) == ("127.0.0.1",)
    assert hosts_for(25_000) == ("127.0.0.1", "127.0.0.2", "127.0.0.3")
