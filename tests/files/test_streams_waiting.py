"""Streams that wait: files without a position, cancelled calls, concurrent calls, the end."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.limits import STREAM_BUFFER_BYTES

if TYPE_CHECKING:
    from tests.files.conftest import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs, no terminals")


def test_a_fifo_is_opened_read_and_written_as_it_comes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def writer() -> None:
        async with noria.open(path, "wb") as file:
            assert not file.seekable()
            await file.write(b"one\ntw")
            await file.flush()
            await asyncio.sleep(0.01)
            await file.write(b"o\n" + b"x" * 300_000)

    async def main() -> None:
        writing = asyncio.ensure_future(writer())
        async with noria.open(path, "rb") as file:
            assert await file.readline() == b"one\n"
            assert await file.readline() == b"two\n"
            assert len(await file.read(100)) == 100
            assert len(await file.read()) == 300_000 - 100
            assert await file.read(1) == b""
            with pytest.raises(io.UnsupportedOperation):
                await file.seek(0)
            with pytest.raises(OSError, match="seek"):
                await file.tell()
        await writing

    run(main())


def test_text_through_a_pipe(run: Run) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        async with noria.open(reading, encoding="utf-8") as r:
            async with noria.open(writing, "w", encoding="utf-8") as w:
                await w.write("žluť\nkůň")
            assert [line async for line in r] == ["žluť\n", "kůň"]
            with pytest.raises(io.UnsupportedOperation):
                await r.tell()

    run(main())


def test_unbuffered_a_pipe_gives_what_there_is(run_once: Run) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        os.write(writing, b"ab\ncd")
        async with noria.open(reading, "rb", buffering=0) as r:
            assert await r.readline() == b"ab\n"
            assert await r.read(100) == b"cd"
            os.close(writing)
            assert await r.read(100) == b""

    run_once(main())


def test_a_cancelled_read_loses_nothing(run: Run) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        async with noria.open(reading, encoding="utf-8") as r:
            os.write(writing, b"begin")
            waiting = asyncio.ensure_future(r.readline())
            await asyncio.sleep(0.02)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            os.write(writing, b"ning\n")
            os.close(writing)
            assert await r.readline() == "beginning\n"

    run(main())


def test_closing_ends_a_read_that_waits(run: Run) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        r = await noria.open(reading, "rb")
        waiting = asyncio.ensure_future(r.read(1))
        await asyncio.sleep(0.01)
        await r.close()
        with pytest.raises(ValueError, match="closed"):
            await waiting
        os.close(writing)
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(reading)

    run(main())


def test_a_reader_that_has_gone(run: Run) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        os.close(reading)
        w = await noria.open(writing, "wb")
        await w.write(b"x")
        with pytest.raises(BrokenPipeError) as broken:
            await w.flush()
        assert getattr(broken.value, "bytes_done", None) == 0
        with pytest.raises(BrokenPipeError):
            await w.close()
        assert w.closed
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(writing)

    run(main())


def test_a_terminal_is_flushed_by_lines(run_once: Run) -> None:
    async def main() -> None:
        ours, theirs = pty.openpty()
        async with noria.open(theirs, "w", encoding="utf-8") as file:
            assert file.isatty()
            assert file.line_buffering
            await file.write("x\n")
            assert os.read(ours, 10) == b"x\r\n"
        os.close(ours)

    run_once(main())


def test_devices(run: Run) -> None:
    async def main() -> None:
        async with noria.open("/dev/zero", "rb") as file:
            assert await file.read(5) == bytes(5)
        async with noria.open("/dev/null", "wb") as file:
            assert await file.write(bytes(200_000)) == 200_000
        async with noria.open("/dev/null", "rb") as file:
            assert await file.read() == b""
        if sys.platform == "linux":
            async with noria.open("/proc/self/status", encoding="utf-8") as text:
                assert "Name:" in await text.read()

    run(main())


def test_concurrent_calls_take_turns(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"

    async def main() -> None:
        async with noria.open(path, "w+b") as file:
            counts = await asyncio.gather(*(file.write(b"%d" % n * 30_000) for n in range(10)))
            assert counts == [30_000] * 10
            await file.seek(0)
            parts = await asyncio.gather(*(file.read(30_000) for _ in range(10)))
            assert parts == [b"%d" % n * 30_000 for n in range(10)]

    run(main())


def test_a_cancelled_write_leaves_what_was_taken_before(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"

    async def main() -> None:
        async with noria.open(path, "wb") as file:
            await file.write(b"a" * (STREAM_BUFFER_BYTES - 1))
            for _ in range(3):
                writing = asyncio.ensure_future(file.write(b"b" * 1000))
                await asyncio.sleep(0)
                writing.cancel()
                await asyncio.wait([writing])
                if not writing.cancelled():
                    break
            await file.write(b"c")
        found = path.read_bytes()
        assert found.startswith(b"a" * (STREAM_BUFFER_BYTES - 1))
        assert found.endswith(b"c")
        assert set(found[STREAM_BUFFER_BYTES - 1 : -1]) <= set(b"b")

    run(main())


def test_what_could_not_be_written_stays_and_is_tried_again(run: Run) -> None:
    async def main() -> None:
        file: Any = await noria.open("/dev/full", "wb")
        await file.write(b"x" * 10)
        with pytest.raises(OSError, match="space") as full:
            await file.flush()
        assert full.value.filename == "/dev/full"
        assert full.value.bytes_done == 0  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="space"):
            await file.close()
        assert file.closed
        await file.close()

    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    run(main())


def test_what_nobody_has_flushed_is_written_when_the_file_is_dropped(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "f"

    async def main() -> None:
        file = await noria.open(path, "w", encoding="utf-8")
        await file.write("kept")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del file  # at once, without a collection of garbage
        assert "unclosed file <BinaryFile" in str(told[0].message)

    run(main())
    assert path.read_bytes() == b"kept"


def test_closing_during_a_read_lets_it_end(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 500_000)

    async def main() -> None:
        file = await noria.open(path, "rb")
        reading = asyncio.ensure_future(file.read())
        await asyncio.sleep(0)
        await file.close()
        outcome = (await asyncio.gather(reading, return_exceptions=True))[0]
        assert isinstance(outcome, ValueError) or outcome == b"x" * 500_000
        with pytest.raises(ValueError, match="closed"):
            await file.read()

    run(main())


def test_locks(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)

    async def main() -> None:
        async with noria.open(path, "r+b") as one, noria.open(path, "r+b") as two:
            async with one.lock(offset=0, size=10) as held:
                assert held.held
                async with two.lock(offset=10, size=10):
                    pass
                with pytest.raises(BlockingIOError):
                    await two.lock(offset=5, size=1, wait=False)
                waiting = asyncio.ensure_future(_lock(two))
                await asyncio.sleep(0.01)
                assert not waiting.done()
                waiting.cancel()
                await asyncio.wait([waiting])
                waiting = asyncio.ensure_future(_lock(two))
                await asyncio.sleep(0)
            second = await asyncio.wait_for(waiting, 5)
            with pytest.raises(BlockingIOError):
                await one.lock(wait=False)
            await second.release()
            await second.release()
            async with one.lock(exclusive=False), two.lock(exclusive=False):
                pass
            with pytest.raises(ValueError, match="negative"):
                one.lock(offset=-1)
        with pytest.raises(ValueError, match="closed"):
            one.lock()
        async with noria.open(path, "rb") as reader:
            with pytest.raises(OSError, match="descriptor"):
                await reader.lock()

    async def _lock(file: Any) -> Any:
        return await file.lock()

    if sys.platform != "linux":
        pytest.skip("parts of files are locked on Linux")
    run(main())


def test_direct(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"
    content = os.urandom(16384)
    path.write_bytes(content)

    async def main() -> None:
        try:
            file = await noria.open(path, "r+b", direct=True)
        except OSError as exc:
            pytest.skip(f"no direct I/O here: {exc}")
        async with file:
            assert await file.read(4096) == content[:4096]
            assert await file.read() == content[4096:]
            await file.seek(4096)
            with pytest.raises(ValueError, match="4097"):
                await file.read(4097)
            assert file.statistics().hits == 0

    run(main())


def test_a_sync_flushes_first(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"

    async def main() -> None:
        async with noria.open(path, "wb") as file:
            await file.write(b"one")
            await file.sync()
            assert path.read_bytes() == b"one"
            await file.write(b"two")
            await file.datasync()
            assert path.read_bytes() == b"onetwo"
            await file.sync()

    run(main())
