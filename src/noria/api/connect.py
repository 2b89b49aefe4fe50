"""create_connection and its kin: once per connection, plain Python."""

from __future__ import annotations

import errno
import functools
import os
import socket
from asyncio import CancelledError, staggered
from asyncio.log import logger
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from noria.api.tls import TLSMixin, settings_of_accepted, settings_of_client
from noria.core.codes import CONNECT
from noria.core.descriptor import Descriptor
from noria.loop.waits import FutureOperation
from noria.transports.stream import StreamTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from noria.api.tls import TLSSettings

    AddressInfo = tuple[int, int, int, str, Any]

_Protocol = TypeVar("_Protocol", bound="asyncio.BaseProtocol")
_ON_THE_WAY = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
)
"""What the network answers to a connect; asyncio's message for it tells the address."""
_UNIX = getattr(socket, "AF_UNIX", None)


class ConnectMixin(TLSMixin):
    """Outgoing connections, and connections that somebody else has made."""

    async def create_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        host: str | None = None,
        port: str | int | None = None,
        *,
        ssl: Any = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Connect to a TCP server; parameters and behaviour are asyncio's.

        Args:
            protocol_factory: makes the protocol.
            host: name or address to connect to.
            port: its port.
            ssl: an SSLContext, or True for `ssl.create_default_context()`; None for no TLS.
            family: restricts the addresses, as do `proto` and `flags` (getaddrinfo(3)).
            proto: protocol number, 0 for any.
            flags: flags of the name resolution.
            sock: a connected stream socket to take over, instead of host and port.
            local_addr: (host, port) to bind to first.
            server_hostname: the name in the server's certificate, if not `host`; "" for any.
            ssl_handshake_timeout: seconds for the TLS handshake; None for 60.
            ssl_shutdown_timeout: seconds that closing waits for the peer; None for 30.
            happy_eyeballs_delay: seconds after which the next address is tried in parallel
                (RFC 8305); None tries one after the other.
            interleave: how many addresses of the first family come before the others.
            all_errors: raise an ExceptionGroup of every attempt's error.

        Returns:
            The transport and the protocol.

        Raises:
            ValueError: contradictory arguments.
            OSError: no address could be connected to.
            ssl.SSLError, ConnectionError: the TLS handshake failed.
        """
        limits = (ssl_handshake_timeout, ssl_shutdown_timeout)
        tls = settings_of_client(ssl, server_hostname, *limits, host)
        if sock is not None:
            self._check_tls_socket(sock)
        descriptor = None
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            if happy_eyeballs_delay is not None and interleave is None:
                interleave = 1
            hints = (family, proto, flags)
            descriptor = await self._connect_to_any(
                (host, port), hints, local_addr, happy_eyeballs_delay, interleave, all_errors
            )
            sock = descriptor.sock
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        elif sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        transport, protocol = await self._connected(sock, protocol_factory, descriptor, tls)
        if self._debug:
            logger.debug("%r connected to %s:%r: (%r, %r)", sock, host, port, transport, protocol)
        return transport, protocol

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        path: Any = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Connect to a Unix stream socket, given by `path` or as the connected `sock`.

        Arguments and errors are those of `create_connection`; AttributeError where the system has
        no Unix sockets.
        """
        if _UNIX is None:
            raise NotImplementedError("this system has no Unix sockets")
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        tls = settings_of_client(
            ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout, "-"
        )
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = socket.socket(_UNIX, socket.SOCK_STREAM, 0)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
            descriptor = Descriptor(sock.fileno(), sock)
            return await self._connected(sock, protocol_factory, descriptor, tls)
        if sock is None:
            raise ValueError("no path and sock were specified")
        if sock.family != _UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        return await self._connected(sock, protocol_factory, tls=tls)

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _Protocol],
        sock: socket.socket,
        *,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Take over a connection that was accepted elsewhere.

        Args:
            protocol_factory: makes the protocol.
            sock: the connected stream socket; the transport's from now on.
            ssl: an SSLContext with the server's certificate; None for no TLS.
            ssl_handshake_timeout: seconds that the TLS handshake may take; None for 60.
            ssl_shutdown_timeout: seconds that closing waits for the peer; None for 30.

        Returns:
            The transport and the protocol.

        Raises:
            ValueError: it is no stream socket, or TLS timeouts come without `ssl`.
            ssl.SSLError, ConnectionError: the TLS handshake failed.
        """
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        tls = settings_of_accepted(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        self._check_tls_socket(sock)
        transport, protocol = await self._connected(sock, protocol_factory, tls=tls)
        if self._debug:
            logger.debug("%r handled: (%r, %r)", sock, transport, protocol)
        return transport, protocol

    # -- helpers ----------------------------------------------------------------------------

    async def _connected(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _Protocol],
        descriptor: Descriptor | None = None,
        tls: TLSSettings | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Make the transport of a connected socket and wait until its protocol has it.

        A socket that was made here has its descriptor already, and is closed if that fails.
        """
        try:
            sock.setblocking(False)
            self._check_closed()
            protocol = protocol_factory()
            _ = protocol.connection_made  # what is no protocol is refused here, as asyncio does
            if descriptor is None:
                self._ensure_fd_no_transport(sock)
            waiter = self.create_future()
            layer = None if tls is None else tls.wrap(self, protocol, waiter)
        except BaseException:
            if descriptor is not None:
                self._drop(descriptor)
            raise
        if descriptor is None:
            descriptor = Descriptor(sock.fileno(), sock)
        transport = StreamTransport(self, descriptor, protocol if layer is None else layer)
        transport._set_nodelay()
        self.call_soon(transport._start, waiter if layer is None else None)
        try:
            await waiter
        except BaseException:
            if layer is None:
                transport.close()
            else:
                layer.abort()
            raise
        made: Any = transport if layer is None else layer
        return made, protocol

    async def _connect_to_any(
        self,
        address: tuple[str | None, str | int | None],
        hints: tuple[int, int, int],
        local_addr: tuple[str, int] | None,
        happy_eyeballs_delay: float | None,
        interleave: int | None,
        all_errors: bool,
    ) -> Descriptor:
        infos = await self._resolved(address, hints)
        local_infos = None if local_addr is None else await self._resolved(local_addr, hints)
        if interleave:
            infos = _interleaved(infos, interleave)
        race = _Race()
        attempts = [functools.partial(self._connect_one, race, info, local_infos) for info in infos]
        chosen = None
        try:
            if happy_eyeballs_delay is None:
                for attempt in attempts:
                    try:
                        chosen = await attempt()
                        break
                    except OSError:
                        continue
            else:
                chosen, _, known = await staggered.staggered_race(
                    attempts,
                    happy_eyeballs_delay,
                    loop=self,  # type: ignore[arg-type] # a mixin of Loop
                )
                known.clear()  # the race's frames know it too; see _Race.end
            if chosen is not None:
                return chosen
            raise _why_not(list(chain.from_iterable(race.errors)), all_errors)
        finally:
            race.end(chosen, self._drop)

    async def _resolved(
        self, address: tuple[str | None, str | int | None], hints: tuple[int, int, int]
    ) -> list[AddressInfo]:
        family, proto, flags = hints
        infos = await self._ensure_resolved(
            address, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
        )
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    async def _connect_one(
        self,
        race: _Race,
        info: AddressInfo,
        local_infos: list[AddressInfo] | None,
    ) -> Descriptor:
        mine: list[OSError] = []
        race.errors.append(mine)
        family, kind, proto, _, address = info
        descriptor = None
        try:
            sock = socket.socket(family, kind, proto)
            descriptor = Descriptor(sock.fileno(), sock)
            sock.setblocking(False)
            if local_infos is not None:
                _bind_to_any(sock, family, local_infos, mine)
            await self._connect_owned(descriptor, sock, address)
            if race.over:
                raise CancelledError
        except BaseException as exc:
            if isinstance(exc, OSError):
                mine.append(exc)
            if descriptor is not None:
                self._drop(descriptor)
            raise
        race.connected.append(descriptor)
        return descriptor

    async def _connect_owned(
        self, descriptor: Descriptor, sock: socket.socket, address: Any
    ) -> None:
        """Connect a socket that nobody else has to a numeric address."""
        self._check_closed()
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        op = FutureOperation(CONNECT, descriptor.fd, sock, self.create_future())
        op.descriptor = descriptor
        op.address = address
        if self.submit(op):
            op.deliver(op.result, 0, None)
        try:
            await op.future
        except CancelledError:
            self.cancel_operation(op)
            raise
        except OSError as exc:
            if exc.errno in _ON_THE_WAY:
                raise OSError(exc.errno, f"Connect call failed {address}") from None
            raise
        finally:
            del op  # its future knows the exception, which knows this frame

    def _drop(self, descriptor: Descriptor) -> None:
        """Close a socket as soon as its connect, if that is still in flight, has ended."""
        if not descriptor.closed:
            self._engine.forget(descriptor.fd)
            descriptor.close()


