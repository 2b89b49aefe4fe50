"""Names: status, kinds, renaming, links and the rest, held against `os`."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import stat as modes
import sys
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files import status
from noria.files.filesystems import Filesystem
from noria.files.hops import hop
from noria.files.host import running_host
from noria.limits import INLINE_HITS_MAX
from noria.native import names as native

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.files.conftest import Run

    Make = Callable[[], Any]

LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="a call of Linux")
compiled = pytest.mark.skipif(
    native.stat_now(b"/", True) == -errno.ENOSYS, reason="needs openat2, and the compiled build"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A file, a directory, links to both, to nothing and to itself, a FIFO."""
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "to-nothing").symlink_to("missing")
    (tmp_path / "to-itself").symlink_to("to-itself")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


NAMES = [
    "file",
    "folder",
    "to-file",
    "to-folder",
    "to-nothing",
    "to-itself",
    "fifo",
    "missing",
    "file/below",
    "folder/missing",
    "a\0b",
    "",
    "x" * 300,
    "\udcff\udcfe",
]


async def outcome(made: Awaitable[Any]) -> Any:
    """What it gives, or class, number and names of what it raises."""
    try:
        return await made
    except Exception as exc:
        return type(exc), *(getattr(exc, each, None) for each in ("errno", "filename", "filename2"))


def expected(call: Make) -> Any:
    async def made() -> Any:
        return call()

    return asyncio.run(outcome(made()))


def without_atime(found: Any) -> Any:
    if not isinstance(found, os.stat_result):
        return found
    fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
    return {name: value for name, value in fields.items() if not name.startswith("st_atime")}


ASKING: dict[str, tuple[Callable[[Any], Awaitable[Any]], Callable[[Any], Any]]] = {
    "stat": (fs.stat, os.stat),
    "lstat": (fs.lstat, os.lstat),
    "exists": (fs.exists, os.path.exists),
    "lexists": (fs.lexists, os.path.lexists),
    "is_file": (fs.is_file, os.path.isfile),
    "is_dir": (fs.is_dir, os.path.isdir),
    "is_symlink": (fs.is_symlink, os.path.islink),
    "getsize": (fs.getsize, os.path.getsize),
    "realpath": (fs.realpath, os.path.realpath),
    "readlink": (fs.readlink, os.readlink),
}


