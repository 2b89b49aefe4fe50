# cython: boundscheck=False, wraparound=False
"""Clients: the connections that a server has accepted; compiled, used twice per connection."""

from __future__ import annotations

import weakref
from typing import Any

from noria.native.members import Members
from noria.transports.inner import Inner
from noria.transports.stream import StreamTransport


class Clients:
    """The connections of a server, in place of asyncio's WeakSet.

    It keeps none alive, so that an abandoned one can be found out. noria's own transports leave
    before they go, and are known by address; of others there are weak references.
    """

    __slots__ = ("_others", "_own")

    def __init__(self) -> None:
        self._own = Members()
        self._others: Any = None

    def __len__(self) -> int:
        count = len(self._own)
        return count if self._others is None else count + len(self._others)

    def add(self, transport: Any) -> None:
        """Enter a transport."""
        if type(transport) is StreamTransport:
            self._own.add(transport)
            return
        if self._others is None:
            self._others = weakref.WeakSet()
        self._others.add(transport)

    def discard(self, transport: Any) -> None:
        """Take a transport out, if it is in."""
        if type(transport) is StreamTransport:
            self._own.discard(transport)
        elif self._others is not None:
            self._others.discard(transport)

    def copy(self) -> list[Any]:
        """Give the transports in a list, which keeps them alive; for TLS what is on top of them."""
        own = [_outermost(transport) for transport in self._own.copy()]
        return [*own, *(self._others or ())]


def _outermost(transport: Any) -> Any:
    """Give the transport that a connection's user has: closing below it would cut TLS short."""
    while isinstance(transport.get_protocol(), Inner):
        transport = transport.get_protocol()
    return transport
