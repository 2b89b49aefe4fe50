"""Calls on sockets: both twins do the same, and misuse harms nobody's memory."""

from __future__ import annotations

import array
import errno
import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MODULES = twins("sockets")
compiled = MODULES[-1]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=MODULES, ids=build_of)
def native(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


def listening(family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    sock.listen()
    sock.setblocking(False)
    return sock


def test_receive(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    assert native.receive(left.fileno(), left, 100) == -errno.EAGAIN
    right.send(b"hello")
    assert native.receive(left.fileno(), left, 2) == b"he"
    assert native.receive(left.fileno(), left, 100) == b"llo"
    right.close()
    assert native.receive(left.fileno(), left, 100) == b""
    left.close()
    assert native.receive(-1, left, 100) in {-errno.EBADF, -errno.ENOTSOCK}


@pytest.mark.parametrize("function", ["receive", "receive_large"])
@pytest.mark.parametrize("size", [0, 1, 4096, 262_144, 262_145, 2_000_000])
def test_receive_of_any_size(native: ModuleType, pair: Pair, function: str, size: int) -> None:
    left, right = pair
    right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    data = os.urandom(300_000)
    sent = right.send(data)
    received = getattr(native, function)(left.fileno(), left, size)
    assert received == data[: len(received)]
    if left.family != socket.AF_INET:  # a TCP connection delivers bit by bit
        assert len(received) == min(size, sent)


@pytest.mark.posix
@pytest.mark.parametrize("function", ["receive", "receive_large"])
def test_a_large_datagram_is_not_cut(native: ModuleType, function: str) -> None:
    """What the caller has room for arrives whole; the rest of a datagram would be lost."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        data = os.urandom(330_000)
        try:
            right.send(data)
        except OSError as exc:
            pytest.skip(f"the system sends no datagram of that size: {exc}")
        assert getattr(native, function)(left.fileno(), left, 400_000) == data


@pytest.mark.parametrize("function", ["receive", "receive_large"])
def test_a_negative_size_is_refused(native: ModuleType, pair: Pair, function: str) -> None:
    left, right = pair
    right.send(b"x")
    with pytest.raises(ValueError, match="negative buffersize"):
        getattr(native, function)(left.fileno(), left, -1)
    assert left.recv(10) == b"x"


@pytest.mark.posix
def test_a_blocking_socket_does_not_block(native: ModuleType, pair: Pair) -> None:
    """A user's mistake, told in debug mode; without it the loop must not stand still."""
    left, right = pair
    left.setblocking(True)
    assert native.receive(left.fileno(), left, 10) == -errno.EAGAIN
    assert native.receive_large(left.fileno(), left, 10) == -errno.EAGAIN
    assert native.receive_into(left.fileno(), left, bytearray(10)) == -errno.EAGAIN
    while native.send(left.fileno(), left, b"x" * 65536, 0) > 0:
        pass
    assert native.send_vector(left.fileno(), left, [b"x"], 0) == -errno.EAGAIN
    assert right.recv(1) == b"x"


def test_received_bytes_are_nobody_elses(native: ModuleType, pair: Pair) -> None:
    """The warm buffer behind small receives is used again and again."""
    left, right = pair
    received = []
    for number in range(3):
        right.send(bytes([number]) * 1000)
        received.append(native.receive(left.fileno(), left, 4096))
    assert received == [bytes([number]) * 1000 for number in range(3)]


def test_receive_into(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    memory = bytearray(10)
    assert native.receive_into(left.fileno(), left, memoryview(memory)) == -errno.EAGAIN
    right.send(b"hello")
    assert native.receive_into(left.fileno(), left, memoryview(memory)[2:]) == 5
    assert memory == b"\0\0hello\0\0\0"
    memory.append(0)  # nothing is pinned any more


@pytest.mark.parametrize("wrong", [b"constant", "text", None, memoryview(b"constant")])
def test_receive_into_what_cannot_be_written(native: ModuleType, pair: Pair, wrong: Any) -> None:
    left, right = pair
    right.send(b"x")
    with pytest.raises((TypeError, BufferError)):
        native.receive_into(left.fileno(), left, wrong)
    assert left.recv(10) == b"x"


@pytest.mark.parametrize("function", ["receive", "receive_large"])
def test_receiving_nothing(native: ModuleType, pair: Pair, function: str) -> None:
    left, right = pair
    assert getattr(native, function)(left.fileno(), left, 0) == b""
    assert native.receive_into(left.fileno(), left, bytearray()) == 0
    right.send(b"x")
    assert getattr(native, function)(left.fileno(), left, 0) == b""
    assert native.receive(left.fileno(), left, 1) == b"x"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize(("offset", "rest"), [(0, b"012345"), (4, b"45"), (6, b""), (100, b"")])
def test_send(native: ModuleType, pair: Pair, kind: Any, offset: int, rest: bytes) -> None:
    """Also with an offset at or behind the end: nothing but the data may be read."""
    left, right = pair
    assert native.send(left.fileno(), left, kind(b"012345"), offset) == len(rest)
    if rest:
        assert right.recv(100) == rest
    with pytest.raises(BlockingIOError):
        right.recv(100)


def test_send_counts_bytes_not_items(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    numbers = array.array("i", [1, 2, 3])
    assert native.send(left.fileno(), left, numbers, 4) == 8
    assert right.recv(100) == numbers.tobytes()[4:]


@pytest.mark.parametrize("wrong", ["text", None, 5, memoryview(b"gaps")[::2]])
def test_send_of_what_is_no_data(native: ModuleType, pair: Pair, wrong: Any) -> None:
    left, _ = pair
    with pytest.raises((TypeError, BufferError)):
        native.send(left.fileno(), left, wrong, 0)


def test_send_until_full_and_after_the_peer(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    while (count := native.send(left.fileno(), left, b"x" * 65536, 0)) > 0:
        pass
    assert count == -errno.EAGAIN
    right.close()
    assert native.send(left.fileno(), left, b"x", 0) in {-errno.EPIPE, -errno.ECONNRESET}


@pytest.mark.parametrize("offset", [0, 2, 3, 50])
def test_send_vector(native: ModuleType, pair: Pair, offset: int) -> None:
    left, right = pair
    second = bytearray(b"defg")
    chunks = [b"abc", second, memoryview(b"hi"), b""]
    expected = (b"abc"[offset:] + b"defghi") if hasattr(socket.socket, "sendmsg") else b""
    if not expected:
        pytest.skip("this system has no vectored send")
    assert native.send_vector(left.fileno(), left, chunks, offset) == len(expected)
    assert right.recv(100) == expected
    assert [bytes(chunk) for chunk in chunks] == [b"abc", b"defg", b"hi", b""], "kept as it was"
    second.append(0)  # nothing is pinned any more


@pytest.mark.parametrize("offset", [0, 7])
def test_send_vector_of_nothing(native: ModuleType, pair: Pair, offset: int) -> None:
    left, _ = pair
    assert native.send_vector(left.fileno(), left, [], offset) == 0


def test_send_vector_takes_64_chunks(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    chunks = [b"%04d" % number for number in range(2000)]
    sent = native.send_vector(left.fileno(), left, chunks, 0)
    assert sent in {4, 4 * 64}
    assert right.recv(10_000) == b"".join(chunks)[:sent]


def test_send_vector_with_a_wrong_chunk(native: ModuleType, pair: Pair) -> None:
    left, _ = pair
    first = bytearray(b"first")
    if not hasattr(socket.socket, "sendmsg"):
        pytest.skip("this system has no vectored send")
    with pytest.raises(TypeError):
        native.send_vector(left.fileno(), left, [first, "text"], 0)
    first.append(0)  # what was pinned before the failure is free again


def test_accept(native: ModuleType) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as sock:
        assert native.accept(sock.fileno(), sock) == -errno.EAGAIN
        with socket.create_connection(sock.getsockname()) as client:
            number, accepted, raw = native.accept(sock.fileno(), sock)
            assert native.address_of(raw) == client.getsockname()
            if accepted is None:
                accepted = socket.socket(fileno=number)
            with accepted:
                assert accepted.fileno() == number
                assert not accepted.get_inheritable()
                if hasattr(os, "get_blocking"):
                    assert not os.get_blocking(number)


def test_accept_on_what_does_not_listen(native: ModuleType, pair: Pair) -> None:
    left, _ = pair
    assert native.accept(left.fileno(), left) < 0


ADDRESSES = [
    (socket.AF_INET, ("127.0.0.1", 0)),
    (socket.AF_INET, ("0.0.0.0", 0)),
    (socket.AF_INET6, ("::1", 0, 0, 0)),
]


@pytest.mark.parametrize(("family", "address"), ADDRESSES)
def test_addresses_are_those_of_the_socket_module(
    native: ModuleType, family: socket.AddressFamily, address: Any
) -> None:
    try:
        sock = listening(family, address)
    except OSError as exc:
        pytest.skip(f"no such address here: {exc}")
    with sock:
        own = native.address_of(native.local_address(sock.fileno(), sock))
        assert own == sock.getsockname()
        assert native.peer_address(sock.fileno(), sock) is None
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        with socket.create_connection((host, own[1])) as client:
            peer = native.address_of(native.peer_address(client.fileno(), client))
            assert peer == client.getpeername()


@pytest.mark.posix
def test_unix_addresses(native: ModuleType) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("sock", "n\xe4me", "\udcff"):
            path = f"{folder}/{name}"
            with listening(socket.AF_UNIX, os.fsencode(path)) as sock:
                raw = native.local_address(sock.fileno(), sock)
                assert native.address_of(raw) == sock.getsockname()
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(os.fsencode(path))
                    raw = native.local_address(client.fileno(), client)
                    assert native.address_of(raw) == client.getsockname() == ""
                    _, accepted, raw = found = native.accept(sock.fileno(), sock)
                    assert native.address_of(raw) == ""
                    (accepted or socket.socket(fileno=found[0])).close()


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="Linux names abstract sockets")
def test_abstract_unix_addresses(native: ModuleType) -> None:
    with listening(socket.AF_UNIX, b"\0noria-test-%d" % os.getpid()) as sock:
        raw = native.local_address(sock.fileno(), sock)
        assert native.address_of(raw) == sock.getsockname()


def test_a_long_unix_path(native: ModuleType) -> None:
    """A path that fills sun_path but for the terminator."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no Unix sockets")
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/" + "x" * (106 - len(folder))
        try:
            sock = listening(socket.AF_UNIX, path)
        except OSError as exc:
            pytest.skip(f"too long here: {exc}")
        with sock:
            raw = native.local_address(sock.fileno(), sock)
            assert native.address_of(raw) == sock.getsockname() == path


@pytest.mark.parametrize(
    "raw", [None, ("127.0.0.1", 5), "path", b"", b"\0", b"\2\0", b"\n\0\0\0", b"\1\0"]
)
def test_an_address_that_is_none(native: ModuleType, raw: Any) -> None:
    """What is no raw address comes back; what is cut off reads no memory behind it."""
    found = native.address_of(raw)
    if not isinstance(raw, bytes):
        assert found == raw


def test_names_of_what_is_closed(native: ModuleType) -> None:
    sock = socket.socket()
    sock.close()
    assert native.local_address(-1, sock) is None
    assert native.peer_address(-1, sock) is None


def test_nodelay_where_it_makes_sense(native: ModuleType, pair: Pair) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as sock:
        with socket.create_connection(sock.getsockname()) as client:
            raw = native.peer_address(client.fileno(), client)
            assert native.set_nodelay(client.fileno(), client, raw) == 0
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(sock.getsockname()) as client:
            assert native.set_nodelay(client.fileno(), client, None) == 0
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    left, _ = pair
    assert native.set_nodelay(left.fileno(), left, None) == 0
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        assert native.set_nodelay(datagrams.fileno(), datagrams, None) == 0


def test_is_unix(native: ModuleType, pair: Pair) -> None:
    left, _ = pair
    assert native.is_unix(left.fileno(), left) == (left.family == getattr(socket, "AF_UNIX", None))
    with socket.socket() as tcp:
        assert not native.is_unix(tcp.fileno(), tcp)


def test_shutdown_writing(native: ModuleType, pair: Pair) -> None:
    left, right = pair
    assert native.shutdown_writing(left.fileno(), left) == 0
    assert right.recv(1) == b""
    right.send(b"still")
    assert left.recv(10) == b"still"
    with socket.socket() as unconnected:
        assert native.shutdown_writing(unconnected.fileno(), unconnected) == -errno.ENOTCONN


def test_the_twins_know_who_they_are() -> None:
    assert [module.COMPILED for module in MODULES] == [False, True][: len(MODULES)]


@pytest.mark.skipif(not compiled.COMPILED, reason="raw addresses are made by the compiled calls")
@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ("127.0.0.1", 80)),
        (socket.AF_INET, ("255.255.255.255", 65535)),
        (socket.AF_INET6, ("::1", 0, 0, 0)),
        (socket.AF_INET6, ("2001:db8::7", 443, 0xABCDE, 3_000_000_000)),
    ],
)
def test_raw_addresses_are_read_back(family: int, address: Any) -> None:
    raw = compiled.raw_address(family, address)
    assert isinstance(raw, bytes)
    found = compiled.address_of(raw)
    assert (found[0].partition("%")[0], *found[1:]) == address


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ("localhost", 80)),
        (socket.AF_INET, ("127.0.0.1", -1)),
        (socket.AF_INET, ("127.0.0.1", 65536)),
        (socket.AF_INET, ("127.0.0.1\0", 80)),
        (socket.AF_INET, ("127.0.0.1", "80")),
        (socket.AF_INET, ("127.0.0.1", 80, 0, 0)),
        (socket.AF_INET, ["127.0.0.1", 80]),
        (socket.AF_INET, ("127.0.0.1",)),
        (socket.AF_INET, ("::1", 80)),
        (socket.AF_INET6, ("127.0.0.1", 80)),
        (socket.AF_INET6, ("::1%lo", 80, 0, 1)),
        (socket.AF_INET6, ("::1", 80, 1 << 20, 0)),
        (socket.AF_INET6, ("::1", 80, None, 0)),
        (socket.AF_INET6, ("::1", 80, 0)),
        (getattr(socket, "AF_UNIX", 1), "/path"),
    ],
)
def test_other_addresses_are_left_to_the_standard_library(
    native: ModuleType, family: int, address: Any
) -> None:
    assert native.raw_address(family, address) is None
