"""Loops and connections for the tests of the upper rooms.

`loop` is noria's on every engine that can run here; `both` is the same and asyncio's own besides,
so that a test of what asyncio specifies is held against asyncio. An unexpected report to the
exception handler fails a test: who expects one takes it from `reports`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import noria
from noria.engines.registry import ENGINES, engine_class
from noria.limits import READY_TURNS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.ledger import Ledger

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.BaseProtocol)

PATIENCE_SECONDS = 20.0
HAS_IPV6 = socket.has_ipv6
POSIX = sys.platform != "win32"
WINE = not POSIX and "WINEPREFIX" in os.environ

BROKEN: tuple[type[OSError], ...] = (BrokenPipeError, ConnectionResetError)
"""What sending to a peer that is gone may raise."""

if not POSIX:
    BROKEN += (ConnectionAbortedError,)

tells_resets = pytest.mark.skipif(WINE, reason="Wine tells a reset as the end of the stream")
"""For tests in which the peer resets a connection, and recv or shutdown has to tell."""

PAIR_BUFFER_BYTES = 65536


class Reports(list[dict[str, Any]]):
    """What reached the exception handler of the loop under test."""

    def take(self) -> list[dict[str, Any]]:
        """Give the reports and forget them."""
        taken = list(self)
        self.clear()
        return taken

    def take_one(self) -> dict[str, Any]:
        """Give the only report."""
        (one,) = self.take()
        return one


@pytest.fixture
def reports() -> Reports:
    """Reports to the exception handler; what is left in it at the end fails the test."""
    return Reports()


def serve_loop(
    made: asyncio.AbstractEventLoop, reports: Reports
) -> Iterator[asyncio.AbstractEventLoop]:
    """Lend a loop to a test, close it, and look for reports that nobody expected."""
    made.set_exception_handler(lambda _, context: reports.append(context))
    yield made
    if not made.is_closed():
        made.close()
    assert not reports, f"the exception handler was called: {list(reports)}"


def open_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make the loop of a parameter; skip where its engine cannot run."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    probe = engine_class(name).probe()
    if not probe.available:
        pytest.skip(probe.reason)
    return noria.new_event_loop(engine=name)


@pytest.fixture(params=list(ENGINES))
def loop(
    request: pytest.FixtureRequest, ledger: Ledger, reports: Reports
) -> Iterator[asyncio.AbstractEventLoop]:
    """noria's loop on every engine."""
    yield from serve_loop(open_loop(request.param), reports)


@pytest.fixture(params=[*ENGINES, "asyncio"])
def both(
    request: pytest.FixtureRequest, ledger: Ledger, reports: Reports
) -> Iterator[asyncio.AbstractEventLoop]:
    """noria's loop on every engine, and asyncio's."""
    yield from serve_loop(open_loop(request.param), reports)


def skip_asyncio_on_wine(loop: asyncio.AbstractEventLoop) -> None:
    """Skip a test of asyncio's own loop that resets connections before they are accepted."""
    if WINE and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("Wine's accept says ENOTCONN of a reset connection; asyncio reports it")


Users = tuple[socket.socket, socket.socket]
"""Two connected non-blocking sockets of the user."""


@pytest.fixture
def users() -> Iterator[Users]:
    """Such a pair."""
    yield from lend(*socket_pair())


@pytest.fixture
def tcp_users() -> Iterator[Users]:
    """Such a pair over TCP."""
    left, right = tcp_pair()
    yield from lend(left, right)


