"""The same calls on the builtin `open` and on `noria.open`, and what each of them gave."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import noria

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Call = tuple[Any, ...]


def outcome_of(value: Any) -> Any:
    """Make results comparable: memory and exceptions are what they hold.

    A position in text is an opaque number where it is more than the position of a byte.
    """
    if isinstance(value, int) and value >= 1 << 64:
        return "opaque"
    if isinstance(value, BaseException):
        return (type(value).__name__, getattr(value, "errno", None))
    return bytes(value) if isinstance(value, memoryview) else value


def _arguments(call: Call) -> list[Any]:
    return [bytearray(each.n) if isinstance(each, Room) else each for each in call[1:]]


class Room:
    """Stands for writable memory of `n` bytes, new for every call."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __repr__(self) -> str:
        return f"Room({self.n})"


def play_builtin(path: Path, options: dict[str, Any], calls: Sequence[Call]) -> list[Any]:
    """Make the calls on a file of the builtin `open`."""
    found: list[Any] = []
    try:
        file = open(path, **options)  # noqa: SIM115 - closed below
    except Exception as exc:
        return [outcome_of(exc)]
    with file:
        for call in calls:
            arguments = _arguments(call)
            try:
                if call[0] == "iterate":
                    value: Any = [next(file) for _ in range(call[1])]
                elif call[0] == "attribute":
                    value = getattr(file, call[1])
                else:
                    value = getattr(file, call[0])(*arguments)
            except StopIteration:
                value = "stop"
            except Exception as exc:
                value = exc
            found += [outcome_of(value), *map(bytes, filter(_is_room, arguments))]
    return found


async def play_noria(path: Path, options: dict[str, Any], calls: Sequence[Call]) -> list[Any]:
    """Make the calls on a file of `noria.open`."""
    found: list[Any] = []
    try:
        file: Any = await noria.open(path, **options)
    except Exception as exc:
        return [outcome_of(exc)]
    async with file:
        for call in calls:
            arguments = _arguments(call)
            try:
                if call[0] == "iterate":
                    lines = aiter(file)
                    value: Any = [await anext(lines) for _ in range(call[1])]
                elif call[0] == "attribute":
                    value = getattr(file, call[1])
                else:
                    value = getattr(file, call[0])(*arguments)
                    if inspect.isawaitable(value):
                        value = await value
            except StopAsyncIteration:
                value = "stop"
            except Exception as exc:
                value = exc
            found += [outcome_of(value), *map(bytes, filter(_is_room, arguments))]
    return found


def _is_room(value: Any) -> bool:
    return isinstance(value, bytearray)
