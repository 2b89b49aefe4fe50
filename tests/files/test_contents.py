"""Whole contents of files: read, written, replaced, appended to; `pathlib` is the measure."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files import contents
from noria.limits import INLINE_READ_BYTES_MAX
from noria.native import names as native
from tests.files.conftest import eventually
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.files.conftest import Run

SIZES = [0, 1, 4095, 4096, 4097, INLINE_READ_BYTES_MAX, INLINE_READ_BYTES_MAX + 1, 3_000_000]
TEXTS = ["", "plain\n", "mixed\r\nends\rof\nlines", "äöü €\n" * 5]

compiled = pytest.mark.skipif(
    native.stat_now(b"/", True) == -errno.ENOSYS, reason="needs openat2, and the compiled build"
)


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on the filesystem of the tests, and one on tmpfs."""
    shared = Path("/dev/shm")
    if request.param == "disk":
        yield tmp_path
    elif sys.platform != "linux" or not os.access(shared, os.W_OK):
        pytest.skip("no tmpfs")
    else:
        with tempfile.TemporaryDirectory(dir=shared) as made:
            yield Path(made)


def test_bytes_are_read_and_written(run: Run, place: Path) -> None:
    async def main() -> None:
        for size in SIZES:
            data = os.urandom(size)
            assert await fs.write_bytes(place / "file", data) == size
            assert (place / "file").read_bytes() == data
            assert await fs.read_bytes(place / "file") == data
            assert await fs.read_bytes(os.fsencode(place / "file")) == data
        assert await fs.write_bytes(place / "file", memoryview(b"abcd")[::2].tobytes()) == 2
        assert await fs.append_bytes(place / "file", bytearray(b"ef")) == 2
        assert await fs.append_bytes(place / "file", b"", sync=True) == 0
        assert await fs.read_bytes(place / "file") == b"acef"
        assert await fs.append_bytes(place / "made", b"new", mode=0o600) == 3
        assert stat.S_IMODE((place / "made").stat().st_mode) == 0o600

    run(main())


