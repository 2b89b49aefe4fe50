"""Temporary files and directories, with tempfile as the measure."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.files import temporary
from tests.files.conftest import eventually
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.files.conftest import Run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


@pytest.mark.parametrize("unnamed", [True, False], ids=["O_TMPFILE", "unlinked"])
def test_a_file_without_a_name(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    if not unnamed:
        monkeypatch.setattr(temporary, "_TMPFILE", 0)

    async def main() -> None:
        async with fs.TemporaryFile() as file:
            assert os.listdir(place) == []
            assert await file.write(b"data") == 4
            await file.seek(0)
            assert await file.read() == b"data"
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        text = await fs.TemporaryFile("w+", encoding="utf-8")
        await text.write("ä")
        await text.seek(0)
        assert await text.read() == "ä"
        await text.close()
        other = place / "other"
        other.mkdir()
        async with fs.TemporaryFile(dir=other) as file:
            await file.write(b"x")
        with pytest.raises(FileNotFoundError):
            await fs.TemporaryFile(dir=place / "missing")
        with pytest.raises(ValueError, match="mode"):
            fs.TemporaryFile("q")

    run(main())


def test_a_file_with_a_name(run: Run, place: Path) -> None:
    async def main() -> None:
        async with fs.NamedTemporaryFile("w", prefix="x-", suffix=".txt", encoding="ascii") as file:
            assert Path(file.name).parent == place
            name = Path(file.name).name
            assert name.startswith("x-")
            assert name.endswith(".txt")
            await file.write("text")
            await file.flush()
            assert Path(file.name).read_text(encoding="ascii") == "text"
        assert os.listdir(place) == []
        file = await fs.NamedTemporaryFile()
        await file.write(b"a\nb\n")
        await file.seek(0)
        assert [line async for line in file] == [b"a\n", b"b\n"]
        await file.close()
        await file.close()
        assert os.listdir(place) == []
        async with fs.NamedTemporaryFile(delete_on_close=False) as file:
            await file.write(b"kept")
            await file.close()
            assert Path(file.name).read_bytes() == b"kept"
        assert os.listdir(place) == []
        async with fs.NamedTemporaryFile(delete=False) as file:
            pass
        assert os.listdir(place) == [Path(file.name).name]
        with pytest.raises(FileNotFoundError):
            await fs.NamedTemporaryFile(dir=place / "missing")

    run(main())


def test_a_forgotten_file_is_removed(run_once: Run, place: Path) -> None:
    async def main() -> None:
        made = [await fs.NamedTemporaryFile()]

        def forget() -> None:
            made.clear()
            gc.collect()

        with pytest.warns(ResourceWarning):
            forget()
        assert os.listdir(place) == []

    run_once(main())


def test_directories(run: Run, place: Path) -> None:
    async def main() -> None:
        async with fs.TemporaryDirectory(prefix="d-") as name:
            assert Path(name).name.startswith("d-")
            assert stat.S_IMODE(os.stat(name).st_mode) == 0o700
            (Path(name) / "below").mkdir()
            (Path(name) / "below" / "file").touch()
        assert os.listdir(place) == []
        made = await fs.TemporaryDirectory()
        assert os.listdir(place) == [Path(made.name).name]
        assert made.name in repr(made)
        await made.cleanup()
        await made.cleanup()
        assert os.listdir(place) == []
        async with fs.TemporaryDirectory(delete=False) as name:
            pass
        assert Path(name).is_dir()
        os.rmdir(name)
        with pytest.raises(FileNotFoundError):
            await fs.TemporaryDirectory(dir=place / "missing")
        with pytest.raises(ZeroDivisionError):
            async with fs.TemporaryDirectory():
                _ = 1 / 0
        assert os.listdir(place) == []

    run(main())


def test_names_and_numbers(run: Run, place: Path) -> None:
    async def main() -> None:
        fd, name = await fs.mkstemp(".s", "p")
        assert os.path.samestat(os.fstat(fd), os.stat(name))
        assert not os.get_inheritable(fd)
        os.close(fd)
        os.unlink(name)
        fd, raw = await fs.mkstemp(prefix=b"\xff")
        assert os.path.basename(raw).startswith(b"\xff")
        os.close(fd)
        os.unlink(raw)
        os.rmdir(await fs.mkdtemp(dir=str(place)))
        with pytest.raises(TypeError):
            await fs.mkstemp(1)

    run(main())


def test_what_a_cancelled_task_made_is_removed(run: Run, place: Path) -> None:
    async def entered(made: Any) -> None:
        async with made:
            pass

    async def main() -> None:
        await fs.listdir(place)
        before = open_descriptors()
        makers: list[Callable[[], Any]] = [
            fs.mkstemp,
            fs.mkdtemp,
            lambda: entered(fs.TemporaryFile()),
            lambda: entered(fs.NamedTemporaryFile()),
            lambda: entered(fs.TemporaryDirectory()),
        ]
        for make in makers:
            for turns in range(1, 6):
                task = asyncio.ensure_future(make())
                for _ in range(turns):
                    await asyncio.sleep(0)
                if not task.cancel():
                    made = task.result()
                    if isinstance(made, tuple):
                        temporary._unlink(made[1])
                        os.close(made[0])
                    elif made is not None:
                        os.rmdir(made)
                    continue
                with pytest.raises(asyncio.CancelledError):
                    await task
        await eventually(lambda: not open_descriptors() - before)
        await eventually(lambda: os.listdir(place) == [])

    run(main())


@pytest.mark.parametrize(
    "name", ["mkstemp", "mkdtemp", "TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory"]
)
def test_parameters_are_those_of_tempfile(name: str) -> None:
    theirs = inspect.signature(getattr(tempfile, name)).parameters
    ours = inspect.signature(getattr(fs, name)).parameters
    for parameter in theirs.values():
        assert ours[parameter.name].default == parameter.default
        assert ours[parameter.name].kind is parameter.kind
    assert [each for each in ours if each in theirs] == list(theirs)
