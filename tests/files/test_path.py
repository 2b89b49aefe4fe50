"""Path, with pathlib as the measure."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import os
import pathlib
import pickle
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria import Path
from noria.files.listing import Batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.files.conftest import Run

SPELLINGS: list[tuple[str, ...]] = [
    (),
    ("",),
    (".",),
    ("..",),
    ("/",),
    ("//a",),
    ("///a",),
    ("a",),
    ("a/b.tar.gz",),
    ("a", "b", "c.txt"),
    ("a", "/b"),
    ("a/./b//c/",),
    ("/usr/lib/python3",),
    (".hidden",),
    ("trailing.",),
    ("~/x",),
    ("\udcff",),
]


def both(segments: tuple[str, ...]) -> tuple[Path, pathlib.Path]:
    return Path(*segments), pathlib.Path(*segments)


def plain(found: Any) -> Any:
    """What was found, with paths of both kinds as strings."""
    if isinstance(found, Path | pathlib.PurePath):
        return str(found)
    if isinstance(found, os.stat_result):
        return (found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns)
    if isinstance(found, Sequence) and not isinstance(found, str | bytes):
        return [plain(each) for each in found]
    return found


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return plain(call())
    except Exception as exc:
        return type(exc), str(exc)


def attribute(name: str) -> Callable[[Any], Any]:
    return lambda path: getattr(path, name)


def method(name: str) -> Callable[[Any], Any]:
    return lambda path: getattr(path, name)()


PROPERTIES = "parts drive root anchor name suffix suffixes stem parent parents"
METHODS_ALONE = "as_posix as_uri is_absolute __fspath__ __str__ __bytes__"
PURE: dict[str, Callable[[Any], Any]] = {
    **{name: attribute(name) for name in PROPERTIES.split(" ")},
    **{name: method(name) for name in METHODS_ALONE.split(" ")},
    "parents[-1]": lambda path: path.parents[-1],
    "joinpath": lambda path: path.joinpath("x", "y/z"),
    "joinpath absolute": lambda path: path.joinpath("/x"),
    "/": lambda path: path / "x" / pathlib.PurePath("y"),
    "/ wrong": lambda path: path / 5,
    "right /": lambda path: "x" / path,
    "right / wrong": lambda path: 5 / path,
    "with_name": lambda path: path.with_name("other.py"),
    "with_name wrong": lambda path: path.with_name("a/b"),
    "with_stem": lambda path: path.with_stem("other"),
    "with_suffix": lambda path: path.with_suffix(".py"),
    "with_suffix wrong": lambda path: path.with_suffix("py"),
    "with_suffix none": lambda path: path.with_suffix(""),
    "relative_to": lambda path: path.relative_to("a"),
    "relative_to self": lambda path: path.relative_to(path),
    "is_relative_to": lambda path: path.is_relative_to("/usr"),
    "match": lambda path: path.match("*.txt"),
    "match more": lambda path: path.match("b/*.txt"),
    "match nothing": lambda path: path.match(""),
}
if sys.version_info >= (3, 12):
    PURE["walk_up"] = lambda path: path.relative_to("a/x", walk_up=True)
    PURE["match case"] = lambda path: path.match("*.TXT", case_sensitive=False)
if sys.version_info >= (3, 13):
    PURE["parser"] = attribute("parser")
    PURE["full_match"] = lambda path: path.full_match("**/*.txt")


@pytest.mark.parametrize("segments", SPELLINGS, ids=str)
@pytest.mark.parametrize("name", PURE)
def test_names_are_computed_as_by_pathlib(name: str, segments: tuple[str, ...]) -> None:
    ours, theirs = both(segments)
    found = outcome(lambda: PURE[name](ours))
    expected = outcome(lambda: PURE[name](theirs))
    if isinstance(expected, tuple) and expected[0] in {TypeError, IndexError}:
        assert found[0] is expected[0]
    else:
        assert found == expected


def test_paths_compare_as_those_of_pathlib() -> None:
    pairs = [both(segments) for segments in SPELLINGS]
    for one, one_theirs in pairs:
        assert isinstance(one, os.PathLike)
        assert repr(one) == repr(one_theirs).replace(type(one_theirs).__name__, "Path")
        assert one != one_theirs
        for two, two_theirs in pairs:
            assert (one == two) is (one_theirs == two_theirs)
            assert (hash(one) == hash(two)) >= (one == two)
            assert (one < two) is (one_theirs < two_theirs)
            assert (one <= two) is (one_theirs <= two_theirs)
            assert (one > two) is (one_theirs > two_theirs)
    with pytest.raises(TypeError):
        _ = Path("a") < pathlib.Path("b")
    assert sorted([Path("b"), Path("a")]) == [Path("a"), Path("b")]


@pytest.mark.parametrize("segments", SPELLINGS, ids=str)
def test_paths_are_copied_and_pickled(segments: tuple[str, ...]) -> None:
    path = Path(*segments)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(path, protocol)) == path
    assert copy.deepcopy(path) == path


def test_subclasses_make_their_own_kind() -> None:
    class Special(Path):
        pass

    path = Special("a") / "b"
    assert type(path) is Special
    assert type(path.parent) is type(path.parents[0]) is type(path.with_suffix(".x")) is Special
    assert repr(path) == "Special('a/b')"
    if sys.version_info >= (3, 13):
        assert Special.from_uri("file:///a/b") == Special("/a/b")


def test_wrong_segments_are_refused() -> None:
    for wrong in (b"bytes", 5, None):
        with pytest.raises(TypeError):
            Path(wrong)  # type: ignore[arg-type]


@pytest.fixture
def tree(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A small tree, which is the current directory."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one.txt").write_text("one\r\n", encoding="ascii")
    (tmp_path / "a" / "b" / "two.TXT").write_bytes(b"two")
    (tmp_path / "to-a").symlink_to("a")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "fifo")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    return tmp_path


ASKED = (
    "absolute resolve expanduser stat lstat exists is_dir is_file is_symlink is_block_device "
    "is_char_device is_fifo is_socket is_mount owner group readlink read_bytes"
)


def told(call: Callable[[], Any]) -> Any:
    try:
        return plain(call())
    except Exception as exc:
        return type(exc), getattr(exc, "errno", str(exc)), getattr(exc, "filename", None)


async def told_later(call: Callable[[], Any]) -> Any:
    try:
        return plain(await call())
    except Exception as exc:
        return type(exc), getattr(exc, "errno", str(exc)), getattr(exc, "filename", None)


@pytest.mark.parametrize("name", ASKED.split(" "))
def test_questions_are_answered_as_by_pathlib(run: Run, tree: pathlib.Path, name: str) -> None:
    places = ["a", "a/one.txt", "to-a", "dangling", "circle", "fifo", "\udcff", "missing", "/"]
    places += ["/dev/null", "~/b", "a/one.txt/x", "a/../to-a/b", "x" * 300, "", "a\0b"]
    if name == "read_bytes":
        places.remove("fifo")

    async def main() -> None:
        for place in places:
            ours, theirs = both((place,))
            expected = told(getattr(theirs, name))
            assert await told_later(getattr(ours, name)) == expected, place

    run(main())


def test_questions_about_links_themselves(run_once: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        link = Path("to-a")
        assert await link.is_dir()
        assert not await link.is_dir(follow_symlinks=False)
        assert not await Path("dangling").exists()
        assert await Path("dangling").exists(follow_symlinks=False)
        assert not await link.is_file(follow_symlinks=False)
        assert (await link.stat(follow_symlinks=False)).st_ino == os.lstat("to-a").st_ino
        assert await link.owner(follow_symlinks=False) == pathlib.Path("a").owner()
        assert await link.group(follow_symlinks=False) == pathlib.Path("a").group()
        assert not await link.is_junction()
        assert await link.samefile("a")
        assert await link.samefile(Path("a"))

    run_once(main())


def test_places(run: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        assert await Path.cwd() == Path(tree)
        assert await Path.home() == Path(tree / "a")
        with pytest.raises(FileNotFoundError):
            await Path("missing").resolve(strict=True)

    run(main())


def test_contents(run: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        path = Path("a", "made")
        assert await path.write_bytes(b"data") == 4
        assert await path.read_bytes() == b"data"
        assert await path.write_text("text\n", "utf-8", newline="\r\n", atomic=True) == 5
        assert await path.read_text("utf-8", newline="") == "text\r\n"
        assert await path.read_text("utf-8") == "text\n"

    run(main())


def test_opening(run: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        async with Path("made").open("w", encoding="ascii") as file:
            await file.write("text")
        file = await Path("made").open("rb")
        assert await file.read() == b"text"
        await file.close()
        with pytest.raises(ValueError, match="mode"):
            Path("made").open("q")
        assert noria.fs.open is noria.open

    run(main())


PATTERNS = ["*", "**/*", "*.txt", "a/*", "**", "to-a/*", "[ab]", "nothing", "../*/a"]


@pytest.mark.parametrize("method", ["glob", "rglob"])
def test_patterns_find_what_pathlib_finds(run: Run, tree: pathlib.Path, method: str) -> None:
    async def main() -> None:
        for place in (".", str(tree), "missing"):
            ours, theirs = both((place,))
            for pattern in PATTERNS:
                found = [str(path) async for path in getattr(ours, method)(pattern)]
                assert sorted(found) == sorted(map(str, getattr(theirs, method)(pattern)))
        with pytest.raises(ValueError, match="pattern"):
            await anext(Path().glob(""))
        if sys.version_info >= (3, 12):
            found = [str(path) async for path in Path().rglob("*.txt", case_sensitive=False)]
            assert sorted(found) == ["a/b/two.TXT", "a/one.txt"]

    run(main())


def test_directories_are_listed(run: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        for place in (".", "a", str(tree)):
            ours, theirs = both((place,))
            found = sorted([str(path) async for path in ours.iterdir()])
            assert found == sorted(map(str, theirs.iterdir()))
        async with Path("a").iterdir() as inside:
            assert type(await anext(inside)) is Path
        with pytest.raises(FileNotFoundError):
            await anext(Path("missing").iterdir())

    run(main())


@pytest.mark.parametrize("top_down", [True, False])
@pytest.mark.parametrize("follow", [True, False])
def test_walking(run: Run, tree: pathlib.Path, top_down: bool, follow: bool) -> None:
    (tree / "a" / "b" / "up").symlink_to("../../\udcff")

    async def main() -> None:
        steps = [plain(step) async for step in Path("a").walk(top_down, None, follow)]
        if sys.version_info >= (3, 12):
            expected = [plain(step) for step in pathlib.Path("a").walk(top_down, None, follow)]
            assert steps == expected
        assert len(steps) == (3 if follow else 2)
        errors: list[OSError] = []
        assert [step async for step in Path("missing").walk(on_error=errors.append)] == []
        assert len(errors) == 1

    run(main())


def test_changes(run: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        made = Path("m", "n")
        with pytest.raises(FileNotFoundError):
            await made.mkdir()
        await made.mkdir(parents=True)
        with pytest.raises(FileExistsError):
            await made.mkdir()
        await made.mkdir(exist_ok=True)
        file = made / "file"
        await file.touch(0o600)
        with pytest.raises(FileExistsError):
            await file.touch(exist_ok=False)
        await file.chmod(0o640)
        assert (await file.stat()).st_mode & 0o777 == 0o640
        if sys.platform == "linux":  # which cannot, until its C library can
            with contextlib.suppress(NotImplementedError, OSError):
                await file.lchmod(0o600)
        moved = await file.rename(made / "moved")
        assert moved == made / "moved"
        assert type(moved) is Path
        assert await moved.replace("m/again") == Path("m/again")
        again = Path("m/again")
        await (made / "link").symlink_to("../again")
        assert await (made / "link").readlink() == Path("../again")
        await (made / "hard").hardlink_to(again)
        assert await (made / "hard").samefile(again)
        for path in (made / "link", made / "hard", again):
            await path.unlink()
        with pytest.raises(FileNotFoundError):
            await again.unlink()
        await again.unlink(missing_ok=True)
        await made.rmdir()
        assert not await made.exists()

    run(main())


METHODS = [
    name
    for name in dir(pathlib.Path)
    if not name.startswith("_") and callable(getattr(pathlib.Path, name)) and hasattr(Path, name)
]
LENIENT = {"glob", "rglob", "match", "relative_to", "is_relative_to", "expanduser", "absolute"}
"""They pass options on to pathlib, or have none."""


@pytest.mark.parametrize("name", METHODS)
def test_parameters_are_those_of_pathlib(name: str) -> None:
    if name in LENIENT:
        return
    theirs = inspect.signature(getattr(pathlib.Path, name)).parameters
    ours = inspect.signature(getattr(Path, name)).parameters
    for parameter in theirs.values():
        if parameter.kind is not parameter.VAR_POSITIONAL:
            assert parameter.name in ours
            assert ours[parameter.name].default == parameter.default
    named = [each.name for each in theirs.values() if each.kind is not each.VAR_POSITIONAL]
    assert [each for each in ours if each in named] == named


def test_what_may_wait_is_a_coroutine_and_nothing_else_is() -> None:
    pure = {name for name in dir(pathlib.PurePath) if not name.startswith("_")}
    for name in METHODS:
        found = getattr(Path, name)
        if name in pure or name == "from_uri":
            assert not inspect.iscoroutinefunction(found), name
        elif name not in {"glob", "rglob", "iterdir", "walk", "open"}:
            assert inspect.iscoroutinefunction(found), name
    assert isinstance(Path().iterdir(), Batches)
    assert inspect.isasyncgenfunction(Path.walk)


def test_path_is_public(run_once: Run) -> None:
    assert noria.Path is Path

    async def main() -> None:
        async with asyncio.TaskGroup() as group:  # it takes nothing but coroutines
            task = group.create_task(Path("/").is_dir())
        assert task.result()

    run_once(main())
