"""The threads that look names up."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.api.resolve import Resolver
from noria.limits import RESOLVER_THREADS_MAX

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator


class Gate:
    """A blocking look-up that counts who is inside."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.names: list[str] = []
        self.daemons: list[bool] = []

    def __call__(self, host: Any, *args: Any) -> Any:
        self.names.append(threading.current_thread().name)
        self.daemons.append(threading.current_thread().daemon)
        self.entered.release()
        self.opened.wait()
        return [host]

    def wait_entered(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=10)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.opened.set()


async def look_up(loop: noria.Loop, count: int, gate: Gate) -> list[asyncio.Task[Any]]:
    tasks = [loop.create_task(loop.getaddrinfo(f"host{n}", 80)) for n in range(count)]
    await asyncio.sleep(0)
    gate.wait_entered(min(count, RESOLVER_THREADS_MAX))
    return tasks


def test_no_thread_before_the_first_name(loop: noria.Loop) -> None:
    loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert loop._resolver.threads == []


def test_one_thread_serves_one_look_up_after_the_other(loop: noria.Loop) -> None:
    for _ in range(5):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    assert len(loop._resolver.threads) == 1


def test_threads_are_bounded_named_and_daemons(loop: noria.Loop, gate: Gate) -> None:
    async def main() -> list[Any]:
        tasks = await look_up(loop, 3 * RESOLVER_THREADS_MAX, gate)
        assert not gate.entered.acquire(timeout=0.01)
        gate.opened.set()
        return await asyncio.gather(*tasks)

    found = loop.run_until_complete(main())
    assert found == [[f"host{n}"] for n in range(3 * RESOLVER_THREADS_MAX)]
    assert set(gate.names) == {f"noria-resolver-{n}" for n in range(RESOLVER_THREADS_MAX)}
    assert all(gate.daemons)
    assert len(loop._resolver.threads) == RESOLVER_THREADS_MAX


def test_the_users_executor_is_left_alone(loop: noria.Loop) -> None:
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    loop.run_until_complete(loop.shutdown_default_executor())
    assert loop._default_executor is None
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 80))


def test_a_cancelled_look_up_ends_at_once(
    loop: noria.Loop, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        (task,) = await look_up(loop, 1, gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not gate.opened.is_set()
        gate.opened.set()
        await loop.getaddrinfo("after", 80)

    loop.run_until_complete(main())
    assert caplog.records == []


def test_a_cancelled_look_up_that_waits_is_never_made(loop: noria.Loop, gate: Gate) -> None:
    async def main() -> None:
        tasks = await look_up(loop, RESOLVER_THREADS_MAX + 1, gate)
        tasks[-1].cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.wait(tasks)
        assert tasks[-1].cancelled()
        assert await loop.getaddrinfo("after", 80) == ["after"]

    loop.run_until_complete(main())
    assert len(gate.names) == RESOLVER_THREADS_MAX + 1


def test_any_exception_comes_back(loop: noria.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(socket, "getaddrinfo", broken)
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))


def test_close_ends_idle_threads(loop: noria.Loop) -> None:
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    (thread,) = loop._resolver.threads
    assert thread.is_alive()
    loop.close()
    thread.join(10)
    assert not thread.is_alive()


def test_close_waits_for_no_look_up(loop: noria.Loop, gate: Gate) -> None:
    failures: list[Any] = []
    tasks = loop.run_until_complete(look_up(loop, RESOLVER_THREADS_MAX + 5, gate))
    threads = list(loop._resolver.threads)
    loop.close()  # would hang here
    before, threading.excepthook = threading.excepthook, failures.append
    try:
        gate.opened.set()
        for thread in threads:
            thread.join(10)
    finally:
        threading.excepthook = before
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    assert len(gate.names) == RESOLVER_THREADS_MAX, "what only waited was forgotten"
    for task in tasks:
        vars_of: Any = task
        vars_of._log_destroy_pending = False


def test_each_loop_has_its_own_threads(loop: noria.Loop) -> None:
    other = noria.new_event_loop()
    try:
        for each in (loop, other):
            each.run_until_complete(each.getaddrinfo("localhost", 80))
        assert not set(loop._resolver.threads) & set(other._resolver.threads)
        other.close()
        assert loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    finally:
        other.close()


def drop(held: list[noria.Loop]) -> None:
    """Let a loop go; the thread that worked for it last may hold it a moment longer."""
    engine = held[0]._engine
    held.clear()
    deadline = time.monotonic() + 5
    while not engine.closed and time.monotonic() < deadline:
        time.sleep(0.001)


def test_idle_threads_do_not_keep_the_loop_alive() -> None:
    loop = noria.new_event_loop()
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    (thread,) = loop._resolver.threads
    gone = weakref.ref(loop)
    held = [loop]
    del loop
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        drop(held)
    assert gone() is None
    thread.join(10)
    assert not thread.is_alive()


def test_no_thread_at_all_is_an_error(loop: noria.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    monkeypatch.undo()
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 80))


def test_fewer_threads_than_wanted_will_do(
    loop: noria.Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(threads_max=2)
    monkeypatch.setattr(loop, "_resolver", resolver)
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    async def main() -> None:
        await asyncio.gather(*(loop.getaddrinfo("localhost", n) for n in range(5)))

    loop.run_until_complete(main())
    assert len(resolver.threads) == 1


EXIT = """
import asyncio, socket, sys, threading, noria

entered = threading.Event()

def slow(*args):
    entered.set()
    threading.Event().wait()

socket.getaddrinfo = slow
loop = noria.new_event_loop()
task = loop.create_task(loop.getaddrinfo("example.org", 80))
loop.run_until_complete(asyncio.sleep(0))
entered.wait()
{end}
print("end of the program", flush=True)
"""


@pytest.mark.parametrize("end", ["", "loop.close()", "del loop, task", "sys.exit(0)"])
def test_a_look_up_without_answer_does_not_hold_the_interpreter(
    end: str, run_python: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    result = run_python(EXIT.format(end=end))
    assert result.returncode == 0, result.stderr
    assert "Fatal" not in result.stderr
    assert result.stdout == ("" if "exit" in end else "end of the program\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_does_not_wait_for_the_parents_threads(
    run_python: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    end = """
import os
child = os.fork()
if child == 0:
    loop.close()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), loop.is_closed())
loop.close()
"""
    result = run_python(EXIT.format(end=end))
    assert result.stdout == "7 False\nend of the program\n", result.stderr
