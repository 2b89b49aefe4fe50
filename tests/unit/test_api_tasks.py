"""Tasks and asynchronous generators; `either` holds the tests themselves against asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import noria

PARAMETERS = inspect.signature(asyncio.BaseEventLoop.create_task).parameters
VARIABLE = contextvars.ContextVar("VARIABLE", default="outside")


async def give(value: Any) -> Any:
    return value


class Factory:
    """A task factory that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
        self.asked.append(kwargs)
        return asyncio.Task(coro, loop=loop, **kwargs)


def test_task_runs_on_this_loop(either: asyncio.AbstractEventLoop) -> None:
    task = either.create_task(give(5))
    assert type(task) is asyncio.Task
    assert task.get_loop() is either
    assert either.run_until_complete(task) == 5


def test_task_has_a_name(either: asyncio.AbstractEventLoop) -> None:
    named = either.create_task(give(1), name="oak")
    nameless = either.create_task(give(1))
    assert named.get_name() == "oak"
    assert nameless.get_name().startswith("Task-")
    either.run_until_complete(asyncio.gather(named, nameless))


def test_task_runs_in_the_context_given(either: asyncio.AbstractEventLoop) -> None:
    async def look() -> str:
        return VARIABLE.get()

    context = contextvars.copy_context()
    context.run(VARIABLE.set, "inside")
    assert either.run_until_complete(either.create_task(look(), context=context)) == "inside"
    assert either.run_until_complete(either.create_task(look())) == "outside"


