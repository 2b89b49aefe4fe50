"""Datagram endpoints for the tests: a protocol that writes down what it is told, and sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.loops import Told, turns, until

HOST = "127.0.0.1"


class Listener(Told, asyncio.DatagramProtocol):
    """A protocol that writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Collect."""
        assert isinstance(data, bytes)
        self.events.append(data)
        self.got.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        """Collect."""
        self.events.append("error")
        self.errors.append(exc)

    @property
    def data(self) -> list[bytes]:
        """The datagrams without their senders."""
        return [data for data, _ in self.got]


class Echo(Listener):
    """Sends every datagram back."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send it back."""
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


async def endpoint(protocol: Any = None, **options: Any) -> Any:
    """Make an endpoint, bound to the loopback interface unless told otherwise; its protocol."""
    chosen = Listener() if protocol is None else protocol
    if not options:
        options = {"local_addr": (HOST, 0)}
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: chosen, **options)
    return chosen


def name_of(protocol: Any) -> Any:
    """The address that an endpoint is bound to."""
    return protocol.transport.get_extra_info("sockname")


def plain(family: socket.AddressFamily = socket.AF_INET, connect: Any = None) -> socket.socket:
    """A plain non-blocking UDP socket on the loopback interface."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    sock.bind(("::1" if family == socket.AF_INET6 else HOST, 0))
    if connect is not None:
        sock.connect(connect)
    return sock


def numbers(count: int) -> list[bytes]:
    """Datagrams that tell their place."""
    return [b"%d" % number for number in range(count)]


def drain(sock: socket.socket) -> list[bytes]:
    """Every datagram that is there."""
    found = []
    while True:
        try:
            found.append(sock.recv(1 << 18))
        except BlockingIOError:
            return found


async def arrivals(sock: socket.socket, count: int) -> list[bytes]:
    """What arrives, until it is `count` datagrams at least."""
    found: list[bytes] = []

    def look() -> bool:
        found.extend(drain(sock))
        return len(found) >= count

    await until(look, f"datagram {count}")
    return found


def fill(sock: socket.socket, data: bytes = b"full") -> int:
    """Send until the kernel takes no more; how many it took."""
    count = 0
    while True:
        try:
            sock.send(data)
        except BlockingIOError:
            return count
        count += 1


def unix_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of Unix datagram sockets: the receiver's queue is soon full."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.setblocking(False)
    right.setblocking(False)
    return left, right


async def end(*protocols: Any) -> None:
    """Abort what is not closing yet, and wait for its end."""
    for protocol in protocols:
        if not protocol.transport.is_closing():
            protocol.transport.abort()
        await protocol.ended()
    await turns(1)
