"""E12 and the rest of an engine's life: after close nothing is left, and misuse is told."""

from __future__ import annotations

import errno
import gc
import os
import socket
import weakref
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from noria.core.completion import Completions
from noria.engines.interface import Probe
from noria.errors import EngineClosedError
from tests.driver import Driver, Owned, Recorded, watch
from tests.ledger import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[Owned, socket.socket]


def test_the_probe_tells_and_leaves_nothing(driver: Driver) -> None:
    before = open_descriptors()
    probe = type(driver.engine).probe()
    assert isinstance(probe, Probe)
    assert probe.available
    assert probe.reason
    assert all(isinstance(feature, str) for feature in probe.features)
    assert open_descriptors() == before


def test_e12_close_cancels_and_releases(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    pairs = [make_pair() for _ in range(3)]
    operations = [owned.operation(codes.RECEIVE, size=10) for owned, _ in pairs]
    operations.append(watch(codes.WAIT_READABLE, pairs[0][1].fileno()))
    for op in operations:
        driver.submit(op)
    driver.close()
    assert [op.results for op in operations] == [[-errno.ECANCELED]] * 4
    assert all(owned.descriptor.leases == 0 for owned, _ in pairs)
    statistics = driver.statistics()
    assert (statistics.in_flight, statistics.descriptors) == (0, 0)
    assert driver.engine.closed


def test_e12_close_again_is_nothing(driver: Driver) -> None:
    driver.close()
    driver.close()
    assert driver.batch.count == 0


def test_e12_close_keeps_completions_not_yet_delivered(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    owned, peer = make_pair()
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    peer.send(b"bytes")
    driver.until(lambda: driver.engine.poll(0, driver.batch))
    driver.engine.close(driver.batch)
    driver.batch.deliver_all()
    assert op.received == b"bytes"


def test_e12_close_waits_for_running_work(driver: Driver) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    try:
        operations = [offload(codes.FSYNC, reading) for _ in range(20)]
        for op in operations:
            driver.submit(op)
    finally:
        driver.close()
        os.close(reading)
    assert all(len(op.terminal) == 1 for op in operations)


def offload(code: int, fd: int) -> Recorded:
    return Recorded(code, fd)


def test_a_closed_engine_refuses(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    owned, _ = make_pair()
    driver.close()
    for op in (owned.operation(codes.RECEIVE, size=1), offload(codes.FSYNC, owned.fd)):
        with pytest.raises(EngineClosedError, match=f"{driver.engine.name} engine is closed"):
            driver.submit(op)
        assert not op.in_flight
        assert owned.descriptor.leases == 0
    with pytest.raises(EngineClosedError):
        driver.engine.poll(0, driver.batch)
    driver.engine.wake()
    driver.engine.forget(owned.fd)


def test_forget_of_an_unknown_number_is_nothing(driver: Driver) -> None:
    for number in (-1, 0, 5000):
        driver.engine.forget(number)


def test_an_operation_without_a_descriptor_is_ebadf(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    """A closed socket has the number -1; nobody else's registration may suffer."""
    owned, peer = make_pair()
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    nobody = Recorded(codes.WAIT_READABLE, -1)
    nobody.borrowed = True
    nobody.expectant = True
    assert driver.submit(nobody)
    assert nobody.result == -errno.EBADF
    peer.send(b"x")
    driver.finish(op)
    assert driver.statistics().in_flight == 0


def test_statistics_count_what_happened(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    owned, peer = make_pair()
    before = driver.statistics()
    assert before.name == driver.engine.name
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    during = driver.statistics()
    assert (during.in_flight, during.descriptors) == (before.in_flight + 1, before.descriptors + 1)
    assert (during.attempts, during.not_ready) == (before.attempts + 1, before.not_ready + 1)
    peer.send(b"x")
    driver.finish(op)
    after = driver.statistics()
    assert after.in_flight == before.in_flight
    assert after.polls > before.polls
    assert after.news == before.news + 1
    with pytest.raises(AttributeError):
        setattr(after, "polls", 0)  # noqa: B010 - mypy knows it too


def test_an_engine_does_not_keep_operations_alive(
    driver: Driver, make_pair: Callable[[], Pair]
) -> None:
    owned, peer = make_pair()
    op = owned.operation(codes.RECEIVE, size=10, multishot=True)
    driver.submit(op)
    peer.send(b"x")
    driver.collect(op, 1)
    driver.end(op)
    ghost = weakref.ref(op)
    del op
    gc.collect()
    assert ghost() is None


def test_an_engine_without_close_is_collected(driver: Driver) -> None:
    """Nothing keeps a forgotten engine alive: no cycle through its poller, no registry."""
    engine = type(driver.engine)()
    ghost = weakref.ref(engine)
    engine.close(Completions())
    del engine
    gc.collect()
    assert ghost() is None


def test_owned_numbers_are_known(driver: Driver, make_pair: Callable[[], Pair]) -> None:
    owned, peer = make_pair()
    assert not driver.engine.owned(owned.fd)
    op = owned.operation(codes.RECEIVE, size=10)
    user = watch(codes.WAIT_READABLE, peer.fileno())
    driver.submit(op)
    driver.submit(user)
    assert driver.engine.owned(owned.fd)
    assert not driver.engine.owned(peer.fileno())
    driver.end(op, user)
    driver.engine.forget(owned.fd)
    assert not driver.engine.owned(owned.fd)
