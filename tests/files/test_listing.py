"""Directories: entries and trees, with os.scandir, os.listdir and os.walk as the measure."""

from __future__ import annotations

import asyncio
import inspect
import os
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files import listing
from noria.files.listing import Batches
from noria.limits import SCAN_ENTRIES_MAX
from tests.files.conftest import eventually
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.files.conftest import Run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with links of every kind, and names that are no UTF-8."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "file").write_bytes(b"x")
    (tmp_path / "a" / "b" / "one").write_bytes(b"xy")
    (tmp_path / "a" / "to-b").symlink_to("b")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "to-a").symlink_to("../a")
    (tmp_path / "d" / "dangling").symlink_to("nowhere")
    (tmp_path / "d" / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "d" / "fifo")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    return tmp_path


async def described(entry: Any) -> tuple[Any, ...]:
    """What an entry tells, of os or of noria."""

    async def told(question: Any, **keywords: Any) -> Any:
        try:
            found = question(**keywords)
            if inspect.isawaitable(found):
                found = await found
        except OSError as exc:
            return type(exc), exc.errno, exc.filename
        return (found.st_ino, found.st_mode) if isinstance(found, os.stat_result) else found

    parts = [entry.name, entry.path, os.fspath(entry), await told(entry.inode)]
    for _ in range(2):
        for question in (entry.is_dir, entry.is_file, entry.stat):
            parts += [await told(question, follow_symlinks=follow) for follow in (True, False)]
        parts.append(await told(entry.is_symlink))
    return tuple(parts)


@pytest.mark.parametrize("kind", ["str", "bytes", "path", "number"])
def test_entries_are_those_of_os(run: Run, tree: Path, kind: str) -> None:
    async def main() -> None:
        for name in ("", "a", "d"):
            path: Any = tree / name
            number = -1
            if kind == "str":
                path = str(path)
            elif kind == "bytes":
                path = os.fsencode(path)
            elif kind == "number":
                path = number = os.open(path, os.O_RDONLY)
            try:
                with os.scandir(path) as theirs:
                    expected = [await described(entry) for entry in theirs]
                async with fs.scandir(path) as entries:
                    ours = [await described(entry) async for entry in entries]
                assert sorted(ours) == sorted(expected)
                assert sorted(await fs.listdir(path)) == sorted(os.listdir(path))
            finally:
                if number >= 0:
                    os.close(number)

    run(main())


def test_questions_are_answered_at_once(
    run: Run, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with fs.scandir(tree / "a") as entries:
            found = [entry async for entry in entries]

        def no_hop(*arguments: Any, **keywords: Any) -> Any:
            raise AssertionError("went to a thread")

        monkeypatch.setattr(listing, "hop", no_hop)
        for entry in found:
            if not await entry.is_symlink():
                assert await entry.is_dir() is not await entry.is_file()
                assert await entry.inode() > 0
                assert not await entry.is_junction()

    run(main())


def test_large_directories_come_in_batches(run: Run, tmp_path: Path) -> None:
    for number in range(SCAN_ENTRIES_MAX * 2):
        (tmp_path / str(number)).touch()

    async def main() -> None:
        names = [entry.name async for entry in fs.scandir(tmp_path)]
        assert sorted(names) == sorted(os.listdir(tmp_path))
        before = open_descriptors()
        async with fs.scandir(tmp_path) as entries:
            async for entry in entries:
                assert entry.name in names
                assert len(open_descriptors() - before) == 1
                break
        assert not open_descriptors() - before
        assert [entry async for entry in entries] == []
        await entries.aclose()

    run(main())


def test_errors_of_the_beginning(run: Run, tree: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            async with fs.scandir(tree / "missing"):
                pass
        assert caught.value.filename == str(tree / "missing")
        with pytest.raises(NotADirectoryError):
            await anext(fs.scandir(tree / "a" / "file"))
        with pytest.raises(TypeError):
            await anext(fs.scandir(1.5))  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError):
            await fs.listdir(tree / "missing")

    run(main())


def test_an_error_comes_behind_what_was_read(run: Run) -> None:
    def numbers() -> Iterator[int]:
        yield from range(SCAN_ENTRIES_MAX + 3)
        raise OSError("torn")

    async def main() -> None:
        given = Batches(numbers, int)
        seen = [await anext(given) for _ in range(SCAN_ENTRIES_MAX + 3)]
        assert seen == list(range(SCAN_ENTRIES_MAX + 3))
        with pytest.raises(OSError, match="torn"):
            await anext(given)
        with pytest.raises(StopAsyncIteration):
            await anext(given)

    run(main())


def test_cancelling_closes_the_directory(run: Run, tmp_path: Path) -> None:
    for number in range(SCAN_ENTRIES_MAX * 2):
        (tmp_path / str(number)).touch()

    async def main() -> None:
        await fs.listdir(tmp_path)
        before = open_descriptors()
        for turns in range(1, 5):  # it begins in the first
            for read in (0, SCAN_ENTRIES_MAX):
                entries = fs.scandir(tmp_path)
                for _ in range(read):
                    await anext(entries)
                task = asyncio.ensure_future(anext(entries))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if task.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    with pytest.raises(RuntimeError, match="cancelled"):
                        await anext(entries)
                await entries.aclose()
        await eventually(lambda: not open_descriptors() - before)

    run(main())


async def walked(*arguments: Any, **keywords: Any) -> list[Any]:
    return [step async for step in fs.walk(*arguments, **keywords)]


@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("followlinks", [True, False])
def test_walking_is_what_os_does(run: Run, tree: Path, topdown: bool, followlinks: bool) -> None:
    (tree / "a" / "to-b").unlink()  # with it there would be a circle

    async def main() -> None:
        tops: list[Any] = [
            tree,
            str(tree),
            os.fsencode(tree),
            tree / "d" / "to-a",
            tree / "missing",
        ]
        for top in tops:
            expected = list(os.walk(top, topdown, None, followlinks))
            assert await walked(top, topdown, None, followlinks) == expected

    run(main())


def test_directories_can_be_left_out_and_errors_be_told(run: Run, tree: Path) -> None:
    async def main() -> None:
        seen = []
        async for place, dirs, _ in fs.walk(str(tree)):
            seen.append(os.path.relpath(place, tree))
            dirs[:] = sorted(name for name in dirs if name not in ("b", "\udcff\udcfe"))
        assert seen == [".", "a", "d"]
        errors: list[OSError] = []
        assert await walked(tree / "missing", onerror=errors.append) == []
        assert [type(exc) for exc in errors] == [FileNotFoundError]
        async for _, dirs, _ in fs.walk(tree, onerror=errors.append):
            if "gone" not in dirs:
                dirs.append("gone")
                break
        with pytest.raises(TypeError):
            await walked(1.5)

    run(main())


@pytest.mark.parametrize("name", ["walk", "scandir", "listdir"])
def test_parameters_are_those_of_os(name: str) -> None:
    theirs = inspect.signature(getattr(os, name)).parameters
    ours = inspect.signature(getattr(fs, name)).parameters
    assert list(ours) == list(theirs)
    for parameter in theirs.values():
        assert ours[parameter.name].default == parameter.default
