"""`noria lab idle`: what silent connections cost, and what happens when all speak at once.

Every connection has had one echo of 1 KiB before it is weighed: a server that receives into memory
which it keeps has that memory by then. The weight is given twice: over the server as it was after
a hundred clients had come and gone, which is what a further connection costs; and over the server
as it was before its first client, which counts buffer groups and whatever else is made only once.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from noria.lab import adapters
from noria.lab.compare import Load, pair_up, run_cycles, sum_failures, summarize
from noria.lab.measure import quartiles, read_usage, resident_bytes, wait_quiet
from noria.lab.settings import CLIENTS, DISCONNECT_TIMEOUT_S, PAIRS_MIN
from noria.lab.stage import Stage, allow_clients, begin, must_connect, usable_contenders

if TYPE_CHECKING:
    from noria.lab.compare import Contestant
    from noria.lab.measure import Cores
    from noria.lab.processes import ServerProcess
    from noria.lab.stage import Document, Screen

WARM_CLIENTS: Final = 100
WARM_S: Final = 0.3
ACTIVE: Final = 100
FIRST_ECHO_BYTES: Final = 1024
BURST_TIMEOUT_S: Final = 30.0
STEPS: Final = 5


@dataclass(slots=True)
class IdleOptions:
    """What to measure; `seconds` is how long wake-ups are counted."""

    clients: int = CLIENTS
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio")
    seconds: float = 3.0
    pairs: int = PAIRS_MIN
    round_s: float = 0.3
    bursts: int = 3
    server_core: int | None = None
    client_core: int | None = None


def run(options: IdleOptions, screen: Screen) -> Document:
    """Measure all contenders, one after the other. Raises LabError where that is impossible."""
    document, cores = begin("idle", asdict(options), options.server_core, options.client_core)
    contenders = usable_contenders(options.contenders, document, needed=True)
    contenders += [
        contender
        for contender in usable_contenders(options.against, document, needed=False)
        if contender not in contenders
    ]
    active = min(ACTIVE, options.clients)
    # The clients beside the idle ones live in the same load generator.
    clients = allow_clients(options.clients + active, document, contenders) - active
    rows = []
    for contender in contenders:
        row = _Measured(options, cores, screen, contender, clients, active).go()
        row["contender"] = contender
        rows.append(row)
    document.rows.append({"clients": clients, "active": active, "contenders": rows})
    return document


class _Measured:
    """One contender."""

    def __init__(
        self,
        options: IdleOptions,
        cores: Cores,
        screen: Screen,
        contender: str,
        clients: int,
        active: int,
    ) -> None:
        self.options = options
        self.cores = cores
        self.screen = screen
        self.contender = contender
        self.clients = clients
        self.active = active
        self.steps = 0

    def _step(self, what: str) -> None:
        self.screen.step(f"{self.contender}: {what}", self.steps, STEPS)
        self.steps += 1

    def go(self) -> dict[str, Any]:
        """Measure everything."""
        row: dict[str, Any] = {}
        with Stage(self.cores, self.screen) as stage:
            server, idle = self._idle_server(stage, "echo", row, "resident_bytes")
            row["facts"] = server.facts
            self._step("idle connections beside active ones")
            self._beside(stage, idle, row)
            self._step("all clients at once")
            self._bursts(idle, row)
        if not adapters.is_bare(self.contender):
            with Stage(self.cores, self.screen) as stage:
                self._idle_server(stage, "streams", row, "resident_bytes_streams")
        return row

    def _idle_server(
        self, stage: Stage, scenario: str, row: dict[str, Any], key: str
    ) -> tuple[ServerProcess, Contestant]:
        """Start a server, count its idle wake-ups, and weigh it before and after its clients."""
        self._step(f"{scenario}, memory per connection")
        client = stage.client()
        server = stage.server(self.contender, scenario, connections=self.clients)
        if scenario == "echo":
            row["wakeups_per_s"] = self._wakeups(server)
        wait_quiet(server.pid)
        at_start = resident_bytes(server.pid)
        warm = stage.contestant(
            self.contender, server, client, WARM_CLIENTS, size_max=FIRST_ECHO_BYTES
        )
        must_connect(warm, WARM_CLIENTS, size=FIRST_ECHO_BYTES)
        warm.load(Load(WARM_S, WARM_CLIENTS, FIRST_ECHO_BYTES))
        client.ask("disconnect", warm.key, limit_s=DISCONNECT_TIMEOUT_S)
        client.ask("close", warm.key)
        wait_quiet(server.pid)
        before = resident_bytes(server.pid)
        contestant = stage.contestant(
            self.contender, server, client, self.clients, size_max=FIRST_ECHO_BYTES
        )
        must_connect(contestant, self.clients, size=FIRST_ECHO_BYTES)
        wait_quiet(server.pid)
        after = resident_bytes(server.pid)
        row[key] = (after - before) / self.clients
        row[f"{key}_from_start"] = (after - at_start) / self.clients
        if scenario == "echo":
            self._step("wake-ups")
            row["wakeups_full_per_s"] = self._wakeups(server)
        return server, contestant

    def _wakeups(self, server: ServerProcess) -> float:
        wait_quiet(server.pid)
        before = read_usage(server.pid)
        start_s = time.monotonic()
        time.sleep(self.options.seconds)
        used = read_usage(server.pid) - before
        return used.sleeps / (time.monotonic() - start_s)

    def _beside(self, stage: Stage, full: Contestant, row: dict[str, Any]) -> None:
        """Compare active clients alone on a server with as many among idle ones."""
        server = stage.server(self.contender, "echo")
        alone = stage.contestant(self.contender, server, full.client, self.active)
        must_connect(alone, self.active)
        run_cycles([full, alone], Load(self.options.round_s, self.active, 64), self.options.pairs)
        ratios = pair_up(
            "among idle",
            "alone",
            [one.cpu_us for one in full.rounds],
            [one.cpu_us for one in alone.rounds],
        ).ratios
        first, middle, third = quartiles(ratios)
        row |= {
            "alone": summarize(self.contender, alone.rounds, server.facts),
            "among_idle": summarize(self.contender, full.rounds, server.facts),
            "idle_ratio": middle,
            "idle_ratio_q1": first,
            "idle_ratio_q3": third,
        }
        full.rounds.clear()

    def _bursts(self, full: Contestant, row: dict[str, Any]) -> None:
        """Let all clients speak in the same instant, once each, and count who is answered."""
        load = Load(BURST_TIMEOUT_S, self.clients, 64, requests_max=1, ramp=0)
        for _ in range(self.options.bursts):
            full.load(load)
        rounds = full.rounds
        row |= {
            "burst_answered": min(one.requests for one in rounds),
            "burst_ns": median(int(one.result["elapsed_ns"]) for one in rounds),
            "burst_worst_ns": max(int(one.result["worst_ns"]) for one in rounds),
            "failures": sum_failures([one.result for one in rounds]),
        }
