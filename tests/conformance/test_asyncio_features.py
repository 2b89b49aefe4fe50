"""What asyncio builds on a loop works on noria's as on its own: runners, groups, tasks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.coroutines import NEVER, SOON, failure, since_312, since_313, value, variable
from tests.loops import PATIENCE_SECONDS, POSIX, run

if TYPE_CHECKING:
    from tests.loops import Reports

Loop = asyncio.AbstractEventLoop

# -- the runner -----------------------------------------------------------------------------


def runner_of(loop: Loop) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=lambda: loop)


def test_a_runner_runs_several_times_in_one_context(both: Loop) -> None:
    async def change() -> asyncio.AbstractEventLoop:
        variable.set("changed")
        return asyncio.get_running_loop()

    async def look() -> str:
        return variable.get()

    with runner_of(both) as runner:
        assert runner.get_loop() is both
        assert runner.run(change()) is both
        assert runner.run(look()) == "changed"
        assert runner.run(look(), context=contextvars.Context()) == "unset"
    assert variable.get() == "unset"
    assert both.is_closed()
    late = look()
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner.run(late)
    late.close()


def test_a_runner_ends_what_is_left(both: Loop) -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            ended.append("task")

    async def generator() -> Any:
        try:
            while True:
                yield
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    kept: list[Any] = []

    async def main() -> None:
        kept.append(asyncio.create_task(forever()))
        made = generator()
        kept.append(made)
        await anext(made)
        await asyncio.to_thread(ended.append, "thread")

    with runner_of(both) as runner:
        runner.run(main())
    assert sorted(ended) == ["generator", "task", "thread"]


@pytest.mark.skipif(not POSIX, reason="there are no signals to send on Windows")
def test_ctrl_c_cancels_the_main_task_of_a_runner(both: Loop) -> None:
    seen: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(SOON, signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(PATIENCE_SECONDS)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    before = signal.getsignal(signal.SIGINT)
    with runner_of(both) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert seen == ["cancelled"]
        assert runner.run(value("goes on")) == "goes on"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not POSIX, reason="there are no signals to send on Windows")
def test_a_main_task_may_survive_ctrl_c(both: Loop) -> None:
    async def main() -> str:
        asyncio.get_running_loop().call_later(SOON, signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(PATIENCE_SECONDS)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        return "survived"

    with runner_of(both) as runner:
        assert runner.run(main()) == "survived"


# -- task groups, time-outs -----------------------------------------------------------------


def test_a_group_waits_for_its_tasks(both: Loop) -> None:
    async def main() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(value(number, SOON), name=f"n{number}") for number in (1, 2)]
            tasks.append(group.create_task(value(3)))
        assert [task.get_name() for task in tasks[:2]] == ["n1", "n2"]
        return [task.result() for task in tasks]

    assert run(both, main()) == [1, 2, 3]


def test_a_failure_cancels_the_group(both: Loop) -> None:
    ended: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(NEVER)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            group.create_task(failure(SOON))
            await asyncio.sleep(NEVER)

    with pytest.raises(ExceptionGroup) as caught:
        run(both, main())
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]
    assert ended == ["cancelled"]


def test_a_cancelled_group_is_cancelled(both: Loop) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(NEVER))

    async def outer() -> None:
        task = asyncio.ensure_future(main())
        await asyncio.sleep(SOON)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1

    run(both, outer())


def test_timeouts(both: Loop) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON) as limit:
                await asyncio.sleep(NEVER)
        assert limit.expired()
        started = both.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(started + SOON):
                await asyncio.sleep(NEVER)
        assert both.time() >= started + SOON
        async with asyncio.timeout(NEVER) as limit:
            limit.reschedule(both.time() + SOON)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(NEVER)
        assert limit.expired()
        async with asyncio.timeout(SOON) as limit:
            limit.reschedule(None)
            await asyncio.sleep(2 * SOON)
        assert not limit.expired()

    run(both, main())


def test_nested_timeouts_end_the_right_block(both: Loop) -> None:
    async def main() -> list[str]:
        ended = []
        try:
            async with asyncio.timeout(SOON):
                try:
                    async with asyncio.timeout(NEVER):
                        await asyncio.sleep(NEVER)
                except TimeoutError:
                    ended.append("inner")
        except TimeoutError:
            ended.append("outer")
        return ended

    assert run(both, main()) == ["outer"]


def test_wait_for(both: Loop) -> None:
    async def main() -> None:
        assert await asyncio.wait_for(value("in time", SOON), NEVER) == "in time"
        task = asyncio.ensure_future(asyncio.sleep(NEVER))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, SOON)
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(NEVER), 0)

    run(both, main())


# -- many at once ---------------------------------------------------------------------------


def test_gather(both: Loop) -> None:
    async def main() -> None:
        results = await asyncio.gather(*(value(number, SOON / number) for number in (1, 2, 3)))
        assert results == [1, 2, 3]
        assert await asyncio.gather() == []
        mixed = await asyncio.gather(value(1), failure(), return_exceptions=True)
        assert mixed[0] == 1
        assert isinstance(mixed[1], ZeroDivisionError)
        slow = asyncio.ensure_future(value("slow", SOON))
        with pytest.raises(ZeroDivisionError):
            await asyncio.gather(slow, failure())
        assert await slow == "slow"
        children = [asyncio.ensure_future(asyncio.sleep(NEVER)) for _ in range(3)]
        together = asyncio.gather(*children)
        await asyncio.sleep(0)
        together.cancel()
        with pytest.raises(asyncio.CancelledError):
            await together
        assert all(child.cancelled() for child in children)

    run(both, main())


def test_shield(both: Loop) -> None:
    async def main() -> None:
        inner = asyncio.ensure_future(value("kept", 2 * SOON))
        outer = asyncio.ensure_future(asyncio.shield(inner))
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not inner.done()
        assert await inner == "kept"

    run(both, main())


def test_wait(both: Loop) -> None:
    async def main() -> None:
        fast = asyncio.ensure_future(value("fast"))
        bad = asyncio.ensure_future(failure(SOON))
        slow = asyncio.ensure_future(asyncio.sleep(NEVER))
        done, pending = await asyncio.wait({fast, bad, slow}, return_when=asyncio.FIRST_COMPLETED)
        assert done == {fast}
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        assert done == {bad}
        done, pending = await asyncio.wait({slow}, timeout=SOON)
        assert not done
        assert pending == {slow}
        slow.cancel()
        done, pending = await asyncio.wait({slow, bad})
        assert done == {slow, bad}
        coroutine = value("no task")
        with pytest.raises(TypeError):
            await asyncio.wait([coroutine])  # type: ignore[type-var]
        coroutine.close()

    run(both, main())


def test_as_completed(both: Loop) -> None:
    async def main() -> None:
        work = [value("slow", 3 * SOON), value("fast"), value("middle", SOON)]
        results = [await each for each in asyncio.as_completed(work)]
        assert results == ["fast", "middle", "slow"]
        with pytest.raises(TimeoutError):
            await next(iter(asyncio.as_completed([asyncio.sleep(NEVER)], timeout=SOON)))

    run(both, main())


@since_313
def test_as_completed_gives_the_tasks_themselves(both: Loop) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(value(number, number * SOON)) for number in (2, 0, 1)]
        seen = [task async for task in asyncio.as_completed(tasks)]  # type: ignore[attr-defined]
        assert seen == [tasks[1], tasks[2], tasks[0]]

    run(both, main())


@since_312
def test_eager_tasks_run_up_to_their_first_wait(both: Loop) -> None:
    factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined]

    async def main() -> None:
        both.set_task_factory(factory)
        seen: list[str] = []

        async def work(name: str, delay: float | None) -> str:
            seen.append(name)
            assert asyncio.current_task() is not outer
            if delay is not None:
                await asyncio.sleep(delay)
                seen.append(f"{name} again")
            return name

        outer = asyncio.current_task()
        done = asyncio.create_task(work("done", None))
        assert done.done()
        assert done.result() == "done"
        waits = asyncio.create_task(work("waits", SOON))
        assert seen == ["done", "waits"]
        assert not waits.done()
        assert waits in asyncio.all_tasks()
        async with asyncio.TaskGroup() as group:
            inside = group.create_task(work("inside", None))
            assert inside.done()
        results = await asyncio.gather(*[work("gathered", None), waits])
        assert results == ["gathered", "waits"]
        assert asyncio.current_task() is outer

    run(both, main())


# -- contexts, tasks and futures ------------------------------------------------------------


def test_contexts_of_tasks_callbacks_and_timers(both: Loop) -> None:
    async def main() -> None:
        seen: list[str] = []

        def note() -> None:
            seen.append(variable.get())

        variable.set("main")
        both.call_soon(note)
        both.call_later(SOON, note)
        own = contextvars.copy_context()
        own.run(variable.set, "own")
        both.call_soon(note, context=own)
        both.call_soon_threadsafe(note, context=own)
        future = both.create_future()
        future.add_done_callback(lambda _: note())
        future.add_done_callback(lambda _: note(), context=own)
        variable.set("later")
        future.set_result(None)
        await asyncio.create_task(value(None, 2 * SOON))
        task = both.create_task(value(None), context=own)
        await task
        assert sorted(seen) == ["main", "main", "main", "own", "own", "own"]

    run(both, main())


def test_current_and_all_tasks(both: Loop) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None
        assert asyncio.all_tasks() >= {me}
        seen: list[Any] = []
        both.call_soon(lambda: seen.append(asyncio.current_task()))
        other = asyncio.create_task(asyncio.sleep(NEVER), name="other")
        await asyncio.sleep(0)
        assert seen == [None]
        assert other in asyncio.all_tasks(both)
        assert other.get_loop() is both
        assert asyncio.get_running_loop() is both
        other.cancel()
        await asyncio.wait([other])
        assert other not in asyncio.all_tasks()

    run(both, main())


def test_an_exception_nobody_took_is_reported(both: Loop, reports: Reports) -> None:
    async def main() -> None:
        task = asyncio.create_task(failure())
        await asyncio.wait([task])
        future = both.create_future()
        future.set_exception(ZeroDivisionError("as expected"))

    run(both, main())
    gc.collect()
    messages = sorted(report["message"] for report in reports.take())
    assert messages == [
        "Future exception was never retrieved",
        "Task exception was never retrieved",
    ]


def test_a_task_that_is_dropped_is_reported(both: Loop, reports: Reports) -> None:
    async def forever() -> None:
        await both.create_future()

    async def main() -> None:
        both.create_task(forever())
        await asyncio.sleep(0)
        gc.collect()

    run(both, main())
    assert reports.take_one()["message"] == "Task was destroyed but it is pending!"


def test_sleep_zero_lets_everybody_run_once(both: Loop) -> None:
    async def main() -> None:
        order: list[str] = []

        async def work(name: str) -> None:
            for number in range(3):
                order.append(f"{name}{number}")
                await asyncio.sleep(0)

        await asyncio.gather(work("a"), work("b"))
        assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]

    run(both, main())
