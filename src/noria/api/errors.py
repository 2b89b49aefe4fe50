"""ErrorsMixin: what happens with an exception that nobody caught."""

from __future__ import annotations

import sys
import traceback
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, cast

from noria.loop.core import LoopCore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    Report = dict[str, Any]
    ExceptionHandler = Callable[[asyncio.AbstractEventLoop, Report], object]

_IN_CONTEXT = sys.version_info >= (3, 12)
"""Since 3.12 asyncio calls a custom handler in the context of what failed."""


class ErrorsMixin(LoopCore):
    """Exception handlers of the loop."""

    _exception_handler: ExceptionHandler | None = None

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Give the custom exception handler, None while the default one is in use."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Set what is called with the loop and a report when an exception was caught by nobody.

        Args:
            handler: a callable of two arguments; None puts the default handler back.

        Raises:
            TypeError: it is neither callable nor None.
        """
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: Report) -> None:
        """Log a report as one error on the logger `asyncio`.

        Args:
            context: the report; `call_exception_handler` says what may be in it. In debug mode it
                gets the key `handle_traceback` when only the running callback's origin is known.
        """
        message = context.get("message") or "Unhandled exception in event loop"
        current = self._current_handle
        if "source_traceback" not in context and current is not None:
            origin = current._source_traceback
            if origin:
                context["handle_traceback"] = origin
        lines = [message]
        lines += [
            f"{key}: {_describe(key, context[key])}"
            for key in sorted(context)
            if key not in {"message", "exception"}
        ]
        exception = context.get("exception")
        exc_info = exception is not None and (type(exception), exception, exception.__traceback__)
        logger.error("\n".join(lines), exc_info=exc_info)

    def call_exception_handler(self, context: Report) -> None:
        """Report an error to the custom handler or, without one, to the default handler.

        An error inside a handler is logged and goes no further; only SystemExit and
        KeyboardInterrupt come out.

        Args:
            context: the report. `message` is there always; where they are known also `exception`,
                `future`, `task`, `handle`, `protocol`, `transport`, `socket` and `asyncgen`.
        """
        handler = self._exception_handler
        if handler is None:
            self._report_by_default(context, "Exception in default exception handler")
            return
        try:
            run = _runner_of(context)
            if run is None:
                handler(cast("asyncio.AbstractEventLoop", self), context)
            else:
                run(handler, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the user's handler may fail in any way
            failure = {
                "message": "Unhandled error in exception handler",
                "exception": exc,
                "context": context,
            }
            self._report_by_default(
                failure,
                "Exception in default exception handler while handling an unexpected error "
                "in custom exception handler",
            )

    def _report_by_default(self, context: Report, message: str) -> None:
        """Call the default handler, which a subclass may have replaced by one that fails."""
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            logger.error(message, exc_info=True)


def _describe(key: str, value: Any) -> str:
    if key == "source_traceback":
        title = "Object created at (most recent call last):\n"
    elif key == "handle_traceback":
        title = "Handle created at (most recent call last):\n"
    else:
        return repr(value)
    return title + "".join(traceback.format_list(value)).rstrip()


def _runner_of(context: Report) -> Callable[..., object] | None:
    """Find `run` of the context that belongs to what failed: a task, a future or a handle."""
    if not _IN_CONTEXT:
        return None
    for key in ("task", "future", "handle"):
        thing = context.get(key)
        if thing is not None:
            get_context = getattr(thing, "get_context", None)
            run = None if get_context is None else getattr(get_context(), "run", None)
            return cast("Callable[..., object] | None", run)
    return None
