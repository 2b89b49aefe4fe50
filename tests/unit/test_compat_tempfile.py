"""noria.compat.aiofiles.tempfile on noria's loop, and as a guest on asyncio's."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from noria import fs
from noria.compat.aiofiles import os as aos
from noria.compat.aiofiles import tempfile


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("mode", "buffering"), [("w+", -1), ("w+b", -1), ("w+b", 0)])
def test_temporary_files(run: Any, tmp_path: Path, mode: str, buffering: int) -> None:
    data: Any = b"a\nb\n" if "b" in mode else "a\nb\n"

    async def main() -> None:
        for make in (tempfile.TemporaryFile, tempfile.NamedTemporaryFile):
            async with make(mode, buffering, suffix=".end", prefix="begin.", dir=tmp_path) as file:
                await file.write(data)
                await file.seek(0)
                assert [line async for line in file] == data.splitlines(keepends=True)
                if make is tempfile.NamedTemporaryFile:
                    (found,) = names(tmp_path)
                    assert file.name == str(tmp_path / found)
                    assert found.startswith("begin.")
                    assert found.endswith(".end")
                    assert file.delete is True
            assert file.closed
            assert names(tmp_path) == []

    run(main())


@pytest.mark.posix
def test_named_files_that_are_kept_or_dropped(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as file:
            await file.write(b"kept")
        assert await fs.read_bytes(file.name) == b"kept"
        await aos.unlink(file.name)
        dropped = await tempfile.NamedTemporaryFile(dir=tmp_path)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del dropped
            gc.collect()
        assert "unclosed file" in str(told[0].message)
        assert names(tmp_path) == []

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="delete_on_close is new in Python 3.12")
def test_named_files_that_are_removed_behind_their_end(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        later: dict[str, Any] = {"delete_on_close": False}
        async with tempfile.NamedTemporaryFile(dir=tmp_path, **later) as file:
            await file.close()
            assert len(names(tmp_path)) == 1
        assert names(tmp_path) == []

    run(main())


@pytest.mark.posix
def test_a_cancelled_open_leaves_no_named_file(run: Any, tmp_path: Path) -> None:
    async def opened() -> None:
        await tempfile.NamedTemporaryFile(dir=tmp_path)

    async def main() -> None:
        for turns in range(3):
            task = asyncio.ensure_future(opened())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for _ in range(200):  # what a thread was about to do may come later
            await asyncio.sleep(0.005)
            if not names(tmp_path):
                break
        assert names(tmp_path) == []

    run(main())


def test_spooled_files(run: Any) -> None:
    async def main() -> None:
        async with tempfile.SpooledTemporaryFile(max_size=4) as file:
            await file.write(b"1234")
            assert type(file._file._file) is io.BytesIO
            await file.writelines([b"5"])
            assert type(file._file._file) is not io.BytesIO
            assert isinstance(await file.fileno(), int)
            await file.write(b"6")
            await file.seek(0)
            assert await file.read() == b"123456"

    run(main())


def test_directories_use_the_given_executor(run: Any, tmp_path: Path) -> None:
    class Counted(ThreadPoolExecutor):
        count = 0

        def submit(self, *arguments: Any, **named: Any) -> Any:
            self.count += 1
            return super().submit(*arguments, **named)

    async def main() -> None:
        with Counted(1) as executor:
            async with tempfile.TemporaryDirectory(dir=tmp_path, executor=executor):
                assert executor.count == 1
            assert executor.count == 2
        assert names(tmp_path) == []

    run(main())


def test_directories(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with tempfile.TemporaryDirectory("s", "p", tmp_path) as name:
            assert names(tmp_path) == [Path(name).name]
        assert names(tmp_path) == []
        made = await tempfile.TemporaryDirectory(dir=tmp_path)
        assert names(tmp_path) == [Path(made.name).name]
        await made.close()
        assert names(tmp_path) == []

    run(main())
