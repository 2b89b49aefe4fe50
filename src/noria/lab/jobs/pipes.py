"""`noria lab pipes`: CPU per message through a child's stdin and stdout.

The child is `cat`, on the load generator's CPU. It sleeps while there is nothing to read, so waking
it is part of what the kernel does for the contender, the same for everybody. A contender looks at
every byte that comes back. The CPU time is that of its process alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import LabError
from noria.lab.jobs.turns import Worker, take_turns
from noria.lab.settings import (
    CAT,
    GENERATIONS,
    PAIRS_MIN,
    PIPE_CHILDREN,
    PIPE_SIZES_BYTES,
    ROUND_S,
)
from noria.lab.stage import able_contenders, begin, lines_up, usable_contenders

if TYPE_CHECKING:
    from noria.lab.measure import Cores
    from noria.lab.stage import Document, Screen

FIGURE_MIN: Final = 1e-3
"""What a comparison takes for 0: a round without a message is told as a failure."""


@dataclass(slots=True)
class PipeOptions:
    """What to measure: `depth` messages are under way through each of `children`."""

    sizes: tuple[int, ...] = PIPE_SIZES_BYTES
    children: tuple[int, ...] = PIPE_CHILDREN
    depth: int = 1
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio")
    pairs: int = PAIRS_MIN
    round_s: float = ROUND_S
    generations: int = GENERATIONS
    server_core: int | None = None
    client_core: int | None = None


@dataclass(frozen=True, slots=True)
class PipeRound:
    """What one round did."""

    elapsed_ns: int
    cpu_ns: int
    messages: int
    wrong: int

    @property
    def rate_per_s(self) -> float:
        """Messages there and back per second."""
        return max(self.messages * 1e9 / max(1, self.elapsed_ns), FIGURE_MIN)

    @property
    def cpu_us(self) -> float:
        """CPU time of the parent for each, µs."""
        return max(self.cpu_ns / 1000 / max(1, self.messages), FIGURE_MIN)


def run(options: PipeOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    document, cores = begin("pipes", asdict(options), options.server_core, options.client_core)
    if not Path(CAT).exists():
        raise LabError(f"there is no {CAT} to talk to")
    bases = usable_contenders(options.contenders, document, needed=True, scenario="pipes")
    against = usable_contenders(options.against, document, needed=False, scenario="pipes")

    def attempt(contender: str) -> None:
        screen.step(f"pipes: trying {contender}", 0, 1)
        with _start(contender, 1, cores):
            pass

    bases, against = able_contenders(bases, against, document, attempt)
    if options.pairs < PAIRS_MIN:
        document.notes.append(f"{options.pairs} pairs are a first look, not a comparison")
    entries = lines_up(bases, against, twins=True)
    for size in options.sizes:
        for children in options.children:

            def play(worker: Worker, size: int = size) -> PipeRound:
                return PipeRound(**worker.run(options.round_s, size=size, depth=options.depth))

            def start(contender: str, children: int = children) -> Worker:
                return _start(contender, children, cores)

            turns = take_turns(
                options,
                cores,
                screen,
                entries,
                title=f"pipes, {size} B, {children} children",
                start=start,
                play=play,
            )
            row = turns.sum_up(bases, against, _summary)
            document.rows.append({"size": size, "children": children, **row})
    return document


def _start(contender: str, children: int, cores: Cores) -> Worker:
    where = ["--core", str(cores.server), "--child-core", str(cores.client)]
    return Worker("noria.lab.piper", contender, [*where, "--children", str(children)])


def _summary(label: str, rounds: list[PipeRound], facts: dict[str, Any]) -> dict[str, Any]:
    """Give medians over rounds, and every failure."""
    failures = {"wrong bytes": sum(one.wrong for one in rounds)}
    failures["rounds without a message"] = sum(1 for one in rounds if not one.messages)
    return {
        "contender": label,
        "facts": facts,
        "rounds": len(rounds),
        "messages": sum(one.messages for one in rounds),
        "rate_per_s": median(one.rate_per_s for one in rounds),
        "cpu_us": median(one.cpu_us for one in rounds),
        "failures": {name: count for name, count in failures.items() if count},
    }
