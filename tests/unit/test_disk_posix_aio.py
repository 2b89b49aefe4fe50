"""The backend `posix_aio`, in each of its ways to learn what is done."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from noria.core.codes import (
    DATASYNC,
    FSYNC,
    READ_AT,
    READ_INTO_AT,
    READ_VECTOR_AT,
    WRITE_AT,
)
from noria.core.operation import BACKEND, Operation
from noria.disk import posix_aio, queued
from noria.disk.registry import BACKENDS, choose
from noria.errors import EngineUnavailableError
from noria.native import posix_aio as native
from tests.disks import (
    BLOCK_BYTES,
    PATIENCE_SECONDS,
    FakeQueue,
    FakeRequest,
    Files,
    Rig,
    files_in,
    operation,
    rig_of,
    traced,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.core.operation import Operation

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="calls of Unix")

HERE = native.COMPILED and native.probe(native.BY_SUSPEND) == 0
real = pytest.mark.skipif(not HERE, reason="there is no aio_read in this build or C library")
MODES = [
    name for name, number in posix_aio.MODES.items() if HERE and native.probe(number) == 0
] or ["suspend"]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    yield from files_in(tmp_path)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    found: str = request.param
    monkeypatch.setenv(posix_aio.VARIABLE, found)
    return found


@pytest.fixture
def rig(mode: str) -> Iterator[Rig]:
    yield from rig_of("posix_aio")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeQueue]]:
    """The backend over a queue that does as it is told."""

    class Queue(FakeQueue):
        pass

    stand_in = SimpleNamespace(
        COMPILED=True,
        BY_THREAD=0,
        BY_SUSPEND=2,
        probe=lambda mode: 0,
        free_signal=lambda: 0,
        Aiocb=FakeRequest,
        AioQueue=Queue,
    )
    monkeypatch.setattr(posix_aio, "native", stand_in)
    yield Queue
    assert not queued._given_up


def caught() -> set[int]:
    """Signals that have a handler in this process (proc_pid_status(5))."""
    text = Path("/proc/self/status").read_text()
    mask = int(re.findall(r"^SigCgt:\s*(\w+)", text, re.MULTILINE)[0], 16)
    return {number + 1 for number in range(64) if mask >> number & 1}


def run(program: str, **environment: str) -> str:
    """What a program of its own prints."""
    path = os.pathsep.join([*sys.path[1:], str(Path.cwd())])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# -- the C library ------------------------------------------------------------------------------


@real
def test_operations_are_the_librarys(rig: Rig, files: Files) -> None:
    fd = files.buffered
    target = bytearray(BLOCK_BYTES)
    read = operation(READ_AT, fd, offset=10, size=100)
    assert rig.do(
        read,
        operation(READ_INTO_AT, fd, target, BLOCK_BYTES),
        operation(WRITE_AT, fd, b"written", 8 * BLOCK_BYTES),
        operation(READ_AT, fd, offset=len(files.data) - 10, size=100),
        operation(READ_AT, fd, offset=len(files.data), size=100),
    ) == [100, BLOCK_BYTES, 7, 10, 0]
    assert read.buffer == files.data[10:110]
    assert bytes(target) == files.data[:BLOCK_BYTES]
    assert os.pread(fd, 7, 8 * BLOCK_BYTES) == b"written"
    assert rig.do(operation(FSYNC, fd), operation(DATASYNC, fd)) == [0, 0]
    assert rig.do(operation(WRITE_AT, fd, b"one")) == [3]
    assert rig.do(operation(READ_AT, fd, size=3)) == [3]
    own = rig.own()
    assert (own.submitted, own.in_flight, own.threads, dict(own.rerouted)) == (9, 0, 1, {})
    calls = own.calls
    assert (calls["lio_listio"], calls["listed"]) == (1, 5)
    assert (calls["aio_fsync"], calls["aio_read"], calls["aio_write"]) == (2, 1, 1)
    assert calls["aio_return"] == 9, "once for each"
    assert rig.routes() == {"posix_aio": 9, "threads": 0}


@real
def test_many_are_all_told(rig: Rig, files: Files, mode: str) -> None:
    reads = [
        operation(READ_AT, files.buffered, offset=number * 100, size=100) for number in range(1000)
    ]
    rig.submit(*reads)
    assert len(rig.finish()) == 1000
    assert all(
        op.buffer == files.data[number * 100 : number * 100 + 100]
        for number, op in enumerate(reads)
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while mode == "signal" and rig.own().calls["told"] < 1000:  # a look may have been quicker
        assert time.monotonic() < deadline, "a signal has not come"
        time.sleep(0.001)
    calls = rig.own().calls
    assert calls["listed"] == calls["aio_return"] == 1000
    assert calls["lio_listio"] == 4, "256 at a time"
    assert (calls["aio_suspend"] > 0) == (mode == "suspend")
    if mode == "signal":
        assert calls["told"] == 1000
        assert calls["signal"] in range(signal.SIGRTMIN, signal.SIGRTMAX + 1)


@real
def test_what_the_library_refuses_goes_to_a_thread(rig: Rig, tmp_path: Path) -> None:
    """POSIX wants a file open for writing; fsync(2) takes any, and its word counts."""
    directory = os.open(tmp_path, os.O_RDONLY)
    assert rig.do(operation(FSYNC, directory)) == [0]
    os.close(directory)
    before = rig.own().rerouted.get(posix_aio.REFUSED, 0)
    assert rig.do(operation(FSYNC, directory)) == [-errno.EBADF]
    assert rig.own().rerouted[posix_aio.REFUSED] == before + 1
    assert rig.do(operation(READ_AT, directory, size=1)) == [-errno.EBADF]


@real
def test_a_pipe_has_no_positions(rig: Rig) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"data")
    assert rig.do(operation(READ_AT, reader, size=4)) == [-errno.ESPIPE]
    assert os.read(reader, 4) == b"data"
    os.close(reader)
    os.close(writer)


@real
def test_a_failing_write(rig: Rig) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    full = os.open("/dev/full", os.O_RDWR)
    writes = [operation(WRITE_AT, full, b"x") for _ in range(3)]
    assert rig.do(*writes) == [-errno.ENOSPC] * 3
    os.close(full)


@real
def test_e4_misuse_is_raised_before_anything_has_changed(rig: Rig, files: Files) -> None:
    for buffer in (b"constant", "text"):
        op = operation(READ_INTO_AT, files.buffered, buffer)
        op.begin(BACKEND)
        with pytest.raises((TypeError, BufferError)):
            rig.disk.submit(op)
    assert rig.own().in_flight == 0


@real
def test_a_full_queue_refuses(files: Files) -> None:
    queue = native.AioQueue(native.BY_SUSPEND, -1, 2, 10**7, 10**6, 256 * 1024)
    requests = [native.Aiocb(n, READ_AT, files.buffered, None, 0, 10, 0) for n in range(3)]
    assert [queue.submit(each) for each in requests] == [0, 0, -errno.EAGAIN]
    assert queue.cancel(requests[0])
    assert queue.submit(requests[2]) == 0
    assert queue.close(0) == []
    assert {each.result for each in queue.reap(10)} == {-errno.ECANCELED}


@real
def test_e5_cancelling(rig: Rig, files: Files) -> None:
    """What was not handed over ends at once, what runs as it does, and what queues in the library
    by aio_cancel."""
    waiting = operation(READ_AT, files.buffered, size=10)
    rig.submit(waiting)
    rig.disk.cancel(waiting)
    rig.finish()
    assert waiting.result == -errno.ECANCELED
    reads = [operation(READ_AT, files.buffered, size=len(files.data)) for _ in range(200)]
    rig.submit(*reads)
    rig.disk.flush()
    for op in reversed(reads):
        rig.disk.cancel(op)
    rig.finish()
    assert {op.result for op in reads} <= {len(files.data), -errno.ECANCELED}
    assert -errno.ECANCELED in {op.result for op in reads}
    assert 0 < rig.own().calls["aio_cancel"] <= 200
    assert rig.own().in_flight == 0


@real
def test_e12_closing_gives_everything_back(rig: Rig, files: Files) -> None:
    reads = [operation(READ_AT, files.buffered, size=len(files.data)) for _ in range(100)]
    rig.submit(*reads[:50])
    rig.disk.flush()
    rig.submit(*reads[50:])
    rig.close()
    assert rig.waiting == 0
    assert {op.result for op in reads[:50]} <= {len(files.data), -errno.ECANCELED}
    assert {op.result for op in reads[50:]} == {-errno.ECANCELED}
    own = rig.own()
    assert (own.threads, own.in_flight, own.calls["signal"]) == (0, 0, 0)


@real
def test_the_helper_of_an_idle_queue_sleeps(rig: Rig, files: Files, mode: str) -> None:
    rig.do(operation(READ_AT, files.buffered, size=1))
    before = rig.own().calls
    time.sleep(0.05)
    assert rig.own().calls == before


# -- the signal ---------------------------------------------------------------------------------


@real
@pytest.mark.skipif("signal" not in MODES, reason="there are no real-time signals")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_the_signal_is_free_reported_and_given_back(
    monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    monkeypatch.setenv(posix_aio.VARIABLE, "signal")
    used = native.free_signal()
    received: list[int] = []
    before = signal.signal(used, lambda number, frame: received.append(number))
    try:
        handled = caught()
        first, second = Rig("posix_aio"), Rig("posix_aio")
        numbers = {rig.own().calls["signal"] for rig in (first, second)}
        assert len(numbers) == 2
        assert used not in numbers
        assert caught() == handled | numbers
        probe = BACKENDS["posix_aio"].probe()
        assert probe.reason == f"ends are told by signal {native.free_signal()}"
        reads = [operation(READ_AT, files.buffered, size=10) for _ in range(20)]
        first.submit(*reads[:10])
        second.submit(*reads[10:])
        first.finish()
        second.finish()
        assert first.own().calls["told"] == second.own().calls["told"] == 10
        assert caught() == handled | numbers
        first.close()
        second.close()
        assert caught() == handled
        assert received == []
    finally:
        signal.signal(used, before)


@real
@pytest.mark.skipif("signal" not in MODES, reason="there are no real-time signals")
def test_no_signal_is_free() -> None:
    program = """
