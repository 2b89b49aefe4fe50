"""ExecutorMixin: functions in threads, for the loop's user."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

from noria.loop.core import LoopCore

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ExecutorMixin(LoopCore):
    """The default executor of the loop.

    noria itself runs nothing in it but the reads of files that `sendfile` has to write in pieces.
    """

    _default_executor: ThreadPoolExecutor | None = None
    _executor_shutdown_called = False

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call `func(*args)` in an executor.

        Args:
            executor: where to call it; None means the default executor, made when first used.
            func: the function.
            args: its positional arguments.

        Returns:
            A future of its result. Cancelling it reaches the function only before it starts.

        Raises:
            RuntimeError: the loop is closed, or the default executor was shut down.
            TypeError: (debug mode) the function is a coroutine or not callable.
        """
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._usable_default_executor()
        return asyncio.wrap_future(
            executor.submit(func, *args),
            loop=self,  # type: ignore[arg-type]  # Loop is the AbstractEventLoop
        )

    def set_default_executor(self, executor: Executor) -> None:
        """Set the executor that `run_in_executor` uses when it is given none.

        Raises:
            TypeError: it is no ThreadPoolExecutor.
        """
        if not isinstance(executor, ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    if sys.version_info >= (3, 12):

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            """End the default executor and wait for its threads; the loop runs meanwhile.

            Args:
                timeout: seconds to wait; None waits without limit. When they are over a
                    RuntimeWarning is given and the threads are left to themselves.
            """
            await self._shutdown_default_executor(timeout)

    else:

        async def shutdown_default_executor(self) -> None:
            """End the default executor and wait for its threads; the loop runs meanwhile."""
            await self._shutdown_default_executor(None)

    def _usable_default_executor(self) -> ThreadPoolExecutor:
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")
        if self._default_executor is None:
            self._default_executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        return self._default_executor

    async def _shutdown_default_executor(self, timeout: float | None) -> None:
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None:
            return
        ended = self.create_future()
        # Waiting for threads blocks, so one more thread does it.
        thread = threading.Thread(target=self._join_executor, args=(executor, ended))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=3,
            )
            executor.shutdown(wait=False)
        else:
            thread.join()

    def _join_executor(self, executor: Executor, ended: asyncio.Future[None]) -> None:
        failure: Exception | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as exc:
            failure = exc
        try:
            self.call_soon_threadsafe(_end_future, ended, failure)
        except RuntimeError:
            pass  # the loop was closed meanwhile, so nobody waits any more

    def _close_executor(self) -> None:
        """Let the default executor end by itself; for `close`."""
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is not None:
            self._default_executor = None
            executor.shutdown(wait=False)


def _end_future(future: asyncio.Future[None], failure: Exception | None) -> None:
    if future.done():
        return  # cancelled while it waited
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
