# cython: boundscheck=False, wraparound=False
"""Host: the loop and the engine that files of one event loop work with.

noria's own loop and its engine are one; on any other loop an engine of noria's own serves the files
(room `guest/`). Everything in this room asks for its host once, when a file is opened.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
from typing import TYPE_CHECKING, Any

from noria.core.operation import AUTOMATIC, BY_THREAD
from noria.disk.registry import RING
from noria.limits import REFUSED_RETRY_SECONDS
from noria.loop.core import LoopCore
from noria.native import crew

if TYPE_CHECKING:
    from noria.engines.interface import Engine
    from noria.files.operation import FileOperation


# A name for the compiler, typed in the .pxd.
_ECANCELED = errno.ECANCELED


class Host:
    """What gets the operations of files done, for one event loop.

    Args:
        loop: the event loop, any that asyncio's rules hold for.
        engine: what does the operations; used in the loop's thread only.

    Attributes:
        native: the loop is noria's own, and polls the engine itself.
        naming: names are changed without a thread of Python's, by one of C's or by the ring.
        names_way: of these, AUTOMATIC or BY_THREAD.
        measuring: there is more than one way to do what waits, and none was asked for.
        woken: a future that has ended, for who only wants to be woken; None until it is needed.
        in_flight: transfers of files that have not ended.
        hits: reads answered at once since the last pause; who counts INLINE_HITS_MAX pauses.
        spare: the Settled that was given last, to be used again.
    """

    def __init__(self, loop: Any, engine: Engine) -> None:
        self.loop = loop
        self.engine = engine
        self.core = loop if isinstance(loop, LoopCore) else None
        self.native = self.core is not None
        found = engine.disk_statistics()
        ringing = found.name == RING
        self.measuring = ringing and not found.forced
        self.naming = ringing or crew.COMPILED
        self.names_way = AUTOMATIC if (ringing and found.forced) or not crew.COMPILED else BY_THREAD
        self.woken: Any = None
        self.in_flight = 0
        self.hits = 0
        self.spare: Any = None
        self.refused: list[FileOperation] = []
        self._retrying = False

    def call_soon(self, callback: Any, argument: Any, context: Any) -> None:
        """Schedule `callback(argument)` in a context."""
        if self.core is not None:
            self.core._soon(callback, (argument,), context)
        else:
            self.loop.call_soon(callback, argument, context=context)

    def submitted(self) -> None:
        """Do what makes the engine see to what it was given; guests override it."""

    def refuse(self, op: FileOperation) -> None:
        """Keep an operation that the engine had no room for (E11), to hand it over again soon."""
        self.refused.append(op)
        if not self._retrying:
            self._retrying = True
            self.loop.call_later(REFUSED_RETRY_SECONDS, self._retry)

    def end(self, telling: bool) -> None:
        """Cancel what the engine had no room for: it takes nothing any more.

        Args:
            telling: whether the loop can still wake who waits.
        """
        waiting = self.refused
        self.refused = []
        for op in waiting:
            if telling:
                op.deliver(-_ECANCELED, 0, None)
            else:
                op.discard(-_ECANCELED, None)

    def _retry(self) -> None:
        self._retrying = False
        waiting = self.refused
        self.refused = []
        for op in waiting:
            op.submit()


def running_host() -> Host:
    """Give the host of the running event loop, made on first use.

    Raises:
        RuntimeError: no event loop is running in this thread.
        EngineUnavailableError: the loop is not noria's, and no engine can serve it.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, LoopCore):
        guests: Any = importlib.import_module("noria.guest.host")  # it stands above this room
        guest: Host = guests.guest_of(loop)
        return guest
    host: Host | None = loop._file_host
    if host is None:
        host = loop._file_host = Host(loop, loop._engine)
    return host