import signal
from noria.disk.registry import BACKENDS
for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
    signal.signal(number, signal.SIG_IGN)
print(BACKENDS["posix_aio"].probe().reason)
try:
    BACKENDS["posix_aio"](lambda: None, 0, None)
except OSError as exc:
    print(type(exc).__name__)
"""
    printed = run(program, NORIA_POSIX_AIO="signal")
    assert printed.splitlines() == ["no real-time signal is free", "BlockingIOError"]


PROGRAM = """
import os, resource, sys, tempfile
from pathlib import Path
from noria.core.codes import FSYNC, READ_AT, WRITE_AT
from tests.disks import Files, Rig, operation
with tempfile.TemporaryDirectory() as directory:
    files, rig = Files(Path(directory)), Rig("posix_aio")
    appending = os.open(files.path, os.O_RDWR | os.O_APPEND)
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
    reads = [operation(READ_AT, files.buffered, size=10, offset=n) for n in range(50)]
    print(set(rig.do(*reads)), all(op.buffer == files.data[n:n + 10] for n, op in enumerate(reads)))
    print(rig.do(operation(WRITE_AT, files.buffered, b"written", 5)), os.pread(appending, 9, 4))
    print(rig.do(operation(FSYNC, files.buffered), operation(WRITE_AT, appending, b"once")))
    print(os.fstat(appending).st_size - len(files.data))
    own = rig.own()
    print(own.calls["told"], own.calls["found"], dict(own.rerouted))
    rig.close()
