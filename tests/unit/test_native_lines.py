"""Lines that are there already: what `async for` gives, the same from C and from Python."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from types import ModuleType

native = pytest.mark.parametrize("module", twins("lines"), ids=build_of)


def lines_of(module: ModuleType, data: Any, end: str = "\n", rest: list[Any] | None = None) -> Any:
    async def more() -> Any:
        if rest:
            return rest.pop(0)
        raise StopAsyncIteration

    made = module.Lines(end)
    made.data = data
    return made, module.LineIterator(made, more)


async def collect(lines: Any) -> list[Any]:
    return [line async for line in lines]


@native
@pytest.mark.parametrize(
    "data",
    [b"one\ntwo\r\n\nlast", "one\ntwo\r\n\nlast", "ä\n€\n\U0001f600x\n", b"", ""],
    ids=ascii,
)
def test_whole_lines_are_given_and_the_rest_is_kept(module: ModuleType, data: Any) -> None:
    lines, iterator = lines_of(module, data, rest=["from more"])
    end = b"\n" if isinstance(data, bytes) else "\n"
    whole = [line + end for line in data.split(end)[:-1]]
    assert asyncio.run(collect(iterator)) == [*whole, "from more"]
    assert data[lines.at :] == data[sum(map(len, whole)) :]


@native
def test_another_end_and_none_at_all(module: ModuleType) -> None:
    assert asyncio.run(collect(lines_of(module, "a\nb\rc\r", "\r")[1])) == ["a\nb\r", "c\r"]
    assert asyncio.run(collect(lines_of(module, "a\nb\n", "", rest=["all"])[1])) == ["all"]


@native
def test_it_goes_on_from_where_it_was_set(module: ModuleType) -> None:
    lines, _ = lines_of(module, "one\ntwo\n")
    lines.at = 2
    assert lines.next_line() == "e\n"
    assert lines.next_line() == "two\n"
    assert lines.next_line() is None


@native
def test_lines_that_are_kept_before_they_are_awaited_stay_apart(module: ModuleType) -> None:
    _, iterator = lines_of(module, b"1\n2\n3\n")

    async def main() -> list[Any]:
        kept = [iterator.__anext__() for _ in range(3)]
        return [await each for each in kept]

    assert asyncio.run(main()) == [b"1\n", b"2\n", b"3\n"]
