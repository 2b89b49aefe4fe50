"""The sock_* methods: what they give, what they refuse, and what they leave alone."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import (
    BROKEN,
    HAS_IPV6,
    POSIX,
    WINE,
    end,
    fill,
    pattern,
    reset,
    run,
    tells_resets,
    turns,
    until,
    unused_port,
    wire,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loops import Users


@pytest.fixture
def datagrams() -> Iterator[Users]:
    """Two UDP sockets that know nothing of each other."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(2):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            sockets.append(sock)
        yield sockets[0], sockets[1]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        sock.setblocking(False)
        yield sock


def test_what_is_there_comes_at_once(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        right.send(b"0123456789")
        assert await both.sock_recv(left, 4) == b"0123"
        memory = bytearray(4)
        assert await both.sock_recv_into(left, memory) == 4
        assert memory == b"4567"
        assert await both.sock_recv(left, 100) == b"89"
        await both.sock_sendall(left, b"answer")
        assert right.recv(10) == b"answer"

    run(both, main())


def test_what_is_not_there_is_waited_for(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        memory = bytearray(100)
        for start in (
            lambda: both.sock_recv(left, 100),
            lambda: both.sock_recv_into(left, memory),
        ):
            waiting = asyncio.ensure_future(start())
            await turns(2)
            assert not waiting.done()
            right.send(b"hello")
            assert await waiting in (b"hello", 5)
        assert memory[:5] == b"hello"

    run(both, main())


def test_the_end_of_the_stream_is_empty(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        waiting = asyncio.ensure_future(both.sock_recv(left, 10))
        await turns(1)
        right.close()
        assert await waiting == b""
        assert await both.sock_recv(left, 10) == b""
        assert await both.sock_recv_into(left, bytearray(10)) == 0

    run(both, main())


def test_nothing_that_is_asked_for_is_there_at_once(
    both: asyncio.AbstractEventLoop, users: Users, datagrams: Users
) -> None:
    async def main() -> None:
        datagrams[1].connect(datagrams[0].getsockname())
        for left, right in (users, datagrams):
            assert await both.sock_recv(left, 0) == b""
            assert await both.sock_recv_into(left, bytearray()) == 0
            right.send(b"still there")
            assert await both.sock_recv(left, 0) == b""
            assert await both.sock_recv_into(left, bytearray()) == 0
            assert await both.sock_recv(left, 100) == b"still there"

    run(both, main())


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_000])
def test_sendall_sends_all(both: asyncio.AbstractEventLoop, users: Users, size: int) -> None:
    async def main() -> None:
        left, right = users
        data = pattern(size)
        found = bytearray()

        async def drain() -> None:
            while len(found) < size:
                found.extend(await both.sock_recv(right, 50_000))

        for kind in (bytes, bytearray, memoryview):
            found.clear()
            draining = asyncio.ensure_future(drain())
            assert await both.sock_sendall(left, kind(data)) is None  # type: ignore[func-returns-value] # None is the point
            await draining
            assert found == data

    run(both, main())


def test_sendall_of_larger_items(loop: asyncio.AbstractEventLoop, users: Users) -> None:
    """asyncio takes the number of items for that of bytes, and loses some."""

    async def main() -> None:
        left, right = users
        numbers = array.array("I", range(200_000))
        sending = asyncio.ensure_future(loop.sock_sendall(left, memoryview(numbers)))
        found = bytearray()
        while len(found) < 800_000:
            found += await loop.sock_recv(right, 1 << 20)
        await sending
        assert found == numbers.tobytes()

    run(loop, main())


def test_recv_into_larger_items(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        numbers = array.array("I", [0] * 4)
        right.send(bytes(range(16)))
        assert await both.sock_recv_into(left, numbers) == 16
        assert numbers.tobytes() == bytes(range(16))

    run(both, main())


@tells_resets
def test_a_connection_that_breaks(both: asyncio.AbstractEventLoop, tcp_users: Users) -> None:
    async def main() -> None:
        left, right = tcp_users
        waiting = asyncio.ensure_future(both.sock_recv(left, 10))
        await turns(1)
        reset(right)
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(BrokenPipeError if POSIX else BROKEN):
            await both.sock_sendall(left, b"x")

    run(both, main())


def test_a_connection_that_breaks_while_sending(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    async def main() -> None:
        left, right = users
        sending = asyncio.ensure_future(both.sock_sendall(left, bytes(3_000_000)))
        await turns(1)
        right.close()
        with pytest.raises(BROKEN):
            await sending

    run(both, main())


def test_datagrams(both: asyncio.AbstractEventLoop, datagrams: Users) -> None:
    async def main() -> None:
        one, two = datagrams
        names = one.getsockname(), two.getsockname()
        waiting = asyncio.ensure_future(both.sock_recvfrom(two, 100))
        await turns(1)
        assert await both.sock_sendto(one, b"hello", names[1]) == 5
        assert await waiting == (b"hello", names[0])
        memory = bytearray(10)
        waiting_into = asyncio.ensure_future(both.sock_recvfrom_into(one, memory))
        await turns(1)
        await both.sock_sendto(two, b"0123456", names[0])
        assert await waiting_into == (7, names[1])
        assert memory[:7] == b"0123456"
        await both.sock_sendto(two, b"89", names[0])
        if POSIX:
            assert await both.sock_recvfrom_into(one, memory, 1) == (1, names[1])
        else:  # what does not fit is lost here too, and told
            with pytest.raises(OSError, match=str(errno.EMSGSIZE)):
                await both.sock_recvfrom_into(one, memory, 1)
        assert memory[:1] == b"8"
        await both.sock_sendto(two, b"", names[0])
        assert await both.sock_recvfrom(one, 10) == (b"", names[1])

    run(both, main())


def test_too_many_bytes_for_the_memory_are_an_error(
    both: asyncio.AbstractEventLoop, datagrams: Users
) -> None:
    async def main() -> None:
        one, two = datagrams
        await both.sock_sendto(two, b"x", one.getsockname())
        with pytest.raises(ValueError, match="nbytes"):
            await both.sock_recvfrom_into(one, bytearray(1), 5)

    run(both, main())


@pytest.mark.skipif(WINE, reason="Wine does not tell that a datagram was refused")
def test_a_refused_datagram(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                name = other.getsockname()
            await both.sock_connect(sock, name)
            await both.sock_sendall(sock, b"x")
            with pytest.raises(ConnectionRefusedError if POSIX else ConnectionResetError):
                await both.sock_recv(sock, 10)

    run(both, main())


def test_connecting(both: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            assert await both.sock_connect(sock, listener.getsockname()) is None  # type: ignore[func-returns-value] # None is the point
            accepted, address = await both.sock_accept(listener)
            with accepted:
                assert address == sock.getsockname()
                assert accepted.gettimeout() == 0
                assert not accepted.get_inheritable()
                await both.sock_sendall(sock, b"hello")
                assert await both.sock_recv(accepted, 10) == b"hello"

    run(both, main())


def test_connecting_by_name(both: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        port = listener.getsockname()[1]
        with socket.socket() as sock:
            sock.setblocking(False)
            await both.sock_connect(sock, ("localhost", port))
            assert sock.getpeername() == ("127.0.0.1", port)

    run(both, main())


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
def test_connecting_over_ipv6(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with (
            socket.create_server(("::1", 0), family=socket.AF_INET6) as server,
            socket.socket(socket.AF_INET6) as sock,
        ):
            server.setblocking(False)
            sock.setblocking(False)
            await both.sock_connect(sock, server.getsockname())
            accepted, address = await both.sock_accept(server)
            accepted.close()
            assert address == sock.getsockname()

    run(both, main())


def test_a_refused_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        address = ("127.0.0.1", unused_port())
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await both.sock_connect(sock, address)

    run(both, main())


@pytest.mark.posix
def test_unix_sockets(both: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(path)
            server.listen()
            server.setblocking(False)
            client.setblocking(False)
            await both.sock_connect(client, path)
            accepted, address = await both.sock_accept(server)
            with accepted:
                assert address == ""
                await both.sock_sendall(accepted, b"hello")
                assert await both.sock_recv(client, 10) == b"hello"

    run(both, main())


@pytest.mark.posix
def test_a_full_backlog_of_a_unix_listener(loop: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    """There is nothing to wait for; asyncio takes it for a connection that was made."""

    async def main() -> None:
        path = str(tmp_path / "socket")
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(path)
            server.listen(1)
            failed = 0
            for _ in range(10):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                try:
                    await loop.sock_connect(client, path)
                except BlockingIOError:
                    failed += 1
                else:
                    assert client.getpeername() == path
            assert failed >= 7

    run(loop, main())


@pytest.mark.posix
def test_no_such_unix_listener(both: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with pytest.raises(FileNotFoundError):
                await both.sock_connect(client, str(tmp_path / "nobody"))

    run(both, main())


def test_accepting_many(both: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        address = listener.getsockname()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(address)) for _ in range(50)]
            names = []
            for _ in clients:
                accepted, name = await both.sock_accept(listener)
                accepted.close()
                names.append(name)
            assert names == [client.getsockname() for client in clients]
            waiting = asyncio.ensure_future(both.sock_accept(listener))
            await turns(2)
            assert not waiting.done()
            stack.enter_context(socket.create_connection(address))
            accepted, _ = await waiting
            accepted.close()

    run(both, main())


def test_both_directions_of_one_socket(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        size = 2_000_000
        data, other = pattern(size, 1), pattern(size, 2)

        async def receive(sock: socket.socket) -> bytes:
            found = bytearray()
            while len(found) < size:
                found += await both.sock_recv(sock, 30_000)
            return bytes(found)

        _, _, first, second = await asyncio.gather(
            both.sock_sendall(left, data),
            both.sock_sendall(right, other),
            receive(right),
            receive(left),
        )
        assert first == data
        assert second == other

    run(both, main())


def test_several_waiters_of_one_socket(loop: asyncio.AbstractEventLoop, users: Users) -> None:
    """asyncio forgets all but the last one."""

    async def main() -> None:
        left, right = users
        waiting = [asyncio.ensure_future(loop.sock_recv(left, 1)) for _ in range(5)]
        await turns(2)
        right.send(b"12345")
        assert sorted(await asyncio.gather(*waiting)) == [b"1", b"2", b"3", b"4", b"5"]

    run(loop, main())


def test_d3_a_socket_closed_while_somebody_waits(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """The peer sees the end at once; who waits is told nothing, as by asyncio; cancelling works."""

    async def main() -> None:
        left, right = users
        waiting = asyncio.ensure_future(loop.sock_recv(left, 10))
        await turns(2)
        left.close()
        assert right.recv(10) == b""
        await turns(2)
        waiting.cancel()
        with pytest.raises((asyncio.CancelledError, OSError)):
            await waiting

    run(loop, main())


@pytest.mark.posix
def test_d3_a_number_that_was_closed_and_is_another_file_now(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """Who still waits for the old file takes nothing from the new one."""

    async def main() -> None:
        left, _right = users
        number = left.fileno()
        waiting = asyncio.ensure_future(loop.sock_recv(left, 10))
        await turns(2)
        left.close()
        reader, writer = os.pipe()
        if reader != number:
            os.dup2(reader, number)
            os.close(reader)
        os.write(writer, b"not yours")
        await turns()
        waiting.cancel()
        with pytest.raises((asyncio.CancelledError, OSError)):
            await waiting
        assert os.read(number, 100) == b"not yours"
        os.close(number)
        os.close(writer)

    run(loop, main())


def test_d3_after_a_wait_the_peer_sees_the_end_of_a_closed_socket(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    async def main() -> None:
        left, right = users
        waiting = asyncio.ensure_future(both.sock_recv(left, 10))
        await turns(1)
        right.send(b"x")
        await waiting
        left.close()
        assert right.recv(10) == b""

    run(both, main())


def test_e11_a_chatty_socket_does_not_starve_the_others(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    async def main() -> None:
        left, right = users
        quiet, far = socket.socketpair()
        quiet.setblocking(False)
        ended = False

        async def chat() -> int:
            count = 0
            while not ended:
                with contextlib.suppress(BlockingIOError):
                    right.send(b"x" * 100)
                await both.sock_recv(left, 10)
                await asyncio.sleep(0)
                count += 1
                assert count < 100_000
            return count

        chatting = asyncio.ensure_future(chat())
        waiting = asyncio.ensure_future(both.sock_recv(quiet, 10))
        await asyncio.sleep(0.01)
        far.send(b"hello")
        with quiet, far:
            assert await waiting == b"hello"
            ended = True
            await chatting

    run(both, main())


def test_a_transport_and_a_users_socket_side_by_side(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        right.setblocking(False)
        one = await wire()
        with left, right:
            one.peer.send(b"transport")
            right.send(b"user")
            assert await both.sock_recv(left, 10) == b"user"
            await until(lambda: one.protocol.data == b"transport")
        await end(one)

    run(both, main())


@pytest.mark.skipif(not POSIX, reason="socket pairs are TCP connections on Windows")
def test_sending_waits_for_room(both: asyncio.AbstractEventLoop, users: Users) -> None:
    async def main() -> None:
        left, right = users
        fill(left)
        sending = asyncio.ensure_future(both.sock_sendall(left, b"behind"))
        await turns(2)
        assert not sending.done()
        while not sending.done():
            await both.sock_recv(right, 1 << 20)
        await sending

    run(both, main())
