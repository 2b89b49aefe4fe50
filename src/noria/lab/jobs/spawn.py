"""`noria lab spawn`: how many processes a loop spawns and awaits per second, and what one costs.

The program does nothing. A contender's loop and the processes it spawns share one CPU, so the rate
counts what both take. The CPU time is that of the contender's process; that of its children is
told beside it, and is part of no comparison: it is the kernel's and the dynamic linker's, and the
same for everybody but for what a fork copies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, cast

from noria.lab.errors import LabError
from noria.lab.jobs.turns import Worker, take_turns
from noria.lab.settings import GENERATIONS, PAIRS_MIN, PARALLEL_SPAWNS, PROGRAM, ROUND_S
from noria.lab.stage import able_contenders, begin, lines_up, usable_contenders

if TYPE_CHECKING:
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


class Spawner(Worker):
    """A contender's loop in its process."""

    def __init__(self, contender: str, core: int) -> None:
        """Start it. Raises LabError with what it said if it does not come up."""
        super().__init__("noria.lab.spawner", contender, ["--core", str(core)])

    def spawn(self, seconds: float, parallel: int) -> SpawnRound:
        """Run one round."""
        return SpawnRound(**self.run(seconds, parallel=parallel))


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

        def play(worker: Worker, parallel: int = parallel) -> SpawnRound:
            return cast("Spawner", worker).spawn(options.round_s, parallel)

        turns = take_turns(
            options,
            cores,
            screen,
            entries,
            title=f"spawn, {parallel} at a time",
            start=lambda contender: Spawner(contender, cores.server),
            play=play,
        )
        row = turns.sum_up(bases, against, _summary)
        document.rows.append({"parallel": parallel, **row})
    return document


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
