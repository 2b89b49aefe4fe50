"""`noria lab spawn`: how many processes a loop spawns and awaits per second, and what one costs.

The program does nothing. A contender's loop and the processes it spawns share one CPU, so the rate
counts what both take. The CPU time is that of the contender's process; that of its children is
told beside it, and is part of no comparison: it is the kernel's and the dynamic linker's, and the
same for everybody but for what a fork copies.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from noria.lab.compare import compare_figures, cycle_orders
from noria.lab.errors import LabError
from noria.lab.measure import Pinned
from noria.lab.processes import Child
from noria.lab.settings import (
    GENERATIONS,
    PAIRS_MIN,
    PARALLEL_SPAWNS,
    PROGRAM,
    READY_TIMEOUT_S,
    REPLY_GRACE_S,
    ROUND_S,
)
from noria.lab.stage import able_contenders, begin, lines_up, share, usable_contenders

if TYPE_CHECKING:
    from noria.lab.measure import Cores
    from noria.lab.stage import Document, Screen

FIGURE_MIN: Final = 1e-3
"""What a comparison takes for 0: a round that spawned nothing is told as a failure."""


@dataclass(slots=True)
class SpawnOptions:
    """What to measure: `parallel` are processes at a time."""

    parallel: tuple[int, ...] = PARALLEL_SPAWNS
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio", "c-spawn")
    pairs: int = PAIRS_MIN
    round_s: float = ROUND_S
    generations: int = GENERATIONS
    server_core: int | None = None
    client_core: int | None = None


@dataclass(frozen=True, slots=True)
class SpawnRound:
    """What one round of spawning did."""

    elapsed_ns: int
    cpu_ns: int
    children_cpu_ns: int
    spawned: int
    failed: int

    @property
    def rate_per_s(self) -> float:
        """Processes spawned and awaited per second."""
        return max(self.spawned * 1e9 / max(1, self.elapsed_ns), FIGURE_MIN)

    @property
    def cpu_us(self) -> float:
        """CPU time of the spawning process for each, µs."""
        return max(self.cpu_ns / 1000 / max(1, self.spawned), FIGURE_MIN)


class Spawner(Child):
    """A contender's loop in its process."""

    def __init__(self, contender: str, core: int) -> None:
        """Start it. Raises LabError with what it said if it does not come up."""
        super().__init__("noria.lab.spawner", ["--contender", contender, "--core", str(core)])
        try:
            self.facts: dict[str, Any] = self.receive(READY_TIMEOUT_S)["facts"]
        except BaseException:
            self.close()
            raise

    def spawn(self, seconds: float, parallel: int) -> SpawnRound:
        """Run one round."""
        self.send({"seconds": seconds, "parallel": parallel})
        return SpawnRound(**self.receive(seconds + REPLY_GRACE_S)["result"])


@dataclass(slots=True)
class Row:
    """One row while it is measured: by label, over all generations."""

    parallel: int
    rounds: dict[str, list[SpawnRound]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: int = 0


def run(options: SpawnOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    document, cores = begin("spawn", asdict(options), options.server_core, options.client_core)
    if not Path(PROGRAM).exists():
        raise LabError(f"there is no {PROGRAM} to spawn")
    bases = usable_contenders(options.contenders, document, needed=True, scenario="spawn")
    against = usable_contenders(options.against, document, needed=False, scenario="spawn")

    def attempt(contender: str) -> None:
        screen.step(f"spawn: trying {contender}", 0, 1)
        with Spawner(contender, cores.server):
            pass

    bases, against = able_contenders(bases, against, document, attempt)
    if options.pairs < PAIRS_MIN:
        document.notes.append(f"{options.pairs} pairs are a first look, not a comparison")
    entries = lines_up(bases, against, twins=True)
    for parallel in options.parallel:
        row = Row(parallel)
        for generation in range(options.generations):
            cycles = share(options.pairs, options.generations, generation)
            if cycles:
                _generation(options, cores, screen, entries, row, cycles)
        document.rows.append(_finish(row, bases, against))
    return document


def _generation(
    options: SpawnOptions,
    cores: Cores,
    screen: Screen,
    entries: list[tuple[str, str]],
    row: Row,
    cycles: int,
) -> None:
    """Start everybody anew and run some cycles after an uncounted one."""
    total = options.pairs * len(entries)
    with ExitStack() as stack:
        stack.enter_context(Pinned(cores.driver))
        spawners = [
            (label, stack.enter_context(Spawner(contender, cores.server)))
            for label, contender in entries
        ]
        for label, spawner in spawners:
            spawner.spawn(options.round_s, row.parallel)
            row.facts[label] = spawner.facts
        for order in cycle_orders(len(spawners), cycles):
            for index in order:
                label, spawner = spawners[index]
                screen.step(f"spawn, {row.parallel} at a time: {label}", row.steps, total)
                row.steps += 1
                done = spawner.spawn(options.round_s, row.parallel)
                row.rounds.setdefault(label, []).append(done)


def _finish(row: Row, bases: list[str], against: list[str]) -> dict[str, Any]:
    """Sum a row up."""
    costs = {label: [one.cpu_us for one in rounds] for label, rounds in row.rounds.items()}
    rates = {label: [one.rate_per_s for one in rounds] for label, rounds in row.rounds.items()}
    return {
        "parallel": row.parallel,
        "contenders": [
            _summary(label, rounds, row.facts[label]) for label, rounds in row.rounds.items()
        ],
        "comparisons": compare_figures(costs, bases, against, "lower"),
        "rate_comparisons": compare_figures(rates, bases, against, "higher"),
    }


def _summary(label: str, rounds: list[SpawnRound], facts: dict[str, Any]) -> dict[str, Any]:
    """Give medians over rounds, and every failure."""
    spawned = sum(one.spawned for one in rounds)
    failures = {"exit codes other than 0": sum(one.failed for one in rounds)}
    failures["rounds without a process"] = sum(1 for one in rounds if not one.spawned)
    return {
        "contender": label,
        "facts": facts,
        "rounds": len(rounds),
        "spawned": spawned,
        "rate_per_s": median(one.rate_per_s for one in rounds),
        "cpu_us": median(one.cpu_us for one in rounds),
        "children_cpu_us": sum(one.children_cpu_ns for one in rounds) / 1000 / max(1, spawned),
        "failures": {name: count for name, count in failures.items() if count},
    }
