"""The native load generator: it checks every byte, counts every failure, and does not sleep."""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import signal
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
    from pathlib import Path


@contextlib.contextmanager
def native_server(path: str = "") -> Iterator[list[Any]]:
    """The bare echo server in a thread; yields targets."""
    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    stop, stopper = socket.socketpair()
    thread = threading.Thread(target=_client.serve, args=([listener.fileno()], stop.fileno()))
    thread.start()
    try:
        yield [path or listener.getsockname()]
    finally:
        stopper.close()
        thread.join(10)
        stop.close()
        listener.close()
    assert not thread.is_alive()


@contextlib.contextmanager
def python_server(serve: Callable[[socket.socket], None]) -> Iterator[list[Any]]:
    """One connection, served by a function in a thread; yields targets."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def run() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(10)
            with connection:
                serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield [listener.getsockname()]
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


@contextlib.contextmanager
def one_by_one(serve: Callable[[socket.socket, str], None]) -> Iterator[list[Any]]:
    """Connections served one after the other, each with the address it comes from."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def run() -> None:
        while True:
            connection, (host, _) = listener.accept()
            with connection:
                if ended.is_set():
                    return
                connection.settimeout(10)
                with contextlib.suppress(OSError):
                    serve(connection, host)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield [listener.getsockname()]
    finally:
        ended.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def take(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def test_every_echo_is_counted_and_checked() -> None:
    with native_server() as targets:
        client = _client.Client(targets, 20, size_max=1024)
        opened = client.connect(20, parallel=5)
        assert (opened["connections"], opened["requests"], opened["failures"]) == (20, 20, {})
        assert len(array("I", opened["samples_ns"])) == 20
        assert 0 < opened["worst_ns"] < 10**10
        done = client.echo(0.05, size=1000)
        assert done["requests"] > 20
        assert done["bytes"] == 1000 * done["requests"]
        assert done["samples_seen"] == done["requests"]
        assert done["failures"] == {}
        ended = client.disconnect()
        assert (ended["connections"], ended["alive"], ended["failures"]) == (20, 0, {})
        client.close()


def test_it_never_sleeps_while_it_measures() -> None:
    with native_server() as targets:
        client = _client.Client(targets, 4)
        client.connect(4)
        done = client.echo(0.1)
        assert done["sleeps"] == 0
        assert done["polls"] > 0
        assert client.idle(0.05)["sleeps"] > 0, "this one may, and shows that sleeps are counted"
        client.close()


@pytest.mark.parametrize("size", [1, 63, 65536, 300_001, 1 << 20])
@pytest.mark.parametrize("depth", [1, 5])
def test_sizes_and_depths(size: int, depth: int) -> None:
    with native_server() as targets:
        client = _client.Client(targets, 3, size_max=size, depth_max=depth)
        client.connect(3, size=size)
        done = client.echo(5.0, size=size, depth=depth, requests_max=7)
        assert done["requests"] == 21
        assert done["bytes"] == 21 * size
        assert done["failures"] == {}
        client.close()


def test_some_speak_and_the_others_stay() -> None:
    with native_server() as targets:
        client = _client.Client(targets, 10)
        client.connect(10)
        done = client.echo(5.0, active=3, first=6, requests_max=2)
        assert (done["connections"], done["requests"], done["alive"]) == (3, 6, 10)
        everybody = client.echo(5.0, requests_max=1, ramp=0)
        assert (everybody["requests"], everybody["failures"]) == (10, {})
        assert client.idle(0.01)["connections"] == 10
        client.close()


def test_unix_sockets(tmp_path: Path) -> None:
    with native_server(str(tmp_path / "s")) as targets:
        client = _client.Client(targets, 300)
        opened = client.connect(300, parallel=300)
        assert (opened["connections"], opened["failures"]) == (300, {})
        assert client.disconnect()["connections"] == 300
        client.close()


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("size", [1, 1024, 300_001])
def test_connections_come_and_go(size: int, half_close: bool) -> None:
    open_before = open_descriptors(os.getpid())
    with native_server() as targets:
        client = _client.Client(targets, 7, size_max=size)
        done = client.churn(0.05, size=size, sources=2, half_close=half_close)
        assert done["connections"] > 14, "each place was used several times"
        assert done["requests"] == done["samples_seen"] == done["connections"]
        assert done["bytes"] == size * done["connections"]
        assert (done["failures"], done["alive"], done["sleeps"]) == ({}, 0, 0)
        assert client.progress()[1] == done["connections"]
        assert client.connect(7, size=1)["connections"] == 7, "the places are free again"
        client.close()
    assert open_descriptors(os.getpid()) == open_before


def test_connections_come_from_many_addresses_and_say_new_things() -> None:
    """What an earlier connection said must not pass for the answer to a later one."""
    seen: list[tuple[str, bytes, bytes]] = []

    def echo(connection: socket.socket, host: str) -> None:
        request = take(connection, 64)
        connection.sendall(request)
        seen.append((host, request, connection.recv(1)))

    with one_by_one(echo) as targets:
        client = _client.Client(targets, 1)
        done = client.churn(0.1, sources=3)
        client.close()
    assert done["connections"] == len(seen) > 6
    hosts = [host for host, _, _ in seen]
    assert hosts == [f"127.1.0.{1 + number % 3}" for number in range(len(seen))]
    assert all(one[1] != other[1] for one, other in itertools.pairwise(seen))
    assert {end for _, _, end in seen} == {b""}, "an orderly end, no reset"


@pytest.mark.parametrize(("half_close", "through"), [(False, 1), (True, 0)])
def test_only_a_half_closing_client_awaits_the_end_of_the_server(
    half_close: bool, through: int
) -> None:
    release = threading.Event()

    def stay(connection: socket.socket, _: str) -> None:
        connection.sendall(take(connection, 64))
        release.wait(10)

    with one_by_one(stay) as targets:
        client = _client.Client(targets, 1)
        done = client.churn(0.05, drain_s=0.1, half_close=half_close)
        release.set()
        client.close()
    # Whoever does not wait comes back, and waits for the answer then.
    assert (done["connections"], done["failures"]) == (through, {_client.FAILURE_TIMEOUT: 1})


def test_whoever_fails_in_a_churn_is_counted_and_begins_anew() -> None:
    count = 0

    def sometimes(connection: socket.socket, _: str) -> None:
        nonlocal count
        count += 1
        request = take(connection, 64)
        if count == 2:
            return
        connection.sendall(bytes(64) if count == 3 else request + b"!" * (count == 4))
        connection.recv(1)

    with one_by_one(sometimes) as targets:
        client = _client.Client(targets, 1)
        done = client.churn(0.2)
        client.close()
    assert done["failures"] == {
        _client.FAILURE_EOF: 1,
        _client.FAILURE_MISMATCH: 1,
        _client.FAILURE_SURPLUS: 1,
    }
    assert done["connections"] == count - 3 > 3


def test_a_churn_without_a_server_fails_all_the_time_and_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        target = probe.getsockname()
    client = _client.Client([target], 3)
    open_before = open_descriptors(os.getpid())
    done = client.churn(0.02, sources=5)
    assert open_descriptors(os.getpid()) == open_before
    assert done["failures"].keys() == {errno.ECONNREFUSED}
    assert done["failures"][errno.ECONNREFUSED] > 3
    assert (done["connections"], done["requests"], done["samples_ns"]) == (0, 0, b"")
    client.close()


def test_a_churn_over_unix_sockets_and_none_beside_open_connections(tmp_path: Path) -> None:
    with native_server(str(tmp_path / "s")) as targets:
        client = _client.Client(targets, 300)
        done = client.churn(0.05)
        assert done["connections"] > 300
        assert done["failures"] == {}
        client.connect(1)
        with pytest.raises(RuntimeError, match="disconnect first"):
            client.churn(0.05)
        client.close()


def test_a_wrong_byte_is_found_and_named() -> None:
    wanted = 40_000

    def corrupt(connection: socket.socket) -> None:
        connection.sendall(take(connection, 64))
        connection.sendall(take(connection, wanted))
        data = bytearray(take(connection, wanted))
        data[31_415] ^= 0x10
        connection.sendall(data)
        take(connection, 1)

    with python_server(corrupt) as targets:
        client = _client.Client(targets, 1)
        client.connect(1)
        done = client.echo(5.0, size=wanted, requests_max=5)
        assert done["failures"] == {_client.FAILURE_MISMATCH: 1}
        connection, request, offset, expected, got = done["mismatch"]
        assert (connection, request, offset) == (0, 2, 31_415)
        assert expected ^ got == 0x10
        assert (done["requests"], done["alive"]) == (1, 0)
        client.close()


def test_swapped_answers_are_found() -> None:
    def swap(connection: socket.socket) -> None:
        connection.sendall(take(connection, 64))
        first, second = take(connection, 64), take(connection, 64)
        connection.sendall(second + first)
        take(connection, 1)

    with python_server(swap) as targets:
        client = _client.Client(targets, 1, depth_max=2)
        client.connect(1)
        done = client.echo(5.0, depth=2, requests_max=2)
        assert done["failures"] == {_client.FAILURE_MISMATCH: 1}
        client.close()


@pytest.mark.parametrize(
    ("answer", "failure"), [(b"other", "FAILURE_MISMATCH"), (b"", "FAILURE_EOF")]
)
def test_another_answer_or_none_is_a_failure(answer: bytes, failure: str) -> None:
    def misbehave(connection: socket.socket) -> None:
        connection.sendall(take(connection, 64))
        take(connection, 64)
        connection.sendall(answer)

    with python_server(misbehave) as targets:
        client = _client.Client(targets, 1)
        client.connect(1)
        done = client.echo(5.0, requests_max=1)
        assert done["failures"] == {getattr(_client, failure): 1}
        client.close()


def test_bytes_while_idle_are_a_failure() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(take(connection, 64) + b"!")
        take(connection, 1)

    with python_server(talk) as targets:
        client = _client.Client(targets, 1)
        first = client.connect(1)
        then = client.idle(0.2)
        failures = first["failures"] | then["failures"]
        assert failures == {_client.FAILURE_SURPLUS: 1}
        client.close()


def test_no_answer_is_a_failure_after_its_time() -> None:
    with python_server(lambda connection: (take(connection, 65), None)[1]) as targets:
        client = _client.Client(targets, 1)
        done = client.connect(1, timeout_s=0.1)
        assert done["failures"] == {_client.FAILURE_TIMEOUT: 1}
        assert (done["connections"], done["alive"]) == (0, 0)
        assert done["elapsed_ns"] < 5e9
        client.close()


def test_refused_and_reset_connections_are_counted_by_errno() -> None:
    probe = socket.create_server(("127.0.0.1", 0))
    target = probe.getsockname()
    probe.close()
    client = _client.Client([target], 3)
    assert client.connect(3)["failures"] == {errno.ECONNREFUSED: 3}
    client.close()

    def reset(connection: socket.socket) -> None:
        connection.sendall(take(connection, 64))
        take(connection, 64)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with python_server(reset) as targets:
        client = _client.Client(targets, 1)
        client.connect(1)
        assert client.echo(5.0, requests_max=1)["failures"] == {errno.ECONNRESET: 1}
        client.close()


def test_a_server_that_does_not_end_is_found_when_disconnecting() -> None:
    release = threading.Event()

    def stay(connection: socket.socket) -> None:
        connection.sendall(take(connection, 64))
        release.wait(10)

    with python_server(stay) as targets:
        client = _client.Client(targets, 1)
        client.connect(1)
        done = client.disconnect(timeout_s=0.1)
        release.set()
        assert (done["connections"], done["failures"]) == (0, {_client.FAILURE_TIMEOUT: 1})
        client.close()


def record(seed: int) -> list[bytes]:
    """The first three requests of a client with this seed."""
    seen: list[bytes] = []

    def echo(connection: socket.socket) -> None:
        for _ in range(3):
            seen.append(take(connection, 64))
            connection.sendall(seen[-1])

    with python_server(echo) as targets:
        client = _client.Client(targets, 1, seed=seed)
        client.connect(1)
        client.echo(5.0, requests_max=2)
        client.close()
    return seen


def test_requests_are_reproducible_and_all_different() -> None:
    one, again, other = record(7), record(7), record(8)
    assert one == again
    assert len({*one, *other}) == 6
    assert all(len(set(request)) > 32 for request in one)


def test_samples_are_bounded() -> None:
    with native_server() as targets:
        client = _client.Client(targets, 2, samples_max=10)
        client.connect(2)
        done = client.echo(5.0, requests_max=100)
        assert (done["samples_seen"], len(done["samples_ns"])) == (200, 40)
        assert max(array("I", done["samples_ns"])) <= done["worst_ns"]
        client.close()


def test_counters_can_be_watched_from_outside() -> None:
    fd = os.memfd_create("counters")
    os.ftruncate(fd, mmap.PAGESIZE)
    with native_server() as targets, mmap.mmap(fd, mmap.PAGESIZE) as shared:
        client = _client.Client(targets, 2, progress_fd=fd)
        os.close(fd)
        client.connect(2)
        client.echo(5.0, requests_max=3)
        words = struct.unpack("6Q", shared[:48])
        assert words == client.progress() == (0, 2, 8, 0, 8 * 64, 2)
        client.close()


def test_ctrl_c_ends_a_phase() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled in the main thread")
    with native_server() as targets:
        client = _client.Client(targets, 2)
        client.connect(2)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with pytest.raises(KeyboardInterrupt):
                client.echo(20.0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        client.close()


def test_one_phase_at_a_time() -> None:
    with native_server() as targets:
        client = _client.Client(targets, 1)
        client.connect(1)
        thread = threading.Thread(target=client.idle, args=(0.3,))
        thread.start()
        while client.progress()[0] == 0 and thread.is_alive():
            pass
        with pytest.raises(RuntimeError, match="already running"):
            client.echo(0.1)
        with pytest.raises(RuntimeError, match="running"):
            client.close()
        thread.join(10)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.echo(0.1, active=0)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        (([("192.0.2.1", 80)], 1), {}, ValueError, "not a loopback address"),
        (([("localhost", 80)], 1), {}, ValueError, "not a loopback address"),
        (([("127.0.0.1", 0)], 1), {}, ValueError, "port 0"),
        (([], 1), {}, ValueError, "at least one target"),
        (([b"x"], 1), {}, TypeError, "a target is"),
        (([""], 1), {}, ValueError, "Unix socket path"),
        ((["x" * 108], 1), {}, ValueError, "Unix socket path"),
        (([("127.0.0.1", 1)], 0), {}, ValueError, "connections is 0"),
        (([("127.0.0.1", 1)], 1), {"size_max": (1 << 20) + 1}, ValueError, "size_max"),
        (([("127.0.0.1", 1)], 1), {"depth_max": 0}, ValueError, "depth_max"),
        (([("127.0.0.1", 1)], 1), {"samples_max": 0}, ValueError, "samples_max"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[Any, ...], keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _client.Client(*arguments, **keywords)


def test_wrong_arguments_of_phases() -> None:
    client = _client.Client([("127.0.0.1", 1)], 2, size_max=100)
    for keywords in ({"size": 101}, {"size": 0}, {"depth": 2}, {"active": 3}, {"first": -1}):
        with pytest.raises(ValueError, match="not in"):
            client.echo(0.1, **keywords)
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            client.echo(seconds)
    with pytest.raises(ValueError, match="count"):
        client.connect(3)
    for keywords in ({"parallel": 3}, {"size": 101}, {"sources": -1}, {"sources": 65_001}):
        with pytest.raises(ValueError, match="not in"):
            client.churn(0.1, **keywords)
    client.close()
