"""create_server and create_unix_server: listening sockets and the Server over them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from asyncio.log import logger
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from noria.api.sockets import SocketsMixin
from noria.api.tls import settings_of_server
from noria.limits import LISTEN_BACKLOG
from noria.servers.listener import Listener
from noria.servers.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_UNIX = getattr(socket, "AF_UNIX", None)


class ListenMixin(SocketsMixin):
    """Servers of a loop."""

    def _init_servers(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._unix_paths: dict[int, tuple[Any, int]] = {}

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        host: str | Iterable[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = LISTEN_BACKLOG,
        ssl: Any = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> asyncio.Server:
        """Listen on TCP; parameters and behaviour are asyncio's.

        Args:
            protocol_factory: makes the protocol of each connection.
            host: name or address, several of them, or "" or None for all interfaces.
            port: the port, 0 or None for one that the system chooses.
            family: restricts the addresses, as does `flags` (getaddrinfo(3)).
            flags: flags of the name resolution.
            sock: a bound stream socket to listen on, instead of host and port.
            backlog: length of the kernel's queue of new connections (listen(2)).
            ssl: an SSLContext with the server's certificate.
            reuse_address: SO_REUSEADDR; None means True on Unix.
            reuse_port: SO_REUSEPORT; several processes share the port.
            keep_alive: SO_KEEPALIVE.
            ssl_handshake_timeout, ssl_shutdown_timeout: seconds; None for 60 and 30.
            start_serving: begin to accept at once.

        Returns:
            The server.

        Raises:
            ValueError: contradictory arguments.
            OSError: the address cannot be bound.
            TypeError: `ssl` is a bool.
        """
        tls = settings_of_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        self._check_closed()
        if sock is not None:
            self._check_tls_socket(sock)
        if host is None and port is None:
            if sock is None:
                raise ValueError("Neither host/port nor sock were specified")
            if sock.type != socket.SOCK_STREAM:
                raise ValueError(f"A Stream Socket was expected, got {sock!r}")
            sockets = [sock]
        elif sock is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        else:
            if reuse_address is None:
                reuse_address = os.name == "posix" and sys.platform != "cygwin"
            options = [
                name
                for name, wanted in (
                    ("SO_REUSEADDR", reuse_address),
                    ("SO_REUSEPORT", reuse_port),
                    ("SO_KEEPALIVE", keep_alive),
                )
                if wanted
            ]
            sockets = await self._bind_all(host, port, family, flags, options)
        made_here = sock is None
        return await self._serve(sockets, protocol_factory, backlog, start_serving, made_here, tls)

    async def create_unix_server(
        self,
        protocol_factory: ProtocolFactory,
        path: Any = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = LISTEN_BACKLOG,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = sys.version_info >= (3, 13),
    ) -> asyncio.Server:
        """Listen on a Unix stream socket, given by `path` or as the bound `sock`.

        Args:
            protocol_factory: makes the protocol of each connection.
            path: file system path, or an abstract name beginning with a zero byte; a socket file
                that is already there is replaced.
            sock: a bound Unix stream socket instead.
            backlog: length of the kernel's queue of new connections.
            ssl: an SSLContext with the server's certificate; None for no TLS.
            ssl_handshake_timeout: seconds that a TLS handshake may take; None for 60.
            ssl_shutdown_timeout: seconds that closing waits for the peer; None for 30.
            start_serving: begin to accept at once.
            cleanup_socket: remove the socket file when the server closes, if it is still ours.

        Raises:
            ValueError: contradictory arguments.
            OSError: the path cannot be bound.
            TypeError: `ssl` is a bool.
            NotImplementedError: the system has no Unix sockets.
        """
        if _UNIX is None:
            raise NotImplementedError("this system has no Unix sockets")
        tls = settings_of_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        self._check_closed()
        made_here = sock is None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        elif sock.family != _UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        if cleanup_socket:
            self._remember_unix_path(sock)
        return await self._serve([sock], protocol_factory, backlog, start_serving, made_here, tls)

    # -- what asyncio.Server calls ----------------------------------------------------------

    def _start_serving(
        self,
        protocol_factory: ProtocolFactory,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = LISTEN_BACKLOG,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        listener = Listener(self, sock, protocol_factory, server, sslcontext)
        self._listeners[sock.fileno()] = listener
        listener.start()

    def _stop_serving(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        listener = self._listeners.pop(fd, None)
        if listener is None:
            sock.close()  # it never began to serve
        else:
            listener.close()
        self._remove_unix_path(fd)

    # -- helpers ----------------------------------------------------------------------------

    async def _serve(
        self,
        sockets: list[socket.socket],
        protocol_factory: ProtocolFactory,
        backlog: int,
        start_serving: bool,
        made_here: bool,
        tls: Any,
    ) -> asyncio.Server:
        for sock in sockets:
            sock.setblocking(False)
        server = Server(self, sockets, protocol_factory, backlog, tls)
        if start_serving:
            try:
                server._start_serving()  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            except BaseException:
                if made_here:  # nobody else can close them
                    server.close()
                raise
        if self._debug:
            logger.info("%r is serving", server)
        return server

    async def _bind_all(
        self,
        host: str | Iterable[str] | None,
        port: int | str | None,
        family: int,
        flags: int,
        options: list[str],
    ) -> list[socket.socket]:
        hosts: list[str | None]
        if host is None or host == "":
            hosts = [None]
        elif isinstance(host, str) or not isinstance(host, Iterable):
            hosts = [host]
        else:
            hosts = list(host)
        found = await asyncio.gather(
            *(self._resolve_host(name, port, family, flags) for name in hosts)
        )
        infos = list(dict.fromkeys(chain.from_iterable(found)))
        sockets: list[socket.socket] = []
        try:
            for info in infos:
                sock = self._bind_one(info, options)
                if sock is not None:
                    sockets.append(sock)
            if not sockets:
                raise OSError(f"could not bind on any address out of {[i[4] for i in infos]!r}")
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    async def _resolve_host(
        self, host: str | None, port: int | str | None, family: int, flags: int
    ) -> list[tuple[int, int, int, str, Any]]:
        infos = await self._ensure_resolved(
            (host, port), family=family, type=socket.SOCK_STREAM, flags=flags
        )
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return infos

    def _bind_one(
        self, info: tuple[int, int, int, str, Any], options: list[str]
    ) -> socket.socket | None:
        family, kind, proto, _, address = info
        try:
            sock = socket.socket(family, kind, proto)
        except OSError:  # a family that this system does not have
            if self._debug:
                logger.warning(
                    "create_server() failed to create socket.socket(%r, %r, %r)",
                    family,
                    kind,
                    proto,
                    exc_info=True,
                )
            return None
        try:
            for name in options:
                set_option(sock, name)
            if family == socket.AF_INET6:
                # One socket per family: an IPv6 socket must not take the IPv4 port as well.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
        except OSError as exc:
            sock.close()
            why = (exc.strerror or str(exc)).lower()
            message = f"error while attempting to bind on address {address!r}: {why}"
            if exc.errno == errno.EADDRNOTAVAIL:  # the family is switched off
                if self._debug:
                    logger.warning(message)
                return None
            raise OSError(exc.errno, message) from None
        except BaseException:
            sock.close()
            raise
        return sock

    def _remember_unix_path(self, sock: socket.socket) -> None:
        path = sock.getsockname()
        if path and path[0] not in (0, "\x00"):
            try:
                self._unix_paths[sock.fileno()] = (path, os.stat(path).st_ino)  # noqa: PTH116 - bytes are paths here too
            except FileNotFoundError:
                pass

    def _remove_unix_path(self, fd: int) -> None:
        path, inode = self._unix_paths.pop(fd, (None, 0))
        if path is None:
            return
        try:
            if os.stat(path).st_ino == inode:  # noqa: PTH116 - bytes are paths here too
                os.unlink(path)  # noqa: PTH108 - bytes are paths here too
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)


def set_option(sock: socket.socket, name: str) -> None:
    """Switch an option of SOL_SOCKET on; one that this system does not have is left out.

    Raises:
        ValueError: it is SO_REUSEPORT, and the system does not have it.
    """
    option = getattr(socket, name, None)
    if option is None:
        if name == "SO_REUSEPORT":
            raise ValueError("reuse_port not supported by socket module")
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    except OSError:
        if name != "SO_REUSEPORT":
            raise
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from None


def _bind_unix(path: Any) -> socket.socket:
    assert _UNIX is not None
    sock = socket.socket(_UNIX, socket.SOCK_STREAM)
    try:
        if path[0] not in (0, "\x00"):
            remove_stale_socket(path)
        sock.bind(path)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def remove_stale_socket(path: Any) -> None:
    """Remove the socket file of a path that is about to be bound; a failure is logged."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - bytes are paths here too
            os.remove(path)  # noqa: PTH107 - bytes are paths here too
    except FileNotFoundError:
        pass
    except OSError as exc:
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, exc)
