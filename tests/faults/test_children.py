"""Children where something is missing: process descriptors, numbers, permissions, their own end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core.catalog import CATALOG
from noria.core.codes import WAIT_CHILD
from noria.engines.registry import ENGINES
from noria.transports import child as child_module
from tests.loops import Reports, loop, open_loop, reports, run, turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.core.operation import Operation

__all__ = ["loop", "reports"]

pytestmark = [pytest.mark.posix]

resource: Any = pytest.importorskip("resource", reason="limits of processes are of Unix")
Loop = asyncio.AbstractEventLoop
PIPE = subprocess.PIPE
REFUSALS = (errno.ENOSYS, errno.EPERM, errno.EMFILE)


async def ask(text: str = "there") -> tuple[bytes, int | None]:
    """Have a child say something."""
    process = await asyncio.create_subprocess_shell(
        f"cat; echo {text}; exit 6", stdin=-1, stdout=-1
    )
    out, _ = await process.communicate(b"and ")
    return out, process.returncode


@pytest.fixture(params=[*map(errno.errorcode.get, REFUSALS), "absent", "no waitid"])
def no_pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Process descriptors cannot be had, for one of several reasons."""
    why: str = request.param
    if why in ("absent", "no waitid"):
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        if why == "no waitid":
            monkeypatch.setattr(child_module, "_waitid", None)
    else:

        def refuse(pid: int, flags: int = 0) -> int:
            raise OSError(getattr(errno, why), "refused by the test")

        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    return why


def test_without_process_descriptors_threads_wait(loop: Loop, no_pidfd: str) -> None:
    async def main() -> None:
        assert await ask() == (b"and there\n", 6)
        process = await asyncio.create_subprocess_exec("/bin/sleep", "1000", stdout=PIPE)
        names = [thread.name for thread in threading.enumerate()]
        assert f"noria-child-{process.pid}" in names
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        found = await asyncio.gather(*(ask(str(number)) for number in range(20)))
        assert found == [(f"and {number}\n".encode(), 6) for number in range(20)]

    run(loop, main())


def test_without_process_descriptors_others_may_reap(loop: Loop, no_pidfd: str) -> None:
    if no_pidfd == "no waitid":
        pytest.skip("there the thread itself reaps")

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
        process.kill()
        transport: Any = process._transport  # type: ignore[attr-defined]
        assert transport.get_extra_info("subprocess").wait() == -9
        assert await process.wait() == -9
        process = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
        process.kill()
        reap(process.pid)
        assert await process.wait() == 255

    run(loop, main())


def reap(pid: int) -> None:
    """Take the exit code away."""
    os.waitpid(pid, 0)


def test_a_loop_that_was_closed_before_a_thread_had_news(loop: Loop, no_pidfd: str) -> None:
    async def start() -> tuple[Any, int]:
        process = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
        return process._transport, process.pid  # type: ignore[attr-defined]

    transport, pid = run(loop, start())
    transport.close()
    loop.close()
    for thread in threading.enumerate():
        if thread.name == f"noria-child-{pid}":
            thread.join()
    transport.__del__()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


class ChildRow:
    """Replaces the attempts of WAIT_CHILD for the length of a test."""

    def __init__(self, *results: int) -> None:
        self.results = list(results)
        self._row = CATALOG[WAIT_CHILD]
        CATALOG[WAIT_CHILD] = self._row._replace(attempt=self.attempt)

    def attempt(self, op: Operation) -> int:
        """Give the next result; then the real ones."""
        return self.results.pop(0) if self.results else self._row.attempt(op)

    def end(self) -> None:
        """Put the row back."""
        CATALOG[WAIT_CHILD] = self._row


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there are no process descriptors here")
@pytest.mark.parametrize("failure", [errno.ENOSYS, errno.EINVAL, errno.EBADF])
def test_a_wait_that_fails_goes_on_in_a_thread(loop: Loop, failure: int) -> None:
    row = ChildRow(-failure)
    try:
        assert run(loop, ask()) == (b"and there\n", 6)
    finally:
        row.end()
    assert not row.results


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there are no process descriptors here")
def test_false_news_are_waited_out(loop: Loop) -> None:
    if loop.engine == "epoll-et":  # type: ignore[attr-defined] # noria's
        pytest.skip("an edge comes once, and only when the child has ended")
    row = ChildRow(-errno.EAGAIN, -errno.EAGAIN)
    try:
        assert run(loop, ask()) == (b"and there\n", 6)
    finally:
        row.end()
    assert not row.results


