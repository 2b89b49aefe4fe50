"""Connects on the ring: their ends, and being taken back on the way."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.core import codes
from noria.core.operation import NATIVE, READINESS
from noria.engines import ring_files
from noria.engines.uring import UringEngine
from tests.driver import Driver, Owned, Recorded
from tests.ledger import Ledger, ledger
from tests.rings import needs_uring

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ledger"]

pytestmark = needs_uring


@pytest.fixture
def driver(ledger: Ledger) -> Iterator[Driver]:
    engine = UringEngine()
    ledger.watch(engine)
    made = Driver(engine)
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(100)
        yield made


@pytest.fixture
def full() -> Iterator[socket.socket]:
    """A listener whose queue is full: who connects waits until somebody is accepted."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(0)
        waiting = []
        for _ in range(8):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(made.getsockname())
            waiting.append(sock)
        yield made
        for sock in waiting:
            sock.close()


def connecting(driver: Driver, address: Any) -> tuple[Owned, Recorded]:
    owned = Owned(driver, socket.socket())
    op = owned.operation(codes.CONNECT, address=address)
    assert not driver.submit(op)
    return owned, op


def test_it_is_the_rings(driver: Driver, listener: socket.socket) -> None:
    owned, op = connecting(driver, listener.getsockname())
    driver.finish(op)
    assert (op.results, op.route) == ([0], NATIVE)
    accepted, name = listener.accept()
    assert name == owned.sock.getsockname()
    accepted.close()
    owned.close()
    assert owned.descriptor.closed


def test_refused(driver: Driver) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    owned, op = connecting(driver, address)
    driver.finish(op)
    assert op.results == [-errno.ECONNREFUSED]
    owned.close()


@pytest.mark.parametrize("handed_over", [False, True])
def test_e5_cancelled_on_the_way(driver: Driver, full: socket.socket, handed_over: bool) -> None:
    owned, op = connecting(driver, full.getsockname())
    if handed_over:
        driver.poll(0.01)
    assert op.in_flight
    driver.engine.cancel(op)
    owned.close()
    assert owned.descriptor.closed == (not handed_over), "the close waits for the completion"
    driver.finish(op)
    assert op.results == [-errno.ECANCELED]
    assert owned.descriptor.closed


def test_parked_on_the_way(driver: Driver, full: socket.socket) -> None:
    """The kernel goes on with what it has begun; asking once more would be EALREADY."""
    owned, op = connecting(driver, full.getsockname())
    driver.poll(0.01)
    driver.engine.park()
    assert op.in_flight
    driver.engine.resume()
    driver.poll(0.01)
    assert op.in_flight
    assert op.route == READINESS
    accepted = []
    for _ in range(9):
        full.settimeout(3.0)
        try:
            accepted.append(full.accept()[0])
        except TimeoutError:
            break
        driver.poll(0.01)
        if op.events:
            break
    driver.finish(op)
    assert op.results == [0]
    for each in accepted:
        each.close()
    owned.close()


def test_parked_before_it_began(driver: Driver, listener: socket.socket) -> None:
    owned, op = connecting(driver, listener.getsockname())
    driver.engine.park()
    driver.engine.resume()
    driver.finish(op)
    assert op.results == [0]
    owned.close()


@pytest.mark.parametrize("address", ["a host name", "a Unix path"])
def test_other_addresses_go_by_readiness(driver: Driver, tmp_path: Any, address: str) -> None:
    family = socket.AF_UNIX if "Unix" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.bind(str(tmp_path / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        server.listen()
        name = server.getsockname()
        owned = Owned(driver, socket.socket(family))
        to = name if family == socket.AF_UNIX else ("localhost", name[1])
        op = owned.operation(codes.CONNECT, address=to)
        driver.submit(op)
        driver.finish(op)
        assert (op.results, op.route) == ([0], READINESS)
        owned.close()


def test_a_kernel_or_ring_without_it(
    driver: Driver, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_files, "supported", lambda ring: frozenset())
    owned = Owned(driver, socket.socket())
    op = owned.operation(codes.CONNECT, address=listener.getsockname())
    driver.submit(op)
    driver.finish(op)
    assert (op.results, op.route) == ([0], READINESS)
    owned.close()


@pytest.mark.parametrize("delay", [None, 0.01])
def test_a_connection_that_is_given_up(
    ledger: Ledger, full: socket.socket, delay: float | None
) -> None:
    """By a time-out, also in a race of several addresses: nothing stays open."""
    loop = noria.new_event_loop("uring")

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await loop.create_connection(
                        asyncio.Protocol, *full.getsockname(), happy_eyeballs_delay=delay
                    )

    loop.run_until_complete(main())
    loop.close()
