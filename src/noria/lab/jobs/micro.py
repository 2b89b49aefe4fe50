"""`noria lab micro`: rates of the loop's own work, and how late its timers are."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from noria.lab import adapters
from noria.lab.compare import compare_figures, cycle_orders
from noria.lab.errors import LabError
from noria.lab.measure import Pinned
from noria.lab.microbench import BENCHES
from noria.lab.processes import Child
from noria.lab.settings import PAIRS_MIN, READY_TIMEOUT_S
from noria.lab.stage import begin, lines_up, usable_contenders

if TYPE_CHECKING:
    from noria.lab.stage import Document, Screen

BENCH_TIMEOUT_S: Final = 120.0
LATENESS: Final = "timer_lateness"
LATENESS_FLOOR_NS: Final = 1000.0
"""Two medians of lateness are compared no finer than this: below it is the cost of the call."""


@dataclass(slots=True)
class MicroOptions:
    """What to measure: `benches` empty means all."""

    benches: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio")
    pairs: int = PAIRS_MIN
    server_core: int | None = None
    client_core: int | None = None


class _Worker(Child):
    """A contender's loop in its process."""

    def __init__(self, contender: str, core: int) -> None:
        super().__init__("noria.lab.microbench", ["--contender", contender, "--core", str(core)])
        try:
            self.facts: dict[str, Any] = self.receive(READY_TIMEOUT_S)["facts"]
        except BaseException:
            self.close()
            raise

    def measure(self, bench: str) -> list[float]:
        """Run a benchmark once."""
        self.send({"bench": bench})
        figures: list[float] = self.receive(BENCH_TIMEOUT_S)["figures"]
        return figures


def run(options: MicroOptions, screen: Screen) -> Document:
    """Measure all benches. Raises LabError where that is impossible."""
    document, cores = begin("micro", asdict(options), options.server_core, options.client_core)
    benches = options.benches or tuple(BENCHES)
    for bench in benches:
        if bench not in BENCHES:
            raise LabError(f"unknown benchmark {bench!r}; there are {', '.join(BENCHES)}")
    bases = usable_contenders(options.contenders, document, needed=True)
    against = usable_contenders(options.against, document, needed=False)
    for contender in [*bases, *against]:
        if adapters.is_bare(contender):
            raise LabError(f"{contender} has no event loop, so there is nothing to measure")
    if options.pairs < PAIRS_MIN:
        document.notes.append(f"{options.pairs} pairs are a first look, not a comparison")
    entries = lines_up(bases, against, twins=True)
    with ExitStack() as stack:
        stack.enter_context(Pinned(cores.driver))
        workers = {
            label: stack.enter_context(_Worker(contender, cores.server))
            for label, contender in entries
        }
        for number, bench in enumerate(benches):

            def show(done: int, bench: str = bench, number: int = number) -> None:
                screen.step(bench, number + done / options.pairs, len(benches))

            figures = _cycles(bench, workers, options.pairs, show)
            document.rows.append(_row(bench, workers, figures, bases, against))
    return document


def _cycles(
    bench: str, workers: dict[str, _Worker], cycles: int, show: Any
) -> dict[str, list[list[float]]]:
    """Run one uncounted round of each, then interleaved ones."""
    labels = list(workers)
    figures: dict[str, list[list[float]]] = {label: [] for label in labels}
    for worker in workers.values():
        worker.measure(bench)
    for number, order in enumerate(cycle_orders(len(labels), cycles)):
        show(number)
        for index in order:
            figures[labels[index]].append(workers[labels[index]].measure(bench))
    return figures


def _row(
    bench: str,
    workers: dict[str, _Worker],
    figures: dict[str, list[list[float]]],
    bases: list[str],
    against: list[str],
) -> dict[str, Any]:
    """Sum a benchmark up."""
    late = bench == LATENESS
    rounds = {
        label: [max(LATENESS_FLOOR_NS, median(one)) if late else one[0] for one in values]
        for label, values in figures.items()
    }
    contenders = []
    for label, worker in workers.items():
        summary: dict[str, Any] = {"contender": label, "facts": worker.facts}
        if late:
            every = sorted(one for values in figures[label] for one in values)
            summary |= {
                "late_p50_ns": every[len(every) // 2],
                "late_p99_ns": every[min(len(every) - 1, int(len(every) * 0.99))],
                "timers": len(every),
                "early": sum(1 for one in every if one < 0),
            }
        else:
            summary["rate_per_s"] = median(rounds[label])
        contenders.append(summary)
    return {
        "bench": bench,
        "contenders": contenders,
        "comparisons": compare_figures(rounds, bases, against, "lower" if late else "higher"),
    }
