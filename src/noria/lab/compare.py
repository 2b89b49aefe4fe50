"""Compares contenders by pairs of short rounds, interleaved, on one server core.

All servers of a comparison run at the same time, but only one is loaded at a time; the others
sleep. The figures are CPU time of the server process per request, and requests per second. A ratio
is taken within one cycle of rounds, where both sides saw the same machine; reported are the median
and quartiles of these ratios. Latencies are those of a closed loop: a connection sends its next
request when the last one was answered. A contender against a second process of itself gives the
noise floor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from noria.lab.measure import Usage, quartiles, read_usage, ticks_per_second, wait_quiet
from noria.lab.settings import DRAIN_TIMEOUT_S, FLOOR_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from noria.lab.processes import ClientProcess, Progress, ServerProcess

Better = Literal["lower", "higher"]

TWIN = " (itself)"
"""Behind a contender's word: the second process of the same contender."""

RATE_MIN: Final = 1e-4
"""Requests per second that a comparison takes for none: less than one in the longest round."""


@dataclass(frozen=True, slots=True)
class Load:
    """One phase of echoes: `active` connections from `first` on, for `seconds`."""

    operation: ClassVar = "echo"

    seconds: float
    active: int
    size: int
    depth: int = 1
    first: int = 0
    requests_max: int = 0
    ramp: int = 64

    def arguments(self) -> dict[str, Any]:
        """Spell it as arguments of the load generator's `echo`."""
        return {
            "seconds": self.seconds,
            "active": self.active,
            "size": self.size,
            "depth": self.depth,
            "first": self.first,
            "requests_max": self.requests_max,
            "ramp": self.ramp,
            "drain_s": DRAIN_TIMEOUT_S,
        }


@dataclass(frozen=True, slots=True)
class Churn:
    """One phase of connections with one request each, `parallel` at a time, for `seconds`."""

    operation: ClassVar = "churn"

    seconds: float
    parallel: int
    size: int
    sources: int
    half_close: bool = False

    def arguments(self) -> dict[str, Any]:
        """Spell it as arguments of the load generator's `churn`."""
        return {
            "seconds": self.seconds,
            "parallel": self.parallel,
            "size": self.size,
            "sources": self.sources,
            "half_close": self.half_close,
            "drain_s": DRAIN_TIMEOUT_S,
        }


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load did to one server. Of a churn, a request is a connection."""

    result: dict[str, Any]
    usage: Usage

    @property
    def requests(self) -> int:
        """Answered requests, every byte right."""
        return int(self.result["requests"])

    @property
    def cpu_us(self) -> float:
        """CPU time of the server process per request, µs."""
        return self.usage.cpu_ns / 1000 / max(1, self.requests)

    @property
    def requests_per_s(self) -> float:
        """Requests answered per second."""
        return self.requests * 1e9 / max(1, int(self.result["elapsed_ns"]))

    @property
    def busy_share(self) -> float:
        """Share of one CPU that the server used."""
        return self.usage.cpu_ns / max(1, int(self.result["elapsed_ns"]))


@dataclass(slots=True)
class Contestant:
    """A running server with its connections in a load generator."""

    label: str
    server: ServerProcess
    client: ClientProcess
    key: str
    rounds: list[Round] = field(default_factory=list)

    def load(
        self,
        load: Load | Churn,
        *,
        count: bool = True,
        watch: Callable[[Progress], None] | None = None,
    ) -> Round:
        """Run one round; the server is asleep before and after, so that its CPU clock is exact."""
        wait_quiet(self.server.pid)
        before = read_usage(self.server.pid)
        result = self.client.ask(
            load.operation,
            self.key,
            limit_s=load.seconds + DRAIN_TIMEOUT_S,
            watch=watch,
            **load.arguments(),
        )
        wait_quiet(self.server.pid)
        done = Round(result, read_usage(self.server.pid) - before)
        if count:
            self.rounds.append(done)
        return done


def cycle_orders(count: int, cycles: int) -> list[list[int]]:
    """Order contestants for each cycle: rotated and reversed, so that none is always first."""
    orders = []
    for number in range(cycles):
        turn = (number // 2) % count
        order = [*range(turn, count), *range(turn)]
        orders.append(order[::-1] if number % 2 else order)
    return orders


def run_cycles(
    contestants: Sequence[Contestant],
    load: Load | Churn,
    cycles: int,
    watch: Callable[[int, str], None] | None = None,
) -> None:
    """Run one uncounted round of each, then `cycles` interleaved rounds of each."""
    for contestant in contestants:
        contestant.load(load, count=False)
    for number, order in enumerate(cycle_orders(len(contestants), cycles)):
        for index in order:
            if watch:
                watch(number, contestants[index].label)
            contestants[index].load(load)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Ratios of base to other, pair by pair."""

    base: str
    other: str
    ratios: tuple[float, ...]

    def summary(self, floor: float | None, better: Better) -> dict[str, Any]:
        """Give median, quartiles and who won; `floor` None where it was not measured."""
        first, middle, third = quartiles(self.ratios)
        return {
            "base": self.base,
            "other": self.other,
            "pairs": len(self.ratios),
            "ratio": middle,
            "ratio_q1": first,
            "ratio_q3": third,
            "noise_floor": floor,
            "winner": winner(self.base, self.other, middle, floor or 0.0, better),
        }


