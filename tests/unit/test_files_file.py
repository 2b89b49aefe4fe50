"""Files at positions: hits, transfers, cancelling, closing, errors; on two engines."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.files.file import File
from noria.files.filesystems import READING
from noria.files.hops import hop
from noria.files.host import Host, running_host
from noria.files.opening import open_file
from noria.files.operation import Settled, settled
from noria.files.transfers import CloseOperation, ReadTransfer
from noria.limits import INLINE_HITS_MAX, LOOK_BYTES_MAX, LOOK_EVERY
from tests.loops import run
from tests.scripted import DATA, loop, path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="positions are Unix's")
__all__ = ["loop", "path"]

WRITE = os.O_RDWR | os.O_CREAT


async def opened(path: Path, flags: int = os.O_RDWR, **keywords: Any) -> File:
    file = await open_file(File, path, flags, **keywords)
    file.looks = False  # most tests are of what takes an operation
    return file


def test_reads_and_writes_at_positions(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = await opened(path)
        parts = await asyncio.gather(*(file.read_at(1000, place) for place in range(0, 9000, 900)))
        assert parts == [DATA[place : place + 1000] for place in range(0, 9000, 900)]
        assert await file.read_at(10**6, 99_990) == DATA[99_990:]
        assert await file.read_at(5, 10**6) == b""
        assert await file.write_at(bytearray(b"abc"), 10) == 3
        assert await file.writev_at([b"de", b"", memoryview(b"fgh")], 13) == 5
        room, more = bytearray(4), bytearray(6)
        assert await file.readv_at([room, more], 10) == 10
        assert room + more == b"abcdefgh" + DATA[18:20]
        assert await file.readinto_at(room, 99_998) == 2
        await file.truncate_at(12)
        await file.allocate(0, 20)
        await file.datasync()
        await file.sync()
        assert await file.read_at(100, 8) == DATA[8:10] + b"ab" + bytes(8)
        found = file.statistics()
        assert (found.in_flight, found.bytes_written, found.hits) == (0, 8, 0)
        assert found.native + found.backend >= 17
        await file.close()
        await file.close()
        assert file.closed

    run(loop, main())


def test_what_is_cached_is_there_when_the_call_returns(
    loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    async def main() -> None:
        file = await open_file(File, path, os.O_RDONLY)
        pending = file.read_at(1000, 5)
        if not file.looks:
            pytest.skip("this filesystem does not tell what is cached")
        assert pending.done()  # type: ignore[attr-defined]
        assert await pending == DATA[5:1005]
        assert await file.read_at(100, 99_950) == DATA[99_950:]
        room = bytearray(10)
        assert await file.readinto_at(room, 50) == 10
        assert room == DATA[50:60]
        assert file.statistics().hits == 3
        assert file.statistics().native + file.statistics().backend == 0
        await file.close()

    run(loop, main())


def test_hits_let_others_have_their_turn(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = await open_file(File, path, os.O_RDONLY)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(10 * INLINE_HITS_MAX):
            await file.read_at(10, 0)
        assert turns >= 9
        task.cancel()
        await file.close()

    run(loop, main())


def test_misuse_raises_at_the_call(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = await opened(path, os.O_RDONLY)
        with pytest.raises(io.UnsupportedOperation, match="not open for writing"):
            file.write_at(b"x", 0)
        with pytest.raises(ValueError, match="negative offset"):
            file.read_at(1, -1)
        with pytest.raises(ValueError, match="negative size"):
            file.read_at(-1, 0)
        with pytest.raises(TypeError):
            file.readinto_at(b"read-only", 0)
        with pytest.raises(io.UnsupportedOperation, match="append"):
            (await opened(path)).append(b"x")
        await file.close()
        with pytest.raises(ValueError, match="closed file"):
            file.read_at(1, 0)
        with pytest.raises(ValueError, match="closed file"):
            file.fileno()

    with pytest.warns(ResourceWarning, match="unclosed file"):
        run(loop, main())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_can_only_be_read_by_waiting_is_read_by_a_thread() -> None:
    """A filesystem without RWF_NOWAIT: the ring would have one of its few workers do it."""

    async def main() -> None:
        async with noria.open("/proc/version", "rb", buffering=0) as file:
            for _ in range(40):
                assert await file.read_at(5, 0) == b"Linux"
            found = file.statistics()
            assert (found.native, found.backend) == (0, 40)

    noria.run(main())


def test_cancelling_wakes_at_once_and_closing_waits(
    loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    released = threading.Event()

    async def main() -> None:
        pending = asyncio.ensure_future(hop(released.wait))
        started = loop.time()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pending, 0.01)
        assert loop.time() - started < 5
        released.set()
        undone: list[int] = []
        late = asyncio.Event()

        def undo(value: int) -> None:
            undone.append(value)
            late.set()

        gate = threading.Event()
        abandoned = hop(lambda: gate.wait(10) and 7, undo=undo)
        await asyncio.sleep(0.01)
        abandoned.cancel()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        gate.set()
        await late.wait()
        assert undone == [7]

    run(loop, main())


@pytest.mark.parametrize("kind", [BlockingIOError, InterruptedError, PermissionError, KeyError])
def test_what_a_hop_raises_is_raised_once(
    loop: asyncio.AbstractEventLoop, kind: type[Exception]
) -> None:
    """A lock that is not free is BlockingIOError, and no wish to be called again."""
    raised = kind(errno.EAGAIN if kind is BlockingIOError else errno.EINTR, "said the call")
    calls = []

    def call() -> None:
        calls.append(1)
        raise raised

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await hop(call)
        assert caught.value is raised

    run(loop, main())
    assert calls == [1]


def test_a_number_stays_the_callers_where_it_cannot_be_used(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    number = os.open(tmp_path, os.O_RDONLY)

    async def main() -> None:
        with pytest.raises(IsADirectoryError) as caught:
            await open_file(File, number, os.O_RDONLY)
        assert caught.value.filename == number

    run(loop, main())
    os.fstat(number)
    os.close(number)


def test_what_was_opened_for_nobody_is_closed(
    loop: asyncio.AbstractEventLoop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is cancelled when its open has ended, but before it goes on."""
    numbers: list[int] = []

    def done_at_once(call: Any, *, host: Host, **_: Any) -> Settled:
        opened = call()
        numbers.append(opened.fd)
        return settled(host, opened, True)

    monkeypatch.setattr("noria.files.opening.hop", done_at_once)

    def opener(name: Any, flags: int) -> int:
        return os.open(name, flags)

    async def main() -> None:
        opening = open_file(File, path, os.O_RDONLY, opener=opener)
        task = asyncio.create_task(opening)
        await asyncio.sleep(0)
        assert numbers
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, main())
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(numbers[0])