@compiled
def test_short_cached_files_are_read_without_a_thread(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hop(*arguments: Any, **keywords: Any) -> Any:
        raise AssertionError("went to a thread")

    monkeypatch.setattr(contents, "hop", no_hop)
    path = place / "file"

    async def main() -> None:
        for size in SIZES[:-2]:
            path.write_bytes(bytes(size))
            assert await fs.read_bytes(path) == bytes(size)
        path.write_text("text", encoding="ascii")
        assert await fs.read_text(path, "ascii") == "text"
        path.write_bytes(bytes(SIZES[-1]))
        with pytest.raises(AssertionError, match="thread"):
            await fs.read_bytes(path)

    run(main())


def test_files_that_do_not_know_their_size(run: Run) -> None:
    if sys.platform != "linux":
        pytest.skip("procfs is Linux's")

    async def main() -> None:
        assert await fs.read_bytes("/proc/self/status")
        assert (await fs.read_text("/proc/sys/kernel/ostype", "ascii")).strip() == "Linux"
        assert await fs.read_bytes("/dev/null") == b""
        assert await fs.write_bytes("/dev/null", b"x" * 100) == 100

    run(main())


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_text_is_what_open_makes_of_it(
    run: Run, tmp_path: Path, encoding: str, newline: str | None
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"

    async def main() -> None:
        for text in TEXTS:
            count = await fs.write_text(ours, text, encoding, "replace", newline)
            assert count == len(text)
            theirs.write_text(text, encoding, "replace", newline)
            assert ours.read_bytes() == theirs.read_bytes()
            with theirs.open(encoding=encoding, errors="replace", newline=newline) as file:
                assert await fs.read_text(ours, encoding, "replace", newline) == file.read()

    run(main())


def test_misuse(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xff")

    async def main() -> None:
        with pytest.raises(UnicodeDecodeError):
            await fs.read_text(file, "utf-8")
        with pytest.raises(LookupError):
            await fs.read_text(file, "no-such-encoding")
        with pytest.raises(ValueError, match="newline"):
            await fs.read_text(file, "utf-8", newline="x")
        with pytest.raises(TypeError, match="data must be str, not bytes"):
            await fs.write_text(file, b"")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await fs.write_bytes(file, "text")
        with pytest.raises(TypeError):
            await fs.read_bytes(3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="null"):
            await fs.read_bytes("a\0b")
        with pytest.raises(UnicodeEncodeError):
            await fs.write_text(file, "\u20ac", "ascii")
        assert file.read_bytes() == b"\xff", "nothing is lost when the text cannot be encoded"

    run(main())


def test_errors_name_the_file(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        missing = tmp_path / "missing" / "file"
        for made in (
            fs.read_bytes(missing),
            fs.read_text(missing, "utf-8"),
            fs.write_bytes(missing, b""),
            fs.append_bytes(missing, b""),
        ):
            with pytest.raises(FileNotFoundError) as caught:
                await made
            assert caught.value.filename == str(missing)
        for made in (
            fs.read_bytes(tmp_path),
            fs.write_bytes(tmp_path, b""),
            fs.write_bytes(tmp_path, b"", atomic=True),
        ):
            with pytest.raises(IsADirectoryError) as found:
                await made
            assert found.value.filename == str(tmp_path)
        with pytest.raises(OSError, match=r"full|space") as full:
            await fs.write_bytes("/dev/full", b"x")
        assert full.value.filename == "/dev/full"

    run(main())


def test_names_that_are_no_utf_8(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        raw = os.fsencode(tmp_path) + b"/\xff"
        for atomic in (False, True):
            await fs.write_bytes(raw, b"one", atomic=atomic)
            assert await fs.read_bytes(os.fsdecode(raw)) == b"one"
            await fs.write_bytes(os.fsdecode(raw), b"two", atomic=atomic)
            assert await fs.read_bytes(raw) == b"two"
        assert os.listdir(os.fsencode(tmp_path)) == [b"\xff"]

    run(main())


def test_fifos_hold_nobody_up(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        reading = asyncio.create_task(fs.read_bytes(tmp_path / "fifo"))
        await asyncio.sleep(0.01)
        assert not reading.done()
        await fs.write_bytes(tmp_path / "fifo", b"through")
        assert await reading == b"through"

    run(main())


# -- atomic ---------------------------------------------------------------------------------------


class Calls:
    """Records the calls of os that make a replacement safe, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.made: list[str] = []
        self.folder = folder
        self.fail = ""
        for name in ("open", "write", "fsync", "replace", "close"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name)))

    def _recording(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def recording(*arguments: Any, **keywords: Any) -> Any:
            what = arguments[0]
            mine = threading.current_thread() is not threading.main_thread()
            if mine:
                if isinstance(what, int):
                    kind = stat.S_ISDIR(os.fstat(what).st_mode)
                    self.made.append(f"{name} {'directory' if kind else 'file'}")
                else:
                    self.made.append(name)
                if self.fail == self.made[-1]:
                    if name == "close":
                        call(*arguments, **keywords)
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(*arguments, **keywords)

        return recording


IN_ORDER = [
    "open",
    "write file",
    "fsync file",
    "close file",
    "replace",
    "open",
    "fsync directory",
    "close directory",
]


def test_a_replacement_is_forced_in_the_right_order(
    run_once: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    calls = Calls(monkeypatch, tmp_path)
    run_once(fs.write_bytes(tmp_path / "file", b"new", atomic=True))
    assert calls.made == IN_ORDER
    assert (tmp_path / "file").read_bytes() == b"new"
    calls.made.clear()
    run_once(fs.write_bytes(tmp_path / "file", b"newer", atomic=True, sync=False))
    assert calls.made == ["open", "write file", "close file", "replace"]
    calls.made.clear()
    run_once(fs.write_bytes(tmp_path / "file", b"newest", sync=True))
    assert calls.made == ["open", "write file", "fsync file", "close file"]


@pytest.mark.parametrize("fail", ["write file", "fsync file", "close file", "replace"])
def test_a_failed_replacement_leaves_the_old_file(
    run_once: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    calls = Calls(monkeypatch, tmp_path)
    calls.fail = fail
    with pytest.raises(OSError, match="error"):
        run_once(fs.write_bytes(tmp_path / "file", b"new", atomic=True))
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_cannot_be_forced_is_told(
    run_once: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Calls(monkeypatch, tmp_path).fail = "fsync directory"
    with pytest.raises(OSError, match="error") as caught:
        run_once(fs.write_bytes(tmp_path / "file", b"new", atomic=True))
    assert caught.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_replacement_keeps_permissions_and_links(run: Run, tmp_path: Path) -> None:
    file, link, dangling = tmp_path / "file", tmp_path / "link", tmp_path / "dangling"
    file.write_bytes(b"old")
    file.chmod(0o4741)
    link.symlink_to("file")
    dangling.symlink_to("made")

    async def main() -> None:
        inode = file.stat().st_ino
        assert await fs.write_bytes(link, b"new", atomic=True) == 3
        assert link.is_symlink()
        assert file.read_bytes() == b"new"
        assert stat.S_IMODE(file.stat().st_mode) == 0o4741
        assert file.stat().st_ino != inode
        assert await fs.write_text(dangling, "made\n", "utf-8", atomic=True, mode=0o640) == 5
        assert dangling.is_symlink()
        assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o640
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(OSError, match="regular file"):
            await fs.write_bytes(tmp_path / "fifo", b"", atomic=True)
        assert {each.name for each in tmp_path.iterdir()} == {
            "file",
            "link",
            "dangling",
            "made",
            "fifo",
        }

    run(main())


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="root gives files away")
def test_a_replacement_keeps_the_owner(run_once: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    os.chown(file, 1234, 4321)
    run_once(fs.write_bytes(file, b"new", atomic=True))
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 4321)


def test_readers_see_the_old_or_the_new_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([number]) * 50_000 for number in range(12)]
    path.write_bytes(versions[0])

    async def main() -> None:
        async def read() -> None:
            while True:
                assert await fs.read_bytes(path) in versions
                await asyncio.sleep(0)

        reading = asyncio.create_task(read())
        for version in versions:
            await fs.write_bytes(path, version, atomic=True, sync=False)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    run(main())


WRITER = """
import asyncio, sys, noria
from noria import fs

async def main():
    number = 0
    while True:
        number = (number + 1) % 256
        await fs.write_bytes(sys.argv[1], bytes([number]) * 100_000, atomic=True, sync=False)
        if number == 1:
            print("writing", flush=True)

noria.run(main())
"""


@pytest.mark.posix
def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    paths = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
    for reads in (0, 50, 150):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": paths},
        )
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            for _ in range(reads):
                path.read_bytes()
            writer.kill()
        data = path.read_bytes()
        assert data == data[:1] * 100_000
    left = {each.name for each in tmp_path.iterdir()} - {"file"}
    assert len(left) <= 3
    assert all(name.startswith(".noria-") for name in left)


def test_cancelling_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old" * 100)
    data = bytes(2_000_000)

    async def main() -> None:
        await fs.read_bytes(path)
        before = open_descriptors()
        for turns in range(4):
            for made in (
                fs.write_bytes(path, data, atomic=True, sync=False),
                fs.read_bytes(path),
            ):
                task = asyncio.create_task(made)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    pass
                assert path.read_bytes() in (b"old" * 100, data)
        await fs.read_bytes("/proc/self/status")
        # Those that run go on to their end.
        await eventually(lambda: {each.name for each in tmp_path.iterdir()} == {"file"})
        await eventually(lambda: not open_descriptors() - before)

    run(main())
