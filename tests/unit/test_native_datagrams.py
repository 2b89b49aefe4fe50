"""Calls on datagram sockets: both twins do the same, and misuse harms nobody's memory."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from noria.limits import DATAGRAMS_PER_RECEIVE_MAX
from noria.native.sockets import COMPILED
from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MODULES = twins("datagrams")
compiled = MODULES[-1]
Pair = tuple[socket.socket, socket.socket]

only_compiled = pytest.mark.skipif(not COMPILED, reason="raw addresses are made by compiled calls")


@pytest.fixture(params=MODULES, ids=build_of)
def native(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


def bound(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    except OSError as exc:
        sock.close()
        pytest.skip(f"no such address here: {exc}")
    return sock


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two bound sockets, not connected."""
    with bound(request.param) as left, bound(request.param) as right:
        yield left, right


@pytest.fixture
def connected() -> Iterator[Pair]:
    """Two UDP sockets, each connected to the other."""
    with bound() as left, bound() as right:
        left.connect(right.getsockname())
        right.connect(left.getsockname())
        yield left, right


@pytest.fixture
def unix() -> Iterator[Pair]:
    """A connected pair of Unix datagram sockets."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no Unix sockets")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def target_of(native: ModuleType, endpoint: Any, address: Any) -> Any:
    raw = endpoint.raw_address(address)
    return native.ByName(address) if raw is None else raw


def receive(endpoint: Any, sock: socket.socket, count: int = DATAGRAMS_PER_RECEIVE_MAX) -> Any:
    return endpoint.receive(sock.fileno(), sock, count)


def test_receive_gives_data_and_address_in_turn(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    assert receive(endpoint, left) == -errno.EAGAIN
    assert endpoint.drained
    name = right.getsockname()
    for data in (b"one", b"", b"three"):
        right.sendto(data, left.getsockname())
    assert receive(endpoint, left) == [b"one", name, b"", name, b"three", name]
    assert endpoint.drained
    assert endpoint.received_bytes == 8
    assert receive(endpoint, left) == -errno.EAGAIN


@pytest.mark.parametrize("count", [1, 2, 7, 16, 100])
def test_a_batch_is_bounded_and_tells_whether_more_is_there(
    native: ModuleType, pair: Pair, count: int
) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    sent = [b"%d" % number for number in range(40)]
    for data in sent:
        right.sendto(data, left.getsockname())
    found: list[bytes] = []
    while type(batch := receive(endpoint, left, count)) is list:
        assert len(batch) <= 2 * min(count, DATAGRAMS_PER_RECEIVE_MAX)
        found += batch[::2]
        if endpoint.drained:
            assert found == sent, "empty means empty"
    assert found == sent


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507])
def test_datagrams_of_any_size_arrive_whole(native: ModuleType, pair: Pair, size: int) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    data = os.urandom(size)
    right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    for _ in range(2):
        try:
            right.sendto(data, left.getsockname())
        except OSError as exc:
            pytest.skip(f"the system sends no datagram of that size: {exc}")
    assert receive(endpoint, left)[::2] == [data, data]


def test_received_bytes_are_nobody_elses(native: ModuleType, pair: Pair) -> None:
    """The memory behind a batch is used again and again."""
    left, right = pair
    endpoint = native.Endpoint(left.family)
    found = []
    for number in range(3):
        right.sendto(bytes([number]) * 1000, left.getsockname())
        found += receive(endpoint, left)[::2]
    assert found == [bytes([number]) * 1000 for number in range(3)]


def test_the_address_of_every_sender(native: ModuleType) -> None:
    with bound() as left:
        senders = [bound() for _ in range(10)]
        for sock in senders:
            sock.sendto(b"x", left.getsockname())
        endpoint = native.Endpoint(left.family)
        assert receive(endpoint, left)[1::2] == [sock.getsockname() for sock in senders]
        for sock in senders:
            sock.close()


def test_an_address_is_made_once(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    found = []
    for _ in range(2):
        right.sendto(b"x", left.getsockname())
        found.append(receive(endpoint, left)[1])
    assert found[0] == found[1] == right.getsockname()
    if native is compiled and COMPILED:
        assert found[0] is found[1]


@only_compiled
def test_more_peers_than_are_remembered() -> None:
    """The tables are bounded: what was pushed out of them is made anew, and equal."""
    endpoint = compiled.Endpoint(socket.AF_INET)
    addresses = [(f"127.0.{number >> 8}.{number & 255}", 1 + number) for number in range(5000)]
    raws = [endpoint.raw_address(address) for address in addresses]
    assert len(set(raws)) == len(addresses)
    assert [endpoint.raw_address(address) for address in addresses] == raws
    with bound() as left:
        for number in range(0, 5000, 97):
            assert endpoint.send(left.fileno(), None, b"x", raws[number]) in {1, -errno.EINVAL}


@only_compiled
def test_an_address_belongs_to_a_family() -> None:
    address = ("127.0.0.1", 5)
    assert compiled.Endpoint(socket.AF_INET).raw_address(address) is not None
    assert compiled.Endpoint(socket.AF_INET6).raw_address(address) is None
    assert compiled.Endpoint(socket.AF_INET).raw_address(address) is not None


@only_compiled
@pytest.mark.parametrize(
    "address", [None, "name", ("localhost", 5), ("127.0.0.1", 70000), ("127.0.0.1",), 7, ()]
)
def test_other_addresses_are_left_to_the_socket_object(address: Any) -> None:
    endpoint = compiled.Endpoint(socket.AF_INET)
    assert endpoint.raw_address(address) is None
    assert endpoint.raw_address(address) is None


def test_send(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    target = target_of(native, endpoint, right.getsockname())
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"view"), b""):
        assert endpoint.send(left.fileno(), left, data, target) == len(data)
        assert right.recvfrom(100) == (bytes(data), left.getsockname())


def test_send_to_the_peer_of_a_connected_socket(native: ModuleType, connected: Pair) -> None:
    left, right = connected
    endpoint = native.Endpoint(left.family)
    assert endpoint.send(left.fileno(), left, b"data", None) == 4
    assert right.recv(100) == b"data"


def test_send_by_name(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    if left.family == socket.AF_INET6:
        pytest.skip("not every machine knows localhost by IPv6")
    target = native.ByName(("localhost", right.getsockname()[1]))
    assert endpoint.send(left.fileno(), left, b"data", target) == 4
    assert right.recv(100) == b"data"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (None, TypeError),
        ("text", TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", 70000), OverflowError),
        (("no such host.invalid", 5), (socket.gaierror, UnicodeError)),
    ],
)
def test_what_is_no_address_raises_as_in_the_socket_module(
    native: ModuleType, address: Any, kind: Any
) -> None:
    with bound() as left:
        endpoint = native.Endpoint(left.family)
        target = target_of(native, endpoint, address)
        with pytest.raises(kind):
            endpoint.send(left.fileno(), left, b"data", target)
        with pytest.raises(kind):
            endpoint.send_batch(left.fileno(), left, [b"data", target], 0)


def test_a_datagram_that_is_too_long(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    target = target_of(native, endpoint, right.getsockname())
    result = endpoint.send(left.fileno(), left, bytes(70_000), target)
    assert result == -errno.EMSGSIZE
    queue = [bytes(70_000), target, b"fits", target]
    assert endpoint.send_batch(left.fileno(), left, queue, 0) == -errno.EMSGSIZE
    assert endpoint.send_batch(left.fileno(), left, queue, 2) == 1


def test_send_batch_keeps_the_order(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    target = target_of(native, endpoint, right.getsockname())
    data = [b"%d" % number for number in range(100)]
    queue = [item for one in data for item in (one, target)]
    right.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    position = 0
    while position < len(queue):
        sent = endpoint.send_batch(left.fileno(), left, queue, position)
        assert sent >= 1
        position += 2 * sent
    assert [right.recv(100) for _ in data] == data


def test_send_batch_stops_in_front_of_what_fails(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    target = target_of(native, endpoint, right.getsockname())
    queue = [b"a", target, b"b", target, bytes(70_000), target, b"c", target]
    position = 0
    while position < 4:
        position += 2 * endpoint.send_batch(left.fileno(), left, queue, position)
    assert position == 4
    assert endpoint.send_batch(left.fileno(), left, queue, 4) == -errno.EMSGSIZE
    assert endpoint.send_batch(left.fileno(), left, queue, 6) == 1
    assert [right.recv(10) for _ in range(3)] == [b"a", b"b", b"c"]


def test_send_batch_stops_in_front_of_a_name(native: ModuleType) -> None:
    with bound() as left, bound() as right:
        endpoint = native.Endpoint(left.family)
        target = target_of(native, endpoint, right.getsockname())
        by_name = native.ByName(("localhost", right.getsockname()[1]))
        queue = [b"a", target, b"b", target, b"c", by_name, b"d", target]
        position = 0
        while position < len(queue):
            position += 2 * endpoint.send_batch(left.fileno(), left, queue, position)
        assert [right.recv(10) for _ in range(4)] == [b"a", b"b", b"c", b"d"]


@pytest.mark.posix
def test_a_refused_port_is_told_and_then_forgotten(native: ModuleType, connected: Pair) -> None:
    left, right = connected
    right.close()
    endpoint = native.Endpoint(left.family)
    assert endpoint.send(left.fileno(), left, b"data", None) == 4
    assert receive(endpoint, left) == -errno.ECONNREFUSED
    assert receive(endpoint, left) == -errno.EAGAIN


def test_unix_datagrams(native: ModuleType, unix: Pair) -> None:
    left, right = unix
    endpoint = native.Endpoint(left.family)
    for number in range(6):
        assert endpoint.send(right.fileno(), right, b"%d" % number, None) == 1
    found = []
    while type(batch := receive(endpoint, left)) is list:
        found += batch
    assert found == [item for number in range(6) for item in (b"%d" % number, None)]


def test_a_long_unix_datagram_is_cut(native: ModuleType, unix: Pair) -> None:
    """As asyncio cuts it, which receives 256 KiB at most."""
    left, right = unix
    right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
    data = os.urandom(300_000)
    try:
        right.send(data)
    except OSError as exc:
        pytest.skip(f"the system sends no datagram of that size: {exc}")
    endpoint = native.Endpoint(left.family)
    assert receive(endpoint, left)[0] == data[: 256 * 1024]


@pytest.mark.posix
@pytest.mark.parametrize("name", ["sock", "n\xe4me", b"bytes", "\udcff", "abstract"])
def test_unix_addresses(native: ModuleType, name: Any) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as right,
    ):
        if name == "abstract":
            if not sys.platform.startswith("linux"):
                pytest.skip("Linux names abstract sockets")
            path: Any = b"\0noria-datagrams-%d" % os.getpid()
        else:
            path = os.path.join(os.fsencode(folder), os.fsencode(name))  # noqa: PTH118 - bytes
            if isinstance(name, str):
                path = os.fsdecode(path)
        left.bind(path)
        right.bind(path + (b"2" if isinstance(path, bytes) else "2"))
        right.setblocking(False)
        left.setblocking(False)
        endpoint = native.Endpoint(socket.AF_UNIX)
        target = target_of(native, endpoint, path)
        if native is compiled and COMPILED:
            assert type(target) is bytes
        assert endpoint.send(right.fileno(), right, b"data", target) == 4
        (data, sender) = receive(endpoint, left)
        assert (data, sender) == (b"data", right.getsockname())
        target = target_of(native, endpoint, sender)
        queue = [b"a", target, b"b", target]
        position = 0
        while position < 4:
            position += 2 * endpoint.send_batch(left.fileno(), left, queue, position)
        assert [right.recvfrom(10) for _ in range(2)] == [
            (b"a", left.getsockname()),
            (b"b", left.getsockname()),
        ]


@pytest.mark.posix
@pytest.mark.parametrize("path", ["", b"", "x" * 200, "nul\0inside"])
def test_odd_unix_paths_are_left_to_the_socket_object(native: ModuleType, path: Any) -> None:
    assert native.Endpoint(socket.AF_UNIX).raw_address(path) is None


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="netlink is Linux")
def test_families_that_are_not_known_go_by_the_socket_object(native: ModuleType) -> None:
    """Netlink: the address is a pair of numbers, which only the socket module makes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0) as sock:
        sock.bind((0, 0))
        sock.setblocking(False)
        endpoint = native.Endpoint(sock.family)
        assert receive(endpoint, sock) == -errno.EAGAIN
        question = b"\x11\0\0\0\x12\0\x01\x03\x01\0\0\0\0\0\0\0\0"  # RTM_GETLINK, dump
        target = native.ByName((0, 0))
        assert endpoint.send(sock.fileno(), sock, question, target) == len(question)
        batch = receive(endpoint, sock)
        assert batch[0]
        assert batch[1] == (0, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="UDP_SEGMENT is Linux")
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_segments(native: ModuleType, pair: Pair, kind: Any) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    if not endpoint.can_segment(left.fileno(), left):
        pytest.skip("this kernel has no UDP_SEGMENT")
    target = target_of(native, endpoint, right.getsockname())
    data = os.urandom(1000)
    result = endpoint.send_segments(left.fileno(), left, kind(data), 100, 750, 300, target)
    if result == -errno.EOPNOTSUPP:
        assert type(target) is native.ByName
        return
    assert result == 750
    assert [right.recv(1000) for _ in range(3)] == [
        data[100:400],
        data[400:700],
        data[700:850],
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="UDP_GRO is Linux")
def test_what_came_in_one_piece_is_split_again(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    endpoint = native.Endpoint(left.family)
    if endpoint.coalesce(left.fileno(), left, True) < 0:
        pytest.skip("this kernel has no UDP_GRO")
    assert endpoint.coalescing
    sender = native.Endpoint(right.family)
    target = target_of(native, sender, left.getsockname())
    data = os.urandom(10_000)
    if sender.send_segments(right.fileno(), right, data, 0, 10_000, 1200, target) != 10_000:
        pytest.skip("this kernel does not cut, so nothing comes in one piece")
    right.sendto(b"", left.getsockname())
    right.sendto(b"last", left.getsockname())
    found: list[Any] = []
    while type(batch := receive(endpoint, left)) is list:
        found += batch
    pieces = [data[start : start + 1200] for start in range(0, 10_000, 1200)]
    assert found[::2] == [*pieces, b"", b"last"]
    assert set(found[1::2]) == {right.getsockname()}


def test_segments_of_other_sockets(native: ModuleType, unix: Pair) -> None:
    left, _ = unix
    endpoint = native.Endpoint(left.family)
    assert not endpoint.can_segment(left.fileno(), left)
    assert endpoint.coalesce(left.fileno(), left, True) < 0
    assert not endpoint.coalescing


def test_closed_sockets(native: ModuleType) -> None:
    sock = bound()
    sock.close()
    endpoint = native.Endpoint(socket.AF_INET)
    assert endpoint.receive(-1, sock, 5) in {-errno.EBADF, -errno.ENOTSOCK}
    assert endpoint.send(-1, sock, b"x", None) in {-errno.EBADF, -errno.ENOTSOCK}


@pytest.mark.posix
def test_a_blocking_socket_does_not_block(native: ModuleType) -> None:
    with bound() as sock:
        sock.setblocking(True)
        assert receive(native.Endpoint(socket.AF_INET), sock) == -errno.EAGAIN


def test_an_error_behind_a_datagram_is_not_lost(native: ModuleType) -> None:
    """Where datagrams are taken one by one; a batch of the kernel keeps the error itself."""

    class Failing:
        def __init__(self) -> None:
            self.answers: list[Any] = [(b"data", "from"), OSError(errno.ENOBUFS, "lost some")]

        def recvfrom(self, *_: Any) -> Any:
            answer = self.answers.pop(0) if self.answers else BlockingIOError()
            if isinstance(answer, Exception):
                raise answer
            return answer

    endpoint = native.Endpoint(-1)
    sock: Any = Failing()
    assert endpoint.receive(7, sock, 4) == [b"data", "from"]
    assert not endpoint.drained
    assert endpoint.receive(7, sock, 4) == -errno.ENOBUFS
    assert endpoint.receive(7, sock, 4) == -errno.EAGAIN
    assert endpoint.drained
