"""The exceptions of noria, and the one place where a negative result becomes an exception."""

import errno as _errno
import os


class NoriaError(Exception):
    """Base of the exceptions that only noria raises."""


class EngineUnavailableError(NoriaError, RuntimeError):
    """The engine asked for is unknown, or cannot run on this machine.

    The message lists the engines that can, and why the others cannot.
    """


class ForkedEngineError(NoriaError, RuntimeError):
    """The engine belongs to the parent process; a child has to make its own loop."""


class EngineClosedError(NoriaError, RuntimeError):
    """The engine has been closed and takes no more operations."""


def from_result(
    result: int, operation: str = "", fd: int = -1, path: object | None = None
) -> OSError:
    """Make the exception for a failed operation.

    Args:
        result: minus errno, as an engine settles a failed operation.
        operation: name of the operation, added to the message.
        fd: descriptor number, added to the message when there is no path.
        path: file name, becomes `filename` of the exception.

    Returns:
        The OSError subclass that belongs to the errno (PEP 3151), not raised.
    """
    code = -result
    text = os.strerror(code)
    if operation:
        where = f" on descriptor {fd}" if fd >= 0 and path is None else ""
        text = f"{text} ({operation}{where})"
    if path is not None:
        return OSError(code, text, path)
    return OSError(code, text)


def name_of(result: int) -> str:
    """Give the symbolic name of a negative result, such as ``EAGAIN``."""
    return _errno.errorcode.get(-result, str(-result))
