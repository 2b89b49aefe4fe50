"""Order and time of callbacks: call_soon, call_later, call_at, call_soon_threadsafe, stop.

`both` holds the tests themselves against asyncio; what only noria promises is tested on `loop`.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from typing import Any

import pytest

from tests.loops import Reports, run, run_turns, until


def test_callbacks_run_in_the_order_of_their_scheduling(both: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    for number in range(500):
        both.call_soon(order.append, number)
    assert order == []
    run_turns(both)
    assert order == list(range(500))


def test_what_a_callback_schedules_runs_behind_what_was_there(
    both: asyncio.AbstractEventLoop,
) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        both.call_soon(order.append, "child")

    both.call_soon(first)
    both.call_soon(order.append, "second")
    run_turns(both)
    assert order == ["first", "second", "child"]


def test_a_cancelled_callback_does_not_run(both: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    handles = [both.call_soon(order.append, number) for number in range(10)]
    for handle in handles[::2]:
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()
    # One that is cancelled by its predecessor, in the same turn.
    victim: list[asyncio.Handle] = []
    both.call_soon(lambda: victim[0].cancel())  # noqa: PLW0108 - empty as yet
    victim.append(both.call_soon(order.append, 99))
    run_turns(both)
    assert order == [1, 3, 5, 7, 9]


def test_arguments_are_released_with_the_call(both: asyncio.AbstractEventLoop) -> None:
    class Argument:
        pass

    gone: list[str] = []

    class Watched(Argument):
        def __del__(self) -> None:
            gone.append("gone")

    both.call_soon(lambda _: None, Watched())
    run_turns(both)
    assert gone == ["gone"]
    handle = both.call_later(1000, lambda _: None, Watched())
    handle.cancel()
    assert gone == ["gone", "gone"], "cancelling drops callback and arguments at once"


def test_l1_no_timer_is_early(both: asyncio.AbstractEventLoop) -> None:
    seeded = random.Random(1)
    late: list[float] = []

    def check(due: float) -> None:
        late.append(both.time() - due)

    for _ in range(60):
        due = both.time() + seeded.uniform(0, 0.05)
        both.call_at(due, check, due)
    both.call_later(0.06, both.stop)
    both.run_forever()
    assert len(late) == 60
    if not isinstance(both, asyncio.SelectorEventLoop):  # asyncio may be early by its resolution
        assert min(late) >= 0
    assert sorted(late)[30] < 0.02


def test_l1_a_timer_is_not_early_by_its_own_clock(loop: asyncio.AbstractEventLoop) -> None:
    """The finest delays: here rounding to milliseconds or nanoseconds would show."""
    early: list[float] = []

    def again(due: float, left: int) -> None:
        now = loop.time()
        if now < due:
            early.append(due - now)
        if left:
            due = loop.time() + left * 1e-7
            loop.call_at(due, again, due, left - 1)
        else:
            loop.stop()

    loop.call_soon(again, 0.0, 300)
    loop.run_forever()
    assert early == []


def test_l2_timers_run_in_the_order_of_their_times(both: asyncio.AbstractEventLoop) -> None:
    order: list[float] = []
    start = both.time()
    delays = [n / 10_000 for n in range(100)]
    shuffled = delays[:]
    random.Random(2).shuffle(shuffled)
    for delay in shuffled:
        both.call_at(start + delay, order.append, delay)
    both.call_later(0.03, both.stop)
    both.run_forever()
    assert order == delays


def test_l2_timers_of_one_time_run_in_the_order_of_their_scheduling(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """asyncio's heap promises no order between equal times; noria does."""
    order: list[int] = []
    due = loop.time() + 0.005
    for number in range(200):
        loop.call_at(due, order.append, number)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert order == list(range(200))