"""


@real
@pytest.mark.skipif("signal" not in MODES, reason="there are no real-time signals")
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_SIGPENDING is of Linux")
def test_signals_that_do_not_arrive() -> None:
    """The kernel has no room for them; what is in flight is asked after a while.

    glibc has put EAGAIN in the place of the results then. Reads and writes are done again; but not
    a write to the end, which would be there twice, nor a sync, whose failure is told only once.
    """
    lines = run(PROGRAM, NORIA_POSIX_AIO="signal").splitlines()
    told, found, rerouted = lines[4].split(" ", 2)
    assert lines[0] == "{10} True"
    assert lines[3] == "4"
    assert (told, int(found)) == ("0", 53)
    if rerouted == "{}":  # a C library that keeps the results
        assert lines[1:3] == ["[7] b'\\x04written\\x0c'", "[0, 4]"]
    else:
        assert lines[1:3] == ["[7] b'\\x04written\\x0c'", f"[{-errno.EIO}, {-errno.EIO}]"]
        assert rerouted == f"{{{posix_aio.LOST!r}: 51}}"


# -- without a bell -----------------------------------------------------------------------------


@real
def test_without_a_bell_a_thread_of_python_waits(files: Files) -> None:
    """As on systems that have no eventfd."""
    woken = threading.Event()
    backend = BACKENDS["posix_aio"](woken.set, -1, None)
    operations = [operation(READ_AT, files.buffered, size=10, offset=n) for n in range(5)]
    for op in operations:
        assert backend.submit(op) == 0
    done: list[Operation] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(done) < 5:
        assert time.monotonic() < deadline
        if not backend.flush():
            woken.wait(0.1)
            woken.clear()
        backend.reap(done, 10)
    assert [op.result for op in operations] == [10] * 5
    assert backend.statistics().threads == 1
    backend.close(done)
    backend.close(done)
    assert backend.statistics().threads == 0
    assert len(done) == 5


# -- fork ---------------------------------------------------------------------------------------


@real
def test_e10_a_forked_child_leaves_the_library_alone(files: Files, mode: str) -> None:
    rig = Rig("posix_aio")
    reads = [operation(READ_AT, files.buffered, size=10) for _ in range(2)]
    rig.submit(reads[0])
    rig.disk.flush()
    child = os.fork()
    if child == 0:
        rig.disk.abandon()
        rig.disk = None  # type: ignore[assignment]
        queued.sweep()
        reason = BACKENDS["posix_aio"].probe().reason
        os._exit(0 if reason == "the C library's threads did not survive fork" else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert rig.do(reads[1]) == [10]
    assert reads[0].result == 10
    rig.close()
    if os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else "":
        assert code == 0


# -- what the calls are, and their faults, by strace --------------------------------------------

TRACED = """
import sys
from pathlib import Path
from noria.core.codes import FSYNC, READ_AT, WRITE_AT
from tests.disks import Files, Rig, operation
files, rig = Files(Path(sys.argv[1])), Rig("posix_aio")
operations = [operation(READ_AT, files.buffered, size=77) for n in range(20)]
operations += [operation(WRITE_AT, files.buffered, b"x" * 78) for n in range(20)]
results = rig.do(*operations)
results += rig.do(operation(FSYNC, files.buffered))
own = rig.own()
rig.close()
print(sorted(set(results)), own.calls["listed"], own.calls["aio_fsync"], dict(own.rerouted))
"""


@real
def test_the_requests_are_made_by_threads_of_the_library(tmp_path: Path, mode: str) -> None:
    printed, calls = traced(tmp_path, TRACED, "-e", "trace=pread64,pwrite64,rt_sigqueueinfo")
    assert printed == "[0, 77, 78] 40 1 {}"
    assert len(re.findall(r"\bpread64\b.*, 77, 0\)", calls)) == 20
    assert len(re.findall(r"\bpwrite64\b.*, 78, 0[) ]", calls)) == 20
    signals = len(re.findall(r"rt_sigqueueinfo\(.*SI_ASYNCIO", calls))
    assert signals == (41 if mode == "signal" else 0)
    main = calls.split(maxsplit=1)[0]
    assert not re.findall(rf"^{main} pread64\(.*, 77, 0\)", calls, re.MULTILINE)


@real
@pytest.mark.parametrize(
    ("fault", "printed"),
    [
        ("pwrite64:error=EIO", f"[{-errno.EIO}, 0, 77] 40 1 {{}}"),
        ("pwrite64:error=ENOSPC", f"[{-errno.ENOSPC}, 0, 77] 40 1 {{}}"),
        ("pwrite64:retval=5", "[0, 5, 77] 40 1 {}"),
        ("pread64:retval=5", "[0, 5, 78] 40 1 {}"),
        ("pread64:error=EINTR:when=1", "[0, 77, 78] 40 1 {}"),
    ],
)
def test_faults_of_the_calls(tmp_path: Path, fault: str, printed: str) -> None:
    (tmp_path / "data").touch()
    options = ("-P", str(tmp_path / "data"), "-e", f"inject={fault}")
    assert traced(tmp_path, TRACED, *options)[0] == printed


@real
@pytest.mark.skipif("thread" not in MODES, reason="the system does not tell by threads")
def test_threads_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were to tell of an end; strace counts the calls of each thread by itself."""
    monkeypatch.setenv(posix_aio.VARIABLE, "thread")
    program = TRACED.replace('own.calls["listed"]', 'own.calls["found"] > 0')
    fault = "inject=clone3:error=EAGAIN:when=3+"
    printed, calls = traced(tmp_path, program, "-e", "trace=clone3", "-e", fault)
    if calls.count("(INJECTED)") < 10:
        pytest.skip("threads are started by another call here")
    assert re.match(r"\[(-11, )?0, 77, 78\] True 1 ", printed), printed


