"""What everything else here is made of: calls in an executor, wrappers, the context manager."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator
    from concurrent.futures import Executor
    from types import TracebackType

T = TypeVar("T")


def wrap(func: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Make a coroutine function of a function that blocks: it is called in an executor.

    Args:
        func: the function. The coroutine function takes its arguments, and `loop` and `executor`,
            both by name only: whose executor, and which one; the running loop's default if None.
    """

    @wraps(func)
    async def called(
        *args: Any,
        loop: asyncio.AbstractEventLoop | None = None,
        executor: Executor | None = None,
        **kwargs: Any,
    ) -> T:
        where = asyncio.get_running_loop() if loop is None else loop
        return await where.run_in_executor(executor, partial(func, *args, **kwargs))

    return called


def wrap_quick(
    func: Callable[..., T], ours: Callable[..., Awaitable[T]]
) -> Callable[..., Coroutine[Any, Any, T]]:
    """Make a coroutine function as `wrap` does, which asks noria unless an executor is given.

    Args:
        func: the function that blocks.
        ours: what does the same without a thread where it can.
    """
    blocking = wrap(func)

    @wraps(func)
    async def called(
        *args: Any,
        loop: asyncio.AbstractEventLoop | None = None,
        executor: Executor | None = None,
        **kwargs: Any,
    ) -> T:
        if executor is None:
            return await ours(*args, **kwargs)
        return await blocking(*args, loop=loop, executor=executor, **kwargs)

    return called


class AsyncBase:
    """A file with awaited methods around an object that does the work.

    Args:
        file: the object.
        loop: whose executor is used; None for that of the loop which runs at the call.
        executor: where blocking methods run; None for the loop's default.
    """

    def __init__(self, file: Any, loop: Any, executor: Any) -> None:
        self._file = file
        self._ref_loop: asyncio.AbstractEventLoop | None = loop
        self._executor: Executor | None = executor

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        given = self._ref_loop
        return asyncio.get_running_loop() if given is None else given

    async def _in_executor(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the object in the executor."""
        method = getattr(self._file, name)
        return await self._loop.run_in_executor(self._executor, partial(method, *args, **kwargs))

    async def _leave(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do what `with` does at the end."""
        await self._in_executor("__exit__", kind, value, traceback)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over the lines."""
        return self

    async def __anext__(self) -> Any:
        """Give the next line."""
        reader: Any = self  # which has it from a decorator, or from its user
        line = await reader.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def __repr__(self) -> str:
        """Show what it is around, too."""
        return f"{super().__repr__()} wrapping {self._file!r}"


class AsyncIndirectBase(AsyncBase):
    """A file around an object that is looked up at each use, such as sys.stdout.

    Args:
        name: what it is called.
        loop: as for AsyncBase.
        executor: as for AsyncBase.
        indirect: gives the object.
    """

    def __init__(self, name: Any, loop: Any, executor: Any, indirect: Callable[[], Any]) -> None:
        self._name = name
        self._indirect = indirect
        AsyncBase.__init__(self, None, loop, executor)

    @property
    def _file(self) -> Any:
        return self._indirect()

    @_file.setter
    def _file(self, v: Any) -> None:
        """Keep nothing: what is there is what `indirect` gives."""


class AiofilesContextManager(Awaitable[T], AbstractAsyncContextManager[T], Generic[T]):
    """A file that is being opened: awaited, it gives the file; `async with` also closes it.

    Args:
        coro: opens it.
    """

    __slots__ = ("_coro", "_obj")

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._coro = coro
        self._obj: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        """Open it; awaited once more, give the same file."""
        if self._obj is None:
            self._obj = yield from self._coro.__await__()
        return self._obj

    async def __aenter__(self) -> T:
        """Open it."""
        return await self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close it."""
        found: Any = self._obj
        if hasattr(type(found), "_leave"):
            await found._leave(exc_type, exc_val, exc_tb)
        else:  # a class of its user's, given to `wrap.register`
            leave = partial(found._file.__exit__, exc_type, exc_val, exc_tb)
            await asyncio.get_running_loop().run_in_executor(None, leave)
        self._obj = None
