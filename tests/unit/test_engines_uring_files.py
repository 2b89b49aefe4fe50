"""Files on the ring: its bounds, its workers' credentials, and parking with work in flight."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core import codes
from noria.core.operation import BACKEND, DIRECT, NATIVE, SETTLED
from noria.disk.registry import RING
from noria.engines import ring_files, uring
from noria.limits import (
    GATHERED_FRACTION_MAX,
    OFFLOAD_QUEUE_MAX,
    RING_WORKERS_MAX,
    UNASKED_CANCELS_MAX,
)
from noria.native.ring import Lent, Ring
from tests.driver import Driver, Recorded
from tests.ledger import Ledger, ledger
from tests.rings import Token, in_child, needs_uring, open_ring

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["ledger"]

pytestmark = needs_uring

_OPEN, _READ = 18, 22  # of io_uring_enter(2)
_NOBODY = 65534


class Unsteady(Ring):
    """A ring whose requests on files end as the attribute `answers` says, while there are some."""

    answers: list[int]

    def take(self) -> bool:
        taken = super().take()
        if taken and isinstance(self.token, Recorded) and self.answers:
            self.result = self.answers.pop(0)
        return taken


def asked(code: int, fd: int = -1, **attributes: Any) -> Recorded:
    op = Recorded(code, fd)
    for name, value in attributes.items():
        setattr(op, name, value)
    return op


@pytest.fixture
def driver(ledger: Ledger) -> Iterator[Driver]:
    engine = uring.UringEngine()
    ledger.watch(engine)
    made = Driver(engine)
    yield made
    made.close()


def workers() -> int:
    """Threads that the kernel has added to this process for rings."""
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return sum(name.startswith("iou-wrk") for name in names)


# -- the native room ------------------------------------------------------------------------


def test_lent_memory() -> None:
    data = bytearray(b"abc")
    lent = Lent(data)
    assert lent.size == 3
    with pytest.raises(BufferError):
        data.append(1)
    with pytest.raises(ValueError, match="not new"):
        lent.written(1)
    del lent
    data.append(1)
    with pytest.raises(TypeError):
        Lent("text")
    fresh = Lent(None, 10)
    assert (fresh.size, len(fresh.written(4))) == (10, 4)
    with pytest.raises(ValueError, match="taken already"):
        fresh.written(4)
    assert Lent(None).written(0) == b""


def test_a_request_by_its_fields(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    ring = open_ring()
    token, memory = Token(), Lent(None, 100)
    with (tmp_path / "file").open("rb") as file:
        assert ring.prepare_call(token, _READ, file.fileno(), memory.address, 4, 3, 0, False)
        assert ring.enter(1_000_000_000) == 0
        assert ring.take()
    assert (ring.token, ring.result, ring.more) == (token, 3, False)
    assert memory.written(3) == b"456"
    ring.close()


def test_what_the_kernel_knows() -> None:
    ring = open_ring()
    assert ring.supports(_OPEN)
    assert not ring.supports(255)
    ring.close()
    assert not ring.supports(_OPEN)


def test_a_restricted_ring_does_sockets_only() -> None:
    ring = Ring(8, 32)
    assert ring.restrict() == 0
    assert ring.enable() == 0
    token, name = Token(), Lent(b"/")
    ring.prepare_call(token, _OPEN, -100, name.address, 0, 0, 0, False)
    assert ring.enter(1_000_000_000) == 0
    assert ring.take()
    assert ring.result == -errno.EACCES
    assert not ring.supports(_OPEN)
    assert ring.bound_workers(1) == -errno.EACCES
    ring.close()


# -- the engine -----------------------------------------------------------------------------


def test_every_row_that_blocks_is_the_rings(driver: Driver) -> None:
    driver.poll()
    assert ring_files.supported(driver.engine._ring) == set(  # type: ignore[attr-defined]
        ring_files._OPERATIONS
    )


def test_what_the_kernel_does_not_know_goes_to_a_thread(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_files, "supported", lambda ring: frozenset({codes.OPEN_AT}))
    op = asked(codes.STATUS_AT, buffer="/")
    driver.submit(op)
    driver.finish(op)
    assert (op.results, op.route) == ([0], BACKEND)


class Counting(uring.UringEngine):
    """Counts its early submissions, and fails them if it is told to."""

    flushes = 0
    failing = False

    def flush(self) -> None:
        self.flushes += 1
        if self.failing:
            raise OSError(errno.EBADR, "not now")
        uring.UringEngine.flush(self)


@pytest.mark.parametrize("failing", [False, True])
def test_e4_many_in_flight_are_submitted_early(ledger: Ledger, failing: bool) -> None:
    """The device is not to wait for the turn's end; a failure of that is nobody's operation."""
    engine = Counting()
    engine.failing = failing
    ledger.watch(engine)
    driver = Driver(engine)
    driver.poll()
    few = [asked(codes.STATUS_AT, buffer="/") for _ in range(GATHERED_FRACTION_MAX - 1)]
    driver.submit(*few)
    assert engine.flushes == 0, "one call of the turn's is enough for these"
    many = [asked(codes.STATUS_AT, buffer="/") for _ in range(64)]
    assert not driver.submit(*many)
    assert 2 <= engine.flushes < len(many)
    driver.finish(*few, *many)
    assert {op.result for op in few + many} == {0}
    driver.close()


def test_e11_no_more_than_a_bound_at_a_time(driver: Driver) -> None:
    operations = [asked(codes.STATUS_AT, buffer="/") for _ in range(OFFLOAD_QUEUE_MAX + 5)]
    driver.submit(*operations)
    assert [op.results for op in operations].count([-errno.EAGAIN]) == 5
    assert driver.statistics().in_flight == OFFLOAD_QUEUE_MAX
    driver.finish(*operations)
    assert [op.result for op in operations].count(0) == OFFLOAD_QUEUE_MAX


def test_workers_change_one_file_at_a_time(driver: Driver, tmp_path: Path) -> None:
    """What comes meanwhile goes by threads; direct writes go by the ring, and count."""
    one, other = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("one", "other"))
    files = [one, other, one, one, one, one, one, other]
    writes = [asked(codes.WRITE_AT, fd, buffer=b"x", size=1) for fd in files]
    driver.submit(*writes)
    assert [op.route for op in writes[:5]] == [NATIVE, BACKEND, NATIVE, NATIVE, NATIVE]
    assert [op.route for op in writes[5:]] == [BACKEND] * 3
    driver.finish(*writes)

    direct = [asked(codes.WRITE_AT, fd, buffer=b"x", size=1, way=DIRECT) for fd in (one, other)]
    after = [asked(codes.DATASYNC, fd) for fd in (one, other)]
    driver.submit(*direct, *after)
    assert [op.route for op in direct + after] == [NATIVE, NATIVE, BACKEND, BACKEND]
    driver.finish(*direct, *after)

    last = asked(codes.DATASYNC, other)
    driver.submit(last)
    assert last.route == NATIVE
    driver.finish(last)
    os.close(one)
    os.close(other)


def test_a_ring_that_was_asked_for_does_everything(driver: Driver, tmp_path: Path) -> None:
    driver.engine.use_disk(RING)
    numbers = [os.open(tmp_path / f"{index}", os.O_RDWR | os.O_CREAT) for index in range(9)]
    writes = [asked(codes.WRITE_AT, fd, buffer=b"x", size=1) for fd in numbers]
    driver.submit(*writes)
    assert [op.route for op in writes] == [NATIVE] * 9
    driver.finish(*writes)
    for fd in numbers:
        os.close(fd)


def test_e11_workers_are_bounded(driver: Driver, tmp_path: Path) -> None:
    """Opening a FIFO keeps its worker until somebody opens the other end."""
    os.mkfifo(tmp_path / "pipe")
    operations = [
        asked(codes.OPEN_AT, buffer=tmp_path / "pipe", size=os.O_RDONLY)
        for _ in range(4 * RING_WORKERS_MAX)
    ]
    driver.submit(*operations)
    for _ in range(10):
        driver.poll(0.01)
    assert 0 < workers() <= 2 * RING_WORKERS_MAX
    assert all(op.in_flight for op in operations)
    for op in operations:
        driver.engine.cancel(op)
    driver.finish(*operations)
    assert {op.result for op in operations} == {-errno.ECANCELED}


@pytest.mark.parametrize("number", [errno.ECANCELED, errno.EINTR, 512])
def test_cancellations_that_nobody_asked_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Submitted once more, as nothing had begun; the second time it is a failure."""

    def make() -> Ring:
        ring = Unsteady(8, 32)
        ring.answers = []
        return ring

    monkeypatch.setattr(uring, "make_ring", make)
    engine = uring.UringEngine()
    ledger.watch(engine)
    driver = Driver(engine)
    for count, expected in ((UNASKED_CANCELS_MAX, 0), (UNASKED_CANCELS_MAX + 1, -errno.ECANCELED)):
        engine._ring.answers = [-number] * count  # type: ignore[attr-defined]
        op = asked(codes.STATUS_AT, buffer="/")
        driver.submit(op)
        driver.finish(op)
        assert op.results == [expected]
        assert not op.cancelled
    driver.close()


