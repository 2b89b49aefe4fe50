"""An epoll set: both twins register, change, remove and wait alike."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

if sys.platform != "linux":
    pytest.skip(f"{sys.platform} has no epoll", allow_module_level=True)

MODULES = twins("epoll")
IN, OUT, HUP, RDHUP, ET = 0x1, 0x4, 0x10, 0x2000, 1 << 31


@pytest.fixture(params=MODULES, ids=build_of)
def module(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param
    return found


@pytest.fixture
def epoll(module: ModuleType) -> Iterator[Any]:
    made = module.EpollSet(16)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


Pair = tuple[socket.socket, socket.socket]


def news(epoll: Any, timeout_ns: int = 0) -> list[tuple[int, int]]:
    count = epoll.wait(timeout_ns)
    assert epoll.count == count
    return [(epoll.fd_at(index), epoll.events_at(index)) for index in range(count)]


def test_levels_are_told_again(epoll: Any, pair: Pair) -> None:
    left, right = pair
    assert epoll.add(left.fileno(), IN) == 0
    assert news(epoll) == []
    right.send(b"x")
    assert news(epoll) == news(epoll) == [(left.fileno(), IN)]
    left.recv(1)
    assert news(epoll) == []


def test_edges_are_told_once(epoll: Any, pair: Pair) -> None:
    left, right = pair
    epoll.add(left.fileno(), IN | OUT | ET)
    assert news(epoll) == [(left.fileno(), OUT)]
    right.send(b"x")
    assert news(epoll) == [(left.fileno(), IN | OUT)]
    assert news(epoll) == []
    assert epoll.modify(left.fileno(), IN | OUT | ET) == 0
    assert news(epoll) == [(left.fileno(), IN | OUT)], "asking anew tells what is there"


def test_the_end_of_a_stream(epoll: Any, pair: Pair) -> None:
    left, right = pair
    epoll.add(left.fileno(), IN | RDHUP)
    right.shutdown(socket.SHUT_WR)
    assert news(epoll) == [(left.fileno(), IN | RDHUP)]
    right.close()
    assert news(epoll) == [(left.fileno(), IN | RDHUP | HUP)]


def test_failures_are_numbers(epoll: Any, pair: Pair) -> None:
    left, _ = pair
    number = left.fileno()
    assert epoll.modify(number, IN) == -errno.ENOENT
    assert epoll.remove(number) == -errno.ENOENT
    assert epoll.add(number, IN) == 0
    assert epoll.add(number, IN) == -errno.EEXIST
    assert epoll.modify(number, OUT) == 0
    assert epoll.remove(number) == 0
    with tempfile.TemporaryFile() as file:
        assert epoll.add(file.fileno(), IN) == -errno.EPERM
        closed = os.dup(file.fileno())
    os.close(closed)
    assert epoll.add(closed, IN) == -errno.EBADF


def test_more_news_than_the_capacity(module: ModuleType) -> None:
    epoll = module.EpollSet(3)
    pairs = [socket.socketpair() for _ in range(8)]
    for left, right in pairs:
        epoll.add(left.fileno(), IN)
        right.send(b"x")
    seen: set[int] = set()
    for _ in range(3):
        found = news(epoll)
        assert len(found) <= 3
        seen.update(fd for fd, _ in found)
        for left, _ in pairs:
            if left.fileno() in {fd for fd, _ in found}:
                left.recv(1)
    assert seen == {left.fileno() for left, _ in pairs}
    for sock in sum(pairs, ()):
        sock.close()
    epoll.close()


@pytest.mark.parametrize("timeout_ns", [1, 999_999, 1_000_001, 2_500_000])
def test_a_wait_is_never_too_short(epoll: Any, timeout_ns: int) -> None:
    started = time.monotonic_ns()
    assert news(epoll, timeout_ns) == []
    waited = time.monotonic_ns() - started
    assert waited >= timeout_ns


def test_precision_is_told(epoll: Any) -> None:
    assert epoll.precise() in {True, False}


def test_a_set_is_closed_once(module: ModuleType) -> None:
    epoll = module.EpollSet(1)
    number = epoll.fileno()
    assert not os.get_inheritable(number)
    epoll.close()
    assert epoll.fileno() == -1
    stranger = os.dup(0)
    epoll.close()
    del epoll
    os.fstat(stranger)
    os.close(stranger)
