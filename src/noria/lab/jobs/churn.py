"""`noria lab churn`: CPU per connection that is accepted, asked one thing, answered and closed.

The client closes first, so its ports go to TIME_WAIT, of which Linux keeps a bounded number. What
is beyond that is forgotten at once, and the server's last packet is answered with a reset, which no
server sees: it has closed. With `half_close` a client awaits the server's end before it closes, and
there are no resets; the time until then is part of the connection's latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noria.lab.compare import Churn, Contestant
from noria.lab.errors import LabError
from noria.lab.jobs.rows import CommonOptions, Plan, Row, measure
from noria.lab.measure import churn_sources
from noria.lab.settings import (
    BACKLOG_CONNECTIONS,
    CHURN_CONNECTIONS,
    CHURN_SIZES_BYTES,
    CHURN_WARM_S,
)

if TYPE_CHECKING:
    from noria.lab.processes import ClientProcess, ServerProcess
    from noria.lab.stage import Document, Screen, Stage


@dataclass(slots=True)
class ChurnOptions(CommonOptions):
    """What to measure; `connections` are those that are open at a time."""

    sizes: tuple[int, ...] = CHURN_SIZES_BYTES
    connections: tuple[int, ...] = CHURN_CONNECTIONS
    half_close: bool = False


def run(options: ChurnOptions, screen: Screen) -> Document:
    """Measure all rows. Raises LabError where that is impossible."""
    if max(options.connections) > BACKLOG_CONNECTIONS:
        raise LabError(
            f"{max(options.connections):,} connections at a time are more than the backlog of "
            f"{BACKLOG_CONNECTIONS:,}: connects would wait for a second, and that would be measured"
        )
    sources = 0 if options.unix else churn_sources()

    def load(row: Row, seconds: float = options.round_s) -> Churn:
        return Churn(seconds, row.connections, row.size, sources, options.half_close)

    def join(
        stage: Stage, label: str, server: ServerProcess, client: ClientProcess, row: Row
    ) -> Contestant:
        contestant = stage.contestant(label, server, client, row.connections, size_max=row.size)
        must_serve(contestant, load(row, CHURN_WARM_S))
        return contestant

    return measure(Plan("churn", join, load), options, screen)


def must_serve(contestant: Contestant, churn: Churn) -> None:
    """Churn a server once. Raises LabError unless it answered, and without a failure."""
    done = contestant.load(churn, count=False)
    failures = done.result["failures"]
    if failures or not done.requests:
        raise LabError(
            f"{contestant.label}: {done.requests} connections were served, "
            f"failures: {failures or 'none'}"
        )
