"""Watching: what is told of what happened, by the system and by polling; limits; the end."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import shutil
import struct
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files import watch as watch_module
from noria.files import watch_inotify, watch_kqueue, watch_polling
from noria.files.watch_backend import Change, Snapshot, compare, take_snapshot
from noria.native import watches
from noria.native.sockets import COMPILED
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.files.conftest import Run

PATIENCE_SECONDS = 10.0
INTERVAL_SECONDS = 0.01

needs_inotify = pytest.mark.skipif(
    sys.platform != "linux" or not COMPILED, reason="only the compiled build has inotify"
)


@pytest.fixture(params=["system", "polling"])
def polling(request: pytest.FixtureRequest) -> bool:
    """Whether to look, or to be told by the system."""
    if request.param == "system" and (sys.platform != "linux" or not COMPILED):
        pytest.skip("only the compiled build has inotify")
    return bool(request.param == "polling")


def watched(path: Any, polling: bool = False, **keywords: Any) -> fs.Watcher:
    return fs.watch(path, polling=polling, interval=INTERVAL_SECONDS, **keywords)


async def take(watcher: fs.Watcher, last: Callable[[Change], bool]) -> list[Change]:
    """Changes up to the one that is waited for, or to the end."""
    found = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for change in watcher:
            found.append(change)
            if last(change):
                break
    return found


async def take_kind(watcher: fs.Watcher, kind: str) -> Change:
    """The next change of a kind."""
    found = await take(watcher, lambda change: change.kind == kind)
    return found[-1]


async def next_of(watcher: fs.Watcher) -> Change:
    return await asyncio.wait_for(anext(watcher), PATIENCE_SECONDS)


def grow(path: Path) -> None:
    """Change a file in a way that a look can see at once."""
    with path.open("ab") as file:
        file.write(b"more")


def test_changes_of_a_directory(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        file, new, folder = (tmp_path / name for name in ("file", "new", "folder"))
        async with watched(tmp_path, polling) as watcher:
            assert watcher.backend == ("polling" if polling else "inotify")
            assert watcher.reason == ("asked for by the program" if polling else "best available")
            file.touch()
            assert await next_of(watcher) == Change("created", str(file))
            grow(file)
            assert await take_kind(watcher, "modified") == Change("modified", str(file))
            file.chmod(0o600)
            assert await take_kind(watcher, "attributes") == Change("attributes", str(file))
            file.rename(new)
            assert await take_kind(watcher, "moved") == ("moved", str(new), False, str(file))
            new.unlink()
            assert await take_kind(watcher, "deleted") == Change("deleted", str(new))
            folder.mkdir()
            assert await take_kind(watcher, "created") == Change("created", str(folder), True)
            (folder / "inside").touch()
            (folder / "inside").unlink()
            folder.rmdir()
            assert await take_kind(watcher, "deleted") == Change("deleted", str(folder), True)

    run(main())


def test_what_is_below_counts_when_it_is_asked_for(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "old" / "older").mkdir(parents=True)
        async with watched(tmp_path, polling, recursive=True) as watcher:
            (tmp_path / "old" / "older" / "file").touch()
            assert (await next_of(watcher)).path == str(tmp_path / "old" / "older" / "file")
            deep = tmp_path / "a" / "b" / "c"
            deep.mkdir(parents=True)
            (deep / "first").touch()
            found = await take(watcher, lambda change: change.path == str(deep / "first"))
            created = [change.path for change in found if change.kind == "created"]
            below = [tmp_path / "a", tmp_path / "a" / "b", deep, deep / "first"]
            assert sorted(created) == [str(path) for path in below], "each once"
            (deep / "second").touch()
            found = await take(watcher, lambda change: change.path == str(deep / "second"))
            assert found[-1] == Change("created", str(deep / "second"))
            (tmp_path / "a").rename(tmp_path / "z")
            change = await take_kind(watcher, "moved")
            assert change == ("moved", str(tmp_path / "z"), True, str(tmp_path / "a"))
            moved = tmp_path / "z" / "b" / "c" / "first"
            grow(moved)
            assert await take_kind(watcher, "modified") == Change("modified", str(moved))
            shutil.rmtree(tmp_path / "z")
            found = await take(watcher, lambda change: change.path == str(tmp_path / "z"))
            gone = [change.path for change in found if change.kind == "deleted"]
            assert len(gone) == 5
            assert gone == sorted(gone, key=len, reverse=True) or gone[-1] == str(tmp_path / "z")

    run(main())


def test_what_moves_in_and_out(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        inside, outside = tmp_path / "inside", tmp_path / "outside"
        inside.mkdir()
        (outside / "tree").mkdir(parents=True)
        (outside / "tree" / "leaf").touch()
        async with watched(inside, polling, recursive=True) as watcher:
            (outside / "tree").rename(inside / "tree")
            found = await take(watcher, lambda change: change.path.endswith("leaf"))
            assert found == [
                Change("created", str(inside / "tree"), True),
                Change("created", str(inside / "tree" / "leaf")),
            ]
            (inside / "tree").rename(outside / "gone")
            last = str(inside / "tree")
            found = await take(watcher, lambda change: change.path == last)
            assert found[-1] == Change("deleted", last, True)
            (outside / "gone" / "unseen").touch()
            (inside / "seen").touch()
            assert await next_of(watcher) == Change("created", str(inside / "seen"))

    run(main())


def test_the_order_is_kept_around_half_a_move(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        inside = tmp_path / "inside"
        inside.mkdir()
        (inside / "name").write_bytes(b"long before")
        async with watched(inside, polling) as watcher:
            (inside / "name").rename(tmp_path / "elsewhere")
            (inside / "name").touch()
            if polling:
                assert await next_of(watcher) == Change("modified", str(inside / "name"))
            else:
                kinds = [(await next_of(watcher)).kind for _ in range(2)]
                assert kinds == ["deleted", "created"]

    run(main())


def test_one_file_that_is_replaced_and_deleted(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        file, other = tmp_path / "file", tmp_path / "other"
        file.touch()
        async with watched(file, polling) as watcher:
            grow(file)
            assert await next_of(watcher) == Change("modified", str(file))
            for _ in range(2):
                other.write_bytes(b"something else")
                other.replace(file)
                changed = await take_kind(watcher, "modified")
                assert changed == Change("modified", str(file))
            with file.open("rb"):
                file.unlink()
                found = await take(watcher, lambda _: False)
            assert found[-1] == Change("deleted", str(file))
            with pytest.raises(StopAsyncIteration):
                await next_of(watcher)

    run(main())


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_it_ends_when_the_directory_is_gone(
    run: Run, polling: bool, how: str, tmp_path: Path
) -> None:
    async def main() -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        async with watched(folder, polling, recursive=True) as watcher:
            if how == "deleted":
                folder.rmdir()
            else:
                folder.rename(tmp_path / "elsewhere")
            found = await take(watcher, lambda _: False)
        assert found == [Change("deleted", str(folder), True)]

    run(main())


def test_only_what_was_asked_for(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        events = ["created", "deleted"]
        async with watched(tmp_path, polling, events=events) as watcher:
            (tmp_path / "file").touch()
            assert await next_of(watcher) == Change("created", str(tmp_path / "file"))
            grow(tmp_path / "file")
            (tmp_path / "file").chmod(0o600)
            (tmp_path / "file").unlink()
            assert await next_of(watcher) == Change("deleted", str(tmp_path / "file"))

    run(main())


def test_paths_are_of_the_kind_that_was_given(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        folder = os.fsencode(tmp_path)
        async with watched(folder, polling, recursive=True) as watcher:
            (tmp_path / "folder").mkdir()
            (tmp_path / "folder" / "näme").touch()
            found = await take(watcher, lambda change: b"n\xc3" in change.path)
            assert found[-1].path == folder + b"/folder/n\xc3\xa4me"
            (tmp_path / "folder").rename(tmp_path / "f")
            assert (await take_kind(watcher, "moved")).old_path == folder + b"/folder"
            (tmp_path / "f" / "x").touch()
            found = await take(watcher, lambda change: change.path.endswith(b"x"))
            assert found[-1].path == folder + b"/f/x"

    run(main())


def test_what_nobody_takes_is_bounded(
    run: Run, polling: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "WATCH_QUEUE_MAX", 3)

    async def main() -> None:
        events = ["created"]
        async with watched(tmp_path, polling, events=events) as watcher:
            for number in range(8):
                (tmp_path / f"{number}").touch()
            found = await take(watcher, lambda change: change.kind == "overflow")
            assert [change.kind for change in found] == ["created"] * 3 + ["overflow"]
            assert found[-1].path == str(tmp_path)
            (tmp_path / "later").touch()
            found = await take(watcher, lambda change: change.path.endswith("later"))
            assert found[-1].kind == "created"

    run(main())


def test_what_repeats_is_told_of_once(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path, polling=True) as watcher:
            pump: Any = watcher._pump
            for kind in ("modified", "modified", "created", "modified", "attributes"):
                pump._put(Change(kind, "x"))
            kinds = [(await next_of(watcher)).kind for _ in range(4)]
            assert kinds == ["modified", "created", "modified", "attributes"]

    run(main())


@needs_inotify
def test_an_overflow_of_the_kernel_finds_what_was_missed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's queue is full: what it had is lost, directories that were made among it."""
    read = watch_inotify.InotifyBackend._read
    lost: list[Any] = []

    def losing(backend: Any) -> Any:
        events = read(backend)
        if not lost:
            lost.extend(events)
            return [watch_inotify.Event(-1, 0x4000, 0, "")]
        return events

    monkeypatch.setattr(watch_inotify.InotifyBackend, "_read", losing)

    async def main() -> None:
        (tmp_path / "old").mkdir()
        async with watched(tmp_path, recursive=True) as watcher:
            os.mkdir(tmp_path / "made")  # noqa: PTH102 - one event, whatever pathlib does
            assert await next_of(watcher) == Change("overflow", str(tmp_path), True)
            for folder in ("made", "old"):
                file = tmp_path / folder / "file"
                file.touch()
                found = await take(watcher, lambda change: change.kind == "created")
                assert found[-1] == Change("created", str(file))
        assert lost

    run(main())