# -- faults, by a queue that does as it is told -------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome", "reason", "result"),
    [
        (READ_INTO_AT, -errno.EIO, "", -errno.EIO),
        (WRITE_AT, -errno.ENOSPC, "", -errno.ENOSPC),
        (WRITE_AT, 5, "", 5),
        (READ_INTO_AT, 5, "", 5),
        (READ_INTO_AT, -errno.EINTR, queued.INTERRUPTED, BLOCK_BYTES),
        (FSYNC, -errno.EINTR, queued.INTERRUPTED, 0),
        (READ_INTO_AT, (-errno.EAGAIN,), posix_aio.NO_RESOURCES, BLOCK_BYTES),
        (FSYNC, (-errno.EAGAIN,), posix_aio.NO_RESOURCES, 0),
        (WRITE_AT, (-errno.EINVAL,), posix_aio.REFUSED, BLOCK_BYTES),
        (READ_INTO_AT, -errno.EAGAIN, posix_aio.LOST, BLOCK_BYTES),
        (WRITE_AT, -errno.EAGAIN, posix_aio.LOST, BLOCK_BYTES),
        (FSYNC, -errno.EAGAIN, "", -errno.EIO),
        (DATASYNC, -errno.EAGAIN, "", -errno.EIO),
    ],
)
def test_what_becomes_of_results(
    fake: type[FakeQueue], files: Files, code: int, outcome: Any, reason: str, result: int
) -> None:
    fake.script = lambda request: outcome
    rig = Rig("posix_aio")
    memory = bytearray(files.data[:BLOCK_BYTES])
    assert rig.do(operation(code, files.buffered, memory)) == [result]
    assert rig.own().rerouted == ({reason: 1} if reason else {})
    rig.close()


