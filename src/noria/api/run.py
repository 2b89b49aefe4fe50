"""RunMixin: running the loop, and closing it."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from asyncio import constants
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeVar, cast

from noria.api.errors import ErrorsMixin
from noria.api.executor import ExecutorMixin
from noria.api.resolve import ResolveMixin
from noria.api.signals import SignalsMixin
from noria.api.tasks import TasksMixin
from noria.engines.interface import refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

T = TypeVar("T")


class RunMixin(ErrorsMixin, TasksMixin, ExecutorMixin, ResolveMixin, SignalsMixin):
    """Life of the loop: runs, and the end."""

    _born = False
    _origin_depth: int | None = None

    def _init_run(self) -> None:
        """Make what this mixin and those below it need; the loop's constructor calls it once."""
        self._init_tasks()
        self._init_resolver()
        self._init_signals()
        self._born = True

    @property
    def engine(self) -> str:
        """The word for the engine that gets this loop's operations done."""
        return self._engine.name

    # -- running ----------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until `stop` is called. What was not done by then waits for the next run.

        Raises:
            RuntimeError: the loop is closed or running, or another one runs in this thread.
            ForkedEngineError: the loop belongs to the parent of this process.
            KeyboardInterrupt, SystemExit: raised by a callback, or by Ctrl-C between callbacks; the
                loop can run again afterwards and goes on where it was.
        """
        self._check_runnable()
        hooks = sys.get_asyncgen_hooks()
        try:
            self._enter_run()
            self._run_turns()
        finally:
            self._leave_run(hooks)

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until a future is done.

        Args:
            future: a future, or an awaitable which is made a task.

        Returns:
            Its result.

        Raises:
            RuntimeError: `stop` was called before it was done; also as `run_forever` does.
            BaseException: what the future raised, or what came out of a callback.
        """
        self._check_runnable()
        made_here = not asyncio.isfuture(future)
        # Loop is the AbstractEventLoop, and every awaitable is welcome.
        awaited: asyncio.Future[T] = asyncio.ensure_future(
            cast("Awaitable[T]", future), loop=cast("asyncio.AbstractEventLoop", self)
        )
        if made_here:
            # If it is not done, the exception below says so, and nobody else can see the task.
            awaited._log_destroy_pending = False  # type: ignore[attr-defined]
        awaited.add_done_callback(_stop_loop_of)
        try:
            self.run_forever()
        except BaseException:
            if made_here and awaited.done() and not awaited.cancelled():
                awaited.exception()  # it is on its way to the caller: nothing to log
            raise
        finally:
            awaited.remove_done_callback(_stop_loop_of)
        if not awaited.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return awaited.result()

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode: checks of callbacks and threads, origins, and slow callbacks told."""
        self._debug = enabled
        if self.is_running():
            self.call_soon_threadsafe(self._track_origins, enabled)

    # -- the end ----------------------------------------------------------------------------

    def close(self) -> None:
        """Drop everything scheduled and release the loop's resources. Idempotent.

        The default executor is told to end and not waited for. In a forked child only the child's
        copies of the descriptors are closed; the parent's loop goes on undisturbed.

        Raises:
            RuntimeError: the loop is running.
            ValueError: there are signal handlers, and this is not the main thread.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self._closed:
            return
        if self._debug:
            logger.debug("Close %r", self)
        self._close_signals()
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        engine = self._engine
        if sys.is_finalizing():
            # The engine's threads are gone like those of the parent in a forked child, and waiting
            # for them would hang the interpreter.
            engine.forked = True
        if engine.forked:
            self._executor_shutdown_called = True
            self._default_executor = None
        else:
            self._close_executor()
            self._resolver.close()
        engine.close(self._batch)
        if self._file_host is not None:
            self._file_host.end(False)
            self._file_host = None
        self._batch.discard_all()

    def __del__(
        self,
        _warn: Callable[..., None] = warnings.warn,
        _is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        """Close a loop that its owner forgot to close, and say so.

        When the interpreter ends, its modules may have been emptied by now: only the warning is
        due then, and the system closes the descriptors.
        """
        if not self._born or self._closed:
            return
        try:
            _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
        finally:
            if not (_is_finalizing() or self.is_running() or self._wakeup.is_stuck()):
                self.close()

    def __repr__(self) -> str:
        """Tell state and engine."""
        return (
            f"<{type(self).__name__} running={self.is_running()} closed={self.is_closed()} "
            f"debug={self.get_debug()} engine={self.engine}>"
        )

    # -- steps ------------------------------------------------------------------------------

    def _check_runnable(self) -> None:
        self._check_closed()
        if self._engine.forked:
            raise refuse(self._engine)
        self._check_running()

    def _check_running(self) -> None:
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")

    def _enter_run(self) -> None:
        self._signals_start()
        self._engine.resume()
        self._thread_id = threading.get_ident()
        self._track_origins(self._debug)
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_first_iterated, finalizer=self._asyncgen_finalized
        )
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))

    def _leave_run(self, hooks: Any) -> None:
        """Undo what `_enter_run` did, as far as it came; an interrupt that was put off is last."""
        try:
            self._engine.park()
        finally:
            self._stopping = False
            self._thread_id = None
            asyncio._set_running_loop(None)
            self._track_origins(False)
            sys.set_asyncgen_hooks(*hooks)
            self._signals_end()

    def _track_origins(self, enabled: bool) -> None:
        """Have coroutines remember where they were made, or no longer; a setting of the thread."""
        if bool(enabled) == (self._origin_depth is not None):
            return
        if enabled:
            self._origin_depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(constants.DEBUG_STACK_DEPTH)
        else:
            assert self._origin_depth is not None
            sys.set_coroutine_origin_tracking_depth(self._origin_depth)
            self._origin_depth = None


def _stop_loop_of(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and isinstance(future.exception(), SystemExit | KeyboardInterrupt):
        return  # it has ended the run already
    future.get_loop().stop()
