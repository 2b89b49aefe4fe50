"""Class decorators that give a class methods and properties of the object in its `_file`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")


def delegate_to_executor(*attrs: str) -> Callable[[type[C]], type[C]]:
    """Give methods that are awaited and run in the executor."""
    return _giver(_executed, attrs)


def cond_delegate_to_executor(*attrs: str) -> Callable[[type[C]], type[C]]:
    """Give methods that are awaited; they run in the executor once `_file` is in a real file."""
    return _giver(_executed_if_rolled, attrs)


def proxy_method_directly(*attrs: str) -> Callable[[type[C]], type[C]]:
    """Give methods that are called at once, without waiting."""
    return _giver(_direct, attrs)


def proxy_property_directly(*attrs: str) -> Callable[[type[C]], type[C]]:
    """Give properties."""
    return _giver(_looked_up, attrs)


def awaited_of_file(*attrs: str) -> Callable[[type[C]], type[C]]:
    """Give methods that await their namesakes: for what is around one of noria's files."""
    return _giver(_passed_on, attrs)


def answered_by_file(*attrs: str) -> Callable[[type[C]], type[C]]:
    """Give methods that are awaited, and answered without waiting."""
    return _giver(_answered, attrs)


def _giver(make: Callable[[str], Any], names: tuple[str, ...]) -> Callable[[type[C]], type[C]]:
    def give(cls: type[C]) -> type[C]:
        for name in names:
            made = make(name)
            if not isinstance(made, property):
                made.__name__ = name
                made.__qualname__ = f"{cls.__qualname__}.{name}"
            setattr(cls, name, made)
        return cls

    return give


def _executed(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._in_executor(name, *args, **kwargs)

    return method


def _executed_if_rolled(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._file._rolled:
            return await self._in_executor(name, *args, **kwargs)
        return getattr(self._file, name)(*args, **kwargs)

    return method


def _direct(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._file, name)(*args, **kwargs)

    return method


def _looked_up(name: str) -> Any:
    def value(self: Any) -> Any:
        return getattr(self._file, name)

    return property(value)


def _passed_on(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._file, name)(*args, **kwargs)

    return method


def _answered(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._file, name)(*args, **kwargs)

    return method
