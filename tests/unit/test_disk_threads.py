"""A crew of threads by itself: bounded, in order, nothing lost at the end; and the registry."""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core.catalog import CATALOG, OFFLOAD, operation
from noria.core.codes import FSYNC, READ_AT
from noria.core.descriptor import Descriptor
from noria.core.operation import AUTOMATIC, BACKEND, BY_THREAD, DIRECT, Operation
from noria.disk.crew import ThreadCrew
from noria.disk.disk import Disk
from noria.disk.interface import BackendStatistics, DiskBackend, DiskProbe
from noria.disk.registry import BACKENDS, DISKS, VARIABLE, choose
from noria.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., tuple[ThreadCrew, list[int]]]

GATED = 9003
PATIENCE_SECONDS = 5.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()

    @operation(code=GATED, lane=OFFLOAD)
    def gated(op: Operation) -> int:
        opened.wait(PATIENCE_SECONDS)
        if op.size < 0:
            raise LookupError("a bug")
        return op.size

    yield opened
    opened.set()
    del CATALOG[GATED]


@pytest.fixture
def make(gate: threading.Event) -> Iterator[Make]:
    made: list[ThreadCrew] = []

    def build(**bounds: int) -> tuple[ThreadCrew, list[int]]:
        wakes: list[int] = []
        bounds = {"threads_max": 8, "queue_max": 100} | bounds
        made.append(ThreadCrew("test", lambda: wakes.append(1), **bounds))
        return made[-1], wakes

    yield build
    gate.set()
    for crew in made:
        crew.close([], PATIENCE_SECONDS)


class Watched(Operation):
    """Can be referred to weakly, which an operation itself cannot."""


def gated(size: int) -> Operation:
    op = Operation(GATED)
    op.size = size
    return op


def take(crew: ThreadCrew) -> list[tuple[Operation, int]]:
    """What is done now, with its results."""
    done: list[Operation] = []
    crew.reap(done, 1000)
    return [(op, op.result) for op in done]


