"""subprocess_exec and subprocess_shell: what is said both ways, and many children at a time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import sys
from typing import Any

import pytest

import noria
from noria.limits import PIPE_DEFAULT_BYTES, PIPE_GROWN_BYTES
from tests.children import PIPE, SLEEP, Told, execute, python, talk
from tests.loops import Reports, pattern, run, turns, until

pytestmark = [
    pytest.mark.posix,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="F_SETPIPE_SZ is Linux's")

Loop = asyncio.AbstractEventLoop

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


# -- talking --------------------------------------------------------------------------------


def test_megabytes_both_ways(both: Loop) -> None:
    data = pattern(8 << 20)
    code = (
        "import sys, threading\n"
        "data = sys.stdin.buffer.read(4 << 20)\n"
        "sys.stdout.buffer.write(data)\n"
        "sys.stderr.buffer.write(data)\n"
        "sys.stdout.buffer.write(sys.stdin.buffer.read())"
    )

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            *python(code), stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate(data)
        assert out == data
        assert err == data[: 4 << 20]
        assert process.returncode == 0

    run(both, main())


@on_linux
def test_large_messages_find_a_larger_pipe(loop: Loop) -> None:
    """A pipe of a child holds 128 KiB once something larger than 64 KiB went through it."""

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        transport: Any = process._transport  # type: ignore[attr-defined]
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def capacities() -> list[int]:
            import fcntl

            pipes = [transport.get_pipe_transport(number) for number in (0, 1)]
            numbers = [one.get_extra_info("pipe").fileno() for one in pipes]
            return [fcntl.fcntl(number, fcntl.F_GETPIPE_SZ) for number in numbers]

        before = capacities()
        if before != [PIPE_DEFAULT_BYTES] * 2:
            pytest.skip(f"pipes hold {before} bytes here")
        for size in (1000, 60_000, 1000):
            data = pattern(size)
            stdin.write(data)
            assert await stdout.readexactly(size) == data
        assert capacities() == before
        for size in (102_400, 500_000, 5):
            data = pattern(size)
            stdin.write(data)
            assert await stdout.readexactly(size) == data
        assert capacities()[0] == PIPE_GROWN_BYTES
        stdin.close()
        assert await process.wait() == 0

    run(loop, main())


@on_linux
def test_a_pipe_that_may_not_grow_stays_as_it_is(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    asked: list[int] = []

    def refuse(number: int, *_: int) -> int:
        asked.append(number)
        raise PermissionError(1, "Operation not permitted")

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        monkeypatch.setattr(fcntl, "fcntl", refuse)
        data = pattern(1 << 20)
        out, _ = await process.communicate(data)
        assert out == data
        assert 1 <= len(asked) == len(set(asked)) <= 2, "each is asked once"

    run(loop, main())


def test_a_child_that_does_not_read_pauses_and_a_dead_one_breaks(both: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*SLEEP, stdin=PIPE)
        assert process.stdin is not None
        process.stdin.write(bytes(1 << 20))
        drain = asyncio.ensure_future(process.stdin.drain())
        await turns()
        assert not drain.done()
        process.kill()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await drain
        await process.wait()
        process = await asyncio.create_subprocess_exec("/bin/true", stdin=PIPE)
        assert await talk(process, bytes(1 << 20)) == (None, None)

    run(both, main())


def test_a_slow_reader_is_not_flooded(both: Loop) -> None:
    """What the child writes stays in the pipe while the stream's buffer is full."""
    code = "import sys; sys.stdout.buffer.write(bytes(4 << 20))"

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*python(code), stdout=PIPE, limit=1024)
        assert process.stdout is not None
        await turns(20)
        buffered: Any = process.stdout._buffer  # type: ignore[attr-defined]
        assert len(buffered) <= 512 * 1024
        total = 0
        while data := await process.stdout.read(10_000):
            total += len(data)
        assert total == 4 << 20
        assert await process.wait() == 0

    run(both, main())


