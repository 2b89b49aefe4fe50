"""Batches: results and failures apart, orders, waiting, cancelling, memory."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from noria.files.aligned import aligned
from noria.files.batch import Batch, batch
from noria.files.batch_item import BatchItem
from noria.files.file import File
from noria.files.hops import hop
from noria.files.host import Host
from noria.files.opening import open_file
from noria.limits import INLINE_HITS_MAX
from tests.loops import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.files.conftest import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="positions are Unix's")
PATIENCE_SECONDS = 10.0


async def opened(path: Path, flags: int = os.O_RDWR | os.O_CREAT, **keywords: Any) -> File:
    file = await open_file(File, path, flags, **keywords)
    file.looks = False  # most tests are of what takes an operation
    return file


def gate() -> tuple[threading.Event, Any]:
    """What opens a gate, and what waits before it in a thread."""
    event = threading.Event()
    return event, lambda: hop(lambda: event.wait(PATIENCE_SECONDS))


def test_each_item_has_its_result_or_its_failure(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        room, one, two = bytearray(4), bytearray(2), bytearray(2)
        async with batch() as b:
            written = b.write_at(file, b"0123456789", 0)
            with pytest.raises(asyncio.InvalidStateError):
                written.result()
            assert not written.done()
        assert written.result() == 10
        async with batch() as b:
            items = [
                b.read_at(file, 4, 2),
                b.readinto_at(file, room, 4),
                b.readv_at(file, [one, two], 6),
                b.writev_at(file, [b"ab", b"cd"], 20),
                b.sync(file),
                b.datasync(file),
                b.allocate(file, 0, 30),
                b.advise(file, 0, 0, 0),
                b.truncate_at(file, 24),
            ]
            missing = b.add(os_unlink, tmp_path / "missing")
            odd = b.add(lambda: 5)
        assert list(b) == [*items, missing, odd]
        assert [item.result() for item in items[:4]] == [b"2345", 4, 4, 4]
        assert (bytes(room), bytes(one + two)) == (b"4567", b"6789")
        assert [item.result() for item in items[4:]] == [None] * 5
        assert isinstance(missing.exception(), FileNotFoundError)
        with pytest.raises(FileNotFoundError):
            missing.result()
        assert isinstance(odd.exception(), TypeError)
        with pytest.raises(ExceptionGroup, match="2 of 11 operations of a batch failed") as caught:
            b.raise_failures()
        assert list(caught.value.exceptions) == [missing.exception(), odd.exception()]
        await file.close()
        await file.close()

    run(main())


async def os_unlink(path: Path) -> None:
    await hop(path.unlink)


def test_nothing_begins_before_it_is_submitted(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        async with batch() as b:
            first = b.write_at(file, b"x", 0)
            await asyncio.sleep(0.01)
            assert file.statistics().in_flight == 0
            assert not first.done()
            b.submit()
            assert file.statistics().in_flight == 1
            second = b.write_at(file, b"y", 1)
            b.submit()
            b.submit()
        assert (first.result(), second.result()) == (1, 1)
        assert (tmp_path / "file").read_bytes() == b"xy"
        await file.close()

    run(main())


def test_all_begin_in_one_turn(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        await file.truncate_at(1 << 20)
        turns = 0

        async def turning() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(turning())
        async with batch() as b:
            for number in range(200):
                b.read_at(file, 4096, number * 4096)
            await asyncio.sleep(0)
            before = turns
            b.submit()
            assert file.statistics().in_flight == 200
            assert turns == before
        assert all(item.result() == bytes(4096) for item in b)
        task.cancel()
        await file.close()

    run(main())


def test_hits_let_others_have_their_turn(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_bytes(b"data")
        file = await open_file(File, tmp_path / "file", os.O_RDONLY)
        await file.read_at(4, 0)
        if not file.hits:
            pytest.skip("this filesystem does not tell what is cached")
        seen: list[Any] = []
        loop = asyncio.get_running_loop()
        async with batch() as b:
            for _ in range(3 * INLINE_HITS_MAX):
                b.read_at(file, 4, 0)
            b.submit()
            loop.call_soon(lambda: seen.append(sum(item.done() for item in b)))
        assert seen == [2 * INLINE_HITS_MAX], "after the first group and with the second"
        assert all(item.result() == b"data" for item in b)
        async with batch() as b:
            b.read_at(file, 4, 0)
            loop.call_soon(seen.append, "turned")
        assert seen[-1] == "turned"
        await file.close()

    run(main())


def test_waiting_for_some(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        opens, held = gate()
        file = await opened(tmp_path / "file")
        async with batch() as b:
            slow = b.add(held)
            quick = b.write_at(file, b"x", 0)
            assert await b.wait(0) == ([], [slow, quick])
            assert await b.wait(1) == ([quick], [slow])
            assert await b.wait(timeout=0.01) == ([quick], [slow])
            assert await b.wait(2, timeout=0) == ([quick], [slow])
            assert not slow.done()
            with pytest.raises(ValueError, match="3 of 2 operations"):
                await b.wait(3)
            opens.set()
            assert await b.wait(timeout=PATIENCE_SECONDS) == ([slow, quick], [])
        assert slow.result() is True
        await file.close()

    run(main())


def test_a_chain_runs_one_after_the_other(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        order: list[int] = []
        most = running = 0

        async def step(number: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await hop(lambda: None)
            order.append(number)
            running -= 1

        async with batch() as b:
            with b.chain():
                for number in range(20):
                    b.add(step, number)
                b.write_at(file, b"data", 0)
                b.sync(file)
                last = b.add(step, 20)
            with pytest.raises(RuntimeError, match="do not nest"), b.chain(), b.chain():
                pass
        assert order == list(range(21))
        assert most == 1
        assert last.result() is None
        b.raise_failures()
        await file.close()

    run(main())


def test_a_failure_ends_what_was_to_follow(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        begun = []

        async def noted() -> None:
            begun.append(1)

        async with batch() as b:
            with b.chain():
                write = b.write_at(file, b"x", 0)
                bad = b.add(os_unlink, tmp_path / "missing")
                follower = b.add(noted)
                sync = b.sync(file)
            alone = b.add(noted)
        assert (write.result(), begun) == (1, [1])
        assert alone.result() is None
        for item in (follower, sync):
            failure: Any = item.exception()
            assert failure.errno == errno.ECANCELED
            assert not item.cancelled()
        assert follower.exception().__cause__ is bad.exception()  # type: ignore[union-attr]
        assert "os_unlink" in follower.exception().__notes__[0]  # type: ignore[union-attr]
        await file.close()

    run(main())


def test_a_chain_goes_on_behind_what_has_ended(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        async with batch() as b:
            with b.chain():
                b.write_at(file, b"x", 0)
                b.submit()
                second = b.write_at(file, b"y", 0)
                await b.wait()
                third = b.add(os_unlink, tmp_path / "missing")
                await b.wait()
                fourth = b.sync(file)
                assert fourth.done()
        assert second.result() == 1
        assert isinstance(third.exception(), FileNotFoundError)
        with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
            fourth.result()
        assert (tmp_path / "file").read_bytes() == b"y"
        await file.close()

    run(main())


def test_links_make_other_orders(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        opens, held = gate()
        async with batch() as b:
            writes = [b.write_at(file, b"x", place) for place in range(3)]
            slow = b.add(held)
            sync = b.sync(file)
            for each in (*writes, slow):
                b.link(each, sync)
            with pytest.raises(ValueError, match="would wait for each other"):
                b.link(sync, slow)
            with pytest.raises(ValueError, match="would wait for each other"):
                b.link(slow, slow)
            assert await b.wait(3) == (writes, [slow, sync])
            assert "waiting for another" in repr(sync)
            opens.set()
            with pytest.raises(ValueError, match="not waiting in this batch"):
                b.link(sync, b.sync(file))
        assert all(item.exception() is None for item in b)
        async with batch() as other:
            with pytest.raises(ValueError, match="not waiting in this batch"):
                other.link(sync, other.sync(file))
        await file.close()

    run(main())


def test_a_long_chain_of_hits_neither_recurses_nor_hogs(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_bytes(b"data")
        file = await open_file(File, tmp_path / "file", os.O_RDONLY)
        turns = 0

        async def turning() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(turning())
        async with batch() as b:
            with b.chain():
                for _ in range(3000):
                    b.read_at(file, 4, 0)
        assert all(item.result() == b"data" for item in b)
        assert turns >= 3000 // INLINE_HITS_MAX
        task.cancel()
        await file.close()

    run(main())


def test_what_is_misused_raises_when_it_is_added(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").touch()
        file = await opened(tmp_path / "file", os.O_RDONLY)
        writable = await opened(tmp_path / "other")
        with pytest.raises(RuntimeError, match="async with"):
            batch().read_at(file, 1, 0)
        async with batch() as b:
            misuses: list[tuple[Any, type[Exception]]] = [
                (lambda: b.write_at(file, b"", 0), io.UnsupportedOperation),
                (lambda: b.writev_at(file, [b""], 0), io.UnsupportedOperation),
                (lambda: b.truncate_at(file, 0), io.UnsupportedOperation),
                (lambda: b.append(writable, b"x"), io.UnsupportedOperation),
                (lambda: b.read_at(file, -1, 0), ValueError),
                (lambda: b.readinto_at(file, bytearray(1), -1), ValueError),
                (lambda: b.readinto_at(file, b"x", 0), TypeError),
                (lambda: b.readv_at(file, [b"x"], 0), TypeError),
                (lambda: b.write_at(writable, "x", 0), TypeError),
                (lambda: b.allocate(writable, 0, 0), ValueError),
                (lambda: b.add(5), TypeError),  # type: ignore[arg-type]
            ]
            for call, kind in misuses:
                with pytest.raises(kind):
                    call()
            assert len(b) == 0
            foreign = File(Host(file.host.loop, file.host.engine), file.descriptor, "x")
            with pytest.raises(ValueError, match="another event loop"):
                b.read_at(foreign, 1, 0)
            foreign.fd = -1
            room = bytearray(10)
            b.readinto_at(file, room, 0)
            with pytest.raises(BufferError):
                room.extend(b"more")
        room.extend(b"more")
        with pytest.raises(RuntimeError, match="async with"):
            b.sync(file)
        with pytest.raises(RuntimeError, match="one `async with`"):
            async with b:
                pass
        await file.close()
        async with batch() as b:
            with pytest.raises(ValueError, match="closed file"):
                b.read_at(file, 1, 0)
            late = b.write_at(writable, b"x", 0)
            await writable.close()
        assert isinstance(late.exception(), ValueError), "it was closed before the batch began"

    run(main())


def test_an_exception_in_the_block_takes_everything_back(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        opens, held = gate()
        items: list[Any] = []

        async def leave() -> None:
            async with batch() as b:
                items.extend([b, b.add(held)])
                b.submit()
                items.append(b.write_at(file, b"x", 0))
                await asyncio.sleep(0)
                opens.set()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave()
        b, running, never = items
        assert running.done()
        assert never.cancelled()
        with pytest.raises(asyncio.CancelledError):
            never.result()
        with pytest.raises(asyncio.CancelledError):
            never.exception()
        assert (tmp_path / "file").read_bytes() == b""
        b.raise_failures()
        await file.close()

    run(main())


def test_a_cancelled_block_is_left_when_nothing_is_in_use(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        opens, held = gate()
        ended = []

        async def block() -> None:
            async with batch() as b:
                with b.chain():
                    b.add(held)
                    follower = b.add(held)
                quick = b.add(hop, lambda: 5)
                b.submit()
                ended.append((b, follower, quick))

        task = asyncio.create_task(block())
        await until(lambda: ended and ended[0][2].done())
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done(), "a thread works for it still"
        opens.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        b, follower, quick = ended[0]
        assert [item.cancelled() for item in b] == [True, True, False]
        assert (follower.cancelled(), quick.result()) == (True, 5)

    run(main())


def test_one_item_is_cancelled_with_its_followers(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        opens, held = gate()
        async with batch() as b:
            with b.chain():
                first = b.add(held)
                second = b.add(held)
            other = b.add(hop, lambda: 1)
            unbegun = b.add(held)
            assert unbegun.cancel()
            assert not unbegun.cancel()
            assert await b.wait(2) == ([other, unbegun], [first, second])
            assert first.cancel()
            done, pending = await b.wait()
            assert (len(done), pending) == (4, [])
            opens.set()
        assert [item.cancelled() for item in b] == [True, True, False, True]
        assert other.result() == 1

    run(main())


def test_failures_that_nobody_looks_at_are_reported(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        reports: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        file = await opened(tmp_path / "file")

        async def leave() -> None:
            async with batch() as b:
                with b.chain():
                    b.add(os_unlink, tmp_path / "missing")
                    b.sync(file)
                b.sync(file)
                b.add(os_unlink, tmp_path / "looked at")
            assert list(b)[-1].exception() is not None

        await leave()
        gc.collect()
        (report,) = reports
        assert isinstance(report["exception"], FileNotFoundError)
        assert "os_unlink of a batch failed" in report["message"]
        await file.close()

    run(main())


def test_memory_is_let_go_of(run: Run, tmp_path: Path) -> None:
    class Memory(bytearray):
        """Memory that can be watched."""

    async def main() -> list[weakref.ref[Memory]]:
        file = await opened(tmp_path / "file")
        memories = [Memory(1000) for _ in range(8)]
        found = [weakref.ref(memory) for memory in memories]
        async with batch() as b:
            for memory in memories:
                b.write_at(file, memory, 0)
            del memory
            memories.clear()
        assert len(b) == 8
        gc.collect()
        assert all(reference() is None for reference in found)
        await file.close()
        return found

    run(main())


def test_an_empty_batch_and_a_repr(run_once: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with batch() as b:
            assert await b.wait() == ([], [])
        assert isinstance(b, Batch)
        opens, held = gate()
        async with batch() as b:
            item = b.add(held)
            assert isinstance(item, BatchItem)
            assert "gathered" in repr(item)
            b.submit()
            assert "in flight" in repr(item)
            assert item.moved == 0
            opens.set()
        assert "done" in repr(item)

    run_once(main())


def test_what_is_misaligned_raises_when_it_is_added(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        try:
            file = await opened(tmp_path / "file", direct=True)
        except OSError as exc:
            pytest.skip(f"this filesystem has no direct I/O: {exc}")
        room = aligned(8192)
        async with batch() as b:
            misuses: list[Any] = [
                lambda: b.read_at(file, 100, 0),
                lambda: b.readinto_at(file, room[1:4097], 0),
                lambda: b.readv_at(file, [room, room[:7]], 0),
                lambda: b.write_at(file, room, 5),
                lambda: b.writev_at(file, [room[:10]], 0),
            ]
            for misuse in misuses:
                with pytest.raises(ValueError, match=r"direct I/O at offset \d+, length \d+"):
                    misuse()
            assert len(b) == 0
            with b.chain():
                b.write_at(file, room, 0)
                read = b.readv_at(file, [room[:4096], room[4096:]], 0)
        b.raise_failures()
        assert read.result() == 8192
        await file.close()

    run(main())
