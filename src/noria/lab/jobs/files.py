"""`noria lab files`: what operations on files take, beside the system's own calls, fio and others.

Each row has its own work. Every subject does it in a process of its own when it is its turn; the
others sleep meanwhile. Ratios are taken within one cycle of rounds. A goal is a ratio, or a figure,
that the issue of this row sets; one that was not reached is told as such.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from noria.lab.compare import TWIN, compare_figures, pair_up
from noria.lab.errors import LabError, UnableError
from noria.lab.files import subjects
from noria.lab.files.ground import Ground, filesystem, has_direct
from noria.lab.files.rows import PEERS_WORD, ROWS
from noria.lab.jobs.turns import Worker, take_turns
from noria.lab.measure import quartiles
from noria.lab.settings import FILES_LARGE_MIB, FILES_SMALL, GENERATIONS, PAIRS_MIN, ROUND_S
from noria.lab.stage import begin, lines_up
from noria.lab.tables import failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noria.lab.files.rows import Goal, Row
    from noria.lab.jobs.turns import Turns
    from noria.lab.measure import Cores
    from noria.lab.stage import Document, Screen

FIGURE_MIN: Final = 1e-3
"""What a comparison takes for 0: a round without an operation is told as a failure."""

TRIAL_S: Final = 0.02
"""How long everybody does a row once before it is measured, so that one that cannot is found."""

ROUND_TIMEOUT_S: Final = 180.0
"""A round that makes a number of files takes as long as the disk does; this is given up."""


@dataclass(slots=True)
class FilesOptions:
    """What to measure: empty `rows` are all, empty contenders and rivals those of each row."""

    rows: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    pairs: int = PAIRS_MIN
    round_s: float = ROUND_S
    generations: int = GENERATIONS
    directory: str | None = None
    large_mib: int = FILES_LARGE_MIB
    small_files: int = FILES_SMALL
    server_core: int | None = None
    client_core: int | None = None


@dataclass(frozen=True, slots=True)
class FilesRound:
    """What one round did."""

    elapsed_ns: int
    operations: int
    user_ns: int
    kernel_ns: int
    cpu_known: bool = True
    failures: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def time_us(self) -> float:
        """Time of the round for each operation, µs."""
        return max(self.elapsed_ns / 1000 / max(1, self.operations), FIGURE_MIN)

    @property
    def rate_per_s(self) -> float:
        """Operations per second."""
        return max(self.operations * 1e9 / max(1, self.elapsed_ns), FIGURE_MIN)

    @property
    def cpu_us(self) -> float:
        """CPU time of the measured process for each operation, µs."""
        used_ns = self.user_ns + self.kernel_ns
        return max(used_ns / 1000 / max(1, self.operations), FIGURE_MIN)


@dataclass(slots=True)
class Setting:
    """What all rows of a run share."""

    options: FilesOptions
    document: Document
    cores: Cores
    screen: Screen
    ground: Ground
    cpus: list[int]

    def play(self, worker: Worker, seed: int, seconds: float | None = None) -> FilesRound:
        """Have a subject do a round. Raises LabError."""
        worker.send({"seconds": seconds or self.options.round_s, "seed": seed})
        return FilesRound(**worker.receive(ROUND_TIMEOUT_S)["result"])

    def start(self, row: Row, word: str) -> Worker:
        """Start a subject. Raises LabError."""
        arguments = ["--row", row.name, "--folder", str(self.ground.folder)]
        arguments += ["--large-bytes", str(self.ground.large_bytes)]
        arguments += ["--small-files", str(self.ground.small_files)]
        for cpu in self.cpus:
            arguments += ["--core", str(cpu)]
        return Worker("noria.lab.filer", word, arguments)


def run(options: FilesOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    rows = chosen_rows(options.rows)
    for word in [*options.contenders, *options.against]:
        subjects.split(word)
    document, cores = begin("files", asdict(options), options.server_core, options.client_core)
    if options.pairs < PAIRS_MIN:
        document.notes.append(f"{options.pairs} pairs are a first look, not a comparison")
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="noria-lab-", dir=options.directory)
            )
        )
        ground = Ground(folder, options.large_mib << 20, options.small_files)
        cpus = usable_cpus() if options.server_core is None else [options.server_core]
        setting = Setting(options, document, cores, screen, ground, cpus)
        document.host["place"] = (
            f"files on {filesystem(folder)}; subjects on CPU {', '.join(map(str, cpus))}"
        )
        document.options["contenders"] = measured(rows, options)
        for row in rows:
            document.rows.append(run_row(setting, row))
    return document


def chosen_rows(words: Sequence[str]) -> list[Row]:
    """Find rows by their words, all for none. Raises LabError for an unknown one."""
    for word in words:
        if word not in ROWS:
            raise LabError(f"unknown row {word!r}; there are {', '.join(ROWS)}")
    return [ROWS[word] for word in dict.fromkeys(words)] or list(ROWS.values())


def usable_cpus() -> list[int]:
    """Those that this process may use. Raises LabError."""
    if sys.platform != "linux":
        raise LabError("the lab runs on Linux only")
    return sorted(os.sched_getaffinity(0))


def bases_of(row: Row, options: FilesOptions) -> list[str]:
    """Who is measured in a row."""
    return list(dict.fromkeys(options.contenders or row.bases))


def measured(rows: Sequence[Row], options: FilesOptions) -> list[str]:
    """Who is measured in any row: whose failures are this job's."""
    return list(dict.fromkeys(word for row in rows for word in bases_of(row, options)))


