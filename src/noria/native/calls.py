"""Calls into user code and the interpreter, interpreted twin of calls.pyx."""

import errno
import os
import socket
import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

__all__ = [
    "call_in_context",
    "call_keywords",
    "call_method_in_context",
    "call_one_in_context",
    "check_signals",
    "close_number",
    "copy_context",
    "is_sole",
    "track",
    "try_in_context",
    "try_method_in_context",
    "try_method_two_in_context",
]


def close_number(fd: int) -> None:
    """Close a number that has no socket object.

    On Windows a socket's number is none of the C library's: each has its own way to close, and
    Winsock, which knows its sockets, is asked first.
    """
    if sys.platform == "win32":
        try:
            socket.close(fd)
        except OSError as exc:
            if exc.errno != errno.ENOTSOCK:
                raise
        else:
            return
    os.close(fd)


def call_in_context(context: Context, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call ``function(*args)`` inside a context and return its result."""
    return context.run(function, *args)


def call_one_in_context(context: Context, function: Callable[[Any], Any], argument: Any) -> Any:
    """Call ``function(argument)`` inside a context and return its result."""
    return context.run(function, argument)


def call_method_in_context(context: Context, owner: Any, name: str, argument: Any) -> Any:
    """Call ``owner.name(argument)`` inside a context and return its result."""
    return context.run(getattr(owner, name), argument)


def try_in_context(
    context: Context, function: Callable[..., Any], args: tuple[Any, ...]
) -> BaseException | None:
    """Call ``function(*args)`` inside a context; the exception it raised, or None."""
    try:
        context.run(function, *args)
    except BaseException as exc:
        return exc
    finally:
        del function, args  # a traceback made beneath keeps this frame
    return None


def try_method_in_context(
    context: Context, owner: Any, name: str, argument: Any
) -> BaseException | None:
    """Call ``owner.name(argument)`` inside a context; the exception it raised, or None."""
    try:
        context.run(getattr(owner, name), argument)
    except BaseException as exc:
        return exc
    return None


def try_method_two_in_context(
    context: Context, owner: Any, name: str, first: Any, second: Any
) -> BaseException | None:
    """Call ``owner.name(first, second)`` inside a context; the exception it raised, or None."""
    try:
        context.run(getattr(owner, name), first, second)
    except BaseException as exc:
        return exc
    return None


def call_keywords(
    function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Call ``function(*args, **keywords)``."""
    return function(*args, **keywords)


def is_sole(thing: Any) -> bool:
    """Whether the caller's variable is the only reference to an object; unknown here."""
    return False


def track(thing: Any) -> None:
    """Show an object to the garbage collector again; here nothing is hidden from it."""


def check_signals() -> None:
    """Run pending Python signal handlers; the interpreter does that by itself here."""
