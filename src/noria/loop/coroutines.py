# cython: boundscheck=False, wraparound=False
"""Coroutines of the busiest methods on the user's own sockets, compiled and without a frame.

Each tries at once and, when it would block, waits for readiness and tries again when it is resumed.
Nothing is taken from the kernel while it sleeps, so cancelling it at any moment loses no byte (E5).

They are what `async def` would make of a loop around an attempt and `await future`: objects with
`send`, `throw` and `close` (PEP 492), registered as `collections.abc.Coroutine`, which is what
asyncio asks for.
"""

from __future__ import annotations

import errno
import socket
import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from noria.core.buffer import lend_readable
from noria.core.codes import WAIT_READABLE, WAIT_WRITABLE
from noria.core.operation import SETTLED
from noria.errors import EngineClosedError, from_result
from noria.loop.waits import wait_for
from noria.native import sockets as native

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator

    from noria.loop.core import LoopCore
    from noria.loop.waits import FutureOperation

# Names for the compiler, typed in the .pxd.
_EAGAIN = errno.EAGAIN
_READ = WAIT_READABLE
_WRITE = WAIT_WRITABLE
_SETTLED = SETTLED
_CREATED = 0
_WAITING = 1
_ENDED = 2

_Socket = socket.socket  # by far the usual type, and none of TLS


class SocketCoroutine:
    """An attempt on a borrowed socket, made until it does not block.

    Args:
        loop: the loop it runs on.
        sock: the socket.
    """

    __slots__ = ("_fd", "_loop", "_op", "_sock", "_state", "_writing")

    def __init__(self, loop: LoopCore, sock: Any) -> None:
        self._begin(loop, sock)

    def _begin(self, loop: LoopCore, sock: Any) -> None:
        """Do what `__init__` does; apart from it, because a call of that one is slow."""
        self._loop = loop
        self._sock = sock
        self._fd = -1
        self._op: FutureOperation | None = None
        self._state = _CREATED
        self._writing = False

    def _prepare(self) -> None:
        """Pin memory; once, before the first attempt."""

    def _attempt(self) -> bool:
        """Try; whether it is over. `_result` gives what it came to."""
        raise NotImplementedError

    def _result(self) -> Any:
        return None

    def _idle(self) -> bool:
        """Whether the first attempt is known to be in vain."""
        return False

    # -- the coroutine protocol ---------------------------------------------------------------

    def __await__(self) -> Generator[asyncio.Future[Any], None, Any]:
        """Give itself: it is its own iterator."""
        return self

    def __iter__(self) -> SocketCoroutine:
        return self

    def __next__(self) -> Any:
        if self._state != _CREATED:
            self._resume()
        try:
            if self._state == _CREATED:
                self._state = _WAITING
                self._check_socket()
                self._prepare()
                if self._idle():
                    return self._wait()
            if not self._attempt():
                return self._wait()
        except BaseException:
            self._state = _ENDED
            raise
        self._state = _ENDED
        result = self._result()
        if result is None:
            raise StopIteration
        raise StopIteration(result)

    def send(self, value: None) -> Any:
        """Go on; raises StopIteration with the result at the end."""
        if value is not None and self._state == _CREATED:
            raise TypeError("can't send non-None value to a just-started coroutine")
        return self.__next__()

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """End by an exception: what is thrown in, such as CancelledError, comes out."""
        self._leave()
        exc = kind if value is None else value
        if isinstance(exc, type):
            exc = exc()
        elif not isinstance(exc, BaseException):
            exc = kind(exc)
        if traceback is not None:
            exc = exc.with_traceback(traceback)
        raise exc

    def close(self) -> None:
        """End; nobody waits any more. Idempotent."""
        self._leave()

    def __del__(self) -> None:
        if self._state == _CREATED:
            warnings.warn(
                f"coroutine '{self.__name__}' was never awaited", RuntimeWarning, stacklevel=2
            )
        elif self._op is not None:
            self._leave()

    def __getattr__(self, name: str) -> str:
        """Name the method that made it, for the repr of a task."""
        if name in {"__name__", "__qualname__"}:
            return "sock_sendall" if self._writing else "sock_recv"
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def cr_await(self) -> Any:
        """The future it waits for, None if it does not wait."""
        return None if self._op is None else self._op.future

    @property
    def cr_running(self) -> bool:
        """False: it has no frame that could be looked at while it runs."""
        return False

    # -- waiting ------------------------------------------------------------------------------

    def _check_socket(self) -> None:
        loop = self._loop
        sock = self._sock
        if type(sock) is not _Socket or loop._debug:
            loop._check_socket(sock)
        self._fd = sock.fileno()
        if self._fd < 0:
            raise OSError(errno.EBADF, "the socket is closed")

    def _wait(self) -> Any:
        loop = self._loop
        if loop._engine.owned(self._fd):
            loop._ensure_fd_no_transport(self._sock)
        try:
            op = wait_for(loop, _WRITE if self._writing else _READ, self._sock, self._fd)
        except EngineClosedError:
            loop._check_closed()  # asyncio's words for it
            raise
        self._op = op
        op.future._asyncio_future_blocking = True
        return op.future

    def _resume(self) -> None:
        """Take the end of a wait."""
        op = self._op
        if op is None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if op.state != _SETTLED:
            raise RuntimeError("await wasn't used with future")
        self._op = None
        if op.result < 0:
            self._state = _ENDED
            op.future.result()

    def _leave(self) -> None:
        self._state = _ENDED
        op = self._op
        if op is not None:
            self._op = None
            if not self._loop._closed:
                op.future.cancel()  # nobody waits for it any more, and nobody is to be told
            self._loop._engine.cancel(op)


class ReceiveCoroutine(SocketCoroutine):
    """`sock_recv`: receives at most `size` bytes."""

    __slots__ = ("_data", "_first", "_size")

    def __init__(self, loop: LoopCore, sock: Any, size: int) -> None:
        self._begin(loop, sock)
        self._size = 0
        self._first = False
        self._data: Any = size

    def _prepare(self) -> None:
        self._size = self._data

    def _idle(self) -> bool:
        self._first = not self._loop._engine.expects_vain(self._fd, self._sock)
        return not self._first

    def _attempt(self) -> bool:
        data = native.receive(self._fd, self._sock, self._size)
        vain = type(data) is not bytes
        if self._first:
            self._first = False
            self._loop._engine.note_attempt(self._fd, self._sock, vain)
        if vain:
            if data == -_EAGAIN:
                return False
            raise from_result(int(data), "sock_recv", self._fd)
        self._data = data
        return True

    def _result(self) -> Any:
        return self._data


class SendCoroutine(SocketCoroutine):
    """`sock_sendall`: sends all of `data`."""

    __slots__ = ("_data", "_sent")

    def __init__(self, loop: LoopCore, sock: Any, data: Any) -> None:
        self._begin(loop, sock)
        self._writing = True
        self._data = data
        self._sent = 0

    def _prepare(self) -> None:
        if type(self._data) is not bytes:
            self._data = lend_readable(self._data)

    def _attempt(self) -> bool:
        self._loop._engine.acted = True
        count = native.send(self._fd, self._sock, self._data, self._sent)
        if count < 0:
            if count == -_EAGAIN:
                return False
            raise from_result(count, "sock_sendall", self._fd)
        self._sent += count
        return self._sent >= len(self._data)


Coroutine.register(SocketCoroutine)
