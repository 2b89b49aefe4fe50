"""Companion: a thread that waits for a descriptor, for an event loop that cannot.

It waits and does nothing else: the engine is polled in the loop's thread, which is told by
`call_soon_threadsafe`. The thread waits again only when that has been done, for the descriptor is
readable until then.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Companion:
    """Waits in a thread of its own, which does not keep the interpreter from ending.

    Args:
        loop: who is told.
        fd: what becomes readable.
        turn: called in the loop's thread; what made the descriptor readable is dealt with by it.
    """

    def __init__(self, loop: Any, fd: int, turn: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._turn = turn
        self._stopping = False
        self._answered = threading.Semaphore(0)
        self._reader, self._writer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="noria-companion", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._close()
            raise

    def stop(self) -> None:
        """End the thread, and wait until it has ended. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        self._answered.release()
        self._writer.send(b"\0")
        self._thread.join()
        self._close()

    def _run(self) -> None:
        while not self._stopping:
            self._wait()
            if self._stopping:
                return
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:
                return  # the loop is closed
            self._answered.acquire()

    def _tell(self) -> None:
        try:
            self._turn()
        finally:
            self._answered.release()

    def _wait(self) -> None:
        if sys.platform == "win32":
            select.select([self._fd, self._reader.fileno()], [], [])
            return
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._reader, select.POLLIN)
        poller.poll()

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()
