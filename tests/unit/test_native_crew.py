"""The crew of threads in C by itself: its jobs, whose turn it is, and watching."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.native import crew as native
from noria.native.crew import Crew, Job
from tests.disks import PATIENCE_SECONDS, compiled_only, linux_only
from tests.stuck import stuck_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = [compiled_only, linux_only]

_IDLE_NS = 10_000_000_000
_STACK_BYTES = 256 * 1024
_LONG_WATCH_NS = 5_000_000_000
_SHORT_WATCH_NS = 1_000


@pytest.fixture
def bell() -> Iterator[int]:
    """What a crew tells by."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def make(bell: int) -> Iterator[Callable[..., Crew]]:
    """Makes crews and closes them."""
    made: list[Crew] = []

    def make_crew(
        *, threads_max: int = 8, bulk_max: int = 8, queue_max: int = 16, watch_ns: int = 0
    ) -> Crew:
        found = Crew(bell, threads_max, bulk_max, queue_max, _IDLE_NS, _STACK_BYTES, watch_ns)
        made.append(found)
        return found

    yield make_crew
    for crew in made:
        assert not crew.close(int(PATIENCE_SECONDS * 1e9))


def job(kind: int, fd: int = -1, buffer: Any = None, offset: int = 0, flags: int = 0) -> Job:
    """A job of that kind."""
    return Job(None, kind, fd, buffer, offset, 0, flags)


def named(kind: int, first: Path, second: Path | None = None, **more: int) -> Job:
    """A job on names."""
    made = job(kind, **more)
    made.set_names(os.fsencode(first), b"" if second is None else os.fsencode(second))
    return made


def results(crew: Crew, *jobs: Job) -> list[int]:
    """Have jobs done, one after the other."""
    found = []
    for each in jobs:
        assert crew.submit(each) == 0
        (ended,) = reaped(crew, 1)
        assert ended is each
        found.append(ended.result)
    return found


def reaped(crew: Crew, count: int) -> list[Job]:
    """Wait until so many jobs are done."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    found: list[Job] = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} jobs are done"
        found += crew.reap(count)
        time.sleep(0.0001)
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0001)


def test_names_are_changed(make: Callable[..., Crew], tmp_path: Path) -> None:
    crew = make()
    (tmp_path / "a").write_bytes(b"a")
    mode = 0o750
    umask = os.umask(0)
    try:
        done = results(
            crew,
            named(codes.MAKE_DIRECTORY_AT, tmp_path / "directory", offset=mode),
            named(codes.RENAME_AT, tmp_path / "a", tmp_path / "b"),
            named(codes.LINK_AT, tmp_path / "b", tmp_path / "c"),
            named(codes.UNLINK_AT, tmp_path / "b"),
        )
    finally:
        os.umask(umask)
    symbolic = job(codes.SYMLINK_AT)
    symbolic.set_names(b"c", os.fsencode(tmp_path / "link"))
    assert [*done, *results(crew, symbolic)] == [0] * 5
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c", "directory", "link"]
    assert stat.S_IMODE((tmp_path / "directory").stat().st_mode) == mode
    assert (tmp_path / "link").readlink() == Path("c")
    assert (tmp_path / "link").read_bytes() == b"a"
    assert results(crew, named(codes.REMOVE_DIRECTORY_AT, tmp_path / "directory")) == [0]


def test_names_start_from_a_directory(make: Callable[..., Crew], tmp_path: Path) -> None:
    crew = make()
    (tmp_path / "a").write_bytes(b"a")
    start = os.open(tmp_path, os.O_RDONLY)
    rename = job(codes.RENAME_AT, start)
    rename.set_names(b"a", b"b")
    gone = job(codes.UNLINK_AT, start)
    gone.set_names(b"a", b"")
    assert results(crew, rename, gone) == [0, -errno.ENOENT]
    assert [each.name for each in tmp_path.iterdir()] == ["b"]
    os.close(start)


def test_writes_to_numbers_that_are_none_fail(make: Callable[..., Crew], tmp_path: Path) -> None:
    """They have their turns as well, and take them from nobody."""
    crew = make()
    with (tmp_path / "file").open("wb") as file:
        fd = file.fileno()
        done = results(
            crew,
            job(codes.WRITE_AT, -1, b"a"),
            job(codes.WRITE_VECTOR_AT, -1, [b"a"]),
            job(codes.WRITE_AT, -(2**31), b"a"),
            job(codes.WRITE_AT, fd, b"a"),
        )
    assert done == [-errno.EBADF] * 3 + [1]
    assert crew.count(native.IN_FLIGHT) == 0


@pytest.mark.parametrize("nonblocking", [0, os.O_NONBLOCK])
def test_a_file_is_opened_and_looked_at(
    make: Callable[..., Crew], tmp_path: Path, nonblocking: int
) -> None:
    """Not inheritable, and blocking unless it was asked for otherwise; other flags stay."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | nonblocking
    opening = named(codes.OPEN_FILE, tmp_path / "new", offset=0o600, flags=flags)
    (fd,) = results(make(), opening)
    found = os.fstat(fd)
    assert opening.opened() == (found.st_mode, found.st_dev)
    assert not os.get_inheritable(fd)
    assert os.get_blocking(fd) is not bool(nonblocking)
    assert os.write(fd, b"a") == 1
    os.lseek(fd, 0, os.SEEK_SET)
    assert os.write(fd, b"b") == 1
    assert os.pread(fd, 3, 0) == b"ab"
    os.close(fd)


