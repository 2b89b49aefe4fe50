"""subprocess_exec and subprocess_shell: life, death and start of a child, on every engine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.children import PIPE, SLEEP, Told, end_of, execute, python, shell, steal, talk
from tests.loops import run, turns, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.posix,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

Loop = asyncio.AbstractEventLoop
LOSING_CODE = 255


# -- life and death -------------------------------------------------------------------------


def test_the_events_come_in_order(both: Loop) -> None:
    async def main() -> None:
        made = Told()
        transport, protocol = await asyncio.get_running_loop().subprocess_shell(
            lambda: made, "cat; echo wrong >&2; exit 3"
        )
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert protocol is made
        assert protocol.transport is transport
        assert transport.get_protocol() is protocol
        assert transport.get_returncode() is None
        assert transport.get_pid() > 0
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert isinstance(transport.get_pipe_transport(2), asyncio.ReadTransport)
        assert transport.get_pipe_transport(3) is None
        stdin.write(b"right")
        stdin.write_eof()
        await protocol.lost
        assert transport.get_returncode() == 3
        assert protocol.data == {1: b"right", 2: b"wrong\n"}
        assert protocol.events[0] == "made"
        assert protocol.events[-1] == "lost"
        assert sorted(protocol.events[1:-1]) == ["exited", "lost 0", "lost 1", "lost 2"]
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()

    run(both, main())


def test_without_pipes_there_are_none(both: Loop) -> None:
    async def main() -> None:
        transport, protocol = await execute("/bin/sh", "-c", "exit 7")
        assert [transport.get_pipe_transport(number) for number in range(3)] == [None] * 3
        await protocol.lost
        assert transport.get_returncode() == 7
        assert protocol.events == ["made", "exited", "lost"]
        transport.close()

    run(both, main())


def test_the_subprocess_is_extra_info(both: Loop) -> None:
    async def main() -> None:
        transport, protocol = await execute("/bin/sh", "-c", "exit 5")
        process = transport.get_extra_info("subprocess")
        assert isinstance(process, subprocess.Popen)
        assert process.pid == transport.get_pid()
        await protocol.lost
        assert process.returncode == 5
        transport.close()

    run(both, main())


@pytest.mark.parametrize("how", ["kill", "terminate", "send_signal"])
def test_signals_reach_the_child(both: Loop, how: str) -> None:
    number = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "send_signal": signal.SIGHUP}

    async def main() -> None:
        transport, protocol = await execute(*SLEEP)
        getattr(transport, how)(*[number[how]] * (how == "send_signal"))
        await protocol.lost
        assert transport.get_returncode() == -number[how]
        for late in (transport.kill, transport.terminate):
            with pytest.raises(ProcessLookupError):
                late()
        with pytest.raises(ProcessLookupError):
            transport.send_signal(signal.SIGHUP)
        transport.close()

    run(both, main())


def test_a_signal_in_the_moment_of_the_end_is_dropped(both: Loop) -> None:
    """The child is a zombie, and nobody has been told yet."""
    if not isinstance(both, noria.Loop):
        pytest.skip("asyncio's watcher may lose the code to the look that kill takes at the child")

    async def main() -> None:
        transport, protocol = await execute("/bin/sh", "-c", "exit 4")
        end_of(transport)
        transport.kill()
        await protocol.lost
        assert transport.get_returncode() == 4
        transport.close()

    run(both, main())


def test_a_wrong_signal_is_refused(both: Loop) -> None:
    async def main() -> None:
        transport, protocol = await execute(*SLEEP)
        with pytest.raises((OSError, ValueError)):
            transport.send_signal(1000)
        transport.close()
        await protocol.lost

    run(both, main())


def test_closing_kills(both: Loop) -> None:
    async def main() -> None:
        transport, protocol = await execute(*SLEEP, stdout=PIPE, stdin=PIPE)
        transport.close()
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL
        assert sorted(protocol.events) == ["exited", "lost", "lost 0", "lost 1", "made"]

    run(both, main())


def test_wait_tells_the_code_to_all(both: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*SLEEP)
        waits = [asyncio.ensure_future(process.wait()) for _ in range(3)]
        await turns(1)
        waits[0].cancel()
        process.terminate()
        assert await asyncio.gather(*waits[1:]) == [-signal.SIGTERM] * 2
        assert waits[0].cancelled()
        assert await process.wait() == process.returncode == -signal.SIGTERM

    run(both, main())


def test_a_grandchild_with_the_pipe_does_not_hold_up_wait(loop: Loop) -> None:
    """Newer versions of asyncio have it so as well (gh-119710)."""

    async def main() -> None:
        process = await asyncio.create_subprocess_shell("sleep 1000 & echo $!", stdout=PIPE)
        assert process.stdout is not None
        grandchild = int(await process.stdout.readline())
        try:
            assert await process.wait() == 0
        finally:
            os.kill(grandchild, signal.SIGKILL)
        assert await process.stdout.read() == b""

    run(loop, main())


def test_a_grandchild_that_writes_without_end_does_not_hold_up_the_loop(loop: Loop) -> None:
    async def main() -> None:
        transport, protocol = await execute("/bin/sh", "-c", "yes & exit 3", stdout=PIPE)
        await until(lambda: "exited" in protocol.events)
        assert await transport._wait() == 3
        assert "lost 1" not in protocol.events
        transport.close()  # and the grandchild gets a SIGPIPE
        await protocol.lost

    run(loop, main())


def test_when_wait_ends_the_output_is_there_and_everything_closed(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "/bin/echo", "said", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        await process.wait()
        transport: Any = process._transport  # type: ignore[attr-defined]
        assert transport.is_closing()
        assert all(transport.get_pipe_transport(number)._fd >= 0 for number in range(3))
        assert all(transport.get_pipe_transport(number)._descriptor is None for number in range(3))
        assert process.stdout is not None
        assert process.stdout.at_eof() is False
        assert await process.stdout.read() == b"said\n"

    run(loop, main())


def test_another_reaper_leaves_255_and_a_warning(
    both: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        transport, protocol = await execute(*SLEEP)
        os.kill(transport.get_pid(), signal.SIGKILL)
        if not steal(transport):
            transport.close()
            pytest.skip("the thread of asyncio's watcher was there first")
        await protocol.lost
        assert transport.get_returncode() == LOSING_CODE
        transport.close()

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(both, main())
    assert "will report returncode 255" in caplog.text or "Unknown child" in caplog.text


def test_what_popen_reaps_is_not_lost(loop: Loop) -> None:
    """Its object is there for all to see, and `poll` and `wait` reap."""

    async def main() -> None:
        transport, protocol = await execute(*SLEEP)
        os.kill(transport.get_pid(), signal.SIGTERM)
        assert transport.get_extra_info("subprocess").wait() == -signal.SIGTERM
        transport.kill()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGTERM
        transport.close()

    run(loop, main())


def test_a_thread_in_popen_wait_agrees(loop: Loop) -> None:
    async def main() -> None:
        transport, protocol = await execute(*SLEEP)
        process = transport.get_extra_info("subprocess")
        waits = [asyncio.ensure_future(asyncio.to_thread(process.wait)) for _ in range(3)]
        await turns()
        transport.kill()
        assert await asyncio.gather(*waits) == [-9] * 3
        await protocol.lost
        assert transport.get_returncode() == -9
        transport.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    run(loop, main())


def test_an_unclosed_transport_warns_and_kills(loop: Loop) -> None:
    transport, _ = run(loop, execute(*SLEEP, stdin=PIPE, stdout=PIPE))
    process = transport.get_extra_info("subprocess")
    assert "running" in repr(transport)
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport <ProcessTransport pid="):
        transport.__del__()
    assert process.wait() == -signal.SIGKILL
    assert process.stdin.closed
    assert process.stdout.closed


# -- starting -------------------------------------------------------------------------------


def test_arguments_are_checked_as_asyncio_does(both: Loop) -> None:
    wrong: dict[str, Any] = {
        "universal_newlines": True,
        "bufsize": 4096,
        "text": True,
        "encoding": "utf-8",
        "errors": "strict",
    }
    wanted = {"universal_newlines": False, "bufsize": 0, "text": False}

    async def main() -> None:
        for name, value in wrong.items():
            text = f"{name} must be {wanted.get(name)}"
            with pytest.raises(ValueError, match=text):
                await both.subprocess_exec(Told, "true", **{name: value})
            with pytest.raises(ValueError, match=text):
                await both.subprocess_shell(Told, "true", **{name: value})
        with pytest.raises(ValueError, match="shell must be False"):
            await both.subprocess_exec(Told, "true", **shell(True))
        with pytest.raises(ValueError, match="shell must be True"):
            await both.subprocess_shell(Told, "true", **shell(False))
        with pytest.raises(ValueError, match="cmd must be a string"):
            await both.subprocess_shell(Told, ["true"])  # type: ignore[arg-type] # that is it
        with pytest.raises(TypeError, match="unexpected keyword"):
            await both.subprocess_exec(Told, "true", nonsense=1)

    run(both, main())


@pytest.mark.parametrize("pipes", [None, PIPE])
def test_what_cannot_be_started_says_so(both: Loop, tmp_path: Path, pipes: int | None) -> None:
    text = tmp_path / "text"
    text.write_text("no program")

    async def main() -> None:
        files = {"stdin": pipes, "stdout": pipes, "stderr": pipes}
        with pytest.raises(FileNotFoundError, match="nowhere"):
            await execute("/nowhere/at/all", **files)
        with pytest.raises(PermissionError):
            await execute(str(text), **files)
        with pytest.raises(FileNotFoundError, match="no-folder"):
            await execute("/bin/true", cwd=tmp_path / "no-folder", **files)
        with pytest.raises(subprocess.SubprocessError):
            await execute("/bin/true", preexec_fn=lambda: 1 / 0, **files)

    run(both, main())


def test_cancelled_while_starting_it_is_killed_and_reaped(both: Loop) -> None:
    pids: list[int] = []

    class Noting(Told):
        def connection_made(self, transport: Any) -> None:
            pids.append(transport.get_pid())

    async def main() -> None:
        for delay in range(3):
            task = asyncio.ensure_future(execute(*SLEEP, stdout=PIPE, protocol=Noting()))
            for _ in range(delay):
                await asyncio.sleep(0)
            if not task.done():
                task.cancel()
            try:
                transport, protocol = await task
            except asyncio.CancelledError:
                continue
            transport.close()
            await protocol.lost

    run(both, main())
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_popen_arguments_pass_through(both: Loop, tmp_path: Path) -> None:
    code = (
        "import os; print(os.getcwd(), os.environ['COLOUR'], os.getsid(0) == os.getpid(),"
        " os.getpgid(0) == os.getpid())"
    )

    folder = str(tmp_path.resolve())

    async def ask(**keywords: Any) -> list[str]:
        process = await asyncio.create_subprocess_exec(*python(code), stdout=PIPE, **keywords)
        out, _ = await process.communicate()
        return out.decode().split()

    async def main() -> None:
        environment = {**os.environ, "COLOUR": "red"}
        found = await ask(cwd=tmp_path, env=environment, start_new_session=True)
        assert found == [folder, "red", "True", "True"]
        found = await ask(cwd=tmp_path, env=environment, process_group=0)
        assert found == [folder, "red", "False", "True"]
        if os.getuid() == 0:
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/id", "-u", stdout=PIPE, user=65534, group=65534, extra_groups=[]
            )
            assert await talk(process) == (b"65534\n", None)

    run(both, main())


def test_descriptors_are_passed_as_asked_for(both: Loop) -> None:
    read_fd, write_fd = os.pipe()
    os.set_inheritable(write_fd, True)
    code = f"import os\ntry: os.write({write_fd}, b'here')\nexcept OSError: os._exit(9)"

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*python(code))
        assert await process.wait() == 9
        for keywords in ({"pass_fds": (write_fd,)}, {"close_fds": False}):
            process = await asyncio.create_subprocess_exec(*python(code), **keywords)
            assert await process.wait() == 0
            assert os.read(read_fd, 10) == b"here"

    run(both, main())
    os.close(read_fd)
    os.close(write_fd)


def test_a_preexec_function_forks_and_the_loop_goes_on(both: Loop, tmp_path: Path) -> None:
    """A real fork, whose handlers tell the engine; the child ends by exec all the same."""
    note = tmp_path / "note"

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "/bin/cat", stdin=PIPE, stdout=PIPE, preexec_fn=lambda: note.write_text("before")
        )
        assert await talk(process, b"after") == (b"after", None)
        await asyncio.sleep(0.001)

    run(both, main())
    assert note.read_text() == "before"
    if isinstance(both, noria.Loop):
        assert not both._engine.forked


def test_standard_files_may_be_anything(both: Loop, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    target = tmp_path / "target"

    async def main() -> None:
        with source.open("rb") as read_from, target.open("wb") as write_to:
            process = await asyncio.create_subprocess_shell(
                "cat; echo error >&2", stdin=read_from, stdout=write_to, stderr=subprocess.STDOUT
            )
            assert await process.wait() == 0
        assert target.read_bytes() == b"from a fileerror\n"
        process = await asyncio.create_subprocess_shell(
            "cat; echo both; echo error >&2",
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=subprocess.STDOUT,
        )
        assert await talk(process) == (b"both\nerror\n", None)
        process = await asyncio.create_subprocess_shell(
            "echo lost; echo kept >&2", stdout=subprocess.DEVNULL, stderr=PIPE
        )
        assert await talk(process) == (None, b"kept\n")
        read_fd, write_fd = os.pipe()
        process = await asyncio.create_subprocess_shell("echo number", stdout=write_fd)
        os.close(write_fd)
        assert await process.wait() == 0
        assert os.read(read_fd, 100) == b"number\n"
        os.close(read_fd)

    run(both, main())


def test_pipes_are_pipes(both: Loop) -> None:
    """Socket pairs could not be opened by name (uvloop#532)."""

    async def main() -> None:
        process = await asyncio.create_subprocess_shell(
            "cat /dev/stdin > /dev/stdout; echo end > /dev/stderr",
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert await talk(process, b"through") == (b"through", b"end\n")

    run(both, main())
