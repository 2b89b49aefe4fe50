"""sock_sendfile over sockets of the user, held against asyncio."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import ssl
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.core.descriptor import Descriptor
from tests.driver import Driver, Owned, drain, fill
from tests.loops import end, reset, run, tells_resets, turns, wire
from tests.loops import fill as fill_socket
from tests.sendfile import DATA, NATIVE, SIZE, by_the_kernel

if TYPE_CHECKING:
    from tests.loops import Users

Loop = asyncio.AbstractEventLoop


@pytest.fixture(params=["native", "pieces"])
def opened(request: pytest.FixtureRequest, file: Any) -> Any:
    """The file as it is, and as one that the kernel cannot send."""
    if request.param == "pieces":
        return io.BytesIO(DATA)
    if not NATIVE:
        pytest.skip("this system has no sendfile")
    return file


async def take(loop: Loop, sock: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        data = await loop.sock_recv(sock, 1 << 18)
        assert data, f"the stream ended after {len(found)} of {size} bytes"
        found += data
    return bytes(found)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_whole_file(
    both: Loop, opened: Any, users: Users, tcp_users: Users, *, tcp: bool
) -> None:
    left, right = tcp_users if tcp else users

    async def main() -> None:
        taking = asyncio.ensure_future(take(both, right, SIZE))
        assert await both.sock_sendfile(left, opened) == SIZE
        assert await taking == DATA
        assert opened.tell() == SIZE

    run(both, main())


@pytest.mark.parametrize(
    ("offset", "count", "sent"),
    [(0, 1, 1), (5, None, SIZE - 5), (1000, 2000, 2000), (SIZE - 10, 100, 10), (SIZE, 5, 0)],
)
def test_parts_of_a_file(
    both: Loop, opened: Any, users: Users, offset: int, count: int | None, sent: int
) -> None:
    left, right = users

    async def main() -> None:
        taking = asyncio.ensure_future(take(both, right, sent))
        assert await both.sock_sendfile(left, opened, offset, count) == sent
        assert await taking == DATA[offset : offset + sent]
        if sent:
            assert opened.tell() == offset + sent

    run(both, main())


def test_an_empty_file(both: Loop, users: Users) -> None:
    async def main() -> None:
        with tempfile.TemporaryFile() as empty:
            assert await both.sock_sendfile(users[0], empty) == 0
        assert await both.sock_sendfile(users[0], io.BytesIO()) == 0

    run(both, main())


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((0, 0), ValueError, r"count must be a positive integer \(got 0\)"),
        ((0, "1"), TypeError, r"count must be a positive integer \(got '1'\)"),
        ((-1, None), ValueError, r"offset must be a non-negative integer \(got -1\)"),
        (("1", None), TypeError, r"offset must be a non-negative integer \(got '1'\)"),
    ],
)
def test_arguments_are_checked(
    both: Loop, opened: Any, users: Users, arguments: Any, exception: Any, message: str
) -> None:
    with pytest.raises(exception, match=message):
        run(both, both.sock_sendfile(users[0], opened, *arguments))


def test_wrong_things_are_refused(both: Loop, file: Any, users: Users) -> None:
    async def main() -> None:
        with (
            tempfile.TemporaryFile("w+") as text,
            pytest.raises(ValueError, match="file should be opened in binary mode"),
        ):
            await both.sock_sendfile(users[0], text)  # type: ignore[arg-type]
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                await both.sock_sendfile(datagrams, file)
        plain = socket.socket()
        plain.setblocking(False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with (
            context.wrap_socket(plain, do_handshake_on_connect=False) as wrapped,
            pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"),
        ):
            await both.sock_sendfile(wrapped, file)
        both.set_debug(True)
        users[0].setblocking(True)
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await both.sock_sendfile(users[0], file)

    run(both, main())


def test_without_fallback_a_file_needs_a_descriptor(both: Loop, users: Users) -> None:
    with pytest.raises(asyncio.SendfileNotAvailableError):
        run(both, both.sock_sendfile(users[0], io.BytesIO(b"x"), fallback=False))


def test_a_closed_socket_fails(both: Loop, file: Any) -> None:
    sock = socket.socket()
    sock.setblocking(False)
    sock.close()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
        run(both, both.sock_sendfile(sock, file))
    assert caught.value.errno == errno.EBADF


def test_a_socket_that_is_not_connected_fails(both: Loop, opened: Any) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
            run(both, both.sock_sendfile(sock, opened))
        assert caught.value.errno in {errno.EPIPE, errno.ENOTCONN, errno.EDESTADDRREQ}


def test_the_socket_of_a_transport_is_refused(both: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        sock = one.transport.get_extra_info("socket")._sock
        with pytest.raises(RuntimeError, match="is used by transport"):
            await both.sock_sendfile(sock, file)
        await end(one)

    run(both, main())


@tells_resets
def test_a_peer_that_resets_ends_it(both: Loop, opened: Any, tcp_users: Users) -> None:
    left, right = tcp_users
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def main() -> None:
        sending = asyncio.ensure_future(both.sock_sendfile(left, opened))
        await take(both, right, 1000)
        reset(right)
        with pytest.raises(ConnectionError):
            await sending
        assert opened.tell() < SIZE

    run(both, main())


def test_cancelling_leaves_the_position_behind_what_was_sent(
    loop: Loop, opened: Any, users: Users
) -> None:
    left, right = users

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(left, opened))
        got = await take(loop, right, 1000)
        await turns(3)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        left.shutdown(socket.SHUT_WR)
        while data := await loop.sock_recv(right, 1 << 18):
            got += data
        assert got == DATA[: len(got)]
        if isinstance(opened, io.BytesIO):
            assert opened.tell() <= len(got), "the last piece may have gone out in part"
        else:
            assert opened.tell() == len(got)

    run(loop, main())


@by_the_kernel
def test_d3_a_socket_that_is_closed_meanwhile_fails(loop: Loop, file: Any) -> None:
    """And what gets its number next is not written to."""
    left, right = socket.socketpair()
    left.setblocking(False)
    fd = left.fileno()

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
        await turns(2)
        assert not sending.done()
        left.close()
        with tempfile.TemporaryFile() as other:
            assert other.fileno() == fd
            right.close()
            with pytest.raises(OSError):  # noqa: PT011 - the error of whatever notices first
                await loop.sock_sendfile(left, file)
            sending.cancel()
            await asyncio.wait([sending])
            assert os.fstat(fd).st_size == 0

    run(loop, main())


# -- the operation --------------------------------------------------------------------------


def digits() -> Descriptor:
    """A file of ten bytes, read to its end."""
    with tempfile.TemporaryFile() as made:
        made.write(b"0123456789")
        made.flush()
        return Descriptor(os.dup(made.fileno()))


@by_the_kernel
def test_the_operation_waits_for_room(driver: Driver, pair: tuple[Owned, socket.socket]) -> None:
    owned, peer = pair
    held = digits()
    filled = fill(owned.sock)
    op = owned.operation(codes.SEND_FILE, buffer=held, offset=2, size=5)
    assert not driver.submit(op)
    assert driver.settle_down() == 0
    assert owned.descriptor.leases == 1
    received = b""
    while not op.events:
        received += drain(peer)
        driver.poll(0.001)
    received += drain(peer)
    assert op.results == [5]
    assert received[filled:] == b"23456"
    assert owned.descriptor.leases == 0
    held.close()


@by_the_kernel
def test_the_operation_can_be_cancelled(driver: Driver, pair: tuple[Owned, socket.socket]) -> None:
    owned, peer = pair
    held = digits()
    filled = fill(owned.sock)
    op = owned.operation(codes.SEND_FILE, buffer=held, size=5)
    assert not driver.submit(op)
    driver.engine.cancel(op)
    driver.finish(op)
    assert op.results == [-errno.ECANCELED]
    assert len(drain(peer)) == filled
    assert os.lseek(held.fd, 0, os.SEEK_CUR) == 10
    held.close()


def test_other_writes_of_the_user_may_wait_beside_it(loop: Loop, opened: Any, users: Users) -> None:
    left, right = users

    async def main() -> None:
        before = fill_socket(left)
        sending = asyncio.ensure_future(loop.sock_sendfile(left, opened, 0, 10))
        await turns(1)
        writing = asyncio.ensure_future(loop.sock_sendall(left, b"abc"))
        await turns(1)
        got = await take(loop, right, before + 13)
        assert await sending == 10
        await writing
        assert sorted(got[before:]) == sorted(DATA[:10] + b"abc")

    run(loop, main())