def rivals_of(row: Row, options: FilesOptions) -> list[str]:
    """Whom they are compared with."""
    wanted = options.against or (*row.oracles, *row.peers)
    return [word for word in dict.fromkeys(wanted) if word not in bases_of(row, options)]


def run_row(setting: Setting, row: Row) -> dict[str, Any]:
    """Measure one row."""
    for name in row.files:
        setting.screen.step(f"{row.name}: making {name}", 0, 1)
        setting.ground.make(name)
    absent: dict[str, str] = {}
    made: dict[str, Any] = {"row": row.name, "what": row.what, "absent": absent}
    nobody: dict[str, Any] = {"contenders": [], "comparisons": [], "cpu_comparisons": []}
    if row.needs_direct and not has_direct(setting.ground.large):
        absent["everybody"] = "the filesystem has no direct I/O"
        return made | nobody | {"goals": []}
    asked = [*bases_of(row, setting.options), *rivals_of(row, setting.options)]
    broken: set[str] = set()
    bases = able(setting, row, bases_of(row, setting.options), absent, broken)
    rivals = able(setting, row, rivals_of(row, setting.options), absent, set())
    failed = [
        {"contender": word, "rounds": 0, "failures": {"could not run": 1}}
        for word in bases_of(row, setting.options)
        if word in broken or (word in absent and word in setting.options.contenders)
    ]
    if not bases:
        goals = judge_all(row, [], {}, absent, asked)
        return made | nobody | {"contenders": failed, "goals": goals}
    entries = lines_up(bases[:1], [*bases[1:], *rivals], twins=True)
    seeds = count(1)

    turns = take_turns(
        setting.options,
        setting.cores,
        setting.screen,
        entries,
        title=row.name,
        start=lambda word: setting.start(row, word),
        play=lambda worker: setting.play(worker, next(seeds)),
    )
    return (
        made
        | sum_up(turns, bases, rivals)
        | {
            "contenders": [
                *(
                    summary(label, rounds, turns.facts[label])
                    for label, rounds in turns.rounds.items()
                ),
                *failed,
            ],
            "goals": judge_all(row, bases, turns.rounds, absent, asked),
        }
    )


def able(
    setting: Setting, row: Row, words: list[str], absent: dict[str, str], broken: set[str]
) -> list[str]:
    """Try everybody once.

    Args:
        setting: of the run.
        row: what is tried.
        words: who tries.
        absent: takes those who are left out, with the reason.
        broken: takes those of them who failed, instead of not being here or having nothing for it.

    Returns:
        The others.
    """
    for word in words:
        setting.screen.step(f"{row.name}: trying {word}", 0, 1)
        reason = subjects.missing(word)
        if reason is None:
            try:
                with setting.start(row, word) as worker:
                    tried = setting.play(worker, 0, TRIAL_S)
                if tried.failures and word not in bases_of(row, setting.options):
                    reason = f"it failed: {failures(tried.failures)}"
            except UnableError as error:
                reason = str(error).splitlines()[-1]
            except LabError as error:
                reason = str(error).splitlines()[-1]
                broken.add(word)
        if reason is not None:
            absent[word] = reason
    return [word for word in words if word not in absent]


def sum_up(turns: Turns, bases: list[str], rivals: list[str]) -> dict[str, Any]:
    """Compare time and CPU time of everybody measured with all rivals."""
    times = turns.figures(lambda one: one.time_us)
    known = {label for label, rounds in turns.rounds.items() if all(o.cpu_known for o in rounds)}
    costs = {
        label: figures
        for label, figures in turns.figures(lambda one: one.cpu_us).items()
        if label in known
    }
    return {
        "comparisons": compare(times, bases, rivals),
        "cpu_comparisons": compare(costs, bases, rivals),
    }


def compare(
    figures: dict[str, list[float]], bases: list[str], rivals: list[str]
) -> list[dict[str, Any]]:
    """Compare by a figure that is better when it is lower; one noise floor serves the row."""
    first, *others = bases
    found = compare_figures(figures, [first], rivals, "lower") if first in figures else []
    floor = None
    if found and found[0]["other"] == first + TWIN:
        floor = found[0]["noise_floor"]
    for base in others:
        found += [
            pair_up(base, other, figures[base], figures[other]).summary(floor, "lower")
            for other in rivals
            if base in figures and other in figures
        ]
    return found