def test_an_exception_of_the_protocol_ends_its_pipe(loop: Loop, reports: Reports) -> None:
    class Faulty(Told):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        transport, protocol = await execute(
            "/bin/sh", "-c", "echo x; exec sleep 1000", stdout=PIPE, protocol=Faulty()
        )
        await until(lambda: "lost 1" in protocol.events)
        transport.close()
        await protocol.lost

    run(loop, main())
    assert isinstance(reports.take_one()["exception"], ZeroDivisionError)


def test_l5_callbacks_run_in_the_context_of_the_start(loop: Loop) -> None:
    seen: dict[str, str] = {}

    class Looking(Told):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen["made"] = colour.get()
            super().connection_made(transport)

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            seen["data"] = colour.get()

        def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
            seen["pipe"] = colour.get()

        def process_exited(self) -> None:
            seen["exited"] = colour.get()

        def connection_lost(self, exc: Exception | None) -> None:
            seen["lost"] = colour.get()
            super().connection_lost(exc)

    async def main() -> None:
        colour.set("red")
        transport, protocol = await execute("/bin/echo", stdout=PIPE, protocol=Looking())
        colour.set("blue")
        await protocol.lost
        transport.close()

    run(loop, main())
    assert seen == dict.fromkeys(("made", "data", "pipe", "exited", "lost"), "red")


def test_l4_an_interrupt_loses_nothing(loop: Loop) -> None:
    class Interrupting(Told):
        def process_exited(self) -> None:
            super().process_exited()
            raise KeyboardInterrupt

    async def start() -> tuple[Any, Any]:
        return await execute("/bin/cat", stdin=PIPE, stdout=PIPE, protocol=Interrupting())

    transport, protocol = run(loop, start())

    async def wait() -> None:
        transport.get_pipe_transport(0).close()  # not before: it may end as soon as it can
        await protocol.lost

    task = loop.create_task(wait())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    run(loop, wait())
    assert protocol.events[-1] == "lost"
    assert transport.get_returncode() == 0
    transport.close()
    loop.run_until_complete(task)


def test_debug_mode_logs(both: Loop, caplog: pytest.LogCaptureFixture) -> None:
    both.set_debug(True)

    async def main() -> None:
        transport, protocol = await execute("/bin/sleep", "s3cret" * 0 + "1000", stdout=PIPE)
        transport.close()
        await protocol.lost
        made = Told()
        transport, _ = await both.subprocess_shell(lambda: made, "true", stdin=None, stderr=-2)
        await made.lost
        transport.close()

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(both, main())
    for text in (
        "execute program '/bin/sleep' stdout=<pipe>",
        "run shell command 'true' stdout=stderr=<pipe>",
        "created: pid",
        "exited with return code -9",
        "Close running child process: kill",
    ):
        assert text in caplog.text


# -- many -----------------------------------------------------------------------------------


def test_hundreds_at_a_time(loop: Loop) -> None:
    count = 200

    async def one(number: int) -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_shell(
            f"cat; exit {number % 100}", stdin=PIPE, stdout=PIPE
        )
        out, _ = await process.communicate(str(number).encode())
        return out, process.returncode

    async def main() -> None:
        found = await asyncio.gather(*map(one, range(count)))
        assert found == [(str(number).encode(), number % 100) for number in range(count)]

    run(loop, main())


def test_a_loop_in_any_thread_waits_for_its_children(loop: Loop) -> None:
    async def ask() -> bytes:
        process = await asyncio.create_subprocess_exec("/bin/echo", "thread", stdout=PIPE)
        out, _ = await process.communicate()
        return out

    def other() -> bytes:
        made = noria.new_event_loop(engine=loop.engine)  # type: ignore[attr-defined] # noria's
        try:
            return made.run_until_complete(ask())
        finally:
            made.close()

    async def main() -> None:
        handler = signal.getsignal(signal.SIGCHLD)
        found = await asyncio.gather(ask(), *(asyncio.to_thread(other) for _ in range(3)))
        assert found == [b"thread\n"] * 4
        assert signal.getsignal(signal.SIGCHLD) == handler
        await asyncio.get_running_loop().shutdown_default_executor()

    run(loop, main())
