"""Sets up what a job needs: cores, servers, load generators, and connections between them."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.lab import adapters
from noria.lab.client import load_native
from noria.lab.compare import TWIN, Contestant
from noria.lab.errors import LabError, UnableError
from noria.lab.measure import Pinned, choose_cores, clients_allowed, host_facts
from noria.lab.processes import ClientProcess, ServerProcess
from noria.lab.settings import (
    CLIENTS_PER_ADDRESS,
    CONNECT_TIMEOUT_S,
    DESCRIPTORS_SPARE,
    PARALLEL_CONNECTS,
    SAMPLES_PER_ROUND,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Protocol, Self

    from noria.lab.measure import Cores
    from noria.lab.processes import Progress

    class Screen(Protocol):
        """Where a job says how far it is."""

        def step(self, what: str, done: float, total: float) -> None:
            """Show that `done` of `total` is through."""


class Silence:
    """A screen that shows nothing."""

    __slots__ = ()

    def step(self, what: str, done: float, total: float) -> None:
        """Show nothing."""


@dataclass(slots=True)
class Document:
    """What a job found out; `as_json()` is what files hold and reports are made from."""

    job: str
    host: dict[str, Any]
    options: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Give it as one JSON object."""
        return {
            "job": self.job,
            "host": self.host,
            "options": self.options,
            "notes": self.notes,
            "rows": self.rows,
        }


def usable_contenders(
    wanted: Sequence[str], document: Document, *, needed: bool, scenario: str = ""
) -> list[str]:
    """Drop contenders that cannot run here, or not this scenario, with a note.

    Raises LabError instead where they are `needed`.
    """
    usable = []
    for contender in dict.fromkeys(wanted):
        reason = adapters.missing(contender, scenario)
        if reason is None:
            usable.append(contender)
        elif needed:
            raise LabError(reason)
        else:
            document.notes.append(f"{contender} left out: {reason}")
    return usable


