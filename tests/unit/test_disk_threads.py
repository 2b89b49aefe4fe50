"""The thread backend by itself: bounded, in order, nothing lost at the end."""

from __future__ import annotations

import errno
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest

from noria.core.catalog import CATALOG, OFFLOAD, operation
from noria.core.operation import Operation
from noria.disk.interface import DiskBackend
from noria.disk.registry import BACKENDS, make_backend
from noria.disk.threads import ThreadBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
def make(gate: threading.Event) -> Iterator[Callable[..., tuple[ThreadBackend, list[int]]]]:
    made: list[ThreadBackend] = []

    def build(**bounds: int) -> tuple[ThreadBackend, list[int]]:
        wakes: list[int] = []
        made.append(ThreadBackend(lambda: wakes.append(1), **bounds))
        return made[-1], wakes

    yield build
    gate.set()
    for backend in made:
        backend.close()


class Watched(Operation):
    """Can be referred to weakly, which an operation itself cannot."""


def gated(size: int) -> Operation:
    op = Operation(GATED)
    op.size = size
    return op


def reap(backend: ThreadBackend, count: int) -> list[tuple[Operation, int]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    found: list[tuple[Operation, int]] = []
    while len(found) < count:
        assert time.monotonic() < deadline
        found += backend.reap()
        time.sleep(0)
    return found


Make = "Callable[..., tuple[ThreadBackend, list[int]]]"


def test_work_is_done_and_told(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, wakes = make()
    gate.set()
    operations = [gated(n) for n in range(20)]
    assert [backend.submit(op) for op in operations] == [0] * 20
    found = reap(backend, 20)
    assert {id(op): result for op, result in found} == {id(op): op.size for op in operations}
    assert backend.reap() == []
    backend.close()
    assert len(wakes) == 20


def test_threads_start_on_demand_and_are_bounded(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, _ = make(threads_max=3)
    assert backend.statistics().threads == 0
    for number in range(6):
        backend.submit(gated(number))
        assert backend.statistics().threads == min(number + 1, 3)
    assert backend.statistics().in_flight == 6
    gate.set()
    reap(backend, 6)
    statistics = backend.statistics()
    assert (statistics.name, statistics.in_flight, statistics.submitted) == ("threads", 0, 6)


def test_an_idle_thread_is_used_again(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, _ = make()
    gate.set()
    for number in range(10):
        backend.submit(gated(number))
        reap(backend, 1)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while backend._idle == 0:
            assert time.monotonic() < deadline
            time.sleep(0)
    assert backend.statistics().threads == 1


def test_an_idle_thread_keeps_nothing_alive(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    """An operation holds a transport, a buffer, a future."""
    backend, wakes = make()
    gate.set()
    op = Watched(GATED)
    op.size = 1
    ghost = weakref.ref(op)
    backend.submit(op)
    del op
    reap(backend, 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ghost() is not None:
        assert time.monotonic() < deadline
        time.sleep(0)
    assert wakes == [1]


def test_e11_a_full_queue_refuses(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, _ = make(threads_max=1, queue_max=2)
    taken = [gated(0)]
    backend.submit(taken[0])
    while backend.statistics().in_flight and backend._queue:
        time.sleep(0)
    taken += [gated(1), gated(2)]
    assert [backend.submit(op) for op in taken[1:]] == [0, 0]
    assert backend.submit(gated(3)) == -errno.EAGAIN
    gate.set()
    assert {op.size for op, _ in reap(backend, 3)} == {0, 1, 2}
    assert backend.submit(gated(4)) == 0


def test_e5_cancel_reaches_what_waits(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, wakes = make(threads_max=1)
    running, waiting = gated(1), gated(2)
    backend.submit(running)
    while backend._queue:
        time.sleep(0)
    backend.submit(waiting)
    backend.cancel(running)
    assert backend.reap() == []
    backend.cancel(waiting)
    backend.cancel(waiting)
    assert backend.reap() == [(waiting, -errno.ECANCELED)]
    assert wakes == [1]
    gate.set()
    assert reap(backend, 1) == [(running, 1)]
    backend.cancel(running)
    assert backend.reap() == []


def test_a_bug_is_eio_and_the_thread_goes_on(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, _ = make(threads_max=1)
    gate.set()
    backend.submit(gated(-1))
    backend.submit(gated(5))
    assert [result for _, result in reap(backend, 2)] == [-errno.EIO, 5]


def test_e12_close_gives_everything_back(
    make: Callable[..., tuple[ThreadBackend, list[int]]], gate: threading.Event
) -> None:
    backend, _ = make(threads_max=2)
    operations = [gated(n) for n in range(5)]
    for op in operations:
        backend.submit(op)
    while len(backend._queue) > 3:
        time.sleep(0)
    threading.Timer(0.002, gate.set).start()
    results = {op.size: result for op, result in backend.close()}
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert sorted(results.values()) == [-errno.ECANCELED] * 3 + [0, 1]
    assert backend.close() == []
    assert backend.submit(gated(9)) == -errno.EBADF
    statistics = backend.statistics()
    assert (statistics.in_flight, statistics.threads) == (0, 0)


def test_the_registry_makes_backends() -> None:
    assert list(BACKENDS) == ["threads"]
    backend = make_backend(lambda: None)
    assert isinstance(backend, ThreadBackend)
    assert backend.name == "threads"
    backend.close()
    with pytest.raises(KeyError):
        make_backend(lambda: None, "uring")


def test_a_backend_has_to_supply() -> None:
    backend = DiskBackend(lambda: None)
    op = Operation(next(iter(CATALOG)))
    for call in (
        lambda: backend.submit(op),
        lambda: backend.cancel(op),
        backend.reap,
        backend.statistics,
        backend.close,
    ):
        with pytest.raises(NotImplementedError):
            call()
