"""ResolveMixin: names to addresses and back, without blocking the loop.

A literal address with a numeric port is looked up at once, in the loop's own thread: with
AI_NUMERICHOST the call asks nobody. Everything else goes to the resolver's threads, so that a name
server which does not answer never uses up the user's executor. They are daemons and hold no lock
while they wait, so neither `close` nor the end of the interpreter waits for a slow name server.
"""

from __future__ import annotations

import queue
import socket
import threading
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, Final

from noria.limits import RESOLVER_THREADS_MAX
from noria.loop.core import LoopCore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    Host = bytes | str | None
    Port = bytes | str | int | None
    AddressInfo = Any  # the tuple's own type is private to type checkers, and changes there


_PLAIN_FLAGS: Final = int(  # the complement of an enum leaves out bits that have no name
    socket.AI_PASSIVE
    | socket.AI_NUMERICHOST
    | socket.AI_NUMERICSERV
    | socket.AI_ADDRCONFIG
    | getattr(socket, "AI_V4MAPPED", 0)
    | getattr(socket, "AI_ALL", 0)
)
"""Flags under which a literal needs no name server. AI_CANONNAME, for one, may want to ask."""

_NUMERIC_BOTH: Final = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

_PROTOCOLS: Final[dict[int, int]] = {
    socket.SOCK_STREAM: socket.IPPROTO_TCP,
    socket.SOCK_DGRAM: socket.IPPROTO_UDP,
}


