"""`noria lab echo|streams|sock`: CPU per request for rows of message size and connections."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from noria.lab.compare import Contestant, Load, compare_all, run_cycles, summarize
from noria.lab.settings import CONNECTIONS, GENERATIONS, PAIRS_MIN, ROUND_S, SIZES_BYTES
from noria.lab.stage import (
    Stage,
    allow_clients,
    begin,
    lines_up,
    must_connect,
    usable_contenders,
)

if TYPE_CHECKING:
    from noria.lab.compare import Round
    from noria.lab.measure import Cores
    from noria.lab.stage import Document, Screen


@dataclass(slots=True)
class RowOptions:
    """What to measure. `pairs` below 15 give a first look, not a comparison."""

    scenario: str = "echo"
    sizes: tuple[int, ...] = SIZES_BYTES
    connections: tuple[int, ...] = CONNECTIONS
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio")
    pairs: int = PAIRS_MIN
    round_s: float = ROUND_S
    depth: int = 1
    generations: int = GENERATIONS
    unix: bool = False
    server_core: int | None = None
    client_core: int | None = None


@dataclass(slots=True)
class _Row:
    """One row while it is measured: rounds by label, over all generations."""

    size: int
    connections: int
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: int = 0


def run(options: RowOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    document, cores = begin(
        options.scenario, asdict(options), options.server_core, options.client_core
    )
    bases = usable_contenders(options.contenders, document, needed=True)
    against = usable_contenders(options.against, document, needed=False)
    entries = lines_up(bases, against, twins=True)
    if options.pairs < PAIRS_MIN:
        document.notes.append(f"{options.pairs} pairs are a first look, not a comparison")
    for size in options.sizes:
        for wanted in options.connections:
            # All contenders' connections live in one load generator.
            allowed = allow_clients(wanted * len(entries), document) // len(entries)
            row = _Row(size, min(wanted, allowed))
            for generation in range(options.generations):
                share = _share(options.pairs, options.generations, generation)
                if share:
                    _generation(options, cores, screen, entries, row, share)
            document.rows.append(_finish(row, entries, bases, against))
    return document


def _share(pairs: int, generations: int, generation: int) -> int:
    """How many of the pairs this generation runs."""
    return pairs * (generation + 1) // generations - pairs * generation // generations


def _generation(
    options: RowOptions,
    cores: Cores,
    screen: Screen,
    entries: list[tuple[str, str]],
    row: _Row,
    cycles: int,
) -> None:
    """Start everybody anew and run some cycles."""
    title = f"{options.scenario}, {row.size} B, {row.connections} connections"
    total = options.pairs * len(entries)

    def watch(_: int, label: str) -> None:
        screen.step(f"{title}: {label}", row.steps, total)
        row.steps += 1

    with Stage(cores, screen) as stage:
        client = stage.client()
        contestants: list[Contestant] = []
        for label, contender in entries:
            screen.step(f"{title}: starting {label}", row.steps, total)
            server = stage.server(
                contender, options.scenario, connections=row.connections, unix=options.unix
            )
            contestant = stage.contestant(
                label, server, client, row.connections, size_max=row.size, depth_max=options.depth
            )
            must_connect(contestant, row.connections, size=min(64, row.size))
            contestants.append(contestant)
        run_cycles(
            contestants,
            Load(options.round_s, row.connections, row.size, options.depth),
            cycles,
            watch,
        )
        for contestant in contestants:
            row.rounds.setdefault(contestant.label, []).extend(contestant.rounds)
            row.facts[contestant.label] = contestant.server.facts
            client.ask("close", contestant.key)


def _finish(
    row: _Row, entries: list[tuple[str, str]], bases: list[str], against: list[str]
) -> dict[str, Any]:
    """Sum a row up."""
    contestants = {label: row.rounds[label] for label, _ in entries}
    return {
        "size": row.size,
        "connections": row.connections,
        "contenders": [
            summarize(label, rounds, row.facts[label]) for label, rounds in contestants.items()
        ],
        "comparisons": compare_all(contestants, bases, against),
    }
