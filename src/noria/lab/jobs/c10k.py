"""`noria lab c10k`: the main job. Ten thousand clients on one thread, every byte checked."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from noria.lab.compare import (
    Contestant,
    Load,
    Round,
    compare_all,
    cycle_orders,
    sum_failures,
    summarize,
)
from noria.lab.measure import open_descriptors, read_usage, resident_bytes, wait_quiet
from noria.lab.settings import (
    CLIENTS,
    DISCONNECT_TIMEOUT_S,
    PAIRS_MIN,
    PARALLEL_CONNECTS,
    SAMPLES_PER_RUN,
)
from noria.lab.stage import (
    Stage,
    allow_clients,
    begin,
    connect,
    lines_up,
    must_connect,
    usable_contenders,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.lab.processes import Progress
    from noria.lab.stage import Document, Screen

WARM_CLIENTS: Final = 100
WARM_S: Final = 0.2
ROUND_MIN_S: Final = 0.5
FIRST_ANSWER_LIMIT_S: Final = 2.0
"""A run is good if every client was answered within this time, and nothing failed."""


@dataclass(slots=True)
class C10kOptions:
    """What to measure. `active` 0: all clients speak; `seconds` is steady echo for each."""

    clients: int = CLIENTS
    active: int = 0
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ()
    seconds: float = 10.0
    idle_s: float = 2.0
    runs: int = 1
    size: int = 64
    scenario: str = "echo"
    parallel: int = PARALLEL_CONNECTS
    server_core: int | None = None
    client_core: int | None = None


@dataclass(slots=True)
class _Entry:
    """One contender over all runs."""

    facts: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)


class _Show:
    """Turns the load generator's counters into one line, with rates."""

    __slots__ = ("_at_s", "_clients", "_last", "_screen")

    def __init__(self, screen: Screen, clients: int) -> None:
        self._screen = screen
        self._clients = clients
        self._last = 0
        self._at_s = 0.0

    def watcher(self, what: str, seconds: float = 0.0) -> Callable[[Progress], None]:
        """Return a function that shows the progress of one phase, by time if `seconds` is given."""
        start_s = self._at_s = time.monotonic()
        self._last = -1

        def watch(progress: Progress) -> None:
            now_s = time.monotonic()
            text = f"{what}: {progress.alive:,} clients"
            if self._last >= 0 and now_s > self._at_s:
                rate = (progress.answered - self._last) / (now_s - self._at_s)
                text += f", {rate:,.0f} requests/s"
            self._last, self._at_s = progress.answered, now_s
            if progress.failures:
                text += f", {progress.failures} errors"
            done = (now_s - start_s) / seconds if seconds else progress.alive / self._clients
            self._screen.step(text, min(1.0, done), 1)

        return watch


def run(options: C10kOptions, screen: Screen) -> Document:
    """Run the main job. Raises LabError where that is impossible."""
    document, cores = begin("c10k", asdict(options), options.server_core, options.client_core)
    bases = usable_contenders(options.contenders, document, needed=True)
    against = usable_contenders(options.against, document, needed=False)
    clients = allow_clients(options.clients, document, [*bases, *against])
    entries = lines_up(bases, against, twins=bool(against))
    found = {label: _Entry() for label, _ in entries}
    for number in range(options.runs):
        with Stage(cores, screen) as stage:
            _Run(options, stage, clients, number).go(entries, found)
    document.rows.append(_finish(options, clients, found, bases, against))
    return document


