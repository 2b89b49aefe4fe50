"""How operations on files end: short transfers, failures, full queues, a host that ends."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from noria.core.descriptor import Descriptor
from noria.core.operation import IN_FLIGHT
from noria.errors import EngineClosedError
from noria.files.file import File
from noria.files.host import Host
from tests.loops import run
from tests.scripted import DATA, Scripted, content, loop, path, scripted

if TYPE_CHECKING:
    from pathlib import Path

    from noria.core.operation import Operation

__all__ = ["loop", "path"]

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="positions are Unix's")


@pytest.mark.parametrize("answers", [[7000], [1, 1, 1], [-errno.EINTR, 9, -errno.EINTR]])
def test_short_transfers_go_on(
    loop: asyncio.AbstractEventLoop, path: Path, answers: list[int]
) -> None:
    async def main() -> None:
        file = scripted(loop, path, answers.copy())
        assert await file.read_at(30_000, 10_000) == DATA[10_000:40_000]
        file.host.engine.answers = answers.copy()  # type: ignore[attr-defined]
        new = os.urandom(30_000)
        pending: Any = file.write_at(new, 20_000)
        assert (await pending, pending.moved) == (30_000, 30_000)
        assert content(path)[20_000:50_000] == new
        file.host.engine.answers = answers.copy()  # type: ignore[attr-defined]
        assert await file.writev_at([new[:50], new[50:]], 5) == 30_000
        assert content(path)[5:30_005] == new
        file.host.engine.answers = answers.copy()  # type: ignore[attr-defined]
        rooms = [bytearray(50), bytearray(1000)]
        assert await file.readv_at(rooms, 5) == 1050
        assert rooms[0] + rooms[1] == new[:1050]
        await file.close()

    run(loop, main())


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_failures_tell_path_offset_and_bytes_done(
    loop: asyncio.AbstractEventLoop, path: Path, code: int
) -> None:
    async def main() -> None:
        file = scripted(loop, path, [4000, -code])
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            await file.write_at(bytes(10_000), 500)
        failure: Any = caught.value
        assert (failure.errno, failure.filename) == (code, path)
        assert (failure.offset, failure.bytes_done) == (500, 4000)
        assert file.statistics().bytes_written == 4000
        await file.close()

    run(loop, main())


@pytest.mark.parametrize("telling", [True, False])
def test_what_waits_for_room_ends_with_the_host(
    loop: asyncio.AbstractEventLoop, path: Path, telling: bool
) -> None:
    """E1: once, with ECANCELED for who waits, if the loop can still tell."""

    async def main() -> None:
        file = scripted(loop, path, [-errno.EAGAIN])
        pending: Any = file.read_at(10, 0)
        assert len(file.host.refused) == 1
        file.host.end(telling)
        assert pending.done() == telling
        if telling:
            with pytest.raises(OSError, match="canceled"):
                await pending
        assert file.host.refused == []
        assert pending.operation.state != IN_FLIGHT
        await asyncio.sleep(0.02)
        assert pending.done() == telling  # the retry has found nothing
        file.in_flight = 0  # in a closed loop nobody waits for that
        await file.close()

    run(loop, main())


def test_a_full_queue_is_waited_for(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = scripted(loop, path, [-errno.EAGAIN, -errno.EAGAIN, -errno.EAGAIN])
        found = await asyncio.gather(file.read_at(10, 0), file.read_at(10, 5))
        assert list(found) == [DATA[:10], DATA[5:15]]
        await file.close()

    run(loop, main())


def test_an_append_that_is_cut_short_fails(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = scripted(loop, path, [5])
        file.appending = True
        with pytest.raises(OSError, match="Input/output") as caught:
            await file.append(bytes(100))
        assert caught.value.bytes_done == 5  # type: ignore[attr-defined]
        await file.close()

    run(loop, main())


def test_a_failed_sync_stays_failed(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = scripted(loop, path, [-errno.EIO])
        results = await asyncio.gather(*(file.sync() for _ in range(3)), return_exceptions=True)
        assert [getattr(each, "errno", None) for each in results] == [errno.EIO] * 3
        with pytest.raises(OSError, match="Input/output") as caught:
            await file.datasync()
        assert caught.value.filename == path
        assert file.statistics().in_flight == 0
        await file.close()

    run(loop, main())


def test_closing_waits_for_what_was_cancelled(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = scripted(loop, path, [])
        number = file.fileno()
        reading: Any = file.read_at(10, 0)
        reading.cancel()
        closing = asyncio.ensure_future(file.close())
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (file.statistics().in_flight, file.descriptor.closed) == (1, False)
        os.fstat(number)
        await closing
        assert (file.statistics().in_flight, file.descriptor.closed) == (0, True)
        assert reading.moved == 10

    run(loop, main())


class Counting(Scripted):
    """Writes down how many operations it has at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: list[int]) -> None:
        Scripted.__init__(self, loop, answers)
        self.held: list[int] = []
        self.holds = 0

    def submit(self, op: Operation) -> bool:
        if self.answers and self.answers[0] == -errno.EBADF:
            self.answers.pop(0)
            raise EngineClosedError("closed")
        self.holds += 1
        self.held.append(self.holds)
        settled = Scripted.submit(self, op)
        self.holds -= settled
        return settled

    def _end(self, op: Operation, result: int) -> None:
        self.holds -= 1
        Scripted._end(self, op, result)


def direct_log(loop: asyncio.AbstractEventLoop, path: Path, answers: list[int]) -> File:
    """A file that is open for direct appends, as far as noria knows."""
    host = Host(loop, Counting(loop, answers))
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    return File(host, Descriptor(fd), path, None, appending=True, alignment=1)


def test_direct_appends_take_turns(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    """On XFS they would be written over each other; also after failures, cancelled or refused."""

    async def main() -> None:
        answers = [9, -errno.ENOSPC, -errno.EAGAIN, 9, -errno.EBADF, -errno.EIO]
        file = direct_log(loop, path, answers)
        engine: Any = file.host.engine
        appends: list[Any] = [file.append(b"append %d\n" % number) for number in range(2, 9)]
        appends.append(file.write_at(b"at\n", 0))
        appends.append(file.writev_at([b"ve", b"ctor\n"], 0))
        assert engine.held == [1]
        appends[5].cancel()
        ended = await asyncio.gather(*appends, return_exceptions=True)
        numbers = [each if isinstance(each, int) else type(each).__name__ for each in ended]
        assert numbers[:4] == [9, "OSError", 9, "EngineClosedError"]
        assert numbers[4:] == ["OSError", "CancelledError", 9, 3, 7]
        assert set(engine.held) == {1}
        wanted = b"append 2\nappend 4\nappend 8\nat\nvector\n"
        assert content(path) == DATA + wanted
        assert (file.in_flight, file.host.in_flight) == (0, 0)
        await file.close()

    run(loop, main())


def test_a_thousand_appends_that_fail_at_once(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        file = direct_log(loop, path, [9] + [-errno.ENOSPC] * 2000)
        appends = [file.append(b"append 2\n") for _ in range(2001)]
        ended = await asyncio.gather(*appends, return_exceptions=True)
        assert [getattr(each, "errno", each) for each in ended] == [9] + [errno.ENOSPC] * 2000
        await file.close()

    run(loop, main())
