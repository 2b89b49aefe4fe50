"""`noria lab echo|streams|sock|unix|udp|tls|http`: CPU per request, row by row.

A row is a message size and a number of connections. The jobs differ in the server's scenario and in
the transport of the load generator.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from noria.lab.compare import (
    Churn,
    Contestant,
    Load,
    compare_all,
    compare_rates,
    run_cycles,
    summarize,
)
from noria.lab.measure import open_descriptors, wait_quiet
from noria.lab.settings import CONNECTIONS, GENERATIONS, PAIRS_MIN, ROUND_S, SIZES_BYTES
from noria.lab.stage import (
    Stage,
    able_contenders,
    allow_clients,
    begin,
    lines_up,
    must_connect,
    share,
    usable_contenders,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.lab.compare import Round
    from noria.lab.measure import Cores
    from noria.lab.processes import ClientProcess, ServerProcess
    from noria.lab.stage import Document, Screen


@dataclass(slots=True)
class CommonOptions:
    """What to measure. `pairs` below 15 give a first look, not a comparison."""

    scenario: str = "echo"
    sizes: tuple[int, ...] = SIZES_BYTES
    connections: tuple[int, ...] = CONNECTIONS
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio")
    pairs: int = PAIRS_MIN
    round_s: float = ROUND_S
    generations: int = GENERATIONS
    unix: bool = False
    server_core: int | None = None
    client_core: int | None = None


@dataclass(slots=True)
class RowOptions(CommonOptions):
    """The same of connections that stay."""

    depth: int = 1


@dataclass(slots=True)
class Row:
    """One row while it is measured: by label, over all generations."""

    size: int
    connections: int
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    descriptors_left: dict[str, int] = field(default_factory=dict)
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What tells one job with rows from another: how a server gets its clients, and its load."""

    job: str
    join: Callable[[Stage, str, ServerProcess, ClientProcess, Row], Contestant]
    load: Callable[[Row], Load | Churn]


def run(options: RowOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    return measure_echoes(options.scenario, options, screen)


def measure_echoes(
    job: str, options: RowOptions, screen: Screen, *, transport: str = "plain"
) -> Document:
    """Measure all rows of connections that stay. Raises LabError where that is impossible."""

    def join(
        stage: Stage, label: str, server: ServerProcess, client: ClientProcess, row: Row
    ) -> Contestant:
        contestant = stage.contestant(
            label,
            server,
            client,
            row.connections,
            size_max=row.size,
            depth_max=options.depth,
            transport=transport,
        )
        must_connect(contestant, row.connections, size=min(64, row.size))
        return contestant

    def load(row: Row) -> Load:
        return Load(options.round_s, row.connections, row.size, options.depth)

    return measure(Plan(job, join, load), options, screen)


def measure(plan: Plan, options: CommonOptions, screen: Screen) -> Document:
    """Measure all rows as planned. Raises LabError where that is impossible."""
    document, cores = begin(plan.job, asdict(options), options.server_core, options.client_core)
    scenario = options.scenario
    bases = usable_contenders(options.contenders, document, needed=True, scenario=scenario)
    against = usable_contenders(options.against, document, needed=False, scenario=scenario)

    def attempt(contender: str) -> None:
        screen.step(f"{plan.job}: trying {contender}", 0, 1)
        with Stage(cores, screen) as stage:
            server = stage.server(contender, scenario, unix=options.unix)
            plan.join(stage, contender, server, stage.client(), Row(min(options.sizes), 1))

    bases, against = able_contenders(bases, against, document, attempt)
    entries = lines_up(bases, against, twins=True)
    if options.pairs < PAIRS_MIN:
        document.notes.append(f"{options.pairs} pairs are a first look, not a comparison")
    for size in options.sizes:
        for wanted in options.connections:
            # Each contender's connections live in a load generator of their own.
            row = Row(size, allow_clients(wanted, document))
            for generation in range(options.generations):
                cycles = share(options.pairs, options.generations, generation)
                if cycles:
                    _generation(plan, options, cores, screen, entries, row, cycles)
            document.rows.append(_finish(row, entries, bases, against))
    return document


def _generation(
    plan: Plan,
    options: CommonOptions,
    cores: Cores,
    screen: Screen,
    entries: list[tuple[str, str]],
    row: Row,
    cycles: int,
) -> None:
    """Start everybody anew and run some cycles."""
    title = f"{plan.job}, {row.size} B, {row.connections} connections"
    total = options.pairs * len(entries)

    def watch(_: int, label: str) -> None:
        screen.step(f"{title}: {label}", row.steps, total)
        row.steps += 1

    with Stage(cores, screen) as stage:
        contestants: list[Contestant] = []
        open_before: list[int] = []
        for label, contender in entries:
            screen.step(f"{title}: starting {label}", row.steps, total)
            server = stage.server(
                contender, options.scenario, connections=row.connections, unix=options.unix
            )
            contestants.append(plan.join(stage, label, server, stage.client(), row))
            wait_quiet(server.pid)
            open_before.append(open_descriptors(server.pid))
        run_cycles(contestants, plan.load(row), cycles, watch)
        for contestant, before in zip(contestants, open_before, strict=True):
            label = contestant.label
            left = open_descriptors(contestant.server.pid) - before
            row.descriptors_left[label] = max(left, row.descriptors_left.get(label, left))
            row.rounds.setdefault(label, []).extend(contestant.rounds)
            row.facts[label] = contestant.server.facts
            contestant.client.ask("close", contestant.key)


def _finish(
    row: Row, entries: list[tuple[str, str]], bases: list[str], against: list[str]
) -> dict[str, Any]:
    """Sum a row up."""
    contestants = {label: row.rounds[label] for label, _ in entries}
    return {
        "size": row.size,
        "connections": row.connections,
        "contenders": [
            summarize(label, rounds, row.facts[label])
            | {"descriptors_left": row.descriptors_left[label]}
            for label, rounds in contestants.items()
        ],
        "comparisons": compare_all(contestants, bases, against),
        "rate_comparisons": compare_rates(contestants, bases, against),
    }
