"""Transfers that move less than asked: a success each time, and no byte lost or doubled."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from noria.core import codes
from tests.driver import Driver, Owned, Recorded, drain

if TYPE_CHECKING:
    import socket

    from tests.faults.conftest import Script, Stages

DATA = bytes(range(256)) * 4


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_sends_that_take_a_part(
    driver: Driver, script: Script, users: tuple[socket.socket, socket.socket], size: int
) -> None:
    left, right = users
    owned = Owned(driver, left)
    script.shorten(codes.SEND, size)
    op = owned.operation(codes.SEND, buffer=DATA)
    received = b""
    while op.offset < len(DATA):
        op.events.clear()
        driver.submit(op)
        driver.finish(op)
        assert 0 < op.result <= size
        op.offset += op.result
        received += drain(right)
    assert received == DATA
    owned.close()


@pytest.mark.parametrize("blocked", [1, 3])
def test_sends_that_are_refused_now_and_then(
    driver: Driver,
    script: Script,
    users: tuple[socket.socket, socket.socket],
    blocked: int,
) -> None:
    """EAGAIN in the middle of a message, with news that prove wrong."""
    left, right = users
    owned = Owned(driver, left)
    pattern = ([None] + [-errno.EAGAIN] * blocked) * 4
    if driver.engine.name == "epoll-et":
        pattern = [None, -errno.EAGAIN]  # a second edge comes from a full socket only
    script.results(codes.SEND, *pattern)
    received = b""
    for number in range(4):
        op = owned.operation(codes.SEND, buffer=b"%d" % number * 100)
        driver.submit(op)
        driver.finish(op)
        received += drain(right)
    assert received == b"".join(b"%d" % number * 100 for number in range(4))
    owned.close()


@pytest.mark.parametrize("size", [1, 3])
def test_receives_that_bring_a_part(
    driver: Driver,
    script: Script,
    users: tuple[socket.socket, socket.socket],
    size: int,
) -> None:
    left, right = users
    owned = Owned(driver, left)
    script.shorten(codes.RECEIVE, size)
    right.send(DATA)
    got = b""
    while len(got) < len(DATA):
        op = owned.operation(codes.RECEIVE, size=4096)
        driver.submit(op)
        driver.finish(op)
        assert len(op.received) <= size
        got += op.received
    assert got == DATA
    owned.close()


def test_a_multishot_receive_that_stops_short(
    driver: Driver, script: Script, users: tuple[socket.socket, socket.socket]
) -> None:
    """Level-triggered, a short receive costs one more wait; the rest is not forgotten."""
    if driver.engine.name == "epoll-et":
        pytest.skip("there a short receive means an empty socket, see docs/engines/epoll.md")
    left, right = users
    owned = Owned(driver, left)
    script.shorten(codes.RECEIVE, 10)
    op = owned.operation(codes.RECEIVE, size=4096, multishot=True)
    driver.submit(op)
    right.send(DATA)
    driver.until(lambda: len(op.received) == len(DATA))
    driver.end(op)
    assert op.received == DATA
    owned.close()


def test_receives_that_find_nothing(
    driver: Driver, script: Script, users: tuple[socket.socket, socket.socket]
) -> None:
    """News that prove wrong: another thread was faster, or a checksum failed."""
    left, right = users
    owned = Owned(driver, left)
    op = owned.operation(codes.RECEIVE, size=100, multishot=True)
    script.results(codes.RECEIVE, -errno.EAGAIN, None, -errno.EAGAIN)
    driver.submit(op)
    for number in range(6):
        right.send(b"%d" % number)
        driver.settle_down(2)
    driver.until(lambda: op.received == b"012345")
    driver.end(op)
    owned.close()


@pytest.mark.parametrize("code", [codes.READ_AT, codes.WRITE_AT])
def test_files_that_move_a_part(driver: Driver, script: Script, stages: Stages, code: int) -> None:
    stage = stages(code)
    os.write(stage.fd, DATA)
    script.shorten(code, 100)
    done = 0
    got = b""
    while done < len(DATA):
        op: Recorded = stage.operation(size=len(DATA) - done, offset=done)
        if code == codes.WRITE_AT:
            op.buffer = DATA[::-1][done:]
        driver.submit(op)
        driver.finish(op)
        assert 0 < op.result <= 100
        done += op.result
        got += op.received
    os.lseek(stage.fd, 0, os.SEEK_SET)
    if code == codes.READ_AT:
        assert got == DATA
    else:
        assert os.read(stage.fd, 10_000) == DATA[::-1]