def able_contenders(
    bases: Sequence[str], against: Sequence[str], document: Document, attempt: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Try everybody once; drop those who cannot do what is to be measured, with a note.

    Args:
        bases: who is measured. One that fails for another reason than a loop that does not
            implement what it takes ends the job.
        against: whom they are compared with. One that fails is left out, whatever the reason.
        document: takes the notes.
        attempt: does once with a contender what is to be measured. Raises LabError.

    Returns:
        Those of `bases` and of `against` who are left.

    Raises:
        LabError: one of the bases failed, or nobody is left.
    """
    unable = set()
    for contender in dict.fromkeys([*bases, *against]):
        try:
            attempt(contender)
        except LabError as error:
            if contender in bases and not isinstance(error, UnableError):
                raise
            unable.add(contender)
            document.notes.append(f"{contender} left out: {str(error).splitlines()[-1]}")
    left = (
        [one for one in bases if one not in unable],
        [one for one in against if one not in unable],
    )
    if not any(left):
        raise LabError("nobody is left to be measured: " + "; ".join(document.notes))
    return left


def hosts_for(connections: int) -> tuple[str, ...]:
    """Give as many loopback addresses as the ephemeral ports for `connections` need."""
    count = max(1, -(-connections // CLIENTS_PER_ADDRESS))
    return tuple(f"127.0.0.{number}" for number in range(1, count + 1))


def lines_up(bases: Sequence[str], against: Sequence[str], *, twins: bool) -> list[tuple[str, str]]:
    """List (label, contender) of all who take part: bases, their twins, rivals; nobody twice."""
    entries = {base: base for base in bases}
    if twins:
        entries |= {base + TWIN: base for base in bases}
    entries |= {other: other for other in against if other not in entries}
    return list(entries.items())


def share(pairs: int, generations: int, generation: int) -> int:
    """How many of the pairs a generation runs, where all of them run `pairs`."""
    return pairs * (generation + 1) // generations - pairs * generation // generations


class Stage:
    """Owns the processes of a job; leaving it ends them all, whatever happened."""

    def __init__(self, cores: Cores, screen: Screen) -> None:
        self.cores = cores
        self.screen = screen
        self._stack = ExitStack()
        self._keys = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(Pinned(self.cores.driver))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def client(self) -> ClientProcess:
        """Start a load generator."""
        return self._stack.enter_context(ClientProcess(self.cores.client))

    def server(
        self, contender: str, scenario: str, *, connections: int = 1, unix: bool = False
    ) -> ServerProcess:
        """Start a server with addresses enough for so many connections, or on a Unix socket."""
        path = ""
        if unix:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="noria-lab-"))
            path = str(Path(folder) / "socket")
        return self._stack.enter_context(
            ServerProcess(
                contender, scenario, self.cores.server, hosts=hosts_for(connections), path=path
            )
        )

    def contestant(
        self,
        label: str,
        server: ServerProcess,
        client: ClientProcess,
        connections: int,
        *,
        size_max: int = 64,
        depth_max: int = 1,
        samples_max: int = SAMPLES_PER_ROUND,
        transport: str = "plain",
    ) -> Contestant:
        """Give a server room for connections in a load generator; they are not connected yet.

        `transport` is one of noria.lab.client: plain, datagrams, tls, http.
        """
        self._keys += 1
        key = f"{self._keys}"
        client.ask(
            "open",
            key,
            targets=server.addresses,
            connections=connections,
            size_max=size_max,
            depth_max=depth_max,
            samples_max=samples_max,
            transport=transport,
        )
        return Contestant(label, server, client, key)


def connect(
    contestant: Contestant,
    count: int,
    *,
    size: int = 64,
    parallel: int = PARALLEL_CONNECTS,
    watch: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Connect `count` clients and await the first echo of each."""
    return contestant.client.ask(
        "connect",
        contestant.key,
        limit_s=CONNECT_TIMEOUT_S,
        watch=watch,
        count=count,
        parallel=parallel,
        size=size,
        timeout_s=CONNECT_TIMEOUT_S,
    )


def must_connect(contestant: Contestant, count: int, *, size: int = 64) -> None:
    """Connect `count` clients. Raises LabError unless every one was answered."""
    result = connect(contestant, count, size=size)
    if result["failures"] or result["connections"] != count:
        raise LabError(
            f"{contestant.label}: {result['connections']} of {count} clients were answered, "
            f"failures: {result['failures'] or 'none'}"
        )


def begin(
    job: str, options: dict[str, Any], server_core: int | None, client_core: int | None
) -> tuple[Document, Cores]:
    """Choose cores and start the job's document. Raises LabError where the lab cannot run."""
    load_native()
    cores = choose_cores(server_core, client_core)
    document = Document(job, host_facts(cores), options)
    if cores.shared:
        document.notes.append(
            "only one CPU: server and clients share it, so these figures say little about either"
        )
    return document, cores


def allow_clients(wanted: int, document: Document, contenders: Sequence[str] = ()) -> int:
    """Return how many clients the limits allow, with a note where they are fewer.

    Args:
        wanted: how many were asked for.
        document: takes the note.
        contenders: those who have to hold all of them at once.

    Raises:
        LabError: not a single one.
    """
    allowed = clients_allowed(wanted)
    if allowed < 1:
        raise LabError("the descriptor limit (ulimit -n) leaves no room for a single client")
    if allowed < wanted:
        document.notes.append(
            f"{wanted:,} clients were asked for; the hard descriptor limit (ulimit -Hn) allows "
            f"{allowed:,}, so {allowed:,} it is"
        )
    for contender in contenders:
        watched = adapters.descriptors_max(contender)
        if watched is not None and watched - DESCRIPTORS_SPARE < allowed:
            allowed = max(1, watched - DESCRIPTORS_SPARE)
            document.notes.append(
                f"{wanted:,} clients were asked for; {contender} watches {watched:,} descriptors, "
                f"so {allowed:,} it is"
            )
    return allowed
