"""The backend `linux_aio`: what the kernel takes, what it does not, and what it answers."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core.catalog import CATALOG
from noria.core.codes import (
    DATASYNC,
    FSYNC,
    READ_AT,
    READ_INTO_AT,
    READ_VECTOR_AT,
    TRUNCATE,
    WRITE_AT,
    WRITE_VECTOR_AT,
)
from noria.core.descriptor import Descriptor
from noria.core.operation import AUTOMATIC, BACKEND, DIRECT, Operation
from noria.disk import linux_aio, queued
from noria.disk.disk import Disk
from noria.disk.registry import BACKENDS, choose
from noria.errors import EngineUnavailableError
from noria.files.file import File
from noria.files.filesystems import filesystem_of
from noria.files.opening import open_file
from noria.limits import GATHERED_FRACTION_MAX
from noria.native import linux_aio as native
from tests.disks import (
    BLOCK_BYTES,
    FakeQueue,
    FakeRequest,
    Files,
    Rig,
    direct_memory,
    files_in,
    operation,
    rig_of,
    traced,
    waits_for_no_disk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="calls of Unix")

PROBE = BACKENDS["linux_aio"].probe()
real = pytest.mark.skipif(not PROBE.available, reason=f"linux_aio: {PROBE.reason}")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    yield from files_in(tmp_path)


@pytest.fixture
def rig() -> Iterator[Rig]:
    yield from rig_of("linux_aio")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeQueue]]:
    """The backend over a queue that does as it is told."""

    class Queue(FakeQueue):
        pass

    monkeypatch.setattr(
        linux_aio,
        "native",
        SimpleNamespace(COMPILED=True, probe=lambda: 0, Iocb=FakeRequest, AioContext=Queue),
    )
    yield Queue
    assert not queued._given_up


# -- the kernel ---------------------------------------------------------------------------------


@real
def test_direct_operations_are_the_kernels(rig: Rig, files: Files) -> None:
    target, first, second = direct_memory(), direct_memory(), direct_memory()
    source = direct_memory()
    source[:] = b"\x5a" * BLOCK_BYTES
    fd = files.asynchronous
    files.forget()  # a write over cached pages would have to wait for them to go
    assert rig.do(
        operation(READ_INTO_AT, fd, target, BLOCK_BYTES),
        operation(READ_VECTOR_AT, fd, [first, second], 0),
        operation(WRITE_AT, fd, source, 8 * BLOCK_BYTES),
        operation(WRITE_VECTOR_AT, fd, [source, source], 9 * BLOCK_BYTES),
        operation(READ_INTO_AT, fd, direct_memory(), len(files.data)),
        way=DIRECT,
    ) == [BLOCK_BYTES, 2 * BLOCK_BYTES, BLOCK_BYTES, 2 * BLOCK_BYTES, 0]
    assert rig.do(operation(FSYNC, fd), operation(DATASYNC, fd), way=DIRECT) == [0, 0]
    assert bytes(target) == bytes(first) == bytes(second) == files.data[:BLOCK_BYTES]
    found = os.pread(files.buffered, 5 * BLOCK_BYTES, 7 * BLOCK_BYTES)
    expected = files.data[:BLOCK_BYTES]
    assert found == expected + bytes(source) * 3 + expected
    own = rig.own()
    assert (own.submitted, own.in_flight) == (7, 0)
    if filesystem_of(os.fstat(fd).st_dev, fd).type == "ext4":
        assert dict(own.rerouted) == {}, "others have writes wait more often"
    assert own.calls["taken"] == 7
    assert own.calls["io_submit"] == 2, "one for each flush"
    assert rig.routes() == {"linux_aio": 7, "threads": 0}


@real
def test_what_a_turn_gathers_is_one_call(rig: Rig, files: Files) -> None:
    reads = [
        operation(READ_INTO_AT, files.asynchronous, direct_memory(), number * BLOCK_BYTES)
        for number in range(15)
    ]
    rig.submit(*reads, way=DIRECT)
    assert rig.own().calls["io_submit"] == 0
    rig.finish()
    own = rig.own().calls
    assert (own["io_submit"], own["taken"]) == (1, 15)
    assert 0 < own["ring_reads"] + own["io_getevents"] <= 15
    assert [op.result for op in reads] == [BLOCK_BYTES] * 15


@real
def test_a_full_context_takes_the_rest_later(files: Files) -> None:
    """The kernel refuses with EAGAIN, and what ends makes room."""
    bell = os.eventfd(0, os.EFD_CLOEXEC)
    context = native.AioContext(bell, 1, 1000)
    requests = [
        native.Iocb(number, READ_INTO_AT, files.asynchronous, direct_memory(), 0, 0, 0)
        for number in range(1000)
    ]
    assert [context.submit(request) for request in requests] == [0] * 1000
    assert context.submit(requests[0]) == -errno.EAGAIN, "the queue has a bound"
    done: list[Any] = []
    while len(done) < 1000:
        if not context.flush():
            os.eventfd_read(bell)
        done += context.reap(64)
    assert sorted(request.token for request in done) == list(range(1000))
    assert {request.result for request in done} == {BLOCK_BYTES}
    assert context.calls()["full"] > 0
    assert context.close(0) == []
    os.close(bell)


@real
def test_what_is_not_cached_goes_to_a_thread(rig: Rig, files: Files) -> None:
    files.forget()
    target = bytearray(BLOCK_BYTES)
    assert rig.do(operation(READ_INTO_AT, files.buffered, target, 0)) == [BLOCK_BYTES]
    assert bytes(target) == files.data[:BLOCK_BYTES]
    if waits_for_no_disk(files.buffered):
        assert rig.own().rerouted in ({}, {linux_aio.WAITING: 1})
    else:
        assert rig.own().rerouted == {linux_aio.REFUSED: 1}


@real
def test_what_is_cached_in_part_is_not_the_end_of_the_file(rig: Rig, files: Files) -> None:
    size = 64 * BLOCK_BYTES
    os.posix_fadvise(files.buffered, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(50):
        files.forget()
        os.pread(files.buffered, BLOCK_BYTES, 0)
        try:
            count = os.preadv(files.buffered, [bytearray(size)], 0, os.RWF_NOWAIT)
        except OSError:
            count = 0
        if not 0 < count < size:
            pytest.skip("this file system gives all or nothing of what is cached in part")
        op = operation(READ_AT, files.buffered, size=size)
        assert rig.do(op) == [size]
        assert op.buffer == files.data[:size]
        if rig.own().rerouted:
            break  # the look above may have begun to read what was missing, and that was quicker
    assert rig.own().rerouted == {linux_aio.PARTLY_CACHED: 1}


@real
def test_the_end_of_the_file_is_told(rig: Rig, files: Files) -> None:
    past, last = (
        operation(READ_AT, files.buffered, offset=len(files.data) + extra, size=BLOCK_BYTES)
        for extra in (10, -10)
    )
    assert rig.do(past, last) == [0, 10]
    assert (past.buffer, last.buffer) == (b"", files.data[-10:])


@real
def test_buffered_writes_go_to_threads(rig: Rig, files: Files) -> None:
    assert rig.do(
        operation(WRITE_AT, files.buffered, b"one", 0),
        operation(WRITE_VECTOR_AT, files.buffered, [b"two", b"three"], 3),
    ) == [3, 8]
    assert os.pread(files.buffered, 11, 0) == b"onetwothree"
    assert rig.own().rerouted == {linux_aio.BUFFERED_WRITE: 2}


@real
def test_a_direct_write_behind_the_end(rig: Rig, files: Files) -> None:
    """It waits for the file to grow, so it must not be made by the loop."""
    end = len(files.data)
    assert rig.do(operation(WRITE_AT, files.direct, direct_memory(), end), way=DIRECT) == [
        BLOCK_BYTES
    ]
    assert os.fstat(files.direct).st_size == end + BLOCK_BYTES
    assert sum(rig.own().rerouted.values()) <= 1


@real
def test_codes_that_it_lacks(rig: Rig, files: Files) -> None:
    assert rig.do(operation(TRUNCATE, files.buffered, offset=10)) == [0]
    assert os.fstat(files.buffered).st_size == 10
    assert rig.routes() == {"linux_aio": 0, "threads": 1}


@real
def test_a_thread_has_the_last_word_about_what_is_refused(rig: Rig) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    full = os.open("/dev/full", os.O_RDWR)
    assert rig.do(operation(WRITE_AT, full, b"x"), way=DIRECT) == [-errno.ENOSPC]
    os.close(full)
    assert rig.do(operation(READ_AT, full, size=1)) == [-errno.EBADF]
    assert rig.do(operation(FSYNC, full)) == [-errno.EBADF]


@real
def test_a_pipe_has_no_positions(rig: Rig) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"data")
    assert rig.do(operation(READ_AT, reader, size=4)) == [-errno.ESPIPE]
    assert os.read(reader, 4) == b"data"
    os.close(reader)
    os.close(writer)


@real
def test_e4_misuse_is_raised_before_anything_has_changed(rig: Rig, files: Files) -> None:
    for code, buffer in [(READ_INTO_AT, b"constant"), (READ_INTO_AT, "text"), (READ_VECTOR_AT, 3)]:
        op = operation(code, files.buffered, buffer)
        op.begin(BACKEND)
        with pytest.raises((TypeError, BufferError)):
            rig.disk.submit(op)
    many = operation(READ_VECTOR_AT, files.buffered, [bytearray(1)] * 1025)
    many.begin(BACKEND)
    assert rig.disk.submit(many) == -errno.EINVAL
    assert rig.own().in_flight == 0


@real
def test_d4_memory_is_pinned_while_it_is_lent(rig: Rig, files: Files) -> None:
    target = bytearray(BLOCK_BYTES)
    op = operation(READ_INTO_AT, files.buffered, target)
    rig.submit(op)
    with pytest.raises(BufferError):
        target.append(1)
    rig.finish()
    op.buffer = None
    target.append(1)


@real
def test_e5_cancelling_reaches_what_was_not_handed_over(rig: Rig, files: Files) -> None:
    read = operation(READ_INTO_AT, files.direct, direct_memory(), 0)
    rig.submit(read, way=DIRECT)
    rig.disk.cancel(read)
    rig.disk.cancel(read)
    rig.finish()
    assert read.result == -errno.ECANCELED
    rig.submit(read, way=DIRECT)
    rig.disk.flush()
    rig.disk.cancel(read)
    rig.finish()
    assert read.result == BLOCK_BYTES
    assert rig.own().calls["io_cancel"] <= 1


@real
def test_many_in_flight_are_handed_over_before_the_turns_end(rig: Rig, files: Files) -> None:
    reads = [operation(READ_INTO_AT, files.direct, direct_memory(), 0) for _ in range(64)]
    rig.submit(*reads, way=DIRECT)
    before = rig.own().calls["io_submit"]
    assert 2 <= before <= 64 - GATHERED_FRACTION_MAX, "not one by one, and not only at the end"
    rig.finish()
    assert {op.result for op in reads} == {BLOCK_BYTES}


@real
def test_e12_closing_gives_everything_back(rig: Rig, files: Files) -> None:
    reads = [operation(READ_INTO_AT, files.direct, direct_memory(), 0) for _ in range(15)]
    rig.submit(*reads[:10], way=DIRECT)
    rig.disk.flush()
    rig.submit(*reads[10:], way=DIRECT)
    rig.close()
    assert rig.waiting == 0
    assert {op.result for op in reads[:10]} <= {BLOCK_BYTES, -errno.ECANCELED}
    assert {op.result for op in reads[10:]} == {-errno.ECANCELED}
    assert rig.own().calls["io_destroy"] == 1


@real
def test_e10_a_forked_child_leaves_the_context_alone(files: Files) -> None:
    rig = Rig("linux_aio")
    reads = [operation(READ_INTO_AT, files.direct, direct_memory(), 0) for _ in range(2)]
    rig.submit(reads[0], way=DIRECT)
    rig.disk.flush()
    child = os.fork()
    if child == 0:
        rig.disk.abandon()
        rig.disk = None  # type: ignore[assignment]
        queued.sweep()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert rig.do(reads[1], way=DIRECT) == [BLOCK_BYTES]
    assert reads[0].result == BLOCK_BYTES
    rig.close()


@real
def test_there_is_no_room_for_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fs.aio-max-nr allows: forced it is an error, else threads do everything."""
    monkeypatch.setattr(linux_aio, "AIO_EVENTS", 4_000_000)
    with pytest.raises(OSError, match=r"fs\.aio-max-nr"):
        Rig("linux_aio")
    monkeypatch.delenv("NORIA_DISK", raising=False)
    disk = Disk(lambda: None, choose(None, "there is no ring"))
    op = operation(FSYNC, -1)
    op.way = DIRECT
    op.begin(BACKEND)
    assert disk.submit(op) == 0
    statistics = disk.statistics()
    disk.close([])
    assert (statistics.name, statistics.routes["threads"]) == ("threads", 1)
    assert "linux_aio cannot be set up" in statistics.reason