def test_what_is_no_file_is_not_opened(make: Callable[..., Crew], tmp_path: Path) -> None:
    """Nothing waits, and no number is left open."""
    os.mkfifo(tmp_path / "fifo")
    crew = make()
    before = len(list(Path("/proc/self/fd").iterdir()))
    done = results(
        crew,
        named(codes.OPEN_FILE, tmp_path / "fifo", flags=os.O_RDONLY),
        named(codes.OPEN_FILE, tmp_path, flags=os.O_RDONLY),
        named(codes.OPEN_FILE, tmp_path / "absent", flags=os.O_RDONLY),
    )
    assert done == [-errno.ENXIO, -errno.EISDIR, -errno.ENOENT]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Writes:
    """Writes of one byte to a file, each at its own place."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)

    def write(self, place: int, *, beside: bool = False) -> Job:
        """One of them."""
        made = job(codes.WRITE_AT, self.fd, b"%d" % place, place)
        if beside:
            made.set_beside()
        return made


def test_writes_of_a_file_wait_for_their_turn(make: Callable[..., Crew], tmp_path: Path) -> None:
    """One thread does them, in order; other files and direct writes go on beside them."""
    crew = make()
    path = tmp_path / "file"
    writes = Writes(path)
    ordered = [writes.write(place) for place in range(6)]
    with stuck_disk(path):
        for each in ordered:
            assert crew.submit(each) == 0
        time.sleep(0.02)
        assert crew.count(native.THREADS) == 1
        assert crew.count(native.CALLS) == 1
        other = Writes(tmp_path / "other")
        assert results(crew, other.write(0)) == [1]
        direct = writes.write(6, beside=True)
        assert crew.submit(direct) == 0
        until(lambda: crew.count(native.CALLS) == 3)
        assert crew.cancel(ordered[3])
        assert not crew.cancel(ordered[0])
        assert [each.result for each in reaped(crew, 1)] == [-errno.ECANCELED]
        assert crew.count(native.IN_FLIGHT) == 6
    done = reaped(crew, 6)
    assert [each for each in done if each is not direct] == [*ordered[:3], *ordered[4:]]
    assert path.read_bytes()[:7] == b"012\x00456"
    os.close(writes.fd)
    os.close(other.fd)


def test_a_write_that_hangs_holds_up_no_other_file(
    make: Callable[..., Crew], tmp_path: Path
) -> None:
    """Whatever their numbers: these two would have the same place in the table of turns."""
    crew = make()
    path = tmp_path / "stuck"
    stuck = Writes(path)
    other = Writes(tmp_path / "other")
    number = stuck.fd + 256
    os.dup2(other.fd, number, inheritable=False)
    with stuck_disk(path):
        assert crew.submit(stuck.write(0)) == 0
        until(lambda: crew.count(native.CALLS) == 1)
        assert results(crew, job(codes.WRITE_AT, number, b"a")) == [1]
        assert results(crew, job(codes.WRITE_AT, number, b"b", 1)) == [1]
    assert [each.result for each in reaped(crew, 1)] == [1]
    assert (tmp_path / "other").read_bytes() == b"ab"
    for fd in (stuck.fd, other.fd, number):
        os.close(fd)


def test_a_cancelled_write_lets_the_next_have_its_turn(
    make: Callable[..., Crew], tmp_path: Path
) -> None:
    """With one thread that is busy elsewhere, the first write is queued and the second waits."""
    crew = make(threads_max=1, bulk_max=1)
    held = Writes(tmp_path / "held")
    writes = Writes(tmp_path / "file")
    with stuck_disk(tmp_path / "held"):
        assert crew.submit(held.write(0)) == 0
        until(lambda: crew.count(native.CALLS) == 1)
        first, second = writes.write(0), writes.write(1)
        assert crew.submit(first) == 0
        assert crew.submit(second) == 0
        assert crew.cancel(first)
    done = {id(each): each.result for each in reaped(crew, 3)}
    assert done[id(first)] == -errno.ECANCELED
    assert done[id(second)] == 1
    assert (tmp_path / "file").read_bytes() == b"\x001"
    os.close(held.fd)
    os.close(writes.fd)


def test_closing_ends_what_waits_for_its_turn(make: Callable[..., Crew], tmp_path: Path) -> None:
    crew = make()
    path = tmp_path / "file"
    writes = Writes(path)
    ordered = [writes.write(place) for place in range(4)]
    with stuck_disk(path):
        for each in ordered:
            assert crew.submit(each) == 0
        until(lambda: crew.count(native.CALLS) == 1)
        assert crew.close(1_000_000) == ordered[:1]
        ended = crew.reap(8)
        assert ended == ordered[1:]
        assert {each.result for each in ended} == {-errno.ECANCELED}
        assert crew.submit(writes.write(0)) == -errno.EBADF
    assert [each.result for each in reaped(crew, 1)] == [1]
    os.close(writes.fd)


def test_e11_what_waits_for_its_turn_counts(make: Callable[..., Crew], tmp_path: Path) -> None:
    crew = make(queue_max=3)
    path = tmp_path / "file"
    writes = Writes(path)
    with stuck_disk(path):
        assert crew.submit(writes.write(0)) == 0
        until(lambda: crew.count(native.CALLS) == 1)
        for place in range(1, 4):
            assert crew.submit(writes.write(place)) == 0
        assert crew.submit(writes.write(4)) == -errno.EAGAIN
    assert [each.result for each in reaped(crew, 4)] == [1] * 4
    os.close(writes.fd)


def test_watching_sees_the_end_without_a_bell(
    make: Callable[..., Crew], tmp_path: Path, bell: int
) -> None:
    """Neither the thread nor who waits for it falls asleep in between."""
    crew = make(watch_ns=_LONG_WATCH_NS)
    writes = Writes(tmp_path / "file")
    for place in range(10):
        assert crew.submit(writes.write(place)) == 0
        assert crew.flush(True)
        assert [each.result for each in crew.reap(1)] == [1]
    assert crew.count(native.BELLS) == 0
    assert crew.count(native.STARTED) == 1
    assert crew.count(native.WATCHES) >= 10
    assert crew.count(native.VAIN_WATCHES) == 0
    with pytest.raises(BlockingIOError):
        os.read(bell, 8)
    os.close(writes.fd)


def test_watching_ends_where_it_does_not_pay(
    make: Callable[..., Crew], tmp_path: Path, bell: int
) -> None:
    """It is tried again now and then only, and the bell tells."""
    crew = make(watch_ns=_SHORT_WATCH_NS)
    path = tmp_path / "file"
    writes = Writes(path)
    asked = 640
    with stuck_disk(path):
        assert crew.submit(writes.write(0)) == 0
        until(lambda: crew.count(native.CALLS) == 1)
        for _ in range(asked):
            assert not crew.flush(True)
        assert 1 <= crew.count(native.VAIN_WATCHES) <= 8 + asked // 64
    until(lambda: crew.count(native.BELLS) == 1)
    assert os.read(bell, 8)
    assert [each.result for each in crew.reap(1)] == [1]
    os.close(writes.fd)


def test_who_is_not_patient_does_not_watch(make: Callable[..., Crew], tmp_path: Path) -> None:
    crew = make(watch_ns=_LONG_WATCH_NS)
    path = tmp_path / "file"
    writes = Writes(path)
    with stuck_disk(path):
        assert crew.submit(writes.write(0)) == 0
        until(lambda: crew.count(native.CALLS) == 1)
        started = time.monotonic()
        assert not crew.flush()
        assert time.monotonic() - started < _LONG_WATCH_NS / 2e9
        assert crew.count(native.WATCHES) == 0
    assert [each.result for each in reaped(crew, 1)] == [1]
    os.close(writes.fd)
