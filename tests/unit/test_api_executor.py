"""The default executor; `either` holds the tests themselves against asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import noria

HAS_TIMEOUT = sys.version_info >= (3, 12)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocking functions of a test wait for; opened at its end in any case."""
    event = threading.Event()
    yield event
    event.set()


def test_function_runs_in_another_thread(either: asyncio.AbstractEventLoop) -> None:
    ident, total = either.run_until_complete(
        either.run_in_executor(None, lambda a, b: (threading.get_ident(), a + b), 1, 2)
    )
    assert ident != threading.get_ident()
    assert total == 3


def test_error_of_the_function_comes_back(either: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(ZeroDivisionError):
        either.run_until_complete(either.run_in_executor(None, lambda: 1 / 0))


def test_default_executor_is_made_once_and_its_threads_have_names(
    either: asyncio.AbstractEventLoop,
) -> None:
    def name() -> str:
        return threading.current_thread().name

    first = either.run_until_complete(either.run_in_executor(None, name))
    second = either.run_until_complete(either.run_in_executor(None, name))
    assert first == second == "asyncio_0"


def test_given_executor_is_used(either: asyncio.AbstractEventLoop) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        name = either.run_until_complete(
            either.run_in_executor(executor, lambda: threading.current_thread().name)
        )
    assert name == "mine_0"


def test_default_executor_can_be_replaced(either: asyncio.AbstractEventLoop) -> None:
    executor = ThreadPoolExecutor(1, thread_name_prefix="mine")
    either.set_default_executor(executor)
    name = either.run_until_complete(
        either.run_in_executor(None, lambda: threading.current_thread().name)
    )
    assert name == "mine_0"
    either.close()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(int)


class NoThreads(concurrent.futures.Executor):
    """An executor of another kind."""


@pytest.mark.parametrize("wrong", [None, 1, NoThreads()])
def test_default_executor_has_to_be_of_threads(
    either: asyncio.AbstractEventLoop, wrong: Any
) -> None:
    with pytest.raises(TypeError, match=r"^executor must be ThreadPoolExecutor instance$"):
        either.set_default_executor(wrong)


def test_closed_loop_runs_nothing(either: asyncio.AbstractEventLoop) -> None:
    either.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        either.run_in_executor(None, int)


def test_debug_mode_looks_at_the_function(either: asyncio.AbstractEventLoop) -> None:
    async def coroutine() -> None:
        raise AssertionError("never runs")

    either.set_debug(True)
    with pytest.raises(TypeError, match=r"^coroutines cannot be used with run_in_executor\(\)$"):
        either.run_in_executor(None, coroutine)
    wrong: Any = "spam"
    with pytest.raises(
        TypeError, match=r"^a callable object was expected by run_in_executor\(\), got 'spam'$"
    ):
        either.run_in_executor(None, wrong)


def test_cancelled_before_it_starts_it_never_runs(
    either: asyncio.AbstractEventLoop, gate: threading.Event
) -> None:
    ran: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        blocker = either.run_in_executor(executor, gate.wait)
        future = either.run_in_executor(executor, ran.append, 1)
        future.cancel()
        either.call_soon(gate.set)
        either.run_until_complete(blocker)
    assert future.cancelled()
    assert ran == []


def test_shutdown_waits_for_the_threads(
    either: asyncio.AbstractEventLoop, gate: threading.Event
) -> None:
    ended = []

    def work() -> None:
        gate.wait()
        ended.append(True)

    either.run_in_executor(None, work)
    either.call_soon(gate.set)
    either.run_until_complete(either.shutdown_default_executor())
    assert ended == [True]


def test_loop_runs_while_shutdown_waits(
    either: asyncio.AbstractEventLoop, gate: threading.Event
) -> None:
    async def main() -> bool:
        either.run_in_executor(None, gate.wait)
        shutdown = asyncio.ensure_future(either.shutdown_default_executor())
        for _ in range(3):
            await asyncio.sleep(0)
        waiting = not shutdown.done()
        gate.set()
        await shutdown
        return waiting

    assert either.run_until_complete(main())


def test_shutdown_without_an_executor_and_twice(either: asyncio.AbstractEventLoop) -> None:
    either.run_until_complete(either.shutdown_default_executor())
    either.run_until_complete(either.shutdown_default_executor())


def test_nothing_runs_in_the_default_executor_after_shutdown(
    either: asyncio.AbstractEventLoop,
) -> None:
    either.run_until_complete(either.shutdown_default_executor())
    with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
        either.run_in_executor(None, int)
    with ThreadPoolExecutor(1) as executor:
        assert either.run_until_complete(either.run_in_executor(executor, int)) == 0


def test_error_of_shutdown_comes_out(either: asyncio.AbstractEventLoop) -> None:
    class Broken(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            if wait:
                raise ZeroDivisionError
            super().shutdown(wait)

    either.set_default_executor(Broken())
    with pytest.raises(ZeroDivisionError):
        either.run_until_complete(either.shutdown_default_executor())


def shutdown(loop: Any, **keywords: Any) -> Any:
    """The method, whose parameters depend on the version."""
    return loop.shutdown_default_executor(**keywords)


@pytest.mark.skipif(not HAS_TIMEOUT, reason="asyncio has no timeout here before 3.12")
def test_shutdown_gives_up_after_its_timeout(loop: noria.Loop, gate: threading.Event) -> None:
    """As asyncio does since 3.13; 3.12.1 still waits without limit."""
    blocked = loop.run_in_executor(None, gate.wait)
    with pytest.warns(
        RuntimeWarning,
        match=r"^The executor did not finishing joining its threads within 0\.01 seconds\.$",
    ):
        loop.run_until_complete(shutdown(loop, timeout=0.01))
    gate.set()
    loop.run_until_complete(blocked)


@pytest.mark.skipif(HAS_TIMEOUT, reason="asyncio has a timeout here since 3.12")
def test_shutdown_has_no_timeout(either: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="timeout"):
        shutdown(either, timeout=1)


def test_a_shutdown_that_was_cancelled_is_no_error_later(
    loop: noria.Loop, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio 3.11 and 3.12 wait for the threads all the same, and block the loop."""

    async def main() -> None:
        blocked = loop.run_in_executor(None, gate.wait)
        task = asyncio.ensure_future(loop.shutdown_default_executor())
        await asyncio.sleep(0)
        before = set(threading.enumerate())
        task.cancel()
        await asyncio.wait([task])
        gate.set()
        await blocked
        for thread in before - {threading.current_thread()}:
            if thread.name.startswith("Thread-"):
                thread.join(10)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert caplog.records == []


def test_close_does_not_wait_for_threads(
    either: asyncio.AbstractEventLoop, gate: threading.Event
) -> None:
    async def main() -> None:
        either.run_in_executor(None, gate.wait)

    either.run_until_complete(main())
    either.close()  # would hang here
    assert not gate.is_set()


def test_loop_closed_during_shutdown_is_no_error(
    loop: noria.Loop, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    before = set(threading.enumerate())

    async def main() -> None:
        loop.run_in_executor(None, gate.wait)
        task = asyncio.ensure_future(loop.shutdown_default_executor())
        await asyncio.sleep(0)
        task.cancel()

    loop.run_until_complete(main())
    loop.close()
    gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert failures == []