def test_l2_negative_delays_are_due_at_once_in_the_order_of_their_times(
    both: asyncio.AbstractEventLoop,
) -> None:
    order: list[str] = []
    now = both.time()
    both.call_at(now - 1, order.append, "-1")
    both.call_later(-3, order.append, "-3")
    both.call_later(0, order.append, "0")
    both.call_at(-1e300, order.append, "first of all")
    both.call_later(-2, order.append, "-2")
    run_turns(both)
    assert order == ["first of all", "-3", "-2", "-1", "0"]


@pytest.mark.parametrize("delay", [math.inf, 1e18, 1e300, 400 * 24 * 3600.0])
def test_endless_delays_wait_and_can_be_cancelled(
    both: asyncio.AbstractEventLoop, delay: float
) -> None:
    called: list[int] = []
    handle = both.call_later(delay, called.append, 1)
    assert handle.when() >= both.time() + 300 * 24 * 3600
    both.call_later(0.005, both.stop)
    both.run_forever()
    assert not called
    handle.cancel()
    run_turns(both)
    assert not called


def test_an_endless_timer_alone_lets_the_loop_sleep(loop: asyncio.AbstractEventLoop) -> None:
    """A wait of centuries must not become a wait of nothing."""
    loop.call_later(1e15, lambda: None)
    thread = threading.Timer(0.1, loop.call_soon_threadsafe, (loop.stop,))
    thread.start()
    started = time.thread_time()
    loop.run_forever()
    assert time.thread_time() - started < 0.05
    thread.join()


