"""Every operation of the catalog does on every engine what its blocking form says."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.core.catalog import CATALOG, OFFLOAD, operation
from noria.core.operation import BACKEND, NATIVE, READINESS, Operation
from noria.limits import OFFLOAD_NAMES_THREADS_MAX, SEND_VECTOR_MAX
from noria.native import sockets as native
from tests.driver import Driver, Owned, Recorded, drain, fill, make

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[Owned, socket.socket]


@pytest.fixture
def datagrams(driver: Driver) -> Iterator[tuple[Owned, socket.socket]]:
    """An owned UDP socket and one of the user, both on the loopback interface."""
    ours, theirs = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for sock in (ours, theirs):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    owned = Owned(driver, ours)
    yield owned, theirs
    owned.close()
    theirs.close()


@pytest.fixture
def number() -> Iterator[int]:
    """Descriptor of an empty regular file."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def on_file(code: int, fd: int, **attributes: Any) -> Recorded:
    op = Recorded(code, fd)
    for name, value in attributes.items():
        setattr(op, name, value)
    return op


def test_receive_into_fills_memory(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    memory = bytearray(b"........")
    op = owned.operation(codes.RECEIVE_INTO, buffer=memoryview(memory)[2:6])
    driver.submit(op)
    peer.send(b"abcdef")
    driver.finish(op)
    assert op.results == [4]
    assert memory == b"..abcd.."
    op.buffer = None


def test_send_goes_on_behind_its_offset(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    data = bytearray(b"0123456789")
    op = owned.operation(codes.SEND, buffer=memoryview(data), offset=4)
    assert driver.submit(op)
    assert op.result == 6
    assert peer.recv(100) == b"456789"


def test_send_waits_for_room(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    filled = fill(owned.sock)
    op = owned.operation(codes.SEND, buffer=b"the rest")
    assert not driver.submit(op)
    assert driver.settle_down() == 0
    received = b""
    while not op.events:
        received += drain(peer)
        driver.poll(0.001)
    assert op.results == [8]
    received += drain(peer)
    assert len(received) == filled + 8
    assert received.endswith(b"the rest")


def test_a_partial_send_is_a_success(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    data = b"x" * 50_000_000
    op = owned.operation(codes.SEND, buffer=data)
    assert driver.submit(op)
    assert 0 < op.result < len(data)
    assert len(drain(peer)) == op.result


def test_send_vector_joins_chunks(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    chunks = [b"one ", bytearray(b"two "), memoryview(b"three")]
    op = owned.operation(codes.SEND_VECTOR, buffer=chunks, offset=2)
    driver.submit(op)
    driver.finish(op)
    sent = b"e two three"
    assert op.result in {len(sent), len(b"e ")}, "one chunk only where there is no vectored send"
    assert peer.recv(100) == sent[: op.result]


def test_send_vector_is_bounded(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.SEND_VECTOR, buffer=[b"%03d" % n for n in range(2000)])
    driver.submit(op)
    driver.finish(op)
    assert 3 <= op.result <= 3 * SEND_VECTOR_MAX
    assert drain(peer)[:6] == b"000001"[: op.result]


def test_connect_to_a_listener(driver: Driver, listener: Owned) -> None:
    sock = socket.socket()
    owned = Owned(driver, sock)
    op = owned.operation(codes.CONNECT, address=listener.sock.getsockname())
    driver.submit(op)
    driver.finish(op)
    assert op.results == [0]
    assert sock.getpeername() == listener.sock.getsockname()
    owned.close()


def test_connect_is_refused(driver: Driver) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        owned = Owned(driver, socket.socket())
        op = owned.operation(codes.CONNECT, address=reserved.getsockname())
        driver.submit(op)
        driver.finish(op)
        assert op.results == [-errno.ECONNREFUSED]
        owned.close()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
@pytest.mark.posix
def test_connect_to_a_full_backlog_does_not_wait(driver: Driver) -> None:
    """A Unix socket then answers EAGAIN and nothing is under way: waiting would be for ever."""
    clients: list[Owned] = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        path = f"{folder}/s"
        listening.bind(path)
        listening.listen(0)
        results = []
        for _ in range(10):
            owned = Owned(driver, socket.socket(socket.AF_UNIX))
            clients.append(owned)
            op = owned.operation(codes.CONNECT, address=path)
            driver.submit(op)
            driver.finish(op)
            results.append(op.result)
            if op.result:
                break
        for owned in clients:
            owned.close()
    assert results[-1] in {-errno.EAGAIN, -errno.ECONNREFUSED}
    assert driver.statistics().in_flight == 0


def test_accept_tells_the_peer(driver: Driver, listener: Owned) -> None:
    op = listener.operation(codes.ACCEPT)
    driver.submit(op)
    with socket.create_connection(listener.sock.getsockname()) as client:
        driver.finish(op)
        number, sock, raw = op.events[0].data
        assert native.address_of(raw) == client.getsockname()
        (socket.socket(fileno=number) if sock is None else sock).close()


def test_datagrams_are_received_whole(
    driver: Driver, datagrams: tuple[Owned, socket.socket]
) -> None:
    owned, peer = datagrams
    op = owned.operation(codes.RECEIVE_FROM, size=100)
    driver.submit(op)
    peer.sendto(b"first", owned.sock.getsockname())
    driver.finish(op)
    assert (op.received, op.address) == (b"first", peer.getsockname())
    for text in (b"second", b"third"):
        peer.sendto(text, owned.sock.getsockname())
    received = []
    for _ in range(2):
        more = owned.operation(codes.RECEIVE_FROM, size=100)
        driver.submit(more)
        driver.finish(more)
        received.append(more.received)
    assert received == [b"second", b"third"]


def test_datagrams_go_into_memory(driver: Driver, datagrams: tuple[Owned, socket.socket]) -> None:
    owned, peer = datagrams
    memory = bytearray(10)
    op = owned.operation(codes.RECEIVE_FROM_INTO, buffer=memory, size=10)
    driver.submit(op)
    peer.sendto(b"hello", owned.sock.getsockname())
    driver.finish(op)
    assert (op.results, op.address, bytes(memory[:5])) == ([5], peer.getsockname(), b"hello")


def test_datagrams_are_sent(driver: Driver, datagrams: tuple[Owned, socket.socket]) -> None:
    owned, peer = datagrams
    op = owned.operation(codes.SEND_TO, buffer=b"hello", address=peer.getsockname())
    driver.submit(op)
    driver.finish(op)
    assert op.results == [5]
    peer.settimeout(5)
    assert peer.recvfrom(100) == (b"hello", owned.sock.getsockname())


def test_waits_succeed_with_zero(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    writable = owned.operation(codes.WAIT_WRITABLE)
    readable = owned.operation(codes.WAIT_READABLE)
    driver.submit(writable)
    driver.submit(readable)
    driver.finish(writable)
    assert not readable.events
    peer.send(b"x")
    driver.finish(readable)
    assert writable.results == readable.results == [0]


def test_f_write_read_and_sync(driver: Driver, number: int) -> None:
    write = on_file(codes.WRITE_AT, number, buffer=b"0123456789", offset=5)
    assert not driver.submit(write), "it blocks, so it is done elsewhere"
    driver.finish(write)
    sync = on_file(codes.FSYNC, number)
    read = on_file(codes.READ_AT, number, size=100, offset=7)
    end = on_file(codes.READ_AT, number, size=100, offset=1000)
    driver.submit(sync, read, end)
    driver.finish(sync, read, end)
    assert (write.results, sync.results, end.results) == ([10], [0], [0])
    assert read.received == b"23456789"
    assert end.received == b""
    on_ring = driver.engine.name == "uring"
    assert {op.route for op in (write, sync, read)} == {NATIVE if on_ring else BACKEND}
    assert driver.statistics().offloaded == (0 if on_ring else 4)


def test_f_many_at_once_on_one_descriptor(driver: Driver, number: int) -> None:
    writes = [
        on_file(codes.WRITE_AT, number, buffer=bytes([n]) * 10, offset=10 * n) for n in range(50)
    ]
    driver.submit(*writes)
    driver.finish(*writes)
    reads = [on_file(codes.READ_AT, number, size=10, offset=10 * n) for n in range(50)]
    driver.submit(*reads)
    driver.finish(*reads)
    assert [op.received for op in reads] == [bytes([n]) * 10 for n in range(50)]


NUMBER_OF_NOTHING = 1_000_000
"""Beyond every limit: a number that was just closed may be the engine's own by now."""


def test_f_a_failure_is_minus_errno(driver: Driver) -> None:
    op = on_file(codes.READ_AT, NUMBER_OF_NOTHING, size=10)
    assert not driver.submit(op)
    driver.finish(op)
    assert op.results == [-errno.EBADF]


def test_f_the_end_of_work_in_a_thread_ends_a_wait(driver: Driver, number: int) -> None:
    op = on_file(codes.FSYNC, number)
    driver.submit(op)
    while not op.events:
        driver.poll(30.0)
    assert op.results == [0]


BLOCK = 9001


@pytest.fixture
def blocking() -> Iterator[None]:
    """An operation in the catalog that blocks in read(2)."""

    @operation(code=BLOCK, lane=OFFLOAD)
    def block(op: Operation) -> int:
        op.address.set()
        return len(os.read(op.fd, 1))

    yield
    del CATALOG[BLOCK]


@pytest.mark.usefixtures("blocking")
def test_f_cancel_of_work_that_waits_for_a_thread(driver: Driver) -> None:
    """E5: what no thread has begun is cancelled; what runs completes."""
    reading, writing = os.pipe()
    started = threading.Event()
    blockers = [on_file(BLOCK, reading, address=started) for _ in range(OFFLOAD_NAMES_THREADS_MAX)]
    waiting = on_file(BLOCK, reading, address=started)
    driver.submit(*blockers)
    driver.until(started.is_set)
    driver.submit(waiting)
    driver.engine.cancel(waiting)
    assert driver.poll(30.0) == 1
    assert waiting.results == [-errno.ECANCELED]
    driver.engine.cancel(blockers[0])
    os.write(writing, b"x" * len(blockers))
    driver.finish(*blockers)
    os.close(reading)
    os.close(writing)
    assert [1] in [op.results for op in blockers]
    assert blockers[0].results in ([1], [-errno.ECANCELED])


def test_the_route_is_recorded(driver: Driver, pair: Pair) -> None:
    owned, peer = pair
    op = owned.operation(codes.RECEIVE, size=10)
    driver.submit(op)
    peer.send(b"x")
    driver.finish(op)
    assert op.route == READINESS


def test_misuse_that_shows_in_submit_is_raised(
    driver: Driver, datagrams: tuple[Owned, socket.socket]
) -> None:
    owned, _ = datagrams
    op = owned.operation(codes.SEND_TO, buffer=b"x", address="not an address")
    with pytest.raises(TypeError):
        driver.submit(op)
    assert not op.in_flight
    assert owned.descriptor.leases == 0


def test_e4_misuse_that_shows_in_poll_is_a_number(driver: Driver, pair: Pair) -> None:
    """Poll has nobody to tell; the next operation and the engine go on."""
    owned, peer = pair
    wrong = owned.operation(codes.RECEIVE_INTO, buffer="not memory", expectant=True)
    right = owned.operation(codes.RECEIVE, size=10)
    driver.submit(wrong, right)
    peer.send(b"data")
    driver.finish(wrong, right)
    assert wrong.results == [-errno.EINVAL]
    assert right.received == b"data"


def test_make_of_a_number_without_a_socket(driver: Driver, pair: Pair) -> None:
    """Compiled calls act on the number; interpreted ones need the socket object."""
    owned, peer = pair
    op = make(codes.RECEIVE, owned.sock, size=10)
    op.descriptor = owned.descriptor
    if native.COMPILED:
        op.sock = None
    driver.submit(op)
    peer.send(b"x")
    driver.finish(op)
    assert op.received == b"x"