@real
def test_direct_files_of_a_loop_without_a_ring_come_here(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By themselves, and nothing else does."""
    assert files.asynchronous
    monkeypatch.delenv("NORIA_DISK", raising=False)

    async def main() -> dict[str, int]:
        direct = await open_file(File, files.path, os.O_RDWR, direct=True)
        buffered = await open_file(File, files.path, os.O_RDWR)
        reads = [direct.read_at(BLOCK_BYTES, number * BLOCK_BYTES) for number in range(20)]
        assert b"".join(await asyncio.gather(*reads)) == files.data[: 20 * BLOCK_BYTES]
        await buffered.write_at(b"data", 0)
        routes = dict(direct.host.engine.disk_statistics().routes)
        await direct.close()
        await buffered.close()
        return routes

    with asyncio.Runner(loop_factory=lambda: noria.new_event_loop("epoll")) as runner:
        assert runner.run(main())["linux_aio"] == 20


# -- what the calls are, as strace sees them ----------------------------------------------------

PROGRAM = """
import os, sys
from pathlib import Path
from noria.core.codes import READ_INTO_AT
from noria.core.operation import DIRECT
from tests.disks import Files, Rig, direct_memory, operation
files, rig = Files(Path(sys.argv[1])), Rig("linux_aio")
reads = [operation(READ_INTO_AT, files.direct, direct_memory(), n * 4096) for n in range(15)]
results = rig.do(*reads, way=DIRECT)
own = rig.own()
rig.close()
print(set(results), own.calls["io_submit"], own.calls["taken"], dict(own.rerouted))
"""


CALLS = ("-e", "trace=io_setup,io_submit,io_destroy")


@real
def test_the_calls_are_made(tmp_path: Path, files: Files) -> None:
    assert files.asynchronous
    printed, calls = traced(tmp_path, PROGRAM, *CALLS)
    assert printed == "{4096} 1 15 {}"
    assert len(re.findall(r"io_submit\(.*= 15$", calls, re.MULTILINE)) == 1
    assert len(re.findall(r"io_setup\(512", calls)) == len(re.findall(r"io_destroy\(", calls)) == 1


@real
@pytest.mark.parametrize(
    ("fault", "printed"),
    [
        ("io_submit:error=EINTR:when=1", "{4096} 2 15 {}"),
        ("io_submit:error=EAGAIN:when=1", f"{{4096}} 2 14 {{{linux_aio.REFUSED!r}: 1}}"),
        ("io_submit:error=ENOSYS", f"{{4096}} 15 0 {{{linux_aio.REFUSED!r}: 15}}"),
    ],
)
def test_faults_of_io_submit(tmp_path: Path, files: Files, fault: str, printed: str) -> None:
    assert files.asynchronous
    assert traced(tmp_path, PROGRAM, *CALLS, "-e", f"inject={fault}")[0] == printed


# -- faults, by a queue that does as it is told -------------------------------------------------


@pytest.mark.parametrize("failure", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINVAL])
@pytest.mark.parametrize("code", [READ_INTO_AT, WRITE_AT, FSYNC])
def test_a_failure_is_passed_on(
    fake: type[FakeQueue], files: Files, failure: int, code: int
) -> None:
    fake.script = lambda request: -failure
    rig = Rig("linux_aio")
    assert rig.do(operation(code, files.buffered, bytearray(8)), way=DIRECT) == [-failure]
    assert rig.own().rerouted == {}
    rig.close()


@pytest.mark.parametrize(
    ("code", "way", "outcome", "reason"),
    [
        (READ_INTO_AT, AUTOMATIC, -errno.EAGAIN, linux_aio.WAITING),
        (READ_INTO_AT, DIRECT, -errno.EAGAIN, linux_aio.WAITING),
        (WRITE_AT, DIRECT, -errno.EOPNOTSUPP, linux_aio.WAITING),
        (READ_INTO_AT, DIRECT, -errno.EINTR, queued.INTERRUPTED),
        (FSYNC, DIRECT, -errno.EINTR, queued.INTERRUPTED),
        (READ_INTO_AT, AUTOMATIC, 5, linux_aio.PARTLY_CACHED),
        (READ_INTO_AT, DIRECT, 5, ""),
        (WRITE_AT, DIRECT, 5, ""),
        (READ_INTO_AT, DIRECT, 0, ""),
        (FSYNC, AUTOMATIC, (-errno.EINVAL,), linux_aio.REFUSED),
        (READ_INTO_AT, DIRECT, (-errno.EAGAIN,), linux_aio.REFUSED),
    ],
)
def test_what_threads_have_to_do(
    fake: type[FakeQueue], files: Files, code: int, way: int, outcome: Any, reason: str
) -> None:
    fake.script = lambda request: outcome
    rig = Rig("linux_aio")
    memory = bytearray(files.data[:BLOCK_BYTES])
    (result,) = rig.do(operation(code, files.buffered, memory), way=way)
    if reason:
        assert result == (0 if code == FSYNC else BLOCK_BYTES), "all of it, by a thread"
    else:
        assert result == outcome
    assert rig.own().rerouted == ({reason: 1} if reason else {})
    rig.close()


def test_what_was_cancelled_is_not_done_by_a_thread(fake: type[FakeQueue], files: Files) -> None:
    fake.script = lambda request: -errno.EAGAIN
    rig = Rig("linux_aio")
    op = operation(READ_INTO_AT, files.buffered, bytearray(8))
    rig.submit(op)
    rig.disk.flush()
    op.cancelled = True
    rig.finish()
    assert op.result == -errno.ECANCELED
    assert rig.own().rerouted == {}
    rig.close()


def test_a_replaced_row_is_done_as_it_says(
    fake: type[FakeQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOG, FSYNC, CATALOG[FSYNC]._replace(attempt=lambda op: 77))
    rig = Rig("linux_aio")
    assert rig.do(operation(FSYNC, 0)) == [77]
    assert rig.own().rerouted == {queued.REPLACED: 1}
    rig.close()


def test_d2_what_does_not_end_is_given_up_with_its_lease(fake: type[FakeQueue]) -> None:
    made: list[FakeQueue] = []
    original = fake.__init__

    def remembered(self: FakeQueue, *arguments: Any) -> None:
        original(self, *arguments)
        made.append(self)

    fake.__init__ = remembered  # type: ignore[method-assign]
    fake.script = lambda request: None
    rig = Rig("linux_aio")
    descriptor = Descriptor(os.open(os.devnull, os.O_RDONLY))
    op = operation(READ_INTO_AT, descriptor.fd, bytearray(8))
    op.descriptor = descriptor
    rig.submit(op)
    rig.disk.flush()
    rig.close()
    assert op.result == -errno.EIO
    descriptor.close()
    queued.sweep()
    assert not descriptor.closed, "the number could become another file's under the kernel"
    made[0].end(8)
    queued.sweep()
    assert descriptor.closed
    assert made[0].closed == 2, "the context is destroyed once it is empty"


def test_a_system_without_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for failure, words in [(errno.ENOSYS, "no io_setup"), (errno.EPERM, "not permitted")]:
        answer = -failure
        monkeypatch.setattr(
            linux_aio, "native", SimpleNamespace(COMPILED=True, probe=lambda answer=answer: answer)
        )
        with pytest.raises(EngineUnavailableError, match=words):
            choose("linux_aio", "")


def test_the_interpreted_build_says_what_it_lacks() -> None:
    if native.COMPILED:
        assert native.probe() <= 0
        return
    assert PROBE == (False, "needs the compiled build")
    with pytest.raises(OSError, match="compiled"):
        native.AioContext(-1, 1, 1)
    with pytest.raises(OSError, match="compiled"):
        native.Iocb(None, READ_AT, 0, None, 0, 1, 0)
    assert native.probe() == -errno.ENOSYS


def test_a_backend_of_this_kind_has_to_supply() -> None:
    with pytest.raises(NotImplementedError):
        queued.QueuedBackend(lambda: None, -1, None)
    assert isinstance(operation(FSYNC, 0), Operation)
