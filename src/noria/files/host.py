# cython: boundscheck=False, wraparound=False
"""Host: the loop and the engine that files of one event loop work with.

noria's own loop and its engine are one; on any other loop an engine of noria's own serves the files
(room `guest/`). Everything in this room asks for its host once, when a file is opened.
"""

from __future__ import annotations

import asyncio
import importlib
import weakref
from typing import TYPE_CHECKING, Any

from noria.limits import REFUSED_RETRY_SECONDS
from noria.loop.core import LoopCore

if TYPE_CHECKING:
    from noria.engines.interface import Engine
    from noria.files.operation import FileOperation


class Host:
    """What gets the operations of files done, for one event loop.

    Args:
        loop: the event loop, any that asyncio's rules hold for.
        engine: what does the operations; used in the loop's thread only.

    Attributes:
        native: the loop is noria's own, and polls the engine itself.
        measuring: there is more than one way to do what waits, and none was asked for.
        hits: reads answered at once since the last pause; who counts INLINE_HITS_MAX pauses.
    """

    def __init__(self, loop: Any, engine: Engine) -> None:
        self.loop = loop
        self.engine = engine
        self.core = loop if isinstance(loop, LoopCore) else None
        self.native = self.core is not None
        self.measuring = engine.name == "uring" and not engine.restricted
        self.hits = 0
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

    def _retry(self) -> None:
        self._retrying = False
        waiting = self.refused
        self.refused = []
        for op in waiting:
            op.submit()

    def close(self) -> None:
        """End the engine of a guest; nothing for noria's own loop, which ends its engine itself."""


_hosts: weakref.WeakKeyDictionary[Any, Host] = weakref.WeakKeyDictionary()


def running_host() -> Host:
    """Give the host of the running event loop, made on first use.

    Raises:
        RuntimeError: no event loop is running in this thread.
    """
    loop = asyncio.get_running_loop()
    host = _hosts.get(loop)
    if host is None:
        if isinstance(loop, LoopCore):
            host = Host(loop, loop._engine)
        else:
            guest: Any = importlib.import_module("noria.guest.host")  # it stands above this room
            host = guest.make_host(loop)
        _hosts[loop] = host
    return host


def known_hosts() -> list[Host]:
    """Give the hosts of all event loops that there are."""
    return list(_hosts.values())
