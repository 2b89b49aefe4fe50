"""Copying, moving and removing, with shutil as the measure."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import inspect
import os
import random
import shutil
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files import trees
from tests.files.conftest import eventually
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.files.conftest import Run

LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="calls of Linux")
DATA = os.urandom(3_000_000)


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have these means say that they cannot."""

    def refused(*arguments: Any, **keywords: Any) -> Any:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    for name in names:
        monkeypatch.setattr(fcntl if name == "ioctl" else os, name, refused)


WAYS = [
    ("reflink", ()),
    ("copy_file_range", ("ioctl",)),
    ("sendfile", ("ioctl", "copy_file_range")),
    ("read_write", ("ioctl", "copy_file_range", "sendfile")),
]


@linux
@pytest.mark.parametrize(("method", "refused"), WAYS, ids=[method for method, _ in WAYS])
def test_every_way_copies(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, refused: tuple[str, ...]
) -> None:
    refuse(monkeypatch, *refused)
    if method == "reflink":

        def cloned(target: int, request: int, source: int) -> int:
            assert request == 0x40049409
            os.pwrite(target, os.pread(source, len(DATA), 0), 0)
            return 0

        monkeypatch.setattr(fcntl, "ioctl", cloned)
    monkeypatch.setattr(trees, "COPY_PIECE_BYTES", 1_000_000)
    (tmp_path / "from").write_bytes(DATA)

    async def main() -> None:
        for _ in range(2):  # to a new name, and over an old file
            made = await fs.copyfile(tmp_path / "from", tmp_path / "to")
            assert made == (len(DATA), method, tmp_path / "to")
            assert (tmp_path / "to").read_bytes() == DATA
        (tmp_path / "to").write_bytes(DATA + b"longer")
        (tmp_path / "from").write_bytes(DATA[:5])
        if method != "reflink":
            assert (await fs.copyfile(tmp_path / "from", tmp_path / "to")).bytes == 5
            assert (tmp_path / "to").read_bytes() == DATA[:5]

    run(main())