def lend(left: socket.socket, right: socket.socket) -> Iterator[Users]:
    """Lend two sockets to a test, and close them."""
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def run(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, with bounded patience."""
    return loop.run_until_complete(asyncio.wait_for(main, PATIENCE_SECONDS))


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Let the loop turn until the condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS / 2
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        await asyncio.sleep(0)


async def turns(count: int = 5) -> None:
    """Let the loop look at I/O at least `count` times, and run what comes of it.

    noria looks after a bounded number of generations of callbacks, asyncio after each.
    """
    ours = isinstance(asyncio.get_running_loop(), noria.Loop)
    for _ in range(count * (READY_TURNS_MAX + 1 if ours else 2) + 1):
        await asyncio.sleep(0)


async def handed_over() -> None:
    """Let small writes reach the kernel: an engine that defers does that at the end of the turn."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, noria.Loop) and loop._engine.deferring:
        await turns(1)


def run_turns(loop: asyncio.AbstractEventLoop, count: int = 3) -> None:
    """Run the loop by hand until it has looked at I/O and run what is ready."""
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


class Told:
    """What protocols of every kind are told, written down."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.events: list[Any] = []
        self.lost: asyncio.Future[BaseException | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()
        self.events.append("made")

    def pause_writing(self) -> None:
        """Note it."""
        self.events.append("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self.events.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it, and what else was told so far."""
        self.events.append("lost")
        assert self.lost is not None
        self.lost.set_result(exc)

    async def ended(self) -> BaseException | None:
        """Wait for `connection_lost`; the exception it was given."""
        assert self.lost is not None
        return await asyncio.shield(self.lost)

    @property
    def told(self) -> list[str]:
        """The events but data."""
        return [event for event in self.events if isinstance(event, str)]


class Recorder(Told, asyncio.Protocol):
    """A protocol that writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self.chunks: list[bytes] = []
        self.keep_open = False

    def data_received(self, data: bytes) -> None:
        """Collect."""
        assert isinstance(data, bytes)
        self.events.append(data)
        self.chunks.append(data)
        self.data += data

    def eof_received(self) -> bool:
        """Note it; `keep_open` is the answer."""
        self.events.append("eof")
        return self.keep_open


class Wire:
    """A transport with its protocol, and the plain non-blocking socket at the other end."""

    def __init__(self, transport: Any, protocol: Any, peer: socket.socket) -> None:
        self.transport = transport
        self.protocol = protocol
        self.peer = peer

    def fill(self, chunk: bytes = b"\xa5" * 65536) -> int:
        """Have the peer send until it can send no more; how many bytes that were."""
        return fill(self.peer, chunk)

    async def take(self, size: int) -> bytes:
        """Receive exactly `size` bytes at the other end."""
        found = bytearray()
        while len(found) < size:
            data = await self.take_some(size - len(found))
            assert data, f"the stream ended after {len(found)} of {size} bytes"
            found += data
        return bytes(found)

    async def take_all(self) -> bytes:
        """Receive until the end of the stream."""
        found = bytearray()
        while data := await self.take_some(1 << 20):
            found += data
        return bytes(found)

    async def take_some(self, size: int) -> bytes:
        """Receive something at the other end, not through the loop; empty at the end."""
        deadline = time.monotonic() + PATIENCE_SECONDS / 2
        while True:
            try:
                return self.peer.recv(size)
            except BlockingIOError:
                assert time.monotonic() < deadline, "nothing came"
                await asyncio.sleep(0)


async def wire(protocol: P | None = None, **options: Any) -> Wire:
    """Put a transport on one end of a socket pair.

    Args:
        protocol: the protocol; None for a Recorder.
        options: `tcp=True` for a connection over the loopback interface; `small=True` for buffers
            as small as the kernel allows.
    """
    left, right = tcp_pair() if options.get("tcp") else socket_pair()
    right.setblocking(False)
    if options.get("small"):
        for sock in (left, right):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    chosen = Recorder() if protocol is None else protocol
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: chosen, sock=left)
    return Wire(transport, chosen, right)


async def end(*wires: Wire) -> None:
    """Abort what is not closing yet, and close the other ends."""
    for one in wires:
        if not one.transport.is_closing():
            one.transport.abort()
        one.peer.close()
    await turns(2)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make what socket.socketpair makes, with buffers that a megabyte fills.

    On Windows that is a TCP connection, and over the loopback interface several megabytes fit.
    """
    left, right = socket.socketpair()
    if not POSIX:
        for sock in (left, right):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PAIR_BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PAIR_BUFFER_BYTES)
    return left, right


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    return left, right


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that the other end gets ECONNRESET."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def fill(sock: socket.socket, chunk: bytes = b"\xa5" * 65536) -> int:
    """Send until the socket takes no more; how many bytes it took."""
    total = 0
    while True:
        try:
            total += sock.send(chunk)
        except BlockingIOError:
            return total


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which a lost, doubled or moved piece shows: a counter of 32 bits."""
    first = seed * 1_000_003 & 0x7FFFFFFF
    return array("I", range(first, first + size // 4 + 1)).tobytes()[:size]


def unused_port() -> int:
    """A TCP port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def is_open(fd: int) -> bool:
    """Whether a descriptor number is in use in this process; on Windows that of a socket."""
    try:
        if POSIX:
            os.fstat(fd)
        else:
            select.select([fd], [], [], 0)
    except OSError as exc:
        assert exc.errno == (errno.EBADF if POSIX else errno.ENOTSOCK)  # noqa: PT017 - checks itself
        return False
    return True
