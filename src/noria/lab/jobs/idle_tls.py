"""`noria lab idle --tls`: the resident memory of silent TLS connections, by what was echoed before.

Each size has servers of its own. Every connection shakes hands and has one echo of that size, some
at a time: what a server keeps for each is there then, and what it needs only while it sends is not
counted for all of them at once. The weight is given twice, as by `noria lab idle`: over the server
as it was after a few clients had come and gone, and over the server as it was before its first
client. What a connection costs in the kernel is in neither.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from noria.lab import openssl
from noria.lab.compare import Load
from noria.lab.measure import resident_bytes, wait_quiet
from noria.lab.settings import DISCONNECT_TIMEOUT_S, TLS_IDLE_CLIENTS, TLS_IDLE_SIZES_BYTES
from noria.lab.stage import (
    Stage,
    able_contenders,
    allow_clients,
    begin,
    connect,
    must_connect,
    usable_contenders,
)

if TYPE_CHECKING:
    from noria.lab.measure import Cores
    from noria.lab.stage import Document, Screen

WARM_CLIENTS: Final = 10
"""Few, because what they leave is there for those who are weighed."""

WARM_S: Final = 0.2
PARALLEL: Final = 16
HOLD_S: Final = 0.2
"""How long the connections are watched: what a server says then is a failure."""


@dataclass(slots=True)
class IdleTlsOptions:
    """What to measure; `sizes` are the echoes that a connection had."""

    clients: int = TLS_IDLE_CLIENTS
    sizes: tuple[int, ...] = TLS_IDLE_SIZES_BYTES
    contenders: tuple[str, ...] = ("noria",)
    against: tuple[str, ...] = ("uvloop", "asyncio")
    server_core: int | None = None
    client_core: int | None = None


def run(options: IdleTlsOptions, screen: Screen) -> Document:
    """Weigh all contenders, one after the other. Raises LabError where that is impossible."""
    document, cores = begin("idle-tls", asdict(options), options.server_core, options.client_core)
    bases = usable_contenders(options.contenders, document, needed=True, scenario="tls")
    against = usable_contenders(options.against, document, needed=False, scenario="tls")

    def attempt(contender: str) -> None:
        screen.step(f"idle: trying {contender}", 0, 1)
        with Stage(cores, screen) as stage:
            server = stage.server(contender, "tls")
            trial = stage.contestant(contender, server, stage.client(), 1, transport="tls")
            must_connect(trial, 1)

    bases, against = able_contenders(bases, against, document, attempt)
    contenders = list(dict.fromkeys([*bases, *against]))
    clients = allow_clients(options.clients, document, contenders)
    rows: dict[str, dict[str, Any]] = {name: {"contender": name} for name in contenders}
    total = len(contenders) * len(options.sizes)
    for number, size in enumerate(options.sizes):
        for place, contender in enumerate(contenders):
            step = number * len(contenders) + place
            screen.step(f"idle, TLS after {size} B: {contender}", step, total)
            _weigh(cores, screen, contender, clients, size, rows[contender])
    document.rows.append(
        {
            "clients": clients,
            "sizes": list(options.sizes),
            "contenders": list(rows.values()),
            "comparisons": [
                _comparison(rows[base], rows[other], size)
                for size in options.sizes
                for base in bases
                for other in against
                if other != base
            ],
        }
    )
    document.notes.append(openssl.description())
    return document


def _weigh(
    cores: Cores, screen: Screen, contender: str, clients: int, size: int, row: dict[str, Any]
) -> None:
    """Weigh a new server before and after its clients."""
    with Stage(cores, screen) as stage:
        client = stage.client()
        server = stage.server(contender, "tls", connections=clients)
        row["facts"] = server.facts
        wait_quiet(server.pid)
        at_start = resident_bytes(server.pid)
        few = min(WARM_CLIENTS, clients)
        warm = stage.contestant(contender, server, client, few, size_max=size, transport="tls")
        must_connect(warm, few, size=size)
        warm.load(Load(WARM_S, few, size))
        client.ask("disconnect", warm.key, limit_s=DISCONNECT_TIMEOUT_S)
        client.ask("close", warm.key)
        wait_quiet(server.pid)
        before = resident_bytes(server.pid)
        full = stage.contestant(contender, server, client, clients, size_max=size, transport="tls")
        opened = connect(full, clients, size=size, parallel=PARALLEL)
        held = client.ask("idle", full.key, limit_s=HOLD_S, seconds=HOLD_S)
        wait_quiet(server.pid)
        after = resident_bytes(server.pid)
    failures: dict[str, int] = row.setdefault("failures", {})
    for result in (opened, held):
        for name, count in result["failures"].items():
            failures[name] = failures.get(name, 0) + count
    # Of connections that failed nothing is known: the weight is that of those held.
    weights = row.setdefault("weights", {})
    weights[str(size)] = {
        "held": held["connections"],
        "resident_bytes": (after - before) / max(1, held["connections"]),
        "resident_bytes_from_start": (after - at_start) / max(1, held["connections"]),
    }


def _comparison(base: dict[str, Any], other: dict[str, Any], size: int) -> dict[str, Any]:
    """Divide two weights; both were taken once, so there are no pairs and no noise floor."""
    one, two = (who["weights"][str(size)]["resident_bytes"] for who in (base, other))
    return {
        "base": base["contender"],
        "other": other["contender"],
        "size": size,
        "ratio": one / two if two > 0 else None,
    }