def pair_up(base: str, other: str, one: Sequence[float], two: Sequence[float]) -> Pairs:
    """Divide the figures of two contenders pair by pair. Raises ValueError for unequal numbers."""
    return Pairs(base, other, tuple(a / b for a, b in zip(one, two, strict=True)))


def noise_floor(twins: Pairs) -> float:
    """Take the distance from 1 of the further quartile of a contender's ratios to itself."""
    first, _, third = quartiles(twins.ratios)
    return max(abs(first - 1), abs(third - 1), FLOOR_MIN)


def winner(base: str, other: str, ratio: float, floor: float, better: Better) -> str:
    """Name who is better, or `equal` where the difference lies within the noise floor."""
    if abs(ratio - 1) <= floor:
        return "equal"
    return base if (ratio < 1) == (better == "lower") else other


def sum_failures(results: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Add up the failures of several phases."""
    total: dict[str, int] = {}
    for result in results:
        for name, count in result["failures"].items():
            total[name] = total.get(name, 0) + count
    return total


def summarize(label: str, rounds: Sequence[Round], facts: dict[str, Any]) -> dict[str, Any]:
    """Give medians over rounds; user and kernel time are shares of the sum, as ticks are coarse."""
    user = sum(one.usage.user_ticks for one in rounds)
    kernel = sum(one.usage.kernel_ticks for one in rounds)
    cpu_us = median(one.cpu_us for one in rounds)
    kernel_share = kernel / (user + kernel) if user + kernel else 0.0
    summary: dict[str, Any] = {
        "contender": label,
        "facts": facts,
        "rounds": len(rounds),
        "requests": sum(one.requests for one in rounds),
        "cpu_us": cpu_us,
        "user_us": cpu_us * (1 - kernel_share),
        "kernel_us": cpu_us * kernel_share,
        "split_ticks": user + kernel,
        "ticks_per_s": ticks_per_second(),
        "requests_per_s": median(one.requests_per_s for one in rounds),
        "busy_share": median(one.busy_share for one in rounds),
        "disturbed_share": sum(one.usage.queued_ns for one in rounds)
        / max(1, sum(int(one.result["elapsed_ns"]) for one in rounds)),
        "preemptions": sum(one.usage.preemptions for one in rounds),
        "client_sleeps": sum(int(one.result["sleeps"]) for one in rounds),
        "failures": sum_failures([one.result for one in rounds]),
        "lost": sum(int(one.result.get("lost", 0)) for one in rounds),
        "duplicates": sum(int(one.result.get("duplicates", 0)) for one in rounds),
        "worst_ns": max(int(one.result["worst_ns"]) for one in rounds),
    }
    for name in ("p50_ns", "p90_ns", "p99_ns", "p999_ns"):
        values = [one.result["latency"][name] for one in rounds if one.result["latency"]]
        summary[name] = median(values) if values else None
    return summary


def compare_all(
    rounds: dict[str, list[Round]], bases: Sequence[str], against: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare each base with its twin and with all of `against`, by CPU time per request."""
    figures = {label: [one.cpu_us for one in done] for label, done in rounds.items()}
    return compare_figures(figures, bases, against, "lower")


def compare_rates(
    rounds: dict[str, list[Round]], bases: Sequence[str], against: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare each base with its twin and with all of `against`, by requests per second."""
    # A round without any answer is a failure that is told elsewhere, but no division by zero.
    figures = {
        label: [max(one.requests_per_s, RATE_MIN) for one in done] for label, done in rounds.items()
    }
    return compare_figures(figures, bases, against, "higher")


def compare_figures(
    figures: dict[str, list[float]], bases: Sequence[str], against: Sequence[str], better: Better
) -> list[dict[str, Any]]:
    """Compare by one figure per round; `figures` has the twin of a base under its word + TWIN."""
    rows = []
    for base in bases:
        floor = None
        if base + TWIN in figures:
            twins = pair_up(base, base + TWIN, figures[base], figures[base + TWIN])
            floor = noise_floor(twins)
            rows.append(twins.summary(floor, better))
        rows.extend(
            pair_up(base, other, figures[base], figures[other]).summary(floor, better)
            for other in against
            if other in figures and other != base
        )
    return rows
