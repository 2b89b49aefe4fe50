"""Where a server listens: loopback addresses with ports of the kernel's choice, or a Unix path."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from noria.lab.errors import LabError
from noria.lab.settings import BACKLOG_CONNECTIONS


@dataclass(slots=True)
class Place:
    """Where, and in which variant; `addresses` is filled in.

    `hosts` are 127.0.0.x addresses; a `path` takes their place.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    path: str = ""
    backlog: int = BACKLOG_CONNECTIONS
    variant: str = ""
    addresses: list[tuple[str, int] | str] = field(default_factory=list)

    def note(self, sockets: tuple[socket.socket, ...] | list[socket.socket]) -> None:
        """Remember where these listening sockets are reached."""
        for one in sockets:
            name = one.getsockname()
            self.addresses.append(name if isinstance(name, str) else (name[0], name[1]))

    def bind_datagrams(self) -> list[socket.socket]:
        """Open non-blocking sockets of UDP everywhere. Raises OSError, LabError."""
        if self.path:
            raise LabError("datagrams are measured on UDP only, where clients have addresses")
        sockets = []
        for host in self.hosts:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((host, 0))
            one.setblocking(False)
            sockets.append(one)
        self.note(sockets)
        return sockets

    def listen(self) -> list[socket.socket]:
        """Open non-blocking listening sockets everywhere. Raises OSError, LabError."""
        sockets = []
        for host in ("",) if self.path else self.hosts:
            if self.path:
                if not hasattr(socket, "AF_UNIX"):
                    raise LabError("there are no Unix sockets on this system")
                one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            else:
                # asyncio sets TCP_NODELAY only where the socket says that it is one of TCP.
                one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            one.bind(self.path or (host, 0))
            one.listen(self.backlog)
            one.setblocking(False)
            sockets.append(one)
        self.note(sockets)
        return sockets
