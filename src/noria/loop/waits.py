"""Operations that wake somebody up: a future, or a handle each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noria.core.operation import Operation
from noria.errors import from_result

if TYPE_CHECKING:
    import asyncio

    from noria.loop.core import LoopCore
    from noria.loop.handles import Handle


class FutureOperation(Operation):
    """An operation whose completion resolves a future.

    The future gets the result, or an OSError; a cancelled future ignores it. Where a result carries
    something that could be lost, the coroutine waits for readiness with this and acts by itself.
    """

    __slots__ = ("future",)

    def __init__(self, code: int, fd: int, sock: Any, future: asyncio.Future[Any]) -> None:
        self._set_up(code, fd, sock)
        self.future = future

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Resolve the future."""
        future = self.future
        if future.done():
            self.discard(result, data)
        elif result < 0:
            future.set_exception(from_result(result, "", self.fd))
        else:
            future.set_result(result if data is None else data)


class WatchOperation(Operation):
    """A watch on a borrowed descriptor: runs its handle at every news (L6).

    At once, and not at some later generation: the next look at I/O would tell of the same news.

    Attributes:
        file: what the user named the descriptor by, a number or an object with `fileno()`.
        handle: what to call.
        loop: whose it is.
    """

    __slots__ = ("file", "handle", "loop")

    def __init__(self, code: int, fd: int, file: Any, loop: LoopCore, handle: Handle) -> None:
        Operation.__init__(self, code, fd, None)
        self.file = file
        self.loop = loop
        self.handle = handle
        self.multishot = True
        self.borrowed = True
        self.expectant = True

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Run the handle unless the watch was removed meanwhile."""
        if result >= 0 and not self.handle._cancelled:
            self.loop._engine.acted = True  # as a rule it reads, writes or closes by itself
            self.loop._run_now(self.handle)


def wait_for(loop: LoopCore, code: int, sock: Any, fd: int) -> FutureOperation:
    """Begin to wait for a borrowed socket.

    Args:
        loop: the loop.
        code: WAIT_READABLE or WAIT_WRITABLE.
        sock: the socket.
        fd: its number.

    Returns:
        The operation; its future is resolved when the socket is ready. If the waiting coroutine
        is cancelled it has to cancel the operation.
    """
    op: FutureOperation = FutureOperation(code, fd, sock, loop._new_future())
    op.borrowed = True
    op.expectant = True
    if loop._engine.submit(op):
        op.deliver(op.result, 0, None)
    return op