def test_signals_without_the_call_for_descriptors(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "refused by the test")

    monkeypatch.setattr(child_module, "_send_signal", refuse)

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
        process.terminate()
        assert await process.wait() == -signal.SIGTERM

    run(loop, main())


def test_no_signal_goes_to_a_number_that_is_not_the_childs_any_more(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    os_kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
        os_kill(process.pid, signal.SIGKILL)
        transport: Any = process._transport  # type: ignore[attr-defined]
        popen = transport.get_extra_info("subprocess")
        reap(process.pid)  # from now on the number may be anybody's
        process.kill()
        popen.kill()
        transport.close()
        await process.wait()

    run(loop, main())
    assert not sent


class Numbers:
    """Leaves a process few descriptor numbers."""

    def __init__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave(self, count: int) -> None:
        """Leave `count` numbers beyond those in use."""
        probe = os.dup(0)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe + count, self._limits[1]))

    def end(self) -> None:
        """Lift the limit."""
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)


@pytest.fixture
def numbers() -> Iterator[Numbers]:
    """A limit on descriptor numbers."""
    made = Numbers()
    yield made
    made.end()


def test_a_start_without_numbers_left_leaks_nothing(loop: Loop, numbers: Numbers) -> None:
    """Whichever of the descriptors is the one too many."""
    outcomes: list[str] = []

    async def main() -> None:
        await ask()
        for count in range(14):
            numbers.leave(count)
            process: asyncio.subprocess.Process | None = None
            try:
                process = await asyncio.create_subprocess_exec(
                    "/bin/sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE
                )
            except OSError as exc:
                outcomes.append("refused" if exc.errno == errno.EMFILE else repr(exc))
            else:
                outcomes.append("started")
            finally:
                numbers.end()
            if process is not None:
                process.kill()
                assert await process.wait() == -signal.SIGKILL
            await turns(1)

    run(loop, main())
    assert {"refused", "started"} == set(outcomes)
    assert outcomes == sorted(outcomes)


@pytest.mark.parametrize("which", ["connect_read_pipe", "connect_write_pipe"])
def test_a_pipe_without_numbers_left_stays_the_users(
    loop: Loop, numbers: Numbers, which: str
) -> None:
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb", 0) as read_end, os.fdopen(write_fd, "wb", 0) as write_end:

        async def main() -> None:
            end = read_end if which == "connect_read_pipe" else write_end
            numbers.leave(0)
            try:
                with pytest.raises(OSError, match="Too many open files"):
                    await getattr(asyncio.get_running_loop(), which)(asyncio.Protocol, end)
            finally:
                numbers.end()
            assert not end.closed

        run(loop, main())


def test_ignored_children_end_with_255(loop: Loop) -> None:
    """With SIGCHLD ignored the kernel reaps, and tells nobody the code."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        async def main() -> None:
            process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 4")
            assert await process.wait() == 255

        run(loop, main())
    finally:
        signal.signal(signal.SIGCHLD, handler)


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_loop_that_closes_under_its_children_leaves_nothing(
    name: str, ledger: object, reports: Reports
) -> None:
    made = open_loop(name)

    async def start() -> list[Any]:
        processes = [
            await asyncio.create_subprocess_exec("/bin/sleep", "1000", stdin=PIPE, stdout=PIPE)
            for _ in range(3)
        ]
        return [process._transport for process in processes]  # type: ignore[attr-defined]

    transports = run(made, start())
    popens = [transport.get_extra_info("subprocess") for transport in transports]
    transports[0].close()  # killed, and the loop does not live to see it
    made.close()
    for transport in transports[1:]:
        with pytest.warns(ResourceWarning, match="unclosed"):
            transport.__del__()
    transports[0].__del__()
    assert [popen.wait() for popen in popens] == [-signal.SIGKILL] * 3
    assert isinstance(made, noria.Loop)
