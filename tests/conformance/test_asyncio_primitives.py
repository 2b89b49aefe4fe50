"""Locks, queues and bridges to threads of asyncio work on noria's loop as on its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.coroutines import NEVER, SOON, failure, since_313, value, variable
from tests.loops import PATIENCE_SECONDS, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Loop = asyncio.AbstractEventLoop


# -- locks and queues -----------------------------------------------------------------------


def test_barrier(both: Loop) -> None:
    async def main() -> None:
        barrier = asyncio.Barrier(3)
        places = await asyncio.gather(*(barrier.wait() for _ in range(3)))
        assert sorted(places) == [0, 1, 2]
        waiting = [asyncio.ensure_future(barrier.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        assert barrier.n_waiting == 2
        await barrier.abort()
        for each in waiting:
            with pytest.raises(asyncio.BrokenBarrierError):
                await each
        await barrier.reset()
        assert not barrier.broken

        async def party() -> int:
            place: Any
            async with barrier as place:
                return int(place)

        assert sorted(await asyncio.gather(party(), party(), party())) == [0, 1, 2]

    run(both, main())


def test_semaphores_are_fair(both: Loop) -> None:
    async def main() -> None:
        semaphore = asyncio.BoundedSemaphore(2)
        running: list[int] = []
        order: list[int] = []

        async def work(number: int) -> None:
            async with semaphore:
                running.append(number)
                order.append(number)
                assert len(running) <= 2
                await asyncio.sleep(SOON / 10)
                running.remove(number)

        await asyncio.gather(*(work(number) for number in range(20)))
        assert order == list(range(20))
        with pytest.raises(ValueError, match="released too many"):
            semaphore.release()
        await semaphore.acquire()
        await semaphore.acquire()
        waiting = asyncio.ensure_future(semaphore.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        semaphore.release()
        await asyncio.wait_for(semaphore.acquire(), NEVER)

    run(both, main())


def test_locks_events_conditions(both: Loop) -> None:
    async def main() -> None:
        lock = asyncio.Lock()
        async with lock:
            second = asyncio.ensure_future(lock.acquire())
            await asyncio.sleep(0)
            assert not second.done()
        assert await second
        lock.release()
        event = asyncio.Event()
        waiters = [asyncio.ensure_future(event.wait()) for _ in range(3)]
        both.call_later(SOON, event.set)
        assert await asyncio.gather(*waiters) == [True] * 3
        condition = asyncio.Condition()
        items: list[int] = []

        async def consume() -> int:
            async with condition:
                await condition.wait_for(lambda: items)
                return items.pop(0)

        consumers = [asyncio.ensure_future(consume()) for _ in range(3)]
        for number in range(3):
            await asyncio.sleep(0)
            async with condition:
                items.append(number)
                condition.notify()
        assert sorted(await asyncio.gather(*consumers)) == [0, 1, 2]
        with pytest.raises(RuntimeError):
            condition.notify()

    run(both, main())


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (asyncio.Queue, [3, 1, 2]),
        (asyncio.LifoQueue, [2, 1, 3]),
        (asyncio.PriorityQueue, [1, 2, 3]),
    ],
    ids=["fifo", "lifo", "priority"],
)
def test_queues(both: Loop, kind: Any, order: list[int]) -> None:
    async def main() -> None:
        queue = kind(maxsize=3)
        for number in (3, 1, 2):
            queue.put_nowait(number)
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(4)
        fourth = asyncio.ensure_future(queue.put(4))
        await asyncio.sleep(0)
        assert not fourth.done()
        fourth.cancel()
        joining = asyncio.ensure_future(queue.join())
        got = []
        for _ in order:
            got.append(await queue.get())
            assert not joining.done()
            queue.task_done()
        assert got == order
        await asyncio.wait_for(joining, NEVER)
        getting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(5)
        assert await getting == 5
        queue.task_done()
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()

    run(both, main())


@since_313
@pytest.mark.parametrize("at_once", [False, True])
def test_a_queue_that_is_shut_down(both: Loop, at_once: bool) -> None:
    async def main() -> None:
        closed: Any = asyncio.QueueShutDown  # type: ignore[attr-defined]
        queue: Any = asyncio.Queue(maxsize=1)
        await queue.put(1)
        putting = asyncio.ensure_future(queue.put(2))
        other: Any = asyncio.Queue()
        getting = asyncio.ensure_future(other.get())
        await asyncio.sleep(0)
        queue.shutdown(immediate=at_once)
        other.shutdown()
        for waiting in (putting, getting):
            with pytest.raises(closed):
                await waiting
        if not at_once:
            assert await queue.get() == 1
            queue.task_done()
        with pytest.raises(closed):
            await queue.get()
        with pytest.raises(closed):
            queue.put_nowait(3)
        await asyncio.wait_for(queue.join(), NEVER)

    run(both, main())


# -- threads --------------------------------------------------------------------------------


def test_to_thread_takes_the_context_along(both: Loop) -> None:
    def work(number: int, *, more: int) -> tuple[str, int, bool]:
        return variable.get(), number + more, threading.current_thread() is main_thread

    async def main() -> Any:
        variable.set("of the task")
        result = await asyncio.to_thread(work, 1, more=2)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return result

    main_thread = threading.current_thread()
    assert run(both, main()) == ("of the task", 3, False)


def in_thread(function: Callable[[], Any]) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=work, daemon=True).start()
    return future


def test_coroutines_from_other_threads(both: Loop) -> None:
    def ask(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, both).result(PATIENCE_SECONDS)

    async def main() -> None:
        asked = in_thread(lambda: ask(value("answer", SOON)))
        assert await asyncio.wrap_future(asked) == "answer"
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(in_thread(lambda: ask(failure())))

        seen = asyncio.Event()

        async def forever() -> None:
            try:
                await asyncio.sleep(NEVER)
            finally:
                seen.set()

        def cancel_it() -> bool:
            future = asyncio.run_coroutine_threadsafe(forever(), both)
            time.sleep(SOON)
            return future.cancel()

        assert await asyncio.wrap_future(in_thread(cancel_it))
        await asyncio.wait_for(seen.wait(), PATIENCE_SECONDS)

    run(both, main())


def test_many_threads_wake_a_sleeping_loop(both: Loop) -> None:
    async def main() -> None:
        count = 0
        enough = asyncio.Event()

        def one_more() -> None:
            nonlocal count
            count += 1
            if count == 400:
                enough.set()

        def work() -> None:
            for _ in range(100):
                both.call_soon_threadsafe(one_more)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)
        for thread in threads:
            thread.join()

    run(both, main())
