"""One suite for every engine of the registry; what cannot run here is skipped with its reason."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from noria.engines.registry import ENGINES, engine_class
from tests.driver import Driver, Owned
from tests.ledger import Ledger, ledger
from tests.loops import both, loop, reports, tcp_users, users
from tests.sendfile import file, kind
from tests.signals import on_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "both",
    "file",
    "kind",
    "ledger",
    "loop",
    "on_signal",
    "reports",
    "tcp_users",
    "users",
]


@pytest.fixture(params=list(ENGINES))
def driver(request: pytest.FixtureRequest, ledger: Ledger) -> Driver:
    """A driver for each engine that can run here."""
    cls = engine_class(request.param)
    probe = cls.probe()
    if not probe.available:
        pytest.skip(probe.reason)
    engine = cls()
    assert engine.name == request.param
    ledger.watch(engine)
    return Driver(engine)


@pytest.fixture
def pair(driver: Driver) -> Iterator[tuple[Owned, socket.socket]]:
    """An owned socket and its peer, a plain non-blocking socket."""
    left, right = socket.socketpair()
    right.setblocking(False)
    owned = Owned(driver, left)
    yield owned, right
    owned.close()
    right.close()


@pytest.fixture
def borrowed(driver: Driver) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected non-blocking sockets of the user."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def make_pair(driver: Driver) -> Iterator[Callable[[], tuple[Owned, socket.socket]]]:
    """Makes as many pairs as a test needs."""
    made: list[tuple[Owned, socket.socket]] = []

    def more() -> tuple[Owned, socket.socket]:
        left, right = socket.socketpair()
        right.setblocking(False)
        made.append((Owned(driver, left), right))
        return made[-1]

    yield more
    for owned, peer in made:
        owned.close()
        peer.close()


@pytest.fixture
def listener(driver: Driver) -> Iterator[Owned]:
    """An owned socket that listens on the loopback interface."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(200)
    owned = Owned(driver, sock)
    yield owned
    owned.close()


@pytest.fixture
def make_connection(
    driver: Driver, listener: Owned
) -> Iterator[Callable[[], tuple[Owned, socket.socket]]]:
    """Makes TCP connections: our owned end and the client's."""
    made: list[tuple[Owned, socket.socket]] = []

    def more() -> tuple[Owned, socket.socket]:
        client = socket.create_connection(listener.sock.getsockname())
        accepted, _ = listener.sock.accept()
        for sock in (client, accepted):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.append((Owned(driver, accepted), client))
        return made[-1]

    yield more
    for owned, client in made:
        owned.close()
        client.close()