class ResolveMixin(LoopCore):
    """getaddrinfo and getnameinfo of the loop."""

    def _init_resolver(self) -> None:
        self._resolver = Resolver()

    async def getaddrinfo(
        self,
        host: Host,
        port: Port,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Resolve a host and a port, as `socket.getaddrinfo` does.

        Args:
            host: a name, a literal address with or without a zone, or None.
            port: a number, the name of a service, or None.
            family: AF_INET or AF_INET6; 0 asks for both.
            type: SOCK_STREAM or another kind; 0 asks for all.
            proto: number of a protocol; 0 means any.
            flags: AI_* flags.

        Returns:
            Tuples of family, type, protocol, canonical name and socket address.

        Raises:
            socket.gaierror: there is no such host or service, or nobody knows at the moment.
            RuntimeError: the loop is closed.
        """
        self._check_closed()
        lookup = self._getaddrinfo_in_debug if self._debug else _getaddrinfo
        if _is_numeric(host, port, flags):
            try:
                return lookup(host, port, family, type, proto, flags, socket.AI_NUMERICHOST)
            except OSError:
                pass  # an unknown zone, a family that does not fit: the whole call words the error
        arguments = (host, port, family, type, proto, flags, 0)
        found: list[AddressInfo] = await self._resolver.submit(self, lookup, arguments)
        return found

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """Give the host and the service of a socket address, as `socket.getnameinfo` does.

        Args:
            sockaddr: a literal address and a port; for IPv6 also flow information and scope.
            flags: NI_* flags.

        Raises:
            socket.gaierror: the address is no literal, or a name was required and there is none.
            RuntimeError: the loop is closed.
        """
        self._check_closed()
        if flags & _NUMERIC_BOTH == _NUMERIC_BOTH:
            return socket.getnameinfo(sockaddr, flags)  # numbers stay numbers: nobody is asked
        arguments = (sockaddr, flags)
        found: tuple[str, str] = await self._resolver.submit(self, socket.getnameinfo, arguments)
        return found

    async def _ensure_resolved(
        self,
        address: tuple[Any, ...],
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Resolve a socket address unless it is numeric already; then it stays as it is.

        Args:
            address: host and port; for IPv6 also flow information and scope, which are kept with
                a literal and dropped with a name, as asyncio does.
            family: see `getaddrinfo`, as for the rest.
            type: kind of the socket that is to use the address.
            proto: its protocol.
            flags: AI_* flags for a name.

        Raises:
            ValueError: there is a null character in the host.
        """
        host, port, *scope = address
        if _has_null(host):
            raise ValueError("embedded null character")  # getaddrinfo would stop reading there
        literal = _literal_info(host, port, family, type, proto, *scope)
        if literal is not None:
            return [literal]
        return await self.getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    def _getaddrinfo_in_debug(
        self, host: Host, port: Port, family: int, type: int, proto: int, flags: int, more: int
    ) -> list[AddressInfo]:
        """Look up as `_getaddrinfo` does and log how long it took; any thread."""
        asked = [f"{host!s}:{port!r}"]
        for name, value in (("family", family), ("type", type), ("proto", proto), ("flags", flags)):
            if value:
                asked.append(f"{name}={value!r}")
        what = ", ".join(asked)
        logger.debug("Get address info %s", what)
        started = self.time()
        found = _getaddrinfo(host, port, family, type, proto, flags, more)
        duration = self.time() - started
        log = logger.info if duration >= self.slow_callback_duration else logger.debug
        log("Getting address info %s took %.3fms: %r", what, duration * 1e3, found)
        return found


class Resolver:
    """Threads that make blocking look-ups for one loop.

    All methods are for the loop's thread. No lock is held while a thread waits or looks up, so
    nothing here can block; and a thread holds the loop only while it looks something up for it.

    Args:
        threads_max: how many look-ups run at the same time; more wait for their turn.

    Attributes:
        threads: those that were started, the idle ones included.
    """

    def __init__(self, threads_max: int = RESOLVER_THREADS_MAX) -> None:
        self._threads_max = threads_max
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._unfinished = 0
        self.threads: list[threading.Thread] = []

    def submit(
        self, loop: LoopCore, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> asyncio.Future[Any]:
        """Call `function(*args)` in a thread.

        Returns:
            A future of its result. Cancelling it forgets a look-up that has not started and leaves
            to itself one that has.

        Raises:
            RuntimeError: the system gives no thread, and there is none yet.
        """
        if self._unfinished >= len(self.threads) < self._threads_max:
            self._start_thread()
        request = _Request(self, loop, function, args)
        self._unfinished += 1
        self._requests.put(request)
        return request.future

    def close(self) -> None:
        """Forget what waits and let the threads end, without waiting for them. Idempotent."""
        try:
            while True:
                self._requests.get_nowait()
        except queue.Empty:
            pass
        for _ in self.threads:
            self._requests.put(None)
        self.threads.clear()

    def finish(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """Take the outcome of one look-up."""
        self._unfinished -= 1
        if future.done():
            return  # cancelled meanwhile
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _start_thread(self) -> None:
        name = f"noria-resolver-{len(self.threads)}"
        thread = threading.Thread(target=_work, args=(self._requests,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self.threads:
                raise
        else:
            self.threads.append(thread)


class _Request:
    """One look-up on its way through a thread."""

    __slots__ = ("_args", "_function", "_loop", "_resolver", "future")

    def __init__(
        self,
        resolver: Resolver,
        loop: LoopCore,
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        self._resolver = resolver
        self._loop = loop
        self._function = function
        self._args = args
        self.future: asyncio.Future[Any] = loop.create_future()

    def perform(self) -> None:
        """Look up unless nobody waits any more, and tell the loop."""
        outcome = (None, None) if self.future.cancelled() else _call(self._function, self._args)
        try:
            self._loop.call_soon_threadsafe(self._resolver.finish, self.future, *outcome)
        except RuntimeError:
            pass  # the loop was closed meanwhile


def _work(requests: queue.SimpleQueue[_Request | None]) -> None:
    while (request := requests.get()) is not None:
        request.perform()
        del request  # an idle thread must not keep a loop alive


def _call(
    function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Any, None] | tuple[None, BaseException]:
    try:
        return function(*args), None
    except BaseException as exc:
        return None, exc


def _getaddrinfo(
    host: Host, port: Port, family: int, type: int, proto: int, flags: int, more: int
) -> list[AddressInfo]:
    # Found at every call: programs and tests put their own function there.
    return socket.getaddrinfo(host, port, family, type, proto, flags | more)


def _is_numeric(host: Any, port: Any, flags: Any) -> bool:
    """Whether a look-up certainly needs neither a name server nor the table of services."""
    if port is not None:
        if type(port) is int:
            if not 0 <= port <= 0xFFFF:
                return False
        elif not (isinstance(port, str) and port.isascii() and port.isdigit()):
            return False
    return isinstance(flags, int) and not flags & ~_PLAIN_FLAGS and _family_of(host) is not None


def _family_of(host: Any) -> socket.AddressFamily | None:
    """Tell the family of a literal address; None for everything else."""
    if not isinstance(host, str):
        return None
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
            return socket.AF_INET6
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return None
    return socket.AF_INET


def _has_null(host: Any) -> bool:
    if isinstance(host, bytes):
        return b"\0" in host
    return isinstance(host, str) and "\0" in host


def _literal_info(
    host: Any,
    port: Any,
    family: int,
    type: int,
    proto: int,
    flowinfo: int = 0,
    scope: int = 0,
) -> AddressInfo | None:
    """Make the one tuple that an address stands for which needs no look-up; None if it does.

    It differs from what getaddrinfo gives in that the literal stays as it is written.
    """
    only = _PROTOCOLS.get(type)
    if only is None or proto not in {0, socket.IPPROTO_TCP, socket.IPPROTO_UDP}:
        return None
    if port is None or (isinstance(port, str | bytes) and not port):
        port = 0
    else:
        try:
            port = int(port)
        except (TypeError, ValueError):
            return None  # the name of a service
    if isinstance(host, bytes):
        host = host.decode("idna")
    if not isinstance(host, str) or "%" in host:
        return None  # a zone has to become a number
    found = _family_of(host)
    if found is None or family not in {socket.AF_UNSPEC, found}:
        return None
    if found == socket.AF_INET6:
        return found, type, only, "", (host, port, flowinfo, scope)
    return found, type, only, "", (host, port)