# -- what there is ------------------------------------------------------------------------------


def test_codes_that_it_lacks() -> None:
    assert READ_VECTOR_AT not in BACKENDS["posix_aio"].codes


@real
def test_how_ends_are_told_is_chosen_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(posix_aio.VARIABLE, raising=False)
    assert BACKENDS["posix_aio"].probe() == (True, f"ends are told by {MODES[0]}")
    monkeypatch.setenv(posix_aio.VARIABLE, "pigeon")
    with pytest.raises(EngineUnavailableError, match=r"pigeon.*none of thread, signal, suspend"):
        choose("posix_aio", "")
    with pytest.raises(OSError, match="POSIX AIO"):
        native.AioQueue(7, -1, 1, 1, 1, 1)


def test_what_a_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(errno.ENOSYS, "no aio_read"), (errno.ENOTSUP, "cannot tell by thread")]
    monkeypatch.setenv(posix_aio.VARIABLE, "thread")
    for failure, words in answers:
        stand_in = SimpleNamespace(
            COMPILED=True, BY_THREAD=0, probe=lambda mode, failure=failure: -failure
        )
        monkeypatch.setattr(posix_aio, "native", stand_in)
        with pytest.raises(EngineUnavailableError, match=words):
            choose("posix_aio", "")


def test_the_interpreted_build_says_what_it_lacks() -> None:
    if native.COMPILED:
        assert native.free_signal() >= 0
        return
    assert BACKENDS["posix_aio"].probe() == (False, "needs the compiled build")
    with pytest.raises(OSError, match="compiled"):
        native.AioQueue(0, -1, 1, 1, 1, 1)
    with pytest.raises(OSError, match="compiled"):
        native.Aiocb(None, READ_AT, 0, None, 0, 1, 0)
    assert (native.probe(0), native.free_signal()) == (-errno.ENOSYS, 0)