def reap(crew: ThreadCrew, count: int) -> list[tuple[Operation, int]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    found: list[tuple[Operation, int]] = []
    while len(found) < count:
        assert time.monotonic() < deadline
        found += take(crew)
        time.sleep(0)
    return found


def test_work_is_done_and_told(make: Make, gate: threading.Event) -> None:
    crew, wakes = make()
    gate.set()
    operations = [gated(n) for n in range(20)]
    assert [crew.submit(op) for op in operations] == [0] * 20
    found = reap(crew, 20)
    assert {id(op): result for op, result in found} == {id(op): op.size for op in operations}
    assert take(crew) == []
    crew.close([], PATIENCE_SECONDS)
    assert len(wakes) == 20


def test_threads_start_on_demand_and_are_bounded(make: Make, gate: threading.Event) -> None:
    crew, _ = make(threads_max=3)
    assert crew.threads() == 0
    for number in range(6):
        crew.submit(gated(number))
        assert crew.threads() == min(number + 1, 3)
    assert crew.in_flight() == 6
    gate.set()
    reap(crew, 6)
    assert (crew.in_flight(), crew.submitted) == (0, 6)


def test_an_idle_thread_is_used_again(make: Make, gate: threading.Event) -> None:
    crew, _ = make()
    gate.set()
    for number in range(10):
        crew.submit(gated(number))
        reap(crew, 1)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while crew._idle == 0:
            assert time.monotonic() < deadline
            time.sleep(0)
    assert crew.threads() == 1


def test_an_idle_thread_keeps_nothing_alive(make: Make, gate: threading.Event) -> None:
    """An operation holds a transport, a buffer, a future."""
    crew, wakes = make()
    gate.set()
    op = Watched(GATED)
    op.size = 1
    ghost = weakref.ref(op)
    crew.submit(op)
    del op
    reap(crew, 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ghost() is not None:
        assert time.monotonic() < deadline
        time.sleep(0)
    assert wakes == [1]


def test_e11_a_full_queue_refuses(make: Make, gate: threading.Event) -> None:
    crew, _ = make(threads_max=1, queue_max=2)
    taken = [gated(0)]
    crew.submit(taken[0])
    while crew.in_flight() and crew._queue:
        time.sleep(0)
    taken += [gated(1), gated(2)]
    assert [crew.submit(op) for op in taken[1:]] == [0, 0]
    assert crew.submit(gated(3)) == -errno.EAGAIN
    gate.set()
    assert {op.size for op, _ in reap(crew, 3)} == {0, 1, 2}
    assert crew.submit(gated(4)) == 0


def test_e5_cancel_reaches_what_waits(make: Make, gate: threading.Event) -> None:
    crew, wakes = make(threads_max=1)
    running, waiting = gated(1), gated(2)
    crew.submit(running)
    while crew._queue:
        time.sleep(0)
    crew.submit(waiting)
    crew.cancel(running)
    assert take(crew) == []
    crew.cancel(waiting)
    crew.cancel(waiting)
    assert take(crew) == [(waiting, -errno.ECANCELED)]
    assert wakes == [1]
    gate.set()
    assert reap(crew, 1) == [(running, 1)]
    crew.cancel(running)
    assert take(crew) == []


def test_a_bug_is_eio_and_the_thread_goes_on(make: Make, gate: threading.Event) -> None:
    crew, _ = make(threads_max=1)
    gate.set()
    crew.submit(gated(-1))
    crew.submit(gated(5))
    assert [result for _, result in reap(crew, 2)] == [-errno.EIO, 5]


def test_e12_close_gives_everything_back(make: Make, gate: threading.Event) -> None:
    crew, _ = make(threads_max=2)
    operations = [gated(n) for n in range(5)]
    for op in operations:
        crew.submit(op)
    while len(crew._queue) > 3:
        time.sleep(0)
    threading.Timer(0.002, gate.set).start()
    done: list[Operation] = []
    crew.close(done, PATIENCE_SECONDS)
    results = {op.size: op.result for op in done}
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert sorted(results.values()) == [-errno.ECANCELED] * 3 + [0, 1]
    again: list[Operation] = []
    crew.close(again, PATIENCE_SECONDS)
    assert again == []
    assert crew.submit(gated(9)) == -errno.EBADF
    assert (crew.in_flight(), crew.threads()) == (0, 0)


def test_what_hangs_is_given_up_and_freed_when_it_returns(
    make: Make, gate: threading.Event
) -> None:
    crew, _ = make()
    op = gated(3)
    reader, writer = os.pipe()
    os.close(writer)
    op.descriptor = descriptor = Descriptor(reader)
    op.begin(BACKEND)
    crew.submit(op)
    while crew._queue:
        time.sleep(0)
    done: list[Operation] = []
    crew.close(done, 0.001)
    assert [(each, each.result) for each in done] == [(op, -errno.EIO)]
    op.settle(op.result)
    descriptor.close()
    assert not descriptor.closed, "the number could become another file's under the thread"
    gate.set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not descriptor.closed:
        assert time.monotonic() < deadline
        time.sleep(0)


def test_an_idle_thread_ends(make: Make, gate: threading.Event) -> None:
    crew = ThreadCrew("brief", lambda: None, threads_max=2, queue_max=9, idle_seconds=0.01)
    gate.set()
    crew.submit(gated(1))
    reap(crew, 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while crew.threads():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    crew.submit(gated(2))
    assert [result for _, result in reap(crew, 1)] == [2]
    crew.close([], PATIENCE_SECONDS)


def test_a_disk_is_chosen_by_name_by_variable_or_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert "threads" in DISKS
    assert choose(None, "").name == "uring"
    assert choose("auto", "there is no ring").name in ("threads", "linux_aio")
    assert choose("threads", "").forced
    monkeypatch.setenv(VARIABLE, "threads")
    found = choose(None, "")
    assert (found.name, found.forced) == ("threads", True)
    assert VARIABLE in found.reason
    with pytest.raises(EngineUnavailableError, match=r"unknown disk backend 'tape'.*threads"):
        choose("tape", "")
    with pytest.raises(EngineUnavailableError, match=r"'uring'.*there is no ring"):
        choose("uring", "there is no ring")


def test_a_loop_tells_how_its_files_are_done() -> None:
    loop = noria.new_event_loop(disk="threads")
    try:
        found = loop._engine.disk_statistics()
        assert (found.name, found.forced) == ("threads", True)
        assert not any(found.routes.values())
    finally:
        loop.close()
    with pytest.raises(EngineUnavailableError, match="unknown disk backend"):
        noria.new_event_loop(disk="tape")


class Native(DiskBackend):
    """A backend that reads only, and tells what it was given."""

    name = "linux_aio"
    codes = frozenset({READ_AT})
    refusing = False

    def __init__(self, *arguments: Any) -> None:
        if self.refusing:
            raise OSError(errno.EAGAIN, "no context is left")
        super().__init__(*arguments)
        self.taken: list[Operation] = []

    @classmethod
    def probe(cls) -> DiskProbe:
        return DiskProbe(True, "for a test")

    def submit(self, op: Operation) -> int:
        self.taken.append(op)
        return 0

    def cancel(self, op: Operation) -> bool:
        return op in self.taken

    def reap(self, done: list[Operation], count: int) -> None:
        done += self.taken
        self.taken.clear()

    def statistics(self) -> BackendStatistics:
        return BackendStatistics(self.name, len(self.taken), 0, 0, {}, {})

    def close(self, done: list[Operation]) -> None:
        self.reap(done, len(self.taken))


def routed(name: str | None) -> dict[str, Any]:
    """Where a disk of that choice sends a read, a direct read, one by thread, and a sync."""
    disk = Disk(lambda: None, choose(name, "there is no ring"))
    reader, writer = os.pipe()
    os.close(writer)
    done: list[Operation] = []
    for code, way in [(READ_AT, AUTOMATIC), (READ_AT, DIRECT), (READ_AT, BY_THREAD), (FSYNC, 0)]:
        op = Operation(code, reader)
        op.way = way
        op.begin(BACKEND)
        assert disk.submit(op) == 0
    statistics = disk.statistics()
    disk.close(done)
    os.close(reader)
    assert len(done) == 4
    return {"reason": statistics.reason, **statistics.routes}


def test_what_a_backend_cannot_do_goes_by_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(BACKENDS, "linux_aio", Native)
    found = routed("linux_aio")
    assert (found["linux_aio"], found["threads"]) == (2, 2)
    found = routed(None)
    assert (found["linux_aio"], found["threads"]) == (1, 3), "unasked for direct I/O only"


def test_a_backend_that_cannot_be_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(BACKENDS, "linux_aio", Native)
    monkeypatch.setattr(Native, "refusing", True)
    with pytest.raises(OSError, match="no context"):
        routed("linux_aio")
    found = routed(None)
    assert found["threads"] == 4
    assert "linux_aio cannot be set up" in found["reason"]


def test_a_disk_gives_back_what_it_has(gate: threading.Event) -> None:
    disk = Disk(lambda: None, choose("threads", ""))
    gate.set()
    op = gated(4)
    op.begin(BACKEND)
    assert disk.submit(op) == 0
    done: list[Operation] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done:
        assert time.monotonic() < deadline
        disk.reap(done, 10)
    waiting = gated(5)
    waiting.begin(BACKEND)
    assert disk.submit(waiting) == 0
    disk.close(done)
    disk.close(done)
    assert (done, op.result) == ([op, waiting], 4)
    assert waiting.result in (5, -errno.ECANCELED)
    assert disk.fileno() == -1


def test_a_backend_has_to_supply() -> None:
    crew = DiskBackend(lambda: None, -1, None)
    op = Operation(next(iter(CATALOG)))
    for call in (
        lambda: crew.submit(op),
        lambda: crew.cancel(op),
        lambda: crew.reap([], 1),
        crew.statistics,
        lambda: crew.close([]),
    ):
        with pytest.raises(NotImplementedError):
            call()