class _Run:
    """One run: all contenders' servers live side by side, one is loaded at a time."""

    def __init__(self, options: C10kOptions, stage: Stage, clients: int, number: int) -> None:
        self.options = options
        self.stage = stage
        self.clients = clients
        self.prefix = f"run {number + 1}/{options.runs} " if options.runs > 1 else ""
        self.show = _Show(stage.screen, clients)
        self.contestants: list[Contestant] = []
        self.results: list[dict[str, Any]] = []

    def go(self, entries: list[tuple[str, str]], found: dict[str, _Entry]) -> None:
        """Run all phases and hand the results to `found`."""
        for label, contender in entries:
            self._start(label, contender)
        self._steady()
        for contestant, result in zip(self.contestants, self.results, strict=True):
            self._idle(contestant, result)
        for contestant, result in zip(self.contestants, self.results, strict=True):
            self._disconnect(contestant, result)
            entry = found[contestant.label]
            entry.facts = contestant.server.facts
            entry.rounds.extend(contestant.rounds)
            entry.runs.append(result)

    def _title(self, contestant: Contestant, phase: str) -> str:
        return f"{self.prefix}{contestant.label}, {phase}"

    def _start(self, label: str, contender: str) -> None:
        """Start a server, warm it up with clients that leave again, then let the storm loose."""
        self.stage.screen.step(f"{self.prefix}{label}: starting", 0, 1)
        server = self.stage.server(contender, self.options.scenario, connections=self.clients)
        client = self.stage.client()
        size = max(64, self.options.size)
        warm = self.stage.contestant(label, server, client, WARM_CLIENTS, size_max=size)
        must_connect(warm, WARM_CLIENTS)
        warm.load(Load(WARM_S, WARM_CLIENTS, self.options.size), count=False)
        client.ask("disconnect", warm.key, limit_s=DISCONNECT_TIMEOUT_S)
        client.ask("close", warm.key)
        wait_quiet(server.pid)
        before_bytes, before_fds = resident_bytes(server.pid), open_descriptors(server.pid)
        contestant = self.stage.contestant(
            label, server, client, self.clients, size_max=size, samples_max=SAMPLES_PER_RUN
        )
        storm = connect(
            contestant,
            self.clients,
            parallel=self.options.parallel,
            watch=self.show.watcher(self._title(contestant, "connect storm")),
        )
        wait_quiet(server.pid)
        answered = int(storm["connections"])
        self.results.append(
            {
                "answered": answered,
                "first_answer_worst_ns": storm["worst_ns"],
                "first_answer": storm["latency"],
                "connects_per_s": answered * 1e9 / max(1, storm["elapsed_ns"]),
                "resident_bytes": (resident_bytes(server.pid) - before_bytes) / max(1, answered),
                "descriptors_before": before_fds,
                "phases": [storm],
            }
        )
        self.contestants.append(contestant)

    def _steady(self) -> None:
        """Echo: one phase for a contender alone, short interleaved rounds for several."""
        active = self.options.active or self.clients
        size = self.options.size
        warm = Load(ROUND_MIN_S, active, size)
        cycles = 1
        if len(self.contestants) > 1:
            cycles = -(-PAIRS_MIN // self.options.runs)
        seconds = max(ROUND_MIN_S, self.options.seconds / cycles)
        for contestant, result in zip(self.contestants, self.results, strict=True):
            done = contestant.load(
                warm, count=False, watch=self.show.watcher(self._title(contestant, "warm-up"), 1)
            )
            result["phases"].append(done.result)
        for order in cycle_orders(len(self.contestants), cycles):
            for index in order:
                contestant = self.contestants[index]
                title = self._title(contestant, "steady echo")
                contestant.load(
                    Load(seconds, active, size), watch=self.show.watcher(title, seconds)
                )
        for contestant, result in zip(self.contestants, self.results, strict=True):
            result["phases"] += [one.result for one in contestant.rounds]

    def _idle(self, contestant: Contestant, result: dict[str, Any]) -> None:
        """Hold all clients without a word."""
        pid = contestant.server.pid
        wait_quiet(pid)
        before = read_usage(pid)
        seconds = self.options.idle_s
        idle = contestant.client.ask(
            "idle",
            contestant.key,
            limit_s=seconds,
            seconds=seconds,
            watch=self.show.watcher(self._title(contestant, "idle"), seconds),
        )
        usage = read_usage(pid) - before
        result["held"] = idle["alive"]
        result["idle_wakeups_per_s"] = usage.sleeps / max(seconds, 1e-9)
        result["idle_cpu_share"] = usage.cpu_ns / max(1, idle["elapsed_ns"])
        result["phases"].append(idle)

    def _disconnect(self, contestant: Contestant, result: dict[str, Any]) -> None:
        """Half-close every client, await every end, and count what the server kept open."""
        done = contestant.client.ask(
            "disconnect",
            contestant.key,
            limit_s=DISCONNECT_TIMEOUT_S,
            timeout_s=DISCONNECT_TIMEOUT_S,
            watch=self.show.watcher(self._title(contestant, "disconnect")),
        )
        wait_quiet(contestant.server.pid)
        after = open_descriptors(contestant.server.pid)
        result["ended"] = done["connections"]
        result["disconnects_per_s"] = done["connections"] * 1e9 / max(1, done["elapsed_ns"])
        result["descriptors_left"] = after - result.pop("descriptors_before")
        result["phases"].append(done)
        phases = result.pop("phases")
        result["failures"] = sum_failures(phases)
        result["good"] = (
            not result["failures"]
            and result["answered"] == result["held"] == result["ended"] == self.clients
            and result["first_answer_worst_ns"] <= FIRST_ANSWER_LIMIT_S * 1e9
        )


def _finish(
    options: C10kOptions,
    clients: int,
    found: dict[str, _Entry],
    bases: list[str],
    against: list[str],
) -> dict[str, Any]:
    """Sum up: the worst over all runs where a limit is meant, the median elsewhere."""
    contenders = []
    for label, entry in found.items():
        summary = summarize(label, entry.rounds, entry.facts)
        summary |= {
            "runs": entry.runs,
            "good_runs": sum(1 for one in entry.runs if one["good"]),
            "held": min(one["held"] for one in entry.runs),
            "first_answer_worst_ns": max(one["first_answer_worst_ns"] for one in entry.runs),
            "connects_per_s": median(one["connects_per_s"] for one in entry.runs),
            "resident_bytes": median(one["resident_bytes"] for one in entry.runs),
            "idle_wakeups_per_s": max(one["idle_wakeups_per_s"] for one in entry.runs),
            "descriptors_left": max(one["descriptors_left"] for one in entry.runs),
            "failures": sum_failures(entry.runs),
        }
        contenders.append(summary)
    rounds = {label: entry.rounds for label, entry in found.items()}
    return {
        "clients": clients,
        "active": options.active or clients,
        "size": options.size,
        "contenders": contenders,
        "comparisons": compare_all(rounds, bases, against),
    }
