"""Server: asyncio's own, with noria's listeners beneath it.

The states, waiting and closing of a server differ between Python versions and are plain Python that
runs once per server, so asyncio's class is inherited; only the book-keeping of connections is added
where a version lacks it.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import TYPE_CHECKING, Any

from noria.native.members import Members
from noria.transports.stream import StreamTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Clients:
    """The connections of a server, in place of asyncio's WeakSet.

    It keeps none alive, so that an abandoned one can be found out. noria's own transports leave
    before they go, and are known by address; of others there are weak references.
    """

    def __init__(self) -> None:
        self._own = Members()
        self._others: weakref.WeakSet[Any] = weakref.WeakSet()

    def _place_of(self, transport: Any) -> Any:
        return self._own if type(transport) is StreamTransport else self._others

    def __len__(self) -> int:
        return len(self._own) + len(self._others)

    def add(self, transport: Any) -> None:
        """Enter a transport."""
        self._place_of(transport).add(transport)

    def discard(self, transport: Any) -> None:
        """Take a transport out, if it is in."""
        self._place_of(transport).discard(transport)

    def copy(self) -> list[Any]:
        """Give the transports in a list, which keeps them alive."""
        return [*self._own.copy(), *self._others]


class Server(asyncio.Server):
    """A server on one or several listening sockets.

    Args:
        loop: the loop.
        sockets: listening sockets, owned by the server from now on.
        protocol_factory: makes the protocol of each connection.
        backlog: length of the kernel's queue of new connections.
    """

    def __init__(
        self,
        loop: Any,
        sockets: list[socket.socket],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
    ) -> None:
        super().__init__(loop, sockets, protocol_factory, None, backlog, None, None)
        self._clients: Any = Clients()

    if sys.version_info < (3, 13):
        # There asyncio passes no transport, and code that counts users of a server does neither.
        def _attach(self, transport: Any = None) -> None:
            super()._attach()  # type: ignore[misc]
            if transport is not None:
                self._clients.add(transport)

        def _detach(self, transport: Any = None) -> None:
            if transport is not None:
                self._clients.discard(transport)
            super()._detach()  # type: ignore[misc]

        def close_clients(self) -> None:
            """Close all connections that the server has accepted."""
            for transport in self._clients.copy():
                transport.close()

        def abort_clients(self) -> None:
            """Close them at once, without sending what they have buffered."""
            for transport in self._clients.copy():
                transport.abort()
