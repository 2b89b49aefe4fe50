"""Pairs of rounds that each contender runs in a process of its own, when it is its turn."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from noria.lab.compare import compare_figures, cycle_orders
from noria.lab.measure import Pinned
from noria.lab.processes import Child
from noria.lab.settings import READY_TIMEOUT_S, REPLY_GRACE_S
from noria.lab.stage import share

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.lab.measure import Cores
    from noria.lab.stage import Screen

    class Pairing(Protocol):
        """How many rounds there are."""

        pairs: int
        generations: int


Done = TypeVar("Done")


class Worker(Child):
    """A contender's loop in its process, which runs rounds."""

    def __init__(self, module: str, contender: str, arguments: list[str]) -> None:
        """Start it. Raises LabError with what it said if it does not come up."""
        super().__init__(module, ["--contender", contender, *arguments])
        try:
            self.facts: dict[str, Any] = self.receive(READY_TIMEOUT_S)["facts"]
        except BaseException:
            self.close()
            raise

    def run(self, seconds: float, **asked: int) -> dict[str, Any]:
        """Run one round."""
        self.send({"seconds": seconds, **asked})
        result: dict[str, Any] = self.receive(seconds + REPLY_GRACE_S)["result"]
        return result


@dataclass(slots=True)
class Turns:
    """The rounds of one row: by label, over all generations."""

    rounds: dict[str, list[Any]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: int = 0

    def figures(self, tell: Callable[[Any], float]) -> dict[str, list[float]]:
        """Make a figure of each round, to be compared."""
        return {label: [tell(one) for one in rounds] for label, rounds in self.rounds.items()}

    def sum_up(
        self, bases: list[str], against: list[str], summary: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """Make the row of a document of rounds that tell `cpu_us` and `rate_per_s`.

        Args:
            bases, against: who is compared with whom.
            summary: sums up the rounds of one label: called with it, its rounds and its facts.
        """
        costs = self.figures(lambda one: one.cpu_us)
        rates = self.figures(lambda one: one.rate_per_s)
        return {
            "contenders": [
                summary(label, rounds, self.facts[label]) for label, rounds in self.rounds.items()
            ],
            "comparisons": compare_figures(costs, bases, against, "lower"),
            "rate_comparisons": compare_figures(rates, bases, against, "higher"),
        }


def take_turns(
    pairing: Pairing,
    cores: Cores,
    screen: Screen,
    entries: list[tuple[str, str]],
    *,
    title: str,
    start: Callable[[str], Worker],
    play: Callable[[Worker], Any],
) -> Turns:
    """Run all rounds of one row.

    Args:
        pairing: how many pairs, and how often everybody is started anew for them.
        cores: where the driver runs.
        screen: told how far it is.
        entries: label and contender of all who take part.
        title: of the row, for the screen.
        start: starts a contender. Raises LabError.
        play: has it run one round; what that did.
    """
    turns = Turns()
    total = pairing.pairs * len(entries)
    for generation in range(pairing.generations):
        cycles = share(pairing.pairs, pairing.generations, generation)
        if not cycles:
            continue
        with ExitStack() as stack:
            stack.enter_context(Pinned(cores.driver))
            workers = [
                (label, stack.enter_context(start(contender))) for label, contender in entries
            ]
            for label, worker in workers:
                play(worker)  # an uncounted one, which warms it up
                turns.facts[label] = worker.facts
            for order in cycle_orders(len(workers), cycles):
                for index in order:
                    label, worker = workers[index]
                    screen.step(f"{title}: {label}", turns.steps, total)
                    turns.steps += 1
                    turns.rounds.setdefault(label, []).append(play(worker))
    return turns