class _Race:
    """What the attempts at one host share.

    Attributes:
        errors: those of each attempt.
        connected: the descriptors of attempts that succeeded.
        over: nobody waits any more. The staggered race of Python 3.11 may leave an attempt running
            that it has cancelled; such a one has to close its socket by itself.
    """

    __slots__ = ("connected", "errors", "over")

    def __init__(self) -> None:
        self.errors: list[list[OSError]] = []
        self.connected: list[Descriptor] = []
        self.over = False

    def end(self, chosen: Descriptor | None, drop: Callable[[Descriptor], None]) -> None:
        """Drop the connections that are not wanted, and let go of the exceptions.

        Their tracebacks lead to the frames that know these lists: without this each would be in a
        cycle, which only the collector ends.
        """
        self.over = True
        for descriptor in self.connected:
            if descriptor is not chosen:  # a second one, or the coroutine was cancelled now
                drop(descriptor)
        self.connected.clear()
        for mine in self.errors:
            mine.clear()
        self.errors.clear()


def _bind_to_any(
    sock: socket.socket, family: int, infos: list[AddressInfo], errors: list[OSError]
) -> None:
    for info in infos:
        if info[0] != family:
            continue
        try:
            sock.bind(info[4])
        except OSError as exc:
            why = (exc.strerror or str(exc)).lower()
            message = f"error while attempting to bind on address {info[4]!r}: {why}"
            errors.append(OSError(exc.errno, message))
        else:
            return
    raise errors.pop() if errors else OSError(f"no matching local address with {family=} found")


def _interleaved(infos: list[AddressInfo], first_count: int) -> list[AddressInfo]:
    """Order addresses so that the families take turns (RFC 8305, section 4)."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    lists = list(families.values())
    head = lists[0][: first_count - 1]
    lists[0] = lists[0][first_count - 1 :]
    return head + [info for turn in zip_longest(*lists) for info in turn if info is not None]


def _why_not(errors: list[OSError], all_errors: bool) -> BaseException:
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if not errors:
        return OSError("create_connection failed")
    texts = {str(exc) for exc in errors}
    if len(texts) == 1:
        return errors[0]
    return OSError(f"Multiple exceptions: {', '.join(str(exc) for exc in errors)}")