def without(**answers: int) -> SimpleNamespace:
    """The native calls, with answers of their own for some."""
    names = ("watch_open", "watch_add", "watch_remove")
    calls = {name: getattr(watches, name) for name in names}
    return SimpleNamespace(**{**calls, **{name: lambda *_, a=a: a for name, a in answers.items()}})


@needs_inotify
@pytest.mark.parametrize(
    ("call", "code"),
    [("watch_open", errno.EMFILE), ("watch_add", errno.ENOSPC), ("watch_open", errno.ENOSYS)],
)
def test_without_room_it_polls_and_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    monkeypatch.setattr(watch_inotify, "native", without(**{call: -code}))

    async def main() -> None:
        async with watched(tmp_path) as watcher:
            assert watcher.backend == "polling"
            assert errno.errorcode[code] in watcher.reason
            (tmp_path / "file").touch()
            assert await next_of(watcher) == Change("created", str(tmp_path / "file"))

    run(main())


@needs_inotify
def test_without_room_any_more_it_goes_on_by_polling(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with watched(tmp_path, recursive=True) as watcher:
            assert watcher.backend == "inotify"
            monkeypatch.setattr(watch_inotify, "native", without(watch_add=-errno.ENOSPC))
            (tmp_path / "folder").mkdir()
            assert (await next_of(watcher)).kind == "overflow"
            assert watcher.backend == "polling"
            assert "ENOSPC" in watcher.reason
            (tmp_path / "folder" / "file").touch()
            file = str(tmp_path / "folder" / "file")
            assert (await take(watcher, lambda change: change.path == file))[-1].kind == "created"

    run(main())


def test_other_failures_are_raised(
    run: Run, polling: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError, match="missing"):
            await anext(watched(tmp_path / "missing", polling))
        with pytest.raises(FileNotFoundError, match="missing"):
            async with watched(tmp_path / "missing", polling):
                pass
        async with watched(tmp_path, polling=True) as watcher:

            def fail(*_: Any) -> Snapshot:
                raise OSError(errno.EIO, "the disk is gone")

            monkeypatch.setattr(watch_polling, "take_snapshot", fail)
            with pytest.raises(OSError, match="the disk is gone"):
                await next_of(watcher)
            with pytest.raises(StopAsyncIteration):
                await next_of(watcher)

    run(main())


def test_misuse_raises_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        fs.watch(5)
    with pytest.raises(ValueError, match=r"unknown kinds of changes \['shrunk'\]"):
        fs.watch(tmp_path, events=["shrunk"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="interval of 0 seconds"):
        fs.watch(tmp_path, interval=0)
    assert fs.watch(tmp_path).backend == ""


def test_closing_ends_whoever_waits(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        watcher = watched(tmp_path, polling)
        async with watcher:
            waiting = asyncio.ensure_future(take(watcher, lambda _: False))
            await asyncio.sleep(0.001)
            assert not waiting.done()
        assert await waiting == []
        await watcher.aclose()
        assert "closed" in repr(watcher)
        with pytest.raises(StopAsyncIteration):
            await anext(watcher)
        with pytest.raises(RuntimeError, match="was closed"):
            await watcher.__aenter__()
        never = watched(tmp_path, polling)
        assert "not begun" in repr(never)
        await never.aclose()

    run(main())


def test_a_cancelled_wait_loses_no_change(run: Run, polling: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path, polling, events=["created"]) as watcher:
            for number in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(watcher), 0.001)
                (tmp_path / f"{number}").touch()
                assert (await next_of(watcher)).path == str(tmp_path / f"{number}")

    run(main())


def test_what_is_left_unclosed_is_found(run: Run, polling: bool, tmp_path: Path) -> None:
    """The ledger sees that its descriptor is given back."""

    async def main() -> None:
        async def leave() -> None:
            async for _ in watched(tmp_path, polling):
                break

        before = asyncio.all_tasks()
        task = asyncio.ensure_future(leave())
        while not task.done():
            (tmp_path / "file").touch()
            await asyncio.sleep(INTERVAL_SECONDS)
            (tmp_path / "file").unlink()
        gc.collect()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while asyncio.all_tasks() - before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)

    with pytest.warns(ResourceWarning, match="unclosed watcher <Watcher path="):
        run(main())


def test_a_loop_that_ends_meanwhile(run: Run, polling: bool, tmp_path: Path) -> None:
    """asyncio.run cancels what is left; nothing is left over."""
    kept = []

    async def main() -> None:
        watcher = watched(tmp_path, polling, recursive=True)
        kept.append(watcher)
        await watcher.__aenter__()

    run(main())
    assert kept[0]._pump.ended


def test_comparing_snapshots(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "below" / "file").write_bytes(b"x")
    (tmp_path / "turned").touch()
    before = take_snapshot(str(tmp_path), recursive=True)
    assert compare(before, before) == []
    assert len(take_snapshot(str(tmp_path), recursive=False)) == 4
    (tmp_path / "folder").rename(tmp_path / "moved")
    (tmp_path / "turned").unlink()
    (tmp_path / "turned").mkdir()
    now = take_snapshot(str(tmp_path), recursive=True)
    turned = str(tmp_path / "turned")
    assert compare(before, now) == [
        Change("deleted", turned),
        Change("created", turned, True),
        Change("moved", str(tmp_path / "moved"), True, str(tmp_path / "folder")),
    ]
    assert [change.kind for change in compare(now, {})] == ["deleted"] * len(now)
    assert compare(now, {})[-1].path == str(tmp_path)


def test_events_are_parsed() -> None:
    data = struct.pack("iIII", 1, 0x100, 7, 16) + b"name".ljust(16, b"\0")
    data += struct.pack("iIII", 2, 0x400, 0, 0)
    assert watch_inotify.parse(data, as_bytes=False) == [(1, 0x100, 7, "name"), (2, 0x400, 0, "")]
    assert watch_inotify.parse(data, as_bytes=True)[0].name == b"name"


def test_kqueue_is_where_it_belongs() -> None:
    assert hasattr(watch_kqueue, "KqueueBackend") == (sys.platform not in ("linux", "win32"))


@needs_inotify
def test_the_descriptor_does_not_wait_for_the_collector(run: Run, tmp_path: Path) -> None:
    """Also where the loop is closed before a thread could close it."""

    async def main(turns: int) -> None:
        async with watched(tmp_path) as watcher:
            assert watcher.backend == "inotify"
            for _ in range(turns):
                await asyncio.sleep(0)

    gc.collect()
    gc.disable()
    try:
        for turns in range(20):
            run(main(turns))
        left = [each for each in open_descriptors() if "inotify" in each]
        assert not left
    finally:
        gc.enable()
