"""TasksMixin: making tasks, and ending asynchronous generators."""

from __future__ import annotations

import asyncio
import inspect
import warnings
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

from noria.loop.core import LoopCore

if TYPE_CHECKING:
    import sys
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from contextvars import Context

    if sys.version_info >= (3, 12):
        Coro = Coroutine[Any, Any, "T"]
    else:
        Coro = Generator[Any, None, "T"] | Coroutine[Any, Any, "T"]
    TaskFactory = Callable[..., asyncio.Future[Any]]

T = TypeVar("T")

_PARAMETERS = inspect.signature(asyncio.BaseEventLoop.create_task).parameters

_NAME_TO_FACTORY = "name" not in _PARAMETERS
"""The installed asyncio hands the name to the factory (3.13.3, 3.14); others set it afterwards."""

_ANY_KEYWORD = any(parameter.kind is parameter.VAR_KEYWORD for parameter in _PARAMETERS.values())
"""The installed asyncio passes keywords on that it does not know, such as `eager_start`."""


class TasksMixin(LoopCore):
    """Tasks and asynchronous generators of the loop."""

    _asyncgens_shutdown_called = False

    def _init_tasks(self) -> None:
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()

    # -- tasks ------------------------------------------------------------------------------

    def _create_task(
        self, coro: Coro[T], name: str | None, context: Context | None, kwargs: dict[str, Any]
    ) -> asyncio.Task[T]:
        """Make a task on a closed loop, in debug mode, by a factory, or with more keywords."""
        self._check_closed()
        if kwargs and not _ANY_KEYWORD:
            raise TypeError(f"create_task() got an unexpected keyword argument {min(kwargs)!r}")
        if self._task_factory is not None:
            return self._ask_task_factory(coro, name, context, kwargs)
        task: asyncio.Task[T] = asyncio.Task(
            coro,
            loop=self,  # type: ignore[arg-type]  # Loop is the AbstractEventLoop
            name=name,
            context=context,
            **kwargs,
        )
        if self._debug:
            _forget_callers(task)
        try:
            return task
        finally:
            # The exception of an eager task knows this frame, which must not hold the task.
            del task

    def _ask_task_factory(
        self, coro: Coro[T], name: str | None, context: Context | None, kwargs: dict[str, Any]
    ) -> asyncio.Task[T]:
        assert self._task_factory is not None
        if context is not None:
            kwargs["context"] = context
        if _NAME_TO_FACTORY and name is not None:
            kwargs["name"] = name
            name = None
        task = cast("asyncio.Task[T]", self._task_factory(self, coro, **kwargs))
        if name is not None:
            task.set_name(name)
        try:
            return task
        finally:
            del task  # as in `create_task`

    def set_task_factory(self, factory: TaskFactory | None) -> None:
        """Set what makes the tasks.

        Args:
            factory: called with the loop, the coroutine and the keywords that `create_task` passes
                on; `asyncio.eager_task_factory` is one. None puts the default back.

        Raises:
            TypeError: it is neither callable nor None.
        """
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._task_factory = factory

    def get_task_factory(self) -> TaskFactory | None:
        """Give the task factory, None while the default one is in use."""
        return self._task_factory

    # -- asynchronous generators ------------------------------------------------------------

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that was iterated here and not finished.

        Errors of single generators are reported to the exception handler. A generator that is
        first iterated later than this draws a ResourceWarning.
        """
        self._asyncgens_shutdown_called = True
        generators = list(self._asyncgens)
        if not generators:
            return
        self._asyncgens.clear()
        results = await asyncio.gather(
            *(generator.aclose() for generator in generators), return_exceptions=True
        )
        for generator, result in zip(generators, results, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": "an error occurred during closing of asynchronous generator "
                        f"{generator!r}",
                        "exception": result,
                        "asyncgen": generator,
                    }
                )

    def _asyncgen_first_iterated(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_shutdown_called:
            warnings.warn(
                f"asynchronous generator {generator!r} was scheduled after "
                "loop.shutdown_asyncgens() call",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        self._asyncgens.add(generator)

    def _asyncgen_finalized(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a generator that was dropped half-way; the collector calls this in any thread."""
        self._asyncgens.discard(generator)
        if not self._closed:
            self.call_soon_threadsafe(self.create_task, generator.aclose())


def _forget_callers(task: asyncio.Task[Any]) -> None:
    """Drop the loop's own methods from what a task says of its origin in debug mode."""
    origin: list[Any] | None = getattr(task, "_source_traceback", None)
    while origin and origin[-1].name in ("_create_task", "create_task"):
        del origin[-1]
