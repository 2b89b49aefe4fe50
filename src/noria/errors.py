"""The exceptions of noria, and the one place where a negative result becomes an exception."""

import errno as _errno
import os
import socket as _socket
import sys

_WINSOCK_BASE = 10_000
"""Where the numbers of Windows sockets begin; what lies below is errno's."""

_WINSOCK_TEXTS: dict[int, str] = getattr(_socket, "errorTab", {})
"""Their texts, which os.strerror does not know; there are none on other systems."""

_WINDOWS_TEXTS = {
    _errno.EMFILE: "Too many open files, or more sockets than the engine can watch: "
    "`noria doctor` tells how many"
}
"""Texts for what means more on Windows than os.strerror says, see engines/select.py."""


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
        result: minus errno, as an engine settles a failed operation; for a Windows socket minus
            its WSA number, which becomes `winerror` as well.
        operation: name of the operation, added to the message.
        fd: descriptor number, added to the message when there is no path.
        path: file name, becomes `filename` of the exception.

    Returns:
        The OSError subclass that belongs to the errno (PEP 3151), not raised.
    """
    code = -result
    text = _text_of(code)
    if operation:
        where = f" on descriptor {fd}" if fd >= 0 and path is None else ""
        text = f"{text} ({operation}{where})"
    if sys.platform == "win32" and code >= _WINSOCK_BASE:
        return OSError(code, text, path, code)  # chooses the class by the last, which is winerror
    if path is not None:
        return OSError(code, text, path)
    return OSError(code, text)


def name_of(result: int) -> str:
    """Give the symbolic name of a negative result, such as ``EAGAIN``."""
    return _errno.errorcode.get(-result, str(-result))


def _text_of(code: int) -> str:
    if sys.platform != "win32":
        return os.strerror(code)
    if code < _WINSOCK_BASE:
        return _WINDOWS_TEXTS.get(code) or os.strerror(code)
    return _WINSOCK_TEXTS.get(code, "Unknown error of a socket").rstrip(".?")
