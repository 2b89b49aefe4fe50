"""Whoever does what a watcher tells has what is there: random changes of a tree, followed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files.watch_backend import Change, compare, take_snapshot
from noria.native.sockets import COMPILED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.files.conftest import Run

NAMES = "abcd"
QUIET_SECONDS = 0.1
PATIENCE_SECONDS = 15.0


def churn(root: Path, dice: random.Random, count: int, pause: float) -> None:
    """Make, move and delete at random; what cannot be done is not."""
    for _ in range(count):
        place = some_folder(root, dice)
        path = place / dice.choice(NAMES)
        what = dice.random()
        try:
            if what < 0.3:
                path.mkdir()
            elif what < 0.45:
                path.write_bytes(b"x" * dice.randrange(50))
            elif what < 0.55:
                (path / "deep" / "er").mkdir(parents=True)
            elif what < 0.8:
                path.rename(some_folder(root, dice) / dice.choice(NAMES))
            elif what < 0.9:
                path.unlink()
            else:
                shutil.rmtree(path)
        except OSError:
            continue
        if pause:
            time.sleep(pause)


def some_folder(root: Path, dice: random.Random) -> Path:
    folder = root
    while dice.random() < 0.6:
        below = sorted(each for each in folder.iterdir() if each.is_dir())
        if not below:
            break
        folder = dice.choice(below)
    return folder


def tree(root: Path) -> set[str]:
    """Every path below."""
    return {str(path) for path in root.rglob("*")}


def replay(view: set[str], change: Change) -> None:
    """Do to a set of paths what a change tells."""

    def below(path: str) -> set[str]:
        return {each for each in view if each == path or each.startswith(path + os.sep)}

    if change.kind == "created":
        view.add(change.path)
    elif change.kind == "deleted":
        view -= below(change.path)
    elif change.kind == "moved":
        view -= below(change.path)
        moved = below(change.old_path)
        view -= moved
        view |= {change.path + each[len(change.old_path) :] for each in moved}
        view.add(change.path)


def folders(root: Path) -> list[str]:
    """Every directory below."""
    return sorted(str(path) for path in root.rglob("*") if path.is_dir())


def watched_right(backend: Any, root: Path) -> bool:
    """Whether inotify has a watch of each directory, under the name it has now."""
    found = sorted(backend._paths.values())
    return found == [str(root), *folders(root)] and not backend._missed


@pytest.mark.parametrize("polling", [False, True], ids=["system", "polling"])
@pytest.mark.parametrize(("count", "pause"), [(250, 0.0005), (600, 0.0)], ids=["slow", "fast"])
def test_following_a_tree(
    run: Run, tmp_path: Path, polling: bool, count: int, pause: float
) -> None:
    """Fast: names are others' by the time they are looked up, and overflows say so."""
    if not polling and (sys.platform != "linux" or not COMPILED):
        pytest.skip("only the compiled build has inotify")
    dice = random.Random(count)

    async def main() -> None:
        churn(tmp_path, dice, 40, 0)
        lost = False
        async with fs.watch(tmp_path, recursive=True, polling=polling, interval=0.01) as watcher:
            view = tree(tmp_path)
            thread = threading.Thread(target=churn, args=(tmp_path, dice, count, pause))
            thread.start()
            while True:
                try:
                    change = await asyncio.wait_for(anext(watcher), QUIET_SECONDS)
                except TimeoutError:
                    if not thread.is_alive():
                        break
                    continue
                lost = lost or change.kind == "overflow"
                replay(view, change)
            assert lost or view == tree(tmp_path)
            if not polling:
                assert watcher.backend == "inotify"
                assert watched_right(watcher._pump.backend, tmp_path)
                for folder in folders(tmp_path)[:5]:
                    (Path(folder) / "last").touch()
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        assert (await anext(watcher)).path == f"{folder}/last"

    run(main())


@pytest.mark.parametrize("seed", range(30))
def test_snapshots_tell_enough(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    churn(tmp_path, dice, 60, 0)
    before = take_snapshot(str(tmp_path), recursive=True)
    view = tree(tmp_path)
    churn(tmp_path, dice, 30, 0)
    now = take_snapshot(str(tmp_path), recursive=True)
    changes = compare(before, now)
    for change in changes:
        replay(view, change)
    assert view == tree(tmp_path)
    assert paths(changes) <= {*before, *now}


def paths(changes: Iterable[Change]) -> set[str]:
    return {change.path for change in changes}
