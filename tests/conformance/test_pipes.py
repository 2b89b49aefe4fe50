"""connect_read_pipe and connect_write_pipe: what can be a pipe, whose it is, and reading.

Asyncio's own loop is asked the same questions wherever it is the specification.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import io
import os
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import Recorder, Reports, is_open, pattern, run, turns, until
from tests.pipes import Pipe, device, pipe, reading, writing

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["pipe"]

pytestmark = pytest.mark.posix

Loop = asyncio.AbstractEventLoop
MEBIBYTE = 1 << 20

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


# -- what can be a pipe ---------------------------------------------------------------------


def test_a_pipe_is_read_to_its_end(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await reading(pipe.read_end)
        assert transport.get_protocol() is protocol
        assert protocol.transport is transport
        assert transport.get_extra_info("pipe") is pipe.read_end
        assert isinstance(transport, asyncio.ReadTransport)
        pipe.write_end.write(b"one")
        await until(lambda: protocol.data == b"one")
        pipe.write_end.write(b"two")
        pipe.write_end.close()
        assert await protocol.ended() is None
        assert protocol.data == b"onetwo"
        assert protocol.told == ["made", "eof", "lost"]
        await until(lambda: pipe.read_end.closed)
        assert transport.is_closing()
        assert transport.get_extra_info("pipe") is pipe.read_end

    run(both, main())


def test_a_pipe_is_written_and_closed(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await writing(pipe.write_end)
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.can_write_eof()
        transport.write(b"one")
        transport.write(bytearray(b"two"))
        transport.write(memoryview(b"three"))
        transport.writelines([b"", b"fo", b"ur"])
        assert await pipe.take(15) == b"onetwothreefour"
        transport.close()
        assert transport.is_closing()
        transport.close()
        assert await protocol.ended() is None
        await until(lambda: pipe.write_end.closed)
        assert pipe.read_end.read() == b""
        assert protocol.told == ["made", "lost"]

    run(both, main())


def test_a_named_pipe_works(both: Loop, tmp_path: Path) -> None:
    name = tmp_path / "fifo"
    os.mkfifo(name)

    async def main() -> None:
        source = os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        target = os.fdopen(os.open(name, os.O_WRONLY), "wb", 0)
        _, reader = await reading(source)
        transport, _ = await writing(target)
        transport.write(pattern(MEBIBYTE))
        transport.close()
        await reader.ended()
        assert reader.data == pattern(MEBIBYTE)

    run(both, main())


def test_sockets_work_like_pipes(both: Loop) -> None:
    left, right = socket.socketpair()

    async def main() -> None:
        _, reader = await reading(left)
        transport, _ = await writing(right)
        transport.write(pattern(MEBIBYTE))
        transport.close()
        await reader.ended()
        assert reader.data == pattern(MEBIBYTE)
        await until(lambda: left.fileno() == right.fileno() == -1)

    run(both, main())


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_terminal_works_both_ways(both: Loop, buffering: int) -> None:
    master, slave = os.openpty()
    os.set_blocking(master, False)

    async def main() -> None:
        own = os.dup(slave)
        source = os.fdopen(slave, "rb", buffering)
        target = os.fdopen(own, "wb", buffering)
        read_transport, reader = await reading(source)
        write_transport, writer = await writing(target)
        os.write(master, b"typed\n")
        await until(lambda: reader.data == b"typed\n")
        write_transport.write(b"shown\n")
        shown = bytearray()
        while b"shown" not in shown:
            try:
                shown += os.read(master, 100)
            except BlockingIOError:
                await asyncio.sleep(0)
        read_transport.close()
        write_transport.close()
        await reader.ended()
        await writer.ended()

    run(both, main())
    os.close(master)


def test_a_terminal_that_was_hung_up_is_no_error(both: Loop) -> None:
    """Reading from the master answers EIO once the last slave is closed."""
    master, slave = os.openpty()

    async def main() -> None:
        _, reader = await reading(os.fdopen(master, "rb", 0))
        os.write(slave, b"last words")
        os.close(slave)
        exc = await reader.ended()
        assert isinstance(exc, OSError)
        assert exc.errno == errno.EIO
        assert reader.data == b"last words"

    run(both, main())


def test_a_device_that_cannot_be_watched_is_always_ready(loop: Loop) -> None:
    """epoll refuses /dev/null; asyncio never reads from it."""

    async def main() -> None:
        _, reader = await reading(device("/dev/null", "rb"))
        transport, writer = await writing(device("/dev/null", "wb"))
        transport.write(pattern(MEBIBYTE))
        transport.close()
        assert await reader.ended() is None
        assert await writer.ended() is None
        zero, endless = await reading(device("/dev/zero", "rb"))
        await until(lambda: len(endless.data) > 10_000)
        zero.pause_reading()
        seen = len(endless.data)
        await turns(3)
        assert len(endless.data) == seen
        zero.resume_reading()
        await until(lambda: len(endless.data) > seen)
        zero.close()
        assert await endless.ended() is None

    run(loop, main())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_no_pipe_is_refused(both: Loop, tmp_path: Path, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")

    class Folder:
        def fileno(self) -> int:
            return fd

    with path.open("r+b") as file:
        fd = os.open(tmp_path, os.O_RDONLY)
        given: Any = file if what == "file" else Folder()

        async def main() -> None:
            with pytest.raises(ValueError, match=re.escape("is for pipes/sockets only.")):
                await reading(given)
            with pytest.raises(ValueError, match="only for pipes, sockets and character devices"):
                await writing(given)

        run(both, main())
        os.close(fd)
        assert file.read() == b"content"


def test_what_has_no_number_is_refused(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(io.UnsupportedOperation):
            await reading(io.BytesIO())
        with pytest.raises(AttributeError):
            await writing(7)

    run(loop, main())


# -- who owns the number --------------------------------------------------------------------


def test_d1_the_user_may_close_the_object(loop: Loop, pipe: Pipe) -> None:
    """Its number goes to another file, which the transport neither reads nor closes."""

    async def main() -> None:
        transport, reader = await reading(pipe.read_end)
        number = pipe.read_end.fileno()
        pipe.read_end.close()
        other, other_end = os.pipe()
        try:
            if other != number:
                os.dup2(other, number)
            os.write(other_end, b"not for you")
            pipe.write_end.write(b"for you")
            await until(lambda: reader.data)
            await turns()
            assert reader.data == b"for you"
            transport.close()
            await reader.ended()
            await turns()
            assert os.read(number, 100) == b"not for you"
        finally:
            for fd in {other, other_end, number}:
                os.close(fd)

    run(loop, main())


def test_d1_two_transports_of_one_pipe_do_not_collide(loop: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        first, one = await writing(pipe.write_end)
        second, two = await writing(pipe.write_end)
        first.write(b"a")
        second.write(b"b")
        assert await pipe.take(2) == b"ab"
        first.close()
        await one.ended()
        second.write(b"c")
        assert await pipe.take(1) == b"c"
        second.close()
        await two.ended()

    run(loop, main())


def test_unclosed_transports_warn_and_close(both: Loop, pipe: Pipe) -> None:
    async def main() -> tuple[Any, Any]:
        return (await reading(pipe.read_end))[0], (await writing(pipe.write_end))[0]

    read_transport, write_transport = run(both, main())
    both.close()
    for transport in (read_transport, write_transport):
        assert "open" in repr(transport)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            transport.__del__()
        transport._pipe = None
    assert pipe.read_end.closed
    assert pipe.write_end.closed


@pytest.mark.parametrize("connect", ["reading", "writing"])
def test_children_do_not_inherit_our_number(loop: Loop, pipe: Pipe, connect: str) -> None:
    async def main() -> None:
        begin, end = {
            "reading": (reading, pipe.read_end),
            "writing": (writing, pipe.write_end),
        }[connect]
        transport, protocol = await begin(end)
        assert transport._fd != end.fileno()
        assert not os.get_inheritable(transport._fd)
        transport.close()
        await protocol.ended()
        await until(lambda: not is_open(transport._fd))

    run(loop, main())


# -- reading --------------------------------------------------------------------------------


def test_a_paused_reader_gets_nothing(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, protocol = await reading(pipe.read_end)
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        pipe.write_end.write(b"later")
        await turns()
        assert protocol.data == b""
        transport.resume_reading()
        transport.resume_reading()
        await until(lambda: protocol.data == b"later")
        transport.pause_reading()
        pipe.write_end.close()
        await turns()
        assert protocol.told == ["made"]
        transport.resume_reading()
        await protocol.ended()
        transport.pause_reading()
        transport.resume_reading()

    run(both, main())


def test_a_reader_may_pause_and_resume_at_every_chunk(loop: Loop, pipe: Pipe) -> None:
    class Hesitant(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            if len(self.chunks) % 2:
                self.transport.resume_reading()
            else:
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main() -> None:
        _, reader = await reading(pipe.read_end, Hesitant())
        transport, _ = await writing(pipe.write_end)
        transport.write(pattern(MEBIBYTE))
        transport.close()
        await reader.ended()
        assert reader.data == pattern(MEBIBYTE)

    run(loop, main())


def test_pausing_in_connection_made_holds(both: Loop, pipe: Pipe) -> None:
    class Patient(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    async def main() -> None:
        pipe.write_end.write(b"early")
        transport, protocol = await reading(pipe.read_end, Patient())
        await turns()
        assert protocol.data == b""
        transport.resume_reading()
        await until(lambda: protocol.data == b"early")
        transport.close()
        await protocol.ended()

    run(both, main())


def test_the_other_protocol_gets_what_follows(both: Loop, pipe: Pipe) -> None:
    async def main() -> None:
        transport, first = await reading(pipe.read_end)
        pipe.write_end.write(b"one")
        await until(lambda: first.data == b"one")
        second = Recorder()
        second.lost = asyncio.get_running_loop().create_future()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        pipe.write_end.write(b"two")
        pipe.write_end.close()
        await second.ended()
        assert (first.data, second.data) == (b"one", b"two")

    run(both, main())


def test_a_buffered_protocol_is_served(loop: Loop, pipe: Pipe) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.memory = bytearray(100)
            self.data = bytearray()
            self.lost = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.memory

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.memory[:nbytes]

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        _, protocol = await reading(pipe.read_end, Buffered())
        pipe.write_end.write(pattern(10_000))
        pipe.write_end.close()
        assert await protocol.lost is None
        assert protocol.data == pattern(10_000)

    run(loop, main())


def test_t4_an_exception_ends_one_pipe(loop: Loop, pipe: Pipe, reports: Reports) -> None:
    class Faulty(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        _, protocol = await reading(pipe.read_end, Faulty())
        pipe.write_end.write(b"x")
        assert isinstance(await protocol.ended(), ZeroDivisionError)
        await until(lambda: pipe.read_end.closed)

    run(loop, main())
    assert reports.take_one()["message"].startswith("Fatal error: protocol.data_received()")


def test_l4_an_interrupt_loses_nothing(loop: Loop, pipe: Pipe) -> None:
    class Interrupting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"stop":
                raise KeyboardInterrupt

    transport, protocol = run(loop, reading(pipe.read_end, Interrupting()))
    pipe.write_end.write(b"stop")
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(10))

    async def main() -> None:
        pipe.write_end.write(b" and go")
        await until(lambda: protocol.data == b"stop and go")
        transport.close()
        await protocol.ended()

    run(loop, main())


def test_l5_every_callback_runs_in_the_transports_context(both: Loop, pipe: Pipe) -> None:
    seen: dict[str, str] = {}

    class Looking(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen["made"] = colour.get()
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen["data"] = colour.get()

        def eof_received(self) -> bool:
            seen["eof"] = colour.get()
            return False

        def connection_lost(self, exc: BaseException | None) -> None:
            seen["lost"] = colour.get()
            super().connection_lost(exc)

    async def main() -> None:
        colour.set("red")
        _, protocol = await reading(pipe.read_end, Looking())
        colour.set("blue")
        pipe.write_end.write(b"x")
        pipe.write_end.close()
        await protocol.ended()

    run(both, main())
    assert seen == dict.fromkeys(("made", "data", "eof", "lost"), "red")