@linux
def test_holes_stay_holes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "from"
    size = 64 * 1024 * 1024
    with source.open("wb") as file:
        os.pwrite(file.fileno(), b"first", 0)
        os.pwrite(file.fileno(), b"middle", size // 2)
        file.truncate(size)
    if source.stat().st_blocks * 512 >= size:
        pytest.skip("the filesystem has no holes")

    async def main() -> None:
        for refused in ((), ("ioctl", "copy_file_range", "sendfile")):
            refuse(monkeypatch, *refused)
            made = await fs.copyfile(source, tmp_path / "to")
            assert made.bytes == size == (tmp_path / "to").stat().st_size
            assert (tmp_path / "to").stat().st_blocks <= source.stat().st_blocks + 16
            with (tmp_path / "to").open("rb") as file:
                assert os.pread(file.fileno(), 5, 0) == b"first"
                assert os.pread(file.fileno(), 8, size // 2) == b"middle\0\0"

    run(main())


@linux
@pytest.mark.parametrize("method", ["copy_file_range", "sendfile", "read_write"])
def test_files_with_holes_anywhere(
    run_once: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    refuse(monkeypatch, *dict(WAYS)[method])
    monkeypatch.setattr(trees, "COPY_PIECE_BYTES", 10_000)
    monkeypatch.setattr(trees, "COPY_BUFFER_BYTES", 3_000)
    rest = random.Random(method)
    source, target = tmp_path / "from", tmp_path / "to"

    async def main() -> None:
        for _ in range(20):
            with source.open("wb") as file:
                for _ in range(rest.randrange(4)):
                    os.pwrite(file.fileno(), DATA[: rest.randrange(30_000)], rest.randrange(10**6))
                if rest.random() < 0.5:
                    file.truncate(rest.randrange(10**6))
            made = await fs.copyfile(source, target)
            assert made.bytes == source.stat().st_size
            assert target.read_bytes() == source.read_bytes()

    run_once(main())


@linux
def test_what_does_not_tell_its_size_is_copied_too(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        made = await fs.copyfile("/proc/sys/kernel/ostype", tmp_path / "to")
        assert made.method == "read_write"
        assert (tmp_path / "to").read_bytes() == b"Linux\n"
        (tmp_path / "empty").touch()
        assert (await fs.copyfile(tmp_path / "empty", tmp_path / "to")).bytes == 0
        assert (tmp_path / "to").read_bytes() == b""
        made = await fs.copyfile(tmp_path / "empty", "/dev/null")
        assert made.bytes == 0

    run(main())


def test_modes_times_and_links(run: Run, tmp_path: Path) -> None:
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_bytes(b"data")
    file.chmod(0o651)
    os.utime(file, ns=(10**18, 10**18 + 5))
    folder.mkdir()
    link.symlink_to("file")

    async def main() -> None:
        made = await fs.copy(file, folder)
        assert made.path == os.path.join(folder, "file")
        assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o651
        await fs.copy2(os.fsencode(file), os.fsencode(folder) + b"/\xff")
        status = os.stat(os.fsencode(folder) + b"/\xff")
        assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (10**18 + 5, 0o651)
        made = await fs.copy(link, tmp_path / "other", follow_symlinks=False)
        assert made.method == "symlink"
        assert os.readlink(tmp_path / "other") == "file"
        (tmp_path / "plain").touch()
        await fs.copymode(file, tmp_path / "plain")
        assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o651
        await fs.copystat(file, tmp_path / "plain")
        assert (tmp_path / "plain").stat().st_mtime_ns == 10**18 + 5

    run(main())


def test_errors_are_those_of_shutil(run: Run, tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_bytes(b"data")
    folder.mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.link(file, tmp_path / "second")
    cases = [
        (file, file),
        (file, tmp_path / "second"),
        (tmp_path / "fifo", tmp_path / "to"),
        (file, tmp_path / "fifo"),
        (tmp_path / "missing", tmp_path / "to"),
        (file, tmp_path / "missing" / "to"),
        (folder, tmp_path / "to"),
        (file, folder),
    ]

    async def main() -> None:
        for src, dst in cases:
            with pytest.raises(OSError) as ours:  # noqa: PT011 - compared below
                await fs.copyfile(src, dst)
            with pytest.raises(OSError) as theirs:  # noqa: PT011
                shutil.copyfile(src, dst)
            assert type(ours.value) is type(theirs.value), (src, dst)
            assert str(ours.value) == str(theirs.value)
            assert not (tmp_path / "to").exists()

    run(main())


@linux
def test_a_failed_copy_leaves_nothing_half(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "ioctl", "copy_file_range", "sendfile")
    monkeypatch.setattr(trees, "COPY_BUFFER_BYTES", 1000)
    (tmp_path / "from").write_bytes(DATA[:5000])
    read = os.read
    left = 0

    def torn(fd: int, count: int) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EIO, "torn")
        return read(fd, count)

    async def main() -> None:
        nonlocal left
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", torn)
            left = 2
            with pytest.raises(OSError, match="torn") as caught:
                await fs.copyfile(tmp_path / "from", tmp_path / "to")
            assert caught.value.filename == str(tmp_path / "from")
            assert not (tmp_path / "to").exists()
            (tmp_path / "old").write_bytes(DATA)
            left = 2
            with pytest.raises(OSError, match="torn"):
                await fs.copyfile(tmp_path / "from", tmp_path / "old")
        assert (tmp_path / "old").read_bytes() == b""

    run(main())


@linux
def test_a_cancelled_copy_stops_between_pieces(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "ioctl")
    monkeypatch.setattr(trees, "COPY_PIECE_BYTES", 1000)
    (tmp_path / "from").write_bytes(DATA)
    move = os.copy_file_range
    begun, going = threading.Event(), threading.Event()
    pieces = 0

    def slowly(*arguments: Any) -> int:
        nonlocal pieces
        pieces += 1
        begun.set()
        going.wait(10)
        return move(*arguments)

    monkeypatch.setattr(os, "copy_file_range", slowly)

    async def main() -> None:
        await fs.listdir(tmp_path)  # what serves all hops is open after the first
        before = open_descriptors()
        copies: list[Callable[[], Any]] = [
            lambda: fs.copyfile(tmp_path / "from", tmp_path / "to"),
            lambda: fs.copytree(tmp_path / "tree", tmp_path / "copied"),
        ]
        for start in copies:
            nonlocal pieces
            pieces = 0
            begun.clear()
            going.clear()
            task = asyncio.ensure_future(start())
            await eventually(begun.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            going.set()
            await eventually(lambda: not open_descriptors() - before)
            assert pieces == 1
            await eventually(lambda: not (tmp_path / "to").exists())

    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(DATA)
    run(main())
    assert not (tmp_path / "copied" / "file").exists()


def test_trees_are_copied_moved_and_removed(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_bytes(DATA)
    (tree / "link").symlink_to("a")
    os.mkdir(os.fsencode(tree) + b"/\xff")

    def listed(top: Path) -> list[Any]:
        return sorted(
            (os.path.relpath(place, top), sorted(d), sorted(f)) for place, d, f in walk(top)
        )

    def walk(top: Path) -> Any:
        return os.walk(top)

    async def main() -> None:
        copied, moved = tmp_path / "copied", tmp_path / "moved"
        assert await fs.copytree(tree, copied, symlinks=True) == copied
        assert listed(copied) == listed(tree)
        assert (copied / "a" / "file").read_bytes() == DATA
        with pytest.raises(FileExistsError):
            await fs.copytree(tree, copied)
        (copied / "link").unlink()
        await fs.copytree(tree, copied, True, dirs_exist_ok=True)
        assert await fs.move(copied, moved) == moved
        assert not copied.exists()
        assert listed(moved) == listed(tree)
        with pytest.raises(NotADirectoryError):
            await fs.rmtree(moved / "a" / "file")
        await fs.rmtree(moved)
        assert not moved.exists()
        with pytest.raises(FileNotFoundError):
            await fs.rmtree(moved)
        await fs.rmtree(moved, ignore_errors=True)
        failed: list[Any] = []
        await fs.rmtree(moved, onexc=lambda *failure: failed.append(failure))
        assert failed
        assert all(isinstance(exc, FileNotFoundError) for *_, exc in failed)
        usage = await fs.disk_usage(tmp_path)
        assert usage.total == shutil.disk_usage(tmp_path).total

    run(main())


def test_moving_to_another_filesystem_copies(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").write_bytes(DATA)

    async def main() -> None:
        with monkeypatch.context() as patch:
            refuse(patch, "rename")
            await fs.move(tmp_path / "from", tmp_path / "to")
        assert (tmp_path / "to").read_bytes() == DATA
        assert not (tmp_path / "from").exists()

    run(main())


@pytest.mark.parametrize(
    "name", ["copy", "copy2", "copyfile", "copymode", "copystat", "copytree", "move", "disk_usage"]
)
def test_parameters_are_those_of_shutil(name: str) -> None:
    theirs = inspect.signature(getattr(shutil, name)).parameters
    ours = inspect.signature(getattr(fs, name)).parameters
    assert list(ours) == list(theirs)
    for parameter in theirs.values():
        if parameter.name != "copy_function":  # None means a copy that can be stopped
            assert ours[parameter.name].default == parameter.default
            assert ours[parameter.name].kind is parameter.kind
