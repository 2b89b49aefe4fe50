"""Awaited outcomes: what `await` gives, the same from C and from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from types import ModuleType

native = pytest.mark.parametrize("module", twins("awaits"), ids=build_of)


def ended(module: ModuleType, stage: int, outcome: object) -> Any:
    made = module.Awaited()
    made.stage = stage
    made.outcome = outcome
    return made


def await_it(awaited: Any) -> tuple[list[Any], Any]:
    """What it yields, and what `await` gives."""

    async def waiter() -> Any:
        return await awaited

    coroutine = waiter()
    yielded = []
    while True:
        try:
            yielded.append(coroutine.send(None))
        except StopIteration as end:
            return yielded, end.value


@native
@pytest.mark.parametrize(
    "outcome",
    [None, b"data", 5, 0, (), (1,), (1, 2), ValueError("a value"), StopIteration(3), ValueError],
    ids=repr,
)
def test_await_gives_the_outcome_as_it_is(module: ModuleType, outcome: object) -> None:
    yielded, found = await_it(ended(module, module.DONE, outcome))
    assert yielded == []
    assert found is outcome


@native
def test_what_is_pending_asks_the_task_to_wait_for_it(module: ModuleType) -> None:
    awaited = module.Awaited()
    assert not awaited._asyncio_future_blocking
    assert next(awaited) is awaited
    assert awaited._asyncio_future_blocking
    awaited.stage = module.DONE
    awaited.outcome = 7
    with pytest.raises(StopIteration) as end:
        next(awaited)
    assert end.value.value == 7


@native
def test_a_pause_is_one_bare_yield(module: ModuleType) -> None:
    assert await_it(ended(module, module.PAUSING, b"late")) == ([None], b"late")


@native
def test_a_bad_end_is_told_by_result(module: ModuleType) -> None:
    class Failed(module.Awaited):  # type: ignore[name-defined,misc]
        def result(self) -> object:
            raise self.outcome

    awaited = Failed()
    awaited.stage = module.ENDED_BADLY
    awaited.outcome = KeyError("why")
    with pytest.raises(KeyError, match="why"):
        await_it(awaited)


@native
def test_without_a_result_of_its_own_a_bad_end_cannot_be_told(module: ModuleType) -> None:
    with pytest.raises(NotImplementedError):
        await_it(ended(module, module.ENDED_BADLY, None))


@native
def test_a_stop_that_somebody_catches_is_an_exception_like_any_other(module: ModuleType) -> None:
    kept = []
    for number in range(10):
        awaited = ended(module, module.DONE, (number,))
        with pytest.raises(StopIteration) as end:
            next(awaited)
        kept.append(end.value)
    assert [each.value for each in kept] == [(number,) for number in range(10)]
    assert all(each.__traceback__ is not None for each in kept)
    again = next_stop(ended(module, module.DONE, "x"))
    assert again.value == "x"
    assert again.__context__ is None
    assert repr(again).startswith("StopIteration(")


def next_stop(awaited: Any) -> StopIteration:
    try:
        next(awaited)
    except StopIteration as end:
        return end
    raise AssertionError("it did not stop")