@pytest.mark.parametrize("wrong", [None, 5, give])
def test_only_coroutines_become_tasks(either: asyncio.AbstractEventLoop, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a coroutine was expected"):
        either.create_task(wrong)


def test_closed_loop_makes_no_task(either: asyncio.AbstractEventLoop) -> None:
    either.close()
    coro = give(1)
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        either.create_task(coro)
    coro.close()


def test_unknown_keyword_is_an_error(either: asyncio.AbstractEventLoop) -> None:
    coro = give(1)
    with pytest.raises(TypeError, match=r"unexpected keyword argument|invalid keyword argument"):
        either.create_task(coro, colour="green")  # type: ignore[call-arg]
    coro.close()


@pytest.mark.skipif("kwargs" in PARAMETERS, reason="this asyncio passes other keywords on")
def test_eager_start_is_no_keyword_yet(either: asyncio.AbstractEventLoop) -> None:
    coro = give(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'eager_start'"):
        either.create_task(coro, eager_start=True)  # type: ignore[call-arg,unused-ignore]
    coro.close()


def test_task_tells_where_it_was_made(either: asyncio.AbstractEventLoop) -> None:
    either.set_debug(True)
    task: Any = either.create_task(give(1))
    assert task._source_traceback[-1].name == "test_task_tells_where_it_was_made"
    either.run_until_complete(task)


# -- task factories ---------------------------------------------------------------------------


def test_factory_makes_the_tasks(either: asyncio.AbstractEventLoop) -> None:
    factory = Factory()
    assert either.get_task_factory() is None
    either.set_task_factory(factory)
    assert either.get_task_factory() is factory
    assert either.run_until_complete(either.create_task(give(3))) == 3
    assert factory.asked == [{}]
    either.set_task_factory(None)
    assert either.get_task_factory() is None
    assert either.run_until_complete(either.create_task(give(3))) == 3
    assert len(factory.asked) == 1


def test_factory_may_return_something_without_a_name(loop: noria.Loop) -> None:
    future: Any = loop.create_future()
    coro = give(1)
    loop.set_task_factory(lambda loop, coro, **kwargs: future)
    assert loop.create_task(coro) is future  # asyncio 3.13.0 insists on `set_name`
    coro.close()


def test_factory_task_gets_the_name(either: asyncio.AbstractEventLoop) -> None:
    factory = Factory()
    either.set_task_factory(factory)
    task = either.create_task(give(1), name="oak")
    assert task.get_name() == "oak"
    assert factory.asked == [{} if "name" in PARAMETERS else {"name": "oak"}]
    either.run_until_complete(task)


def test_factory_task_without_a_name_chooses_one(loop: noria.Loop) -> None:
    loop.set_task_factory(Factory())
    task = loop.create_task(give(1))
    assert task.get_name().startswith("Task-")  # asyncio 3.13.0 calls it "None"
    loop.run_until_complete(task)


def test_factory_gets_a_context_if_there_is_one(either: asyncio.AbstractEventLoop) -> None:
    factory = Factory()
    either.set_task_factory(factory)
    context = contextvars.copy_context()
    either.run_until_complete(either.create_task(give(1), context=context))
    assert factory.asked == [{"context": context}]


@pytest.mark.parametrize("wrong", ["spam", 1, object()])
def test_factory_has_to_be_callable(either: asyncio.AbstractEventLoop, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^task factory must be a callable or None$"):
        either.set_task_factory(wrong)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no eager tasks before 3.12")
def test_eager_tasks_run_at_once(either: asyncio.AbstractEventLoop) -> None:
    steps = []

    async def child() -> str:
        steps.append("child")
        await asyncio.sleep(0)
        steps.append("child again")
        return "done"

    async def main() -> str:
        task = asyncio.create_task(child())
        steps.append("main")
        done = asyncio.create_task(give(1))
        assert done.done()
        return await task

    either.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    assert either.run_until_complete(main()) == "done"
    assert steps == ["child", "main", "child again"]


@pytest.mark.skipif("kwargs" not in PARAMETERS, reason="this asyncio passes no other keywords on")
def test_eager_start_is_passed_on(either: asyncio.AbstractEventLoop) -> None:
    async def main() -> bool:
        task = either.create_task(give(1), eager_start=True)  # type: ignore[call-arg,unused-ignore]
        return task.done()

    assert either.run_until_complete(main())


def eager(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
    """Make a task that has begun when it is returned."""
    task: Any = asyncio.Task
    return task(coro, loop=loop, eager_start=True, **kwargs)


# -- asynchronous generators ------------------------------------------------------------------


async def count(ended: list[str], *, fail: bool = False) -> AsyncGenerator[int, None]:
    try:
        for number in range(100):
            yield number
    finally:
        await asyncio.sleep(0)
        ended.append("ended")
        if fail:
            raise ZeroDivisionError


async def take_one(generator: AsyncGenerator[int, None]) -> int:
    return await anext(generator)


def test_shutdown_closes_generators(either: asyncio.AbstractEventLoop) -> None:
    ended: list[str] = []
    generators = [count(ended), count(ended)]
    for generator in generators:
        either.run_until_complete(take_one(generator))
    either.run_until_complete(either.shutdown_asyncgens())
    assert ended == ["ended", "ended"]


def test_shutdown_without_generators_is_quiet(either: asyncio.AbstractEventLoop) -> None:
    either.run_until_complete(either.shutdown_asyncgens())
    either.run_until_complete(either.shutdown_asyncgens())


def test_shutdown_reports_what_generators_raise(either: asyncio.AbstractEventLoop) -> None:
    ended: list[str] = []
    reports: list[dict[str, Any]] = []
    either.set_exception_handler(lambda loop, context: reports.append(context))
    generator = count(ended, fail=True)
    other = count(ended)
    either.run_until_complete(take_one(generator))
    either.run_until_complete(take_one(other))
    either.run_until_complete(either.shutdown_asyncgens())
    assert ended == ["ended", "ended"]
    (report,) = reports
    assert report["message"] == (
        f"an error occurred during closing of asynchronous generator {generator!r}"
    )
    assert report["asyncgen"] is generator
    assert isinstance(report["exception"], ZeroDivisionError)


def test_dropped_generator_is_closed_by_the_loop(either: asyncio.AbstractEventLoop) -> None:
    ended: list[str] = []

    async def main() -> None:
        await take_one(count(ended))
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    either.run_until_complete(main())
    assert ended == ["ended"]


def test_dropped_generator_of_a_closed_loop_is_let_go(either: asyncio.AbstractEventLoop) -> None:
    ended: list[str] = []
    generator = count(ended)
    either.run_until_complete(take_one(generator))
    either.close()
    del generator  # its hook must not schedule anything any more
    assert ended == []


def test_generator_after_shutdown_draws_a_warning(either: asyncio.AbstractEventLoop) -> None:
    ended: list[str] = []
    either.run_until_complete(either.shutdown_asyncgens())
    generator = count(ended)
    with pytest.warns(ResourceWarning, match=r"was scheduled after loop\.shutdown_asyncgens\(\)"):
        either.run_until_complete(take_one(generator))
    either.run_until_complete(generator.aclose())


def test_hooks_are_those_of_the_run(either: asyncio.AbstractEventLoop) -> None:
    def first(generator: object) -> None:
        raise AssertionError("this hook belongs to somebody else")

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=first)
    try:
        either.run_until_complete(take_one(count([])))
        assert sys.get_asyncgen_hooks().firstiter is first
    finally:
        sys.set_asyncgen_hooks(*before)
    either.run_until_complete(either.shutdown_asyncgens())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no eager tasks before 3.12")
def test_task_of_an_eager_failure_is_in_no_cycle(loop: noria.Loop) -> None:
    """The frame of `create_task` is known to the traceback; it must not hold the task."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> Any:
        task: Any = loop.create_task(fail())
        assert isinstance(task.exception(), ZeroDivisionError)
        gone = weakref.ref(task)
        del task
        return gone

    loop.set_task_factory(eager)
    gc.collect()
    gc.disable()
    try:
        gone = loop.run_until_complete(main())
        assert gone() is None
    finally:
        gc.enable()