@pytest.mark.parametrize("undeliverable", [False, True])
def test_a_close_that_was_taken_back_closes_all_the_same(
    loop: asyncio.AbstractEventLoop, path: Path, undeliverable: bool
) -> None:
    """No thread had begun when the engine was closed; nobody else has the number any more."""

    async def main() -> None:
        number = os.open(path, os.O_RDONLY)
        closing = CloseOperation(running_host(), number, path)
        if undeliverable:
            closing.discard(-errno.ECANCELED, None)
        else:
            closing.deliver(-errno.ECANCELED, 0, None)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)
        closing.discard(-errno.ECANCELED, None)  # once

    run(loop, main())


def test_a_hop_is_taken_for_a_future(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert list(await asyncio.gather(hop(lambda: 1), hop(lambda: 2))) == [1, 2]
        done, pending = await asyncio.wait([asyncio.ensure_future(hop(lambda: 3))])
        assert [each.result() for each in done] == [3]
        assert not pending
        assert await asyncio.shield(hop(lambda: 4)) == 4
        assert await asyncio.wait_for(hop(lambda: 5), 5) == 5
        with pytest.raises(ZeroDivisionError):
            await hop(lambda: 1 // 0)
        future: Any = hop(lambda: 6)
        with pytest.raises(asyncio.InvalidStateError):
            future.result()
        with pytest.raises(asyncio.InvalidStateError):
            future.exception()
        called: list[Any] = []
        future.add_done_callback(called.append)
        future.add_done_callback(called.append)
        assert future.remove_done_callback(called.append) == 2
        future.add_done_callback(called.append)
        assert await future == 6
        assert future.get_loop() is loop
        await asyncio.sleep(0)
        assert called == [future]
        assert future.exception() is None
        assert not future.cancel()

    run(loop, main())


@pytest.mark.parametrize("message", [None, "enough"])
def test_who_is_cancelled_among_others(
    loop: asyncio.AbstractEventLoop, message: str | None
) -> None:
    """asyncio.gather asks a future for its CancelledError, or for what that says."""
    release = threading.Event()

    async def main() -> None:
        for keeping in (True, False):
            waiting: Any = hop(release.wait)
            gathered = asyncio.gather(hop(lambda: 1), waiting, return_exceptions=keeping)
            waiting.cancel(msg=message)
            waiting.cancel(msg="too late")
            if keeping:
                one, failure = await gathered
                assert one == 1
            else:
                with pytest.raises(asyncio.CancelledError) as caught:
                    await gathered
                failure = caught.value
            assert type(failure) is asyncio.CancelledError
            assert failure.args == ((message or "",) if keeping else (message,) if message else ())
        release.set()

    run(loop, main())


def test_opening_tells_what_open_tells(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await opened(tmp_path / "missing")
        assert caught.value.filename == str(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            await opened(tmp_path, os.O_RDONLY)
        with pytest.raises(ValueError, match="closefd"):
            await opened(tmp_path / "x", WRITE, closefd=False)
        with pytest.raises(ValueError, match="opener returned -1"):
            await opened(tmp_path / "x", WRITE, opener=lambda *_: -1)
        file = await opened(tmp_path / "new", WRITE | os.O_EXCL, mode=0o600)
        assert not os.get_inheritable(file.fileno())
        number = os.dup(file.fileno())
        borrowed = await open_file(File, number, os.O_RDWR, closefd=False)
        await borrowed.write_at(b"x", 0)
        await borrowed.close()
        os.close(number)
        await file.close()

    run(loop, main())


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="there is no direct I/O")
def test_direct_reads_and_their_alignment(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        try:
            file = await open_file(File, path, os.O_RDWR, direct=True)
        except OSError as exc:
            pytest.skip(f"this filesystem has no direct I/O: {exc}")
        step = file.alignment
        assert await file.read_at(2 * step, step) == DATA[step : 3 * step]
        end = 100_000 // step * step
        assert await file.read_at(4 * step, end) == DATA[end:]
        with pytest.raises(ValueError, match=f"offset 1, length {step}.*multiples of {step}"):
            file.read_at(step, 1)
        with pytest.raises(ValueError, match="address"):
            file.readinto_at(memoryview(bytearray(step + 17))[17:], 0)
        await file.close()

    run(loop, main())


@pytest.mark.parametrize("ending", ["well", "badly", "cancelled"])
def test_a_task_is_woken_by_what_it_waits_for_however_that_ends(
    loop: asyncio.AbstractEventLoop, path: Path, ending: str
) -> None:
    """It goes on with the outcome, and other callbacks are called with the future itself."""
    told: list[Any] = []

    async def main() -> Any:
        file = await opened(path)
        waiting = ReadTransfer(file, 4, 0, READING)
        pending = waiting.pending
        assert pending is not None
        pending.add_done_callback(told.append)
        if ending == "well":
            waiting.outcome = b"data"
            loop.call_soon(waiting.finish)
        elif ending == "badly":
            loop.call_soon(waiting.fail, OSError(errno.EIO, "broken"))
        else:
            loop.call_soon(pending.cancel, "enough")
        try:
            got: Any = await pending
        except (OSError, asyncio.CancelledError) as exc:
            got = exc
        if ending == "cancelled":
            waiting.left()
        await asyncio.sleep(0)
        assert told == [pending]
        await file.close()
        return got

    got = run(loop, main())
    if ending == "well":
        assert got == b"data"
    elif ending == "badly":
        assert got.errno == errno.EIO
    else:
        assert got.args == ("enough",)


def test_what_is_long_is_not_copied_by_the_loop(
    loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    """A cached read beyond LOOK_BYTES_MAX would hold up everybody else."""
    path.write_bytes(b"a" * (LOOK_BYTES_MAX + 1))

    async def main() -> None:
        file = await opened(path)
        file.looks = True
        for size, hits in ((LOOK_BYTES_MAX, 1), (LOOK_BYTES_MAX + 1, 1)):
            assert len(await file.read_at(size, 0)) == size
            assert file.statistics().hits in {0, hits}
        memory = bytearray(LOOK_BYTES_MAX + 1)
        before = file.statistics().hits
        assert await file.readinto_at(memory, 0) == len(memory)
        assert file.statistics().hits == before
        await file.close()

    run(loop, main())


def test_what_is_rarely_cached_is_rarely_looked_for(
    loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    """Reads are done all the same, and a single find brings the looks back."""
    path.write_bytes(b"data")

    async def main() -> None:
        file = await opened(path)
        file.looks = True
        assert await file.read_at(4, 0) == b"data"
        found = file.statistics().hits == 1
        if found:
            file.luck = 0
            for _ in range(LOOK_EVERY - 1):
                assert await file.read_at(4, 0) == b"data"
            assert file.statistics().hits == 1
            assert await file.read_at(4, 0) == b"data"
            assert await file.read_at(4, 0) == b"data"
            assert file.statistics().hits == 3
        await file.close()
        if not found:
            pytest.skip("this filesystem does not tell what is cached")

    run(loop, main())
