"""Server: asyncio's own, with noria's listeners beneath it.

The states, waiting and closing of a server differ between Python versions and are plain Python that
runs once per server, so asyncio's class is inherited; only the book-keeping of connections is added
where a version lacks it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from noria.servers.clients import Clients

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Server(asyncio.Server):
    """A server on one or several listening sockets.

    Args:
        loop: the loop.
        sockets: listening sockets, owned by the server from now on.
        protocol_factory: makes the protocol of each connection.
        backlog: length of the kernel's queue of new connections.
        tls: how TLS is done, as the Listener takes it; None for none.
    """

    def __init__(
        self,
        loop: Any,
        sockets: list[socket.socket],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
        tls: Any = None,
    ) -> None:
        super().__init__(loop, sockets, protocol_factory, tls, backlog, None, None)
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