def judge_all(
    row: Row,
    bases: list[str],
    rounds: dict[str, list[FilesRound]],
    absent: dict[str, str],
    asked: Sequence[str],
) -> list[dict[str, Any]]:
    """Say for each goal of a row how near it is.

    Args:
        row: whose goals.
        bases: who was measured.
        rounds: of everybody.
        absent: who could not be.
        asked: everybody that was to take part; goals beside others are nobody's question.
    """
    judged = []
    known = {"", *asked} | ({PEERS_WORD} if set(asked) & set(row.peers) else set())
    everybody = [*bases, *(word for word in row.bases if word in absent)]
    for goal in row.goals:
        for base in [goal.base] if goal.base else everybody:
            if base == goal.other or goal.other not in known:
                continue  # somebody measures a rival, or asked for other ones
            if base in bases:
                judged.append(judge(goal, base, rounds, row.peers))
            elif base in absent:
                judged.append(verdict(goal, base, goal.other, None))
    return judged


def judge(
    goal: Goal, base: str, rounds: dict[str, list[FilesRound]], peers: Sequence[str]
) -> dict[str, Any]:
    """Say how near one contender is to a goal."""
    mine = rounds[base]
    if goal.measure in ("worst", "lateness"):
        key = "worst_ns" if goal.measure == "worst" else "late_p99_ns"
        figures = [float(one.details.get(key, 0)) / 1e6 for one in mine]
        # The longest operation is that of all rounds: a median would hide it.
        return verdict(goal, base, "", figures, worst=goal.measure == "worst")
    other = goal.other
    if other == PEERS_WORD:
        there = [peer for peer in peers if peer in rounds and peer != base]
        other = max(
            there, key=lambda peer: median(one.rate_per_s for one in rounds[peer]), default=""
        )
    if other not in rounds:
        return verdict(goal, base, goal.other, None)
    if goal.measure == "time":
        pairs = pair_up(base, other, *(times(rounds[who]) for who in (base, other)))
    else:
        pairs = pair_up(base, other, *(rates(rounds[who]) for who in (base, other)))
    return verdict(goal, base, other, list(pairs.ratios))


def times(rounds: Sequence[FilesRound]) -> list[float]:
    """Give the time of an operation in each round, µs."""
    return [one.time_us for one in rounds]


def rates(rounds: Sequence[FilesRound]) -> list[float]:
    """Give the operations per second of each round."""
    return [one.rate_per_s for one in rounds]


def verdict(
    goal: Goal, base: str, other: str, figures: list[float] | None, *, worst: bool = False
) -> dict[str, Any]:
    """Make the entry of a goal; `figures` None where it could not be measured."""
    entry: dict[str, Any] = {
        "base": base,
        "other": other,
        "measure": goal.measure,
        "limit": goal.limit,
        "figure": None,
        "reached": None,
    }
    if figures:
        first, middle, third = quartiles(figures)
        figure = max(figures) if worst else middle
        entry |= {"figure": figure, "figure_q1": first, "figure_q3": third}
        entry["reached"] = figure >= goal.limit if goal.measure == "rate" else figure <= goal.limit
    return entry


def summary(label: str, rounds: list[FilesRound], facts: dict[str, Any]) -> dict[str, Any]:
    """Give medians over rounds, and every failure."""
    failed: dict[str, int] = {}
    details: dict[str, Any] = {}
    for one in rounds:
        for name, number in one.failures.items():
            failed[name] = failed.get(name, 0) + number
        for name, value in one.details.items():
            merge(details, name, value)
    idle = sum(1 for one in rounds if not one.operations)
    if idle:
        failed["rounds without an operation"] = idle
    operations = max(1, sum(one.operations for one in rounds))
    known = all(one.cpu_known for one in rounds)
    return {
        "contender": label,
        "facts": facts,
        "rounds": len(rounds),
        "operations": sum(one.operations for one in rounds),
        "time_us": median(times(rounds)),
        "rate_per_s": median(rates(rounds)),
        "cpu_us": median(one.cpu_us for one in rounds) if known else None,
        "user_us": sum(one.user_ns for one in rounds) / 1000 / operations if known else None,
        "kernel_us": sum(one.kernel_ns for one in rounds) / 1000 / operations if known else None,
        "details": details,
        "failures": failed,
    }


def merge(details: dict[str, Any], name: str, value: Any) -> None:
    """Put the details of rounds together: times by their largest, counts by their sum."""
    if isinstance(value, dict):
        inner = details.setdefault(name, {})
        for key, one in value.items():
            inner[key] = max(inner.get(key, 0), one)
    elif name.endswith("_ns"):
        details[name] = max(details.get(name, 0), value)
    else:
        details[name] = details.get(name, 0) + value