@pytest.mark.parametrize("kind", ["str", "bytes", "path", "relative"])
@pytest.mark.parametrize("name", ASKING)
def test_asking_gives_what_os_gives(
    run: Run, tree: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ASKING[name]
    monkeypatch.chdir(tree)

    def named(each: str) -> Any:
        if kind == "relative":
            return each
        if kind == "path":
            return tree / each
        whole = os.path.join(tree, each)
        return os.fsencode(whole) if kind == "bytes" else whole

    async def main() -> None:
        for each in NAMES:
            path = named(each)
            for _ in range(2):  # the first may have to go to a thread, the second is cached
                found = without_atime(await outcome(ours(path)))
                assert found == without_atime(expected_now(theirs, path)), each

    def expected_now(call: Callable[[Any], Any], path: Any) -> Any:
        try:
            return call(path)
        except Exception as exc:
            fields = (getattr(exc, field, None) for field in ("errno", "filename", "filename2"))
            return type(exc), *fields

    run(main())


def test_misuse_raises_what_os_raises(run_once: Run) -> None:
    cases: list[tuple[Awaitable[Any], Make]] = [
        (fs.stat(1.5), lambda: os.stat(1.5)),  # type: ignore[arg-type]
        (fs.lstat(0), lambda: os.lstat(0)),  # type: ignore[arg-type]
        (fs.stat("x", dir_fd="y"), lambda: os.stat("x", dir_fd="y")),  # type: ignore[arg-type]
        (fs.unlink(None), lambda: os.unlink(None)),  # type: ignore[arg-type]
        (fs.rename("a", 1), lambda: os.rename("a", 1)),  # type: ignore[arg-type]
        (fs.mkdir("a\0b"), lambda: os.mkdir("a\0b")),
        (fs.exists(None), lambda: os.path.exists(None)),  # type: ignore[arg-type]
        (fs.utime("x", (1, 2), ns=(1, 2)), lambda: os.utime("x", (1, 2), ns=(1, 2))),
    ]

    async def main() -> None:
        for made, call in cases:
            with pytest.raises((TypeError, ValueError)) as ours:
                await made
            with pytest.raises((TypeError, ValueError)) as theirs:
                call()
            assert type(ours.value) is type(theirs.value)
            assert str(ours.value) == str(theirs.value)

    run_once(main())


@linux
@compiled
def test_what_is_cached_is_told_without_a_thread(
    run: Run, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hop(*arguments: Any, **keywords: Any) -> Any:
        raise AssertionError("went to a thread")

    async def main() -> None:
        await fs.stat(tree / "file")
        monkeypatch.setattr(status, "hop", no_hop)
        assert (await fs.stat(tree / "file")).st_size == 10
        assert await fs.is_dir(os.fsencode(tree))
        os.path.exists(tree / "missing")
        assert not await fs.exists(tree / "missing")
        with pytest.raises(FileNotFoundError, match="missing"):
            await fs.stat(tree / "missing")

    run(main())


@linux
@pytest.mark.parametrize("told", ["distant", "refused", "not cached"])
def test_what_cannot_be_told_at_once_goes_to_a_thread(
    run: Run, tree: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    hops = []

    def counted(*arguments: Any, **keywords: Any) -> Any:
        hops.append(arguments)
        return hop(*arguments, **keywords)

    def distant(device: int, _: object) -> Filesystem:
        return Filesystem(device, "nfs4")

    failure = -errno.EPERM if told == "refused" else -errno.EAGAIN
    if told == "distant":
        monkeypatch.setattr(status, "filesystem_of", distant)
    else:
        monkeypatch.setattr(native, "stat_now", lambda name, follow: failure)
    monkeypatch.setattr(status, "hop", counted)

    async def main() -> None:
        assert (await fs.stat(tree / "file")).st_size == 10
        assert await fs.exists(tree / "file")
        assert await fs.is_dir(tree)
        assert len(hops) == 3

    run(main())


@linux
@compiled
def test_answers_let_others_have_their_turn(run: Run, tree: Path) -> None:
    async def main() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        running_host().hits = 0
        for _ in range(INLINE_HITS_MAX * 4):
            await fs.exists(tree / "file")
        assert turns >= 3
        task.cancel()

    run(main())


def test_numbers_and_directories(run: Run, tree: Path) -> None:
    async def main() -> None:
        fd = os.open(tree, os.O_RDONLY)
        try:
            assert os.path.samestat(await fs.stat(fd), os.stat(tree))
            assert (await fs.stat("file", dir_fd=fd)).st_size == 10
            assert (await fs.stat("to-file", dir_fd=fd, follow_symlinks=False)).st_size == 4
            assert await fs.access("file", os.R_OK, dir_fd=fd)
            await fs.mkdir("made", 0o700, dir_fd=fd)
            await fs.rename("made", "moved", src_dir_fd=fd, dst_dir_fd=fd)
            assert (tree / "moved").is_dir()
            await fs.rmdir("moved", dir_fd=fd)
            await fs.symlink("file", "link", dir_fd=fd)
            assert await fs.readlink("link", dir_fd=fd) == "file"
            await fs.unlink("link", dir_fd=fd)
            assert not os.path.lexists(tree / "link")
        finally:
            os.close(fd)

    run(main())


def test_names_are_changed(run: Run, tree: Path) -> None:
    async def main() -> None:
        file, folder = tree / "file", tree / "folder"
        await fs.link(file, tree / "second")
        assert await fs.samefile(file, tree / "second")
        await fs.remove(tree / "second")
        await fs.makedirs(folder / "a" / "b")
        with pytest.raises(FileExistsError):
            await fs.makedirs(folder / "a" / "b")
        await fs.makedirs(folder / "a" / "b", exist_ok=True)
        await fs.removedirs(folder / "a" / "b")
        assert not folder.exists()
        await fs.chmod(file, 0o640)
        assert modes.S_IMODE(file.stat().st_mode) == 0o640
        await fs.chown(file, os.getuid(), -1)
        await fs.lchown(tree / "to-nothing", os.getuid(), -1)
        await fs.utime(file, ns=(1_000_000_001, 2_000_000_002))
        assert file.stat().st_mtime_ns == 2_000_000_002
        await fs.utime(file, (5, 6))
        assert file.stat().st_mtime == 6
        await fs.utime(file)
        assert file.stat().st_mtime > 6
        await fs.truncate(file, 3)
        assert file.read_bytes() == b"012"
        await fs.mkfifo(tree / "another")
        assert modes.S_ISFIFO((await fs.lstat(tree / "another")).st_mode)
        await fs.mknod(tree / "node", 0o600 | modes.S_IFREG)
        assert (tree / "node").is_file()
        await fs.replace(file, tree / "node")
        assert (tree / "node").read_bytes() == b"012"
        await fs.renames(tree / "node", tree / "x" / "y")
        assert (tree / "x" / "y").read_bytes() == b"012"
        assert (await fs.statvfs(tree)).f_bsize == os.statvfs(tree).f_bsize

    run(main())


def test_errors_name_both_names(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        for made in (fs.rename(old, new), fs.replace(old, new), fs.link(old, new)):
            with pytest.raises(FileNotFoundError) as caught:
                await made
            assert (caught.value.filename, caught.value.filename2) == (str(old), str(new))

    run(main())


@linux
def test_renaming_with_flags(run: Run, tree: Path) -> None:
    async def main() -> None:
        one, two = tree / "file", tree / "other"
        two.write_bytes(b"other")
        try:
            with pytest.raises(FileExistsError) as caught:
                await fs.rename(one, two, flags=fs.RENAME_NOREPLACE)
        except OSError as exc:
            assert exc.errno == errno.ENOSYS  # noqa: PT017 - the interpreted build says so plainly
            assert native.rename_flags(b"a", b"b", -1, -1, 1) == -errno.ENOSYS
            return
        assert (caught.value.filename, caught.value.filename2) == (str(one), str(two))
        await fs.rename(os.fsencode(one), two, flags=fs.RENAME_EXCHANGE)
        assert (one.read_bytes(), two.read_bytes()) == (b"other", b"0123456789")
        await fs.rename(one, tree / "third", flags=fs.RENAME_NOREPLACE)
        assert not one.exists()
        fd = os.open(tree, os.O_RDONLY)
        try:
            await fs.rename("third", "file", src_dir_fd=fd, dst_dir_fd=fd, flags=1)
        finally:
            os.close(fd)
        assert one.read_bytes() == b"other"

    run(main())


@linux
def test_extended_attributes(run: Run, tree: Path) -> None:
    async def main() -> None:
        file = tree / "file"
        try:
            await fs.setxattr(file, "user.comment", b"hello")
        except OSError as exc:
            assert exc.errno == errno.ENOTSUP  # noqa: PT017
            pytest.skip("the filesystem has no extended attributes")
        assert await fs.getxattr(file, b"user.comment") == b"hello"
        assert "user.comment" in await fs.listxattr(file)
        with pytest.raises(FileExistsError):
            await fs.setxattr(file, "user.comment", b"x", os.XATTR_CREATE)
        await fs.removexattr(file, "user.comment")
        assert "user.comment" not in await fs.listxattr(file)

    run(main())


def test_names_that_are_no_utf_8(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        raw = os.fsencode(tmp_path) + b"/\xff\xfe"
        await fs.mkdir(raw)
        assert await fs.is_dir(raw)
        escaped = os.fsdecode(raw)
        assert await fs.is_dir(escaped)
        await fs.symlink(b"\xfd", raw + b"/link")
        assert await fs.readlink(raw + b"/link") == b"\xfd"
        assert await fs.readlink(escaped + "/link") == "\udcfd"

    run(main())


def test_cancelling_is_told_at_once(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        task = asyncio.create_task(fs.mkdir(tmp_path / "made"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


OTHERS = {"open", "sendfile"}
"""Their namesakes are the builtin and `loop.sendfile`, not those of os."""

SAME = {
    name: getattr(os, name, None) or getattr(os.path, name, None)
    for name in fs.__all__
    if name not in OTHERS
}


@pytest.mark.parametrize("name", [name for name, theirs in SAME.items() if callable(theirs)])
def test_parameters_are_those_of_os(name: str) -> None:
    try:
        theirs = dict(inspect.signature(SAME[name]).parameters)  # type: ignore[arg-type]
    except ValueError:
        pytest.skip("it is written in C, and does not tell")
    ours = inspect.signature(getattr(fs, name)).parameters
    missing = set(theirs) - set(ours)
    assert not missing
    for parameter in theirs.values():
        assert ours[parameter.name].kind is parameter.kind or parameter.name == "path"
        if parameter.default is not parameter.empty:
            assert ours[parameter.name].default == parameter.default
    assert [each for each in ours if each in theirs] == list(theirs)
