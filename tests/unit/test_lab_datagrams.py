"""Datagrams of the load generator: checked, counted, and sent again where they are lost."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
import threading
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from noria.lab.measure import open_descriptors

if sys.platform != "linux":
    pytest.skip("the load generator needs epoll", allow_module_level=True)
_client = pytest.importorskip("noria.lab._client", reason="not built")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def native_server(serve: Callable[[list[int], int], None]) -> Iterator[list[Any]]:
    """A bare server in a thread; yields targets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        stop, stopper = socket.socketpair()
        thread = threading.Thread(target=serve, args=([bound.fileno()], stop.fileno()))
        thread.start()
        try:
            yield [bound.getsockname()]
        finally:
            stopper.close()
            thread.join(10)
            stop.close()
        assert not thread.is_alive()


@contextlib.contextmanager
def python_server(answer: Callable[[bytes, int], list[bytes]]) -> Iterator[list[Any]]:
    """What `answer` makes of each datagram and its number is sent; yields targets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        ended = threading.Event()

        def run() -> None:
            count = 0
            while True:
                data, address = bound.recvfrom(65536)
                if ended.is_set():
                    return
                for one in answer(data, count):
                    bound.sendto(one, address)
                count += 1

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield [bound.getsockname()]
        finally:
            ended.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", bound.getsockname())
                thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("serve", [_client.serve_datagrams, _client.serve_datagrams_batched])
@pytest.mark.parametrize(("size", "depth"), [(8, 1), (64, 7), (1024, 3), (9000, 1)])
def test_every_datagram_is_checked_and_counted(serve: Any, size: int, depth: int) -> None:
    open_before = open_descriptors(os.getpid())
    with native_server(serve) as targets:
        client = _client.Client(targets, 5, size_max=size, depth_max=depth, datagrams=True)
        opened = client.connect(5, size=size)
        assert (opened["connections"], opened["requests"], opened["failures"]) == (5, 5, {})
        assert len(array("I", opened["samples_ns"])) == 5
        done = client.echo(5.0, size=size, depth=depth, requests_max=20)
        assert (done["requests"], done["bytes"], done["failures"]) == (100, 100 * size, {})
        assert (done["lost"], done["duplicates"], done["sleeps"]) == (0, 0, 0)
        assert done["samples_seen"] == 100
        timed = client.echo(0.03, size=size, depth=depth)
        assert timed["requests"] >= 5
        ended = client.disconnect()
        assert (ended["connections"], ended["alive"], ended["failures"]) == (5, 0, {})
        client.close()
    assert open_descriptors(os.getpid()) == open_before


def test_what_is_lost_is_counted_and_sent_again() -> None:
    seen: list[bytes] = []

    def lose_some(data: bytes, count: int) -> list[bytes]:
        seen.append(data)
        return [] if count in {0, 3, 4} else [data]

    with python_server(lose_some) as targets:
        client = _client.Client(targets, 1, datagrams=True, resend_s=0.3)
        opened = client.connect(1)
        assert (opened["connections"], opened["lost"]) == (1, 1)
        done = client.echo(5.0, requests_max=5)
        assert (done["requests"], done["lost"], done["failures"]) == (5, 2, {})
        client.close()
    assert seen[0] == seen[1], "the same one again"
    assert seen[3] == seen[4] == seen[5]
    assert len(set(seen[:9])) == 6, "and every other is new"


def test_others_of_the_window_do_not_wait_for_a_lost_one() -> None:
    order: list[int] = []

    def lose_one(data: bytes, count: int) -> list[bytes]:
        order.append(int.from_bytes(data[:8], sys.byteorder))
        return [] if count == 1 else [data]

    with python_server(lose_one) as targets:
        client = _client.Client(targets, 1, depth_max=4, datagrams=True, resend_s=0.3)
        client.connect(1)
        done = client.echo(5.0, depth=4, requests_max=8)
        assert (done["requests"], done["lost"], done["failures"]) == (8, 1, {})
        client.close()
    assert order[:5] == [0, 1, 2, 3, 4]
    assert sorted(order[:10]) == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8]


def test_an_answer_that_comes_twice_is_counted_and_no_failure() -> None:
    with python_server(lambda data, _: [data, data]) as targets:
        client = _client.Client(targets, 1, datagrams=True)
        client.connect(1)
        done = client.echo(5.0, requests_max=10)
        # The last one's double may come after the phase has ended, and that of the phase before.
        assert (done["requests"], done["failures"]) == (10, {})
        assert 9 <= done["duplicates"] <= 11
        client.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: data[:-1],
        lambda data: data + b"!",
        lambda data: b"",
        lambda data: b"\xff" * 64,
    ],
    ids=["byte", "short", "long", "empty", "number"],
)
def test_a_wrong_answer_is_found(spoil: Callable[[bytes], bytes]) -> None:
    with python_server(lambda data, count: [spoil(data) if count else data]) as targets:
        client = _client.Client(targets, 1, datagrams=True)
        client.connect(1)
        done = client.echo(5.0, requests_max=3)
        assert done["failures"] == {_client.FAILURE_MISMATCH: 1}
        assert (done["requests"], done["alive"]) == (0, 0)
        assert done["mismatch"][:2] == (0, 1)
        client.close()


def test_datagrams_nobody_asked_for_and_no_answer_at_all() -> None:
    with python_server(lambda data, _: [data, b"\xff" * 64]) as targets:
        client = _client.Client(targets, 1, datagrams=True)
        first = client.connect(1)
        then = client.idle(0.1)
        assert first["failures"] | then["failures"] == {_client.FAILURE_SURPLUS: 1}
        client.close()
    with python_server(lambda _data, _count: []) as targets:
        client = _client.Client(targets, 1, datagrams=True, resend_s=0.02)
        done = client.connect(1, timeout_s=0.5)
        assert done["failures"] == {_client.FAILURE_TIMEOUT: 1}
        assert done["lost"] >= 2
        client.close()


def test_a_server_that_is_gone_is_a_failure() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        target = probe.getsockname()
    client = _client.Client([target], 2, datagrams=True)
    assert client.connect(2, timeout_s=5.0)["failures"] == {errno.ECONNREFUSED: 2}
    client.close()


def test_wrong_arguments() -> None:
    target = [("127.0.0.1", 1)]
    for keywords, message in (
        ({"size_max": 7}, "size_max is 7"),
        ({"tls": True}, "no TLS over datagrams"),
        ({"request": b"a", "response": b"b"}, "always echoes"),
        ({"resend_s": 0.0}, "resend_s"),
        ({"resend_s": float("nan")}, "resend_s"),
    ):
        with pytest.raises(ValueError, match=message):
            _client.Client(target, 1, datagrams=True, **keywords)
    client = _client.Client(target, 1, datagrams=True)
    for size in (7, 65_508):
        with pytest.raises(ValueError, match=f"size is {size}"):
            client.echo(0.1, size=size)
    with pytest.raises(ValueError, match="plain streams"):
        client.churn(0.1)
    client.close()


def train(count: int, size: int) -> list[bytes]:
    """What a server has to send."""
    whole = bytes((place * 2654435761 & 0xFFFFFFFF) >> 24 for place in range(count * size))
    return [whole[at : at + size] for at in range(0, len(whole), size)]


class TrainServer:
    """Answers as scenarios/trains.py does, but for what it is told to do wrong with one train."""

    def __init__(self, spoil: Callable[[list[bytes]], list[bytes]], spoilt: int = 1) -> None:
        self.spoil = spoil
        self.spoilt = spoilt
        self.tails: list[int] = []

    def __call__(self, data: bytes, _: int) -> list[bytes]:
        number, count, size = struct.unpack("=QII", data)
        self.tails.append(number)
        wagons = train(count, size)
        if len(self.tails) - 1 == self.spoilt:
            wagons = self.spoil(wagons)
        return [*wagons, data]


def test_trains_to_the_server_are_cut_and_counted() -> None:
    seen: list[bytes] = []

    def count_them(data: bytes, _: int) -> list[bytes]:
        seen.append(data)
        if len(data) != 16:
            return []
        tails = [place for place, one in enumerate(seen) if len(one) == 16]
        before = tails[-2] if len(tails) > 1 else -1
        told = tails[-1] - before - 1
        if len(tails) == 2:
            told -= 2  # as if two had been lost
        return [data + struct.pack("=Q", told)]

    with python_server(count_them) as targets:
        client = _client.Client(targets, 1, datagrams=True, train=7, size_max=1200)
        opened = client.connect(1, size=64)
        assert (opened["connections"], opened["requests"], opened["failures"]) == (1, 7, {})
        done = client.echo(5.0, size=1200, requests_max=3)
        assert (done["requests"], done["lost"], done["failures"]) == (21, 2, {})
        assert done["samples_seen"] == 3
        client.close()
    wagons = [one for one in seen if len(one) != 16]
    assert wagons == train(7, 64) + 4 * train(7, 1200)
    numbers = [struct.unpack("=QII", one) for one in seen if len(one) == 16]
    assert numbers == [(0, 7, 64), (1, 7, 1200), (1, 7, 1200), (2, 7, 1200), (3, 7, 1200)]


@pytest.mark.parametrize(
    ("spoil", "lost", "duplicates"),
    [
        (lambda wagons: wagons, 0, 0),
        (lambda wagons: wagons[:2] + wagons[4:], 2, 0),
        (lambda wagons: wagons[1:], 1, 0),
        (lambda wagons: wagons[:-1], 1, 0),
        (lambda _: [], 5, 0),
        (lambda wagons: [*wagons[:3], *wagons], 0, 1),
        (lambda wagons: [*wagons, *wagons], 0, 1),
    ],
    ids=["whole", "gap", "first", "last", "none", "restart", "twice"],
)
def test_trains_from_the_server_are_had_again_until_whole(
    spoil: Any, lost: int, duplicates: int
) -> None:
    server = TrainServer(spoil)
    with python_server(server) as targets:
        client = _client.Client(targets, 1, datagrams=True, train=5, train_back=True)
        assert client.connect(1, size=100)["requests"] == 5
        done = client.echo(5.0, size=1000, requests_max=3)
        assert (done["requests"], done["failures"]) == (15, {})
        assert (done["lost"], done["duplicates"]) == (lost, duplicates)
        client.close()
    assert server.tails == ([0, 1, 1, 2, 3] if lost else [0, 1, 2, 3])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda wagons: [wagons[0], bytes(len(wagons[1])), *wagons[2:]],
        lambda wagons: [b"".join(wagons)],
        lambda wagons: [*wagons[:-1], wagons[-1][:-1]],
    ],
    ids=["bytes", "uncut", "short"],
)
def test_a_wrong_train_is_a_failure(spoil: Any) -> None:
    with python_server(TrainServer(spoil)) as targets:
        client = _client.Client(targets, 1, datagrams=True, train=5, train_back=True)
        client.connect(1, size=100)
        done = client.echo(5.0, size=1000, requests_max=3)
        assert done["failures"] == {_client.FAILURE_MISMATCH: 1}
        client.close()


def test_a_train_that_nobody_answers_is_sent_again() -> None:
    server = TrainServer(lambda wagons: wagons)

    def deaf_once(data: bytes, count: int) -> list[bytes]:
        return [] if count == 1 else server(data, count)

    with python_server(deaf_once) as targets:
        client = _client.Client(targets, 1, datagrams=True, train=5, train_back=True, resend_s=0.05)
        client.connect(1, size=100)
        done = client.echo(5.0, size=100, requests_max=2)
        assert (done["requests"], done["lost"], done["failures"]) == (10, 1, {})
        client.close()


def test_trains_have_bounds() -> None:
    targets = [("127.0.0.1", 9)]
    for wrong in (
        {"train": 5},
        {"train": 64, "datagrams": True},
        {"train": 5, "datagrams": True, "depth_max": 2},
        {"train_back": True, "datagrams": True},
    ):
        with pytest.raises(ValueError, match="train"):
            _client.Client(targets, 1, **wrong)
    client = _client.Client(targets, 1, datagrams=True, train=10)
    for size in (31, 6501):
        with pytest.raises(ValueError, match="size is"):
            client.connect(1, size=size)
    client.close()