def test_a_timer_set_by_a_timer_runs_too(both: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []

    def again(left: int) -> None:
        seen.append(left)
        if left:
            both.call_later(0, again, left - 1)
        else:
            both.stop()

    both.call_later(0, again, 50)
    both.run_forever()
    assert seen == list(range(50, -1, -1))


def test_cancelled_timers_are_swept_out(both: asyncio.AbstractEventLoop) -> None:
    called: list[int] = []
    handles = [both.call_later(0.002, called.append, number) for number in range(1000)]
    for handle in handles[:990]:
        handle.cancel()
    both.call_later(0.01, both.stop)
    both.run_forever()
    assert sorted(called) == list(range(990, 1000))


@pytest.mark.parametrize("when", [None, "soon", object()])
def test_a_time_that_is_none_is_a_type_error(both: asyncio.AbstractEventLoop, when: Any) -> None:
    with pytest.raises(TypeError):
        both.call_later(when, print)
    if not isinstance(both, asyncio.SelectorEventLoop) or when is None:
        with pytest.raises(TypeError):
            both.call_at(when, print)


def test_a_callback_that_raises_is_reported_and_nothing_else(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    order: list[int] = []

    def fail() -> None:
        raise ValueError("of the user")

    both.call_soon(order.append, 1)
    handle = both.call_soon(fail)
    both.call_soon(order.append, 2)
    both.call_later(0, fail)
    both.call_later(0, order.append, 3)
    run_turns(both)
    assert order == [1, 2, 3]
    first, second = reports.take()
    assert first["handle"] is handle
    assert isinstance(first["exception"], ValueError)
    assert "Exception in callback" in first["message"]
    assert "fail" in second["message"]


def test_a_cancelled_error_of_a_callback_is_reported_too(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    def fail() -> None:
        raise asyncio.CancelledError

    both.call_soon(fail)
    run_turns(both)
    assert isinstance(reports.take_one()["exception"], asyncio.CancelledError)


def test_l7_threads_schedule_under_load(both: asyncio.AbstractEventLoop) -> None:
    """Nothing is lost, and what one thread schedules keeps its order."""
    threads_count, calls = 8, 500
    seen: list[tuple[int, int]] = []

    def schedule(thread: int) -> None:
        for number in range(calls):
            both.call_soon_threadsafe(seen.append, (thread, number))

    async def main() -> None:
        threads = [threading.Thread(target=schedule, args=(n,)) for n in range(threads_count)]
        for thread in threads:
            thread.start()
        await until(lambda: len(seen) == threads_count * calls)
        for thread in threads:
            thread.join()

    run(both, main())
    for thread in range(threads_count):
        assert [number for who, number in seen if who == thread] == list(range(calls))


def test_l7_a_thread_ends_a_wait_without_limit(both: asyncio.AbstractEventLoop) -> None:
    for _ in range(20):
        thread = threading.Timer(0.002, both.call_soon_threadsafe, (both.stop,))
        thread.start()
        started = time.monotonic()
        both.run_forever()
        assert time.monotonic() - started < 5
        thread.join()


def test_l7_what_threads_left_before_the_run_is_done_in_it(
    both: asyncio.AbstractEventLoop,
) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=both.call_soon_threadsafe, args=(seen.append, 1))
    thread.start()
    thread.join()
    run_turns(both, 1)
    assert seen == [1]


def test_l7_threads_race_with_close(both: asyncio.AbstractEventLoop) -> None:
    """A thread that is late gets RuntimeError, and nothing worse."""
    surprises: list[BaseException] = []
    ready = threading.Barrier(5)

    def schedule() -> None:
        ready.wait()
        try:
            for _ in range(20_000):
                both.call_soon_threadsafe(int)
        except RuntimeError as exc:
            if "closed" not in str(exc):
                surprises.append(exc)
        except BaseException as exc:
            surprises.append(exc)

    threads = [threading.Thread(target=schedule) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    run_turns(both, 10)
    both.close()
    for thread in threads:
        thread.join()
    assert not surprises


def test_l4_stop_finishes_what_was_scheduled_and_leaves_the_rest(
    both: asyncio.AbstractEventLoop,
) -> None:
    order: list[str] = []

    def stop() -> None:
        both.stop()
        both.call_soon(order.append, "next run")
        order.append("stop")

    both.call_soon(order.append, "before")
    both.call_soon(stop)
    both.call_soon(order.append, "behind")
    both.run_forever()
    assert order == ["before", "stop", "behind"]
    run_turns(both, 1)
    assert order == ["before", "stop", "behind", "next run"]


def test_stop_before_the_run_lets_it_run_once(both: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    both.call_soon(order.append, 1)
    both.call_soon(lambda: both.call_soon(order.append, 2))
    both.stop()
    both.stop()
    both.run_forever()
    assert order == [1]
    assert not both.is_running()


def test_run_until_complete_twice(both: asyncio.AbstractEventLoop) -> None:
    async def answer(value: int) -> int:
        await asyncio.sleep(0)
        return value

    assert both.run_until_complete(answer(1)) == 1
    assert both.run_until_complete(answer(2)) == 2
    future = both.create_future()
    future.set_result(3)
    assert both.run_until_complete(future) == 3
    assert both.run_until_complete(future) == 3


def test_a_run_that_is_stopped_before_its_future_is_done(both: asyncio.AbstractEventLoop) -> None:
    future = both.create_future()
    both.call_soon(both.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        both.run_until_complete(future)
    both.call_soon(future.set_result, "later")
    assert both.run_until_complete(future) == "later"


def test_a_running_loop_cannot_run_again(loop: asyncio.AbstractEventLoop) -> None:
    """Not held against asyncio: 3.13.0 forgets that it runs when this is tried."""

    async def main() -> None:
        future = loop.create_future()
        for attempt in (loop.run_forever, lambda: loop.run_until_complete(future)):
            with pytest.raises(RuntimeError, match="already running"):
                attempt()
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        await asyncio.sleep(0.001)
        assert loop.is_running()

    run(loop, main())


def test_a_closed_loop_refuses(both: asyncio.AbstractEventLoop) -> None:
    both.close()
    both.close()
    assert both.is_closed()
    for attempt in (
        lambda: both.call_soon(print),
        lambda: both.call_later(1, print),
        lambda: both.call_at(1, print),
        lambda: both.call_soon_threadsafe(print),
        both.run_forever,
        lambda: both.add_reader(0, print),
        lambda: both.run_in_executor(None, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            attempt()
    future: asyncio.Future[Any] = asyncio.Future(loop=both)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        both.run_until_complete(future)
    assert both.is_running() is False
    assert both.remove_reader(0) is False
