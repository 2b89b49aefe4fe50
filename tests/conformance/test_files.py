"""Operations on files, names and children: on every engine what the blocking form does."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.core.catalog import CATALOG
from noria.core.descriptor import Descriptor
from noria.core.operation import Operation
from noria.disk.registry import RING
from noria.loop.waits import FutureOperation
from noria.operations.paths import NO_FOLLOW
from tests.driver import Driver, Recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import noria

    Do = Callable[..., Recorded]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names are given as on Unix")


def asked(kind: type[Any], code: int, fd: int = -1, **attributes: Any) -> Any:
    op = kind(code, fd)
    for name, value in attributes.items():
        setattr(op, name, value)
    return op


@pytest.fixture
def do(driver: Driver) -> Do:
    """Has an operation done."""

    def run(code: int, fd: int = -1, **attributes: Any) -> Recorded:
        op: Recorded = asked(Recorded, code, fd, **attributes)
        driver.submit(op)
        driver.finish(op)
        return op

    return run


@pytest.fixture(params=["absolute", "from a directory"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[int, Callable[..., Any]]]:
    """A directory as (number or -1, name inside -> name to ask for)."""
    if request.param == "absolute":
        yield -1, lambda name: tmp_path / name
        return
    number = os.open(tmp_path, os.O_RDONLY)
    yield number, lambda name: name
    os.close(number)


Place = tuple[int, Any]


def test_open_write_read_truncate_and_close(do: Do, place: Place, tmp_path: Path) -> None:
    start, name = place
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    opened = do(codes.OPEN_AT, start, buffer=name("file"), size=flags, offset=0o640)
    number = opened.result
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640 & ~_umask()
    assert not os.get_inheritable(number)
    assert do(codes.WRITE_AT, number, buffer=bytearray(b"0123456789"), offset=2).results == [10]
    assert do(codes.WRITE_AT, number, buffer=memoryview(b"abcdef")[::1], offset=20).results == [6]
    assert do(codes.READ_AT, number, size=100, offset=1).received == b"\0" + b"0123456789" + (
        b"\0" * 8 + b"abcdef"
    )
    assert do(codes.READ_AT, number, size=0, offset=1).results == [0]
    assert do(codes.TRUNCATE, number, offset=4).results == [0]
    assert do(codes.FSYNC, number).results == do(codes.DATASYNC, number).results == [0]
    assert (tmp_path / "file").read_bytes() == b"\0\x0001"
    assert do(codes.CLOSE_FILE, number).results == [0]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)
    again = do(codes.OPEN_AT, start, buffer=name("file"), size=flags, offset=0o640)
    assert again.results == [-errno.EEXIST]


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


@pytest.mark.parametrize("size", [1, 4096, 5_000_000])
def test_bytes_come_back_as_they_were(do: Do, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with (tmp_path / "file").open("w+b") as file:
        number = file.fileno()
        sent = 0
        while sent < size:
            written = do(codes.WRITE_AT, number, buffer=memoryview(data)[sent:], offset=sent)
            assert written.result > 0
            sent += written.result
        assert do(codes.READ_AT, number, size=2 * size).received == data


def test_names(do: Do, place: Place, tmp_path: Path) -> None:
    start, name = place
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "taken").write_bytes(b"2")
    done = [
        do(codes.MAKE_DIRECTORY_AT, start, buffer=name("new"), offset=0o750),
        do(codes.MAKE_DIRECTORY_AT, start, buffer=name("short"), offset=0o700),
        do(codes.REMOVE_DIRECTORY_AT, start, buffer=name("short")),
        do(codes.RENAME_AT, start, buffer=name("one"), address=name("taken")),
        do(codes.LINK_AT, start, buffer=name("taken"), address=name("second")),
        do(codes.SYMLINK_AT, start, buffer="taken", address=name("soft")),
        do(codes.UNLINK_AT, start, buffer=name("taken")),
    ]
    assert [op.results for op in done] == [[0]] * len(done)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "second", "soft"]
    assert (tmp_path / "second").read_bytes() == b"1"
    assert (tmp_path / "soft").readlink().name == "taken"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750 & ~_umask()
    failures = [
        do(codes.UNLINK_AT, start, buffer=name("taken")),
        do(codes.REMOVE_DIRECTORY_AT, start, buffer=name("second")),
        do(codes.MAKE_DIRECTORY_AT, start, buffer=name("new"), offset=0o750),
        do(codes.LINK_AT, start, buffer=name("second"), address=name("soft")),
    ]
    expected = [errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EEXIST]
    assert [-op.result for op in failures] == expected


def test_a_link_to_a_symbolic_link_is_one(do: Do, place: Place, tmp_path: Path) -> None:
    start, name = place
    (tmp_path / "soft").symlink_to("nowhere")
    assert do(codes.LINK_AT, start, buffer=name("soft"), address=name("too")).results == [0]
    assert (tmp_path / "too").readlink().name == "nowhere"


@pytest.mark.parametrize("flags", [0, NO_FOLLOW])
@pytest.mark.parametrize("kind", ["file", "directory", "link", "nothing"])
def test_status_is_what_os_stat_gives(
    do: Do, place: Place, tmp_path: Path, kind: str, flags: int
) -> None:
    start, name = place
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    os.utime(tmp_path / "file", ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    op = do(codes.STATUS_AT, start, buffer=name(kind), size=flags)
    if kind == "nothing":
        assert op.results == [-errno.ENOENT]
        return
    expected = (tmp_path / kind).stat(follow_symlinks=not flags)
    assert_same_status(op.events[0].data, expected)


@pytest.mark.parametrize("path", [os.devnull, "/", "/proc/self/status"])
def test_status_of_what_is_no_plain_file(do: Do, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"there is no {path}")
    found = do(codes.STATUS_AT, buffer=path).events[0].data
    for name in ("st_mode", "st_ino", "st_dev", "st_rdev", "st_uid", "st_gid", "st_nlink"):
        assert getattr(found, name) == getattr(Path(path).stat(), name)


def test_status_of_an_open_file(do: Do, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        found = do(codes.STATUS_AT, file.fileno()).events[0].data
        assert_same_status(found, os.fstat(file.fileno()))


def assert_same_status(found: os.stat_result, expected: os.stat_result) -> None:
    assert isinstance(found, os.stat_result)
    for name in dir(expected):
        if name.startswith("st_"):
            assert getattr(found, name) == getattr(expected, name), name
    assert tuple(found) == tuple(expected)


def test_without_a_position_there_is_no_reading_at_one(do: Do) -> None:
    """As pread(2) says, on every engine."""
    reading, writing = os.pipe()
    os.write(writing, b"data")
    assert do(codes.READ_AT, reading, size=4).results == [-errno.ESPIPE]
    assert do(codes.WRITE_AT, writing, buffer=b"more").results == [-errno.ESPIPE]
    assert os.read(reading, 100) == b"data"
    os.close(reading)
    os.close(writing)


def test_an_offset_below_zero(do: Do, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"data")
        file.flush()
        assert do(codes.READ_AT, file.fileno(), size=4, offset=-1).results == [-errno.EINVAL]
        written = do(codes.WRITE_AT, file.fileno(), buffer=b"x", offset=-1)
        assert written.results == [-errno.EINVAL]


@pytest.mark.parametrize("code", [codes.READ_AT, codes.FSYNC, codes.TRUNCATE, codes.CLOSE_FILE])
@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_a_number_that_is_no_file(do: Do, code: int, number: int) -> None:
    assert do(code, number, size=1).results == [-errno.EBADF]


@pytest.mark.parametrize(
    ("code", "attributes"),
    [
        (codes.UNLINK_AT, {"buffer": "null\0byte"}),
        (codes.UNLINK_AT, {"buffer": 3.5}),
        (codes.RENAME_AT, {"buffer": "one", "address": None}),
        (codes.WRITE_AT, {"buffer": "not bytes"}),
        (codes.WRITE_AT, {"buffer": memoryview(b"abcdef")[::2]}),
    ],
)
def test_e4_misuse_changes_nothing(
    driver: Driver, tmp_path: Path, code: int, attributes: dict[str, Any]
) -> None:
    """It is raised where `submit` notices it, and is a number where a thread does."""
    with (tmp_path / "file").open("w+b") as file:
        owned = Descriptor(os.dup(file.fileno()))
        op: Recorded = asked(Recorded, code, owned.fd, **attributes)
        op.descriptor = owned
        try:
            driver.submit(op)
        except (TypeError, ValueError, BufferError):
            assert not op.in_flight
        else:
            driver.finish(op)
            assert op.result < 0 or code == codes.WRITE_AT
        assert owned.leases == 0
        assert driver.statistics().in_flight == 0
        assert owned.close()


def test_d4_what_is_written_cannot_be_resized_meanwhile(driver: Driver, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        data = bytearray(b"x" * 100_000)
        op: Recorded = asked(Recorded, codes.WRITE_AT, file.fileno(), buffer=data)
        driver.submit(op)
        if driver.engine.name == "uring":
            with pytest.raises(BufferError):
                data.clear()
        driver.finish(op)
        op.buffer = None
        op.events.clear()
        data.clear()
        assert os.fstat(file.fileno()).st_size == 100_000


def test_d2_a_close_waits_for_the_file_operation(driver: Driver, tmp_path: Path) -> None:
    owned = Descriptor(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT))
    op: Recorded = asked(Recorded, codes.WRITE_AT, owned.fd, buffer=b"data")
    op.descriptor = owned
    driver.submit(op)
    assert not owned.close()
    driver.finish(op)
    assert op.results == [4]
    assert owned.closed
    assert (tmp_path / "file").read_bytes() == b"data"


def test_e5_cancelled_at_once(driver: Driver, tmp_path: Path) -> None:
    """Whichever comes first: the completion tells the truth about the file."""
    operations = [
        asked(Recorded, codes.MAKE_DIRECTORY_AT, buffer=tmp_path / f"{number}", offset=0o700)
        for number in range(50)
    ]
    driver.submit(*operations[:25])
    driver.poll()
    driver.submit(*operations[25:])
    for op in operations:
        driver.engine.cancel(op)
        driver.engine.cancel(op)
    driver.finish(*operations)
    for number, op in enumerate(operations):
        assert op.results in ([0], [-errno.ECANCELED])
        assert (tmp_path / f"{number}").exists() == (op.result == 0)


def test_e5_opening_a_pipe_without_a_writer(driver: Driver, tmp_path: Path) -> None:
    """It waits for ever; a writer ends it, and where the system can, cancelling does."""
    os.mkfifo(tmp_path / "pipe")
    op: Recorded = asked(Recorded, codes.OPEN_AT, buffer=tmp_path / "pipe", size=os.O_RDONLY)
    driver.submit(op)
    driver.poll(0.05)
    driver.poll(0.01)
    assert op.in_flight
    driver.engine.cancel(op)
    if driver.engine.disk_statistics().name != RING:  # no thread can be told to stop
        os.close(os.open(tmp_path / "pipe", os.O_RDWR))
    driver.finish(op)
    if op.result >= 0:
        os.close(op.result)
    else:
        assert op.results == [-errno.ECANCELED]


def test_e12_closing_with_files_in_flight(driver: Driver, tmp_path: Path) -> None:
    operations = [
        asked(Recorded, codes.OPEN_AT, buffer=tmp_path / f"{n}", size=os.O_CREAT, offset=0o600)
        for n in range(40)
    ]
    driver.submit(*operations[:20])
    driver.poll()
    driver.submit(*operations[20:])
    driver.close()
    for op in operations:
        assert len(op.terminal) == 1
        if op.terminal[0] >= 0:
            os.close(op.terminal[0])
        else:
            assert op.terminal == [-errno.ECANCELED]


def test_a_number_that_nobody_takes_is_closed(tmp_path: Path) -> None:
    """Of an open that comes too late for its future, or for its loop (the ledger counts)."""
    before = open_numbers()
    opened = asked(Operation, codes.OPEN_AT, buffer=tmp_path / "file", size=os.O_CREAT | os.O_RDWR)
    number = CATALOG[codes.OPEN_AT].attempt(opened)
    opened.discard(number, None)
    opened.discard(-errno.ENOENT, None)
    assert open_numbers() == before


def open_numbers() -> set[str]:
    return {each.name for each in Path("/dev/fd").iterdir()}


def test_results_reach_futures_over_several_runs(loop: noria.Loop, tmp_path: Path) -> None:
    """What is in flight when a run ends goes on, and is told of in a later one."""
    (tmp_path / "file").write_bytes(b"content")
    futures = []

    def ask(code: int, fd: int, **attributes: Any) -> None:
        op = FutureOperation(code, fd, None, loop.create_future())
        for name, value in attributes.items():
            setattr(op, name, value)
        futures.append(op.future)
        assert not loop.submit(op)

    with (tmp_path / "file").open("rb") as file:
        for _ in range(10):
            ask(codes.READ_AT, file.fileno(), size=100)
            ask(codes.STATUS_AT, -1, buffer=tmp_path / "file")
            loop.call_soon(loop.stop)
            loop.run_forever()
        for index, future in enumerate(futures):
            found = loop.run_until_complete(future)
            if index % 2:
                assert found.st_size == 7
            else:
                assert found == b"content"


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that ends with its input, and its descriptor."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no descriptors of processes")
    process = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
    number = os.pidfd_open(process.pid)
    yield process, number
    process.kill()
    process.communicate()
    os.close(number)


Child = tuple[Any, int]


def test_waiting_for_a_child(driver: Driver, child: Child) -> None:
    process, number = child
    op = Recorded(codes.WAIT_CHILD, number)
    driver.submit(op)
    driver.settle_down()
    assert op.in_flight
    process.stdin.close()
    driver.finish(op)
    ended = op.events[0].data
    assert (ended.si_pid, ended.si_status, ended.si_code) == (process.pid, 7, os.CLD_EXITED)
    again = Recorded(codes.WAIT_CHILD, number)
    driver.submit(again)
    driver.finish(again)
    assert again.results == [-errno.ECHILD]


def test_e5_no_longer_waiting_for_a_child(driver: Driver, child: Child) -> None:
    """Whoever cancels has not reaped it."""
    process, number = child
    op = Recorded(codes.WAIT_CHILD, number)
    driver.submit(op)
    driver.engine.cancel(op)
    driver.finish(op)
    assert op.results == [-errno.ECANCELED]
    process.stdin.close()
    assert process.wait() == 7
