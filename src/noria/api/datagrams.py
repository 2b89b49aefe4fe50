"""create_datagram_endpoint: once per endpoint, plain Python."""

from __future__ import annotations

import socket
import sys
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeVar

from noria.api.listen import remove_stale_socket, set_option
from noria.api.sockets import SocketsMixin
from noria.core.descriptor import Descriptor
from noria.transports.datagram import DatagramTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    Pair = tuple[tuple[int, int], tuple[Any, Any]]

_Protocol = TypeVar("_Protocol", bound="asyncio.BaseProtocol")
_UNIX = getattr(socket, "AF_UNIX", None)
_ANY_KIND = sys.version_info >= (3, 13)
"""Since 3.13 asyncio takes sockets of every type but streams; before only SOCK_DGRAM."""


class DatagramsMixin(SocketsMixin):
    """Datagram endpoints of a loop."""

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], _Protocol],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _Protocol]:
        """Make an endpoint for datagrams; parameters and behaviour are asyncio's.

        Args:
            protocol_factory: makes the protocol.
            local_addr: (host, port) to bind to, or a path with AF_UNIX; a stale socket file there
                is removed.
            remote_addr: (host, port) or path to connect to; with `allow_broadcast` the address is
                only the default one.
            family: address family; needed where there is no address.
            proto: protocol number, 0 for the default.
            flags: flags of the name resolution (getaddrinfo(3)).
            reuse_port: let several sockets be bound to the same address (SO_REUSEPORT, socket(7)).
            allow_broadcast: let datagrams be sent to broadcast addresses (SO_BROADCAST, ip(7)).
            sock: a datagram socket to take over instead, bound and connected as it is.

        Returns:
            The transport and the protocol.

        Raises:
            ValueError: contradictory arguments, or there is no SO_REUSEPORT.
            TypeError: an address is no pair, or with AF_UNIX no string.
            OSError: no address could be bound and connected.
        """
        made_here = sock is None
        default = None
        if sock is not None:
            addresses = {"local_addr": local_addr, "remote_addr": remote_addr}
            hints = {"family": family, "proto": proto, "flags": flags}
            options = {"reuse_port": reuse_port, "allow_broadcast": allow_broadcast}
            _check_socket(sock, addresses | hints | options)
            sock.setblocking(False)
        else:
            pairs = await self._datagram_addresses(local_addr, remote_addr, family, proto, flags)
            sock, default = await self._datagram_socket(pairs, reuse_port, allow_broadcast)
        try:
            protocol = protocol_factory()
            if not made_here:
                self._ensure_fd_no_transport(sock)
        except BaseException:
            if made_here:
                sock.close()
            raise
        descriptor = Descriptor(sock.fileno(), sock)
        transport = DatagramTransport(self, descriptor, protocol, default)
        waiter = self.create_future()
        self.call_soon(transport._start, waiter)
        if self._debug:
            self._log_endpoint(local_addr, remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol  # type: ignore[return-value]  # see DatagramTransport.__class__

    async def _datagram_addresses(
        self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int
    ) -> list[Pair]:
        """Find what may be bound and connected: family and protocol, local and remote address."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [((family, proto), (None, None))]
        if _UNIX is not None and family == _UNIX:
            for address in (local_addr, remote_addr):
                if address is not None and not isinstance(address, str):
                    raise TypeError("string is expected")
            if local_addr and local_addr[0] != "\0":
                remove_stale_socket(local_addr)
            return [((family, proto), (local_addr, remote_addr))]
        found: dict[tuple[int, int], list[Any]] = {}
        for index, address in enumerate((local_addr, remote_addr)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(
                address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for each, _, number, _, resolved in infos:
                found.setdefault((each, number), [None, None])[index] = resolved
        pairs: list[Pair] = [
            (key, (local, remote))
            for key, (local, remote) in found.items()
            if not ((local_addr and local is None) or (remote_addr and remote is None))
        ]
        if not pairs:
            raise ValueError("can not get address information")
        return pairs

    async def _datagram_socket(
        self, pairs: Iterable[Pair], reuse_port: bool | None, allow_broadcast: bool | None
    ) -> tuple[socket.socket, Any]:
        """Make the first socket that can be bound and connected, and its default address."""
        errors = []
        for (family, proto), (local, remote) in pairs:
            sock = None
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM, proto)
                if reuse_port:
                    set_option(sock, "SO_REUSEPORT")
                if allow_broadcast:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sock.setblocking(False)
                if local:
                    sock.bind(local)
                if remote and not allow_broadcast:
                    await self.sock_connect(sock, remote)
            except OSError as exc:
                if sock is not None:
                    sock.close()
                errors.append(exc)
            except BaseException:
                if sock is not None:
                    sock.close()
                raise
            else:
                return sock, remote or None
        try:
            raise errors[0]
        finally:
            errors.clear()  # an exception that knows this frame would keep itself alive

    def _log_endpoint(
        self, local_addr: Any, remote_addr: Any, transport: Any, protocol: Any
    ) -> None:
        if local_addr:
            logger.info(
                "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)",
                local_addr,
                remote_addr,
                transport,
                protocol,
            )
        else:
            logger.debug(
                "Datagram endpoint remote_addr=%r created: (%r, %r)",
                remote_addr,
                transport,
                protocol,
            )


def _check_socket(sock: socket.socket, options: dict[str, Any]) -> None:
    """Refuse a socket of the wrong kind, and options that only a new socket could have."""
    if sock.type == socket.SOCK_STREAM or (sock.type != socket.SOCK_DGRAM and not _ANY_KIND):
        kind = "datagram socket" if _ANY_KIND else "UDP Socket"
        raise ValueError(f"A {kind} was expected, got {sock!r}")
    problems = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if problems:
        raise ValueError(
            "socket modifier keyword arguments can not be used when sock is specified. "
            f"({problems})"
        )