@pytest.mark.parametrize("number", [errno.EINTR, 512])
def test_an_interrupted_close_has_closed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Closing once more would close somebody else's file."""

    def make() -> Ring:
        ring = Unsteady(8, 32)
        ring.answers = [-number]
        return ring

    monkeypatch.setattr(uring, "make_ring", make)
    engine = uring.UringEngine()
    ledger.watch(engine)
    driver = Driver(engine)
    op = asked(codes.CLOSE_FILE, os.open("/", os.O_RDONLY))
    driver.submit(op)
    driver.finish(op)
    assert op.results == [0]
    assert engine.retried == 0
    driver.close()


def test_parking_takes_back_what_waits(driver: Driver, tmp_path: Path) -> None:
    """A worker that waits for a peer does not keep a run from ending; the next one goes on."""
    os.mkfifo(tmp_path / "pipe")
    opened = asked(codes.OPEN_AT, buffer=tmp_path / "pipe", size=os.O_RDONLY)
    made = asked(codes.MAKE_DIRECTORY_AT, buffer=tmp_path / "new", offset=0o700)
    driver.submit(opened, made)
    driver.poll(0.02)
    started = time.monotonic()
    driver.engine.park()
    assert time.monotonic() - started < 1.0
    assert opened.in_flight
    assert driver.statistics().in_flight >= 1
    driver.engine.resume()
    driver.poll(0.02)
    assert opened.in_flight
    writing = os.open(tmp_path / "pipe", os.O_RDWR)
    driver.finish(opened, made)
    assert (opened.route, made.results) == (NATIVE, [0])
    os.close(writing)
    os.close(opened.result)


