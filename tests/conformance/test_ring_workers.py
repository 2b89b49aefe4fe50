"""No request on a socket goes to a worker of the kernel, which would be one more hop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import noria
from tests.loops import Recorder, end, run, turns, until, wire
from tests.rings import needs_uring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ledger import Ledger

TASKS = Path("/proc/self/task")


def workers() -> set[str]:
    """Threads that the kernel has added to this process for rings."""
    return {task.name for task in TASKS.iterdir() if (task / "comm").read_text()[:4] == "iou-"}


@pytest.fixture
def loop(ledger: Ledger) -> Iterator[noria.Loop]:
    """A loop on the ring."""
    made = noria.new_event_loop("uring")
    yield made
    made.close()


@needs_uring
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("size", [1, 5_000, 300_000])
def test_no_worker_is_started(loop: noria.Loop, size: int, tcp: bool) -> None:
    """Also not for a peer that does not read, or for connections that are given up."""
    before = workers()  # of files, in other tests

    async def main() -> None:
        wires = [await wire(Recorder(), tcp=tcp) for _ in range(20)]
        for one in wires:
            one.peer.send(b"x" * min(size, 5_000))
            one.transport.write(b"y" * size)
        await until(lambda: all(one.protocol.data for one in wires))
        for one in wires:
            one.fill(b"z" * 4096)
        await turns(3)
        for one in wires[:10]:
            one.transport.abort()
        await turns(3)
        for one in wires:
            await end(one)

    run(loop, main())
    assert not workers() - before
