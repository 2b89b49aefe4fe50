"""connect_write_pipe: writing, and how both kinds of transports begin and end.

Asyncio's own loop is asked the same questions wherever it is the specification.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import sys
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.loops import Recorder, Reports, pattern, run, run_turns, turns, until
from tests.pipes import Pipe, pipe, reading, writing

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pipe"]

pytestmark = pytest.mark.posix

Loop = asyncio.AbstractEventLoop
MEBIBYTE = 1 << 20


# -- writing --------------------------------------------------------------------------------


def test_t3_the_water_marks_tell_the_truth(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)
        filled = pipe.fill()
        assert transport.get_write_buffer_size() == 0
        transport.write(bytes(1000))
        assert protocol.told == ["made"]
        transport.write(b"x")
        assert protocol.told == ["made", "pause"]
        assert transport.get_write_buffer_size() == 1001
        assert len(await pipe.take(filled + 1001)) == filled + 1001
        await until(lambda: protocol.told == ["made", "pause", "resume"])
        assert transport.get_write_buffer_size() == 0
        transport.abort()
        await protocol.ended()

    run(both, main())


def test_t1_megabytes_go_through_unchanged(both: Loop, pipe: Pipe) -> None:
    data = pattern(8 * MEBIBYTE)

    async def main() -> None:
        _, reader = await reading(pipe.read_end)
        transport, writer = await writing(pipe.write_end)
        memory = bytearray(data[:MEBIBYTE])
        transport.write(memory)
        memory[:] = bytes(MEBIBYTE)  # it is the caller's again
        for start in range(MEBIBYTE, len(data), MEBIBYTE):
            transport.write(data[start : start + MEBIBYTE])
        transport.write_eof()
        transport.write_eof()
        await reader.ended()
        await writer.ended()
        assert reader.data == data
        assert writer.told[:2] == ["made", "pause"]

    run(both, main())


@pytest.mark.skipif(sys.platform != "linux", reason="F_GETPIPE_SZ is Linux's")
def test_a_pipe_of_the_user_keeps_its_size(both: Loop, pipe: Pipe) -> None:
    import fcntl

    data = pattern(MEBIBYTE)
    before = fcntl.fcntl(pipe.write_end, fcntl.F_GETPIPE_SZ)

    async def main() -> None:
        _, reader = await reading(pipe.read_end)
        transport, writer = await writing(pipe.write_end)
        transport.write(data)
        await until(lambda: len(reader.data) == len(data))
        assert fcntl.fcntl(pipe.write_end, fcntl.F_GETPIPE_SZ) == before
        transport.close()
        await reader.ended()
        await writer.ended()

    run(both, main())


def test_a_writer_learns_that_its_reader_has_gone(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        pipe.read_end.close()
        assert await protocol.ended() is None
        assert transport.is_closing()

    run(both, main())


def test_a_writer_with_a_full_buffer_learns_it_as_well(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        pipe.fill()
        transport.write(b"unsent")
        pipe.read_end.close()
        assert isinstance(await protocol.ended(), BrokenPipeError)
        assert transport.get_write_buffer_size() == 0

    run(both, main())


def test_a_write_to_a_broken_pipe_ends_it(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        pipe.read_end.close()
        transport.write(b"x")
        assert isinstance(await protocol.ended(), BrokenPipeError)

    run(both, main())


def test_writes_after_the_end_are_dropped_and_told(
    both: Loop, pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        transport.abort()
        for _ in range(7):
            transport.write(b"dropped")
        await protocol.ended()
        assert pipe.read_end.read() == b""

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(both, main())
    warned = [record for record in caplog.records if "pipe closed by peer" in record.message]
    assert len(warned) == 2


def test_closing_sends_what_is_buffered(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        filled = pipe.fill()
        transport.write(b"the end")
        transport.close()
        assert transport.is_closing()
        await turns()
        assert "lost" not in protocol.told
        assert (await pipe.take(filled + 7))[-7:] == b"the end"
        assert await protocol.ended() is None

    run(both, main())


def test_aborting_drops_what_is_buffered(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        filled = pipe.fill()
        transport.write(b"the end")
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await protocol.ended() is None
        await until(lambda: pipe.write_end.closed)
        assert len(pipe.read_end.read()) == filled

    run(both, main())


def test_what_is_no_bytes_is_refused(loop: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        for wrong in ("text", None, 7, [b"x"]):
            with pytest.raises(TypeError, match="bytes-like"):
                transport.write(wrong)
        transport.write(memoryview(b"abcdefgh").cast("I"))
        transport.write(memoryview(b"a-b-c-")[::2])
        assert await pipe.take(11) == b"abcdefghabc"
        transport.close()
        await protocol.ended()

    run(loop, main())


def test_drain_of_a_stream_writer_waits_for_room(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        made = asyncio.StreamReader()
        await reading(pipe.read_end, asyncio.StreamReaderProtocol(made))
        transport, protocol = await writing(pipe.write_end, asyncio.streams.FlowControlMixin())
        writer = asyncio.StreamWriter(transport, protocol, None, asyncio.get_running_loop())
        total = bytearray()

        async def read() -> None:
            while data := await made.read(1 << 16):
                total.extend(data)

        task = asyncio.ensure_future(read())
        for number in range(20):
            writer.write(pattern(MEBIBYTE // 4, number))
            await writer.drain()
        writer.close()
        await task
        assert total == b"".join(pattern(MEBIBYTE // 4, number) for number in range(20))

    run(both, main())


# -- starting and ending --------------------------------------------------------------------


@pytest.mark.parametrize("connect", [reading, writing])
def test_cancelled_while_connecting_it_closes(
    both: Loop, pipe: Pipe, connect: Callable[..., Any]
) -> None:
    end = pipe.read_end if connect is reading else pipe.write_end

    async def main() -> None:
        protocol = Recorder()
        task = asyncio.ensure_future(connect(end, protocol))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await protocol.ended()
        await until(lambda: end.closed)
        assert protocol.told == ["made", "lost"]

    run(both, main())


def test_closing_in_connection_made_is_no_trouble(loop: Loop, pipe: Pipe) -> None:
    class Hasty(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.close()

    async def main() -> None:
        pipe.write_end.write(b"unread")
        for end, connect in ((pipe.read_end, reading), (pipe.write_end, writing)):
            _, protocol = await connect(end, Hasty())
            assert await protocol.ended() is None
            assert protocol.told == ["made", "lost"]

    run(loop, main())


def test_an_exception_in_connection_made_is_reported(
    both: Loop, pipe: Pipe, reports: Reports
) -> None:
    class Faulty(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError

    async def main() -> None:
        transport, protocol = await reading(pipe.read_end, Faulty())
        pipe.write_end.write(b"all the same")
        await until(lambda: protocol.data == b"all the same")
        transport.close()
        await protocol.ended()

    run(both, main())
    assert isinstance(reports.take_one()["exception"], ZeroDivisionError)


def test_t5_connection_lost_comes_once_and_later(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await reading(pipe.read_end)
        transport.close()
        transport.close()
        assert protocol.told == ["made"]
        await protocol.ended()
        transport.close()
        await turns()
        assert protocol.told == ["made", "lost"]

    run(both, main())


def test_the_state_shows_in_the_repr(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await reading(pipe.read_end)
        await turns(2)
        assert "polling" in repr(transport)
        transport.pause_reading()
        assert "idle" in repr(transport)
        transport.close()
        assert "closing" in repr(transport)
        await protocol.ended()
        await turns(1)
        assert "closed" in repr(transport)
        transport, protocol = await writing(pipe.write_end)
        pipe.fill()
        transport.write(b"12345")
        assert "polling" in repr(transport)
        assert "bufsize=5" in repr(transport)
        transport.abort()
        await protocol.ended()

    spare = os.dup(pipe.read_end.fileno())  # so that the writer has somebody to write to
    try:
        run(both, main())
    finally:
        os.close(spare)


def test_debug_mode_logs(both: Loop, pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    both.set_debug(True)

    async def main() -> None:
        transport, protocol = await reading(pipe.read_end)
        await writing(pipe.write_end)
        transport.pause_reading()
        transport.resume_reading()
        transport.close()
        await protocol.ended()
        await turns()

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(both, main())
    text = caplog.text
    for word in ("Read pipe", "Write pipe", "pauses reading", "resumes reading", "was closed"):
        assert word in text


def test_a_closed_loop_takes_no_pipe(loop: Loop, pipe: Pipe) -> None:
    loop.close()
    coroutine = loop.connect_read_pipe(Recorder, pipe.read_end)
    with pytest.raises(RuntimeError, match="closed"):
        coroutine.send(None)


def test_many_pipes_at_a_time(loop: Loop) -> None:
    async def main() -> None:
        pipes = [Pipe() for _ in range(100)]
        readers = [(await reading(pipe.read_end))[1] for pipe in pipes]
        writers = [(await writing(pipe.write_end))[0] for pipe in pipes]
        for number, transport in enumerate(writers):
            transport.write(pattern(100_000, number))
            transport.close()
        for number, protocol in enumerate(readers):
            await protocol.ended()
            assert protocol.data == pattern(100_000, number)

    run(loop, main())


def test_a_turn_of_the_loop_between_two_runs_loses_nothing(loop: Loop, pipe: Pipe) -> None:
    transport, protocol = run(loop, reading(pipe.read_end))
    pipe.write_end.write(b"between")
    run_turns(loop)
    assert protocol.data == b"between"
    transport.close()
    run_turns(loop)
    assert protocol.told == ["made", "lost"]


def test_an_idle_pipe_costs_no_turn(loop: Loop, pipe: Pipe) -> None:
    """A paused reader with data waiting must not make the loop spin."""
    assert isinstance(loop, noria.Loop)

    async def main() -> None:
        transport, protocol = await reading(pipe.read_end)
        transport.pause_reading()
        pipe.write_end.write(b"unread")
        await turns(3)
        before = loop._engine.statistics().polls
        await asyncio.sleep(0.05)
        assert loop._engine.statistics().polls - before < 20
        transport.close()
        await protocol.ended()

    run(loop, main())


def test_the_end_is_told_while_much_is_left_to_read(both: Loop) -> None:
    """What is in the pipe when its writer dies is still read, all of it."""
    pipe = Pipe()
    filled = pipe.fill()
    pipe.write_end.close()
    assert select.select([pipe.read_end], [], [], 0)[0]

    async def main() -> None:
        _, protocol = await reading(pipe.read_end)
        await protocol.ended()
        assert len(protocol.data) == filled

    run(both, main())