def test_closing_while_parked(driver: Driver, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    op = asked(codes.OPEN_AT, buffer=tmp_path / "pipe", size=os.O_RDONLY)
    driver.submit(op)
    driver.poll(0.02)
    driver.engine.park()
    driver.close()
    assert (op.state, op.results) == (SETTLED, [-errno.ECANCELED])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights away")
def test_workers_do_not_keep_old_rights(tmp_path: Path) -> None:
    """After seteuid(2) and setgroups(2) the ring may open what the process may, and no more."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    secret.chmod(0o600)

    def child() -> None:
        engine = uring.UringEngine()
        driver = Driver(engine)

        def open_it() -> int:
            op = asked(codes.OPEN_AT, buffer=secret, size=os.O_RDONLY)
            driver.submit(op)
            driver.finish(op)
            assert op.route == NATIVE
            if op.result >= 0:
                os.close(op.result)
            return op.result

        assert open_it() >= 0
        assert workers() > 0, "the worker that has the old rights is there"
        os.setgroups([])
        os.setegid(_NOBODY)
        os.seteuid(_NOBODY)
        assert open_it() == -errno.EACCES
        driver.close()

    for each in (tmp_path, *tmp_path.parents[:-1]):
        if not each.stat().st_mode & 0o001 and each.owner() == "root" and each != Path("/tmp"):
            each.chmod(each.stat().st_mode | 0o011)
    assert in_child(child) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the root directory")
def test_workers_see_the_root_directory_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "only-here").write_bytes(b"")

    def child() -> None:
        engine = uring.UringEngine()
        driver = Driver(engine)

        def look() -> int:
            op = asked(codes.OPEN_AT, buffer="/only-here", size=os.O_RDONLY)
            driver.submit(op)
            driver.finish(op)
            return op.result

        assert look() == -errno.ENOENT
        os.chroot(tmp_path)
        assert look() >= 0
        driver.close()

    assert in_child(child) == 0


def test_a_loop_with_files_is_closed_and_nothing_stays(ledger: Ledger, tmp_path: Path) -> None:
    for _ in range(20):
        loop = noria.new_event_loop("uring")
        op = asked(codes.OPEN_AT, buffer=tmp_path / "new", size=os.O_CREAT, offset=0o600)
        loop.submit(op)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        for event in op.events:
            if event.result >= 0:
                os.close(event.result)
