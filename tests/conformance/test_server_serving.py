"""Server: starting, serving, closing and waiting, as the installed asyncio has it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from typing import Any

import pytest

from tests.loops import (
    HAS_IPV6,
    Recorder,
    Reports,
    reset,
    run,
    skip_asyncio_on_wine,
    turns,
    until,
    unused_port,
)

LOOPBACK = "127.0.0.1"


class Guests(list[Recorder]):
    """Makes the protocols of a server and keeps them."""

    def __call__(self) -> Recorder:
        """The factory."""
        self.append(Recorder())
        return self[-1]

    @property
    def arrived(self) -> int:
        """How many have a transport; asyncio makes the protocol some turns before."""
        return sum(protocol.transport is not None for protocol in self)

    async def leave(self) -> None:
        """End all connections."""
        for protocol in self:
            if protocol.transport is not None:
                protocol.transport.abort()
        for protocol in self:
            await protocol.ended()
        await turns(1)


def address_of(server: asyncio.Server) -> tuple[str, int]:
    """Where a server listens."""
    name: tuple[str, int] = server.sockets[0].getsockname()[:2]
    return name


async def refused(address: Any) -> bool:
    """Whether nobody listens there."""
    try:
        _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return True
    writer.close()
    await writer.wait_closed()
    return False


def test_it_serves(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0)
        assert isinstance(server, asyncio.Server)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.is_serving()
        assert server.get_loop() is both
        with socket.create_connection(address_of(server)) as client:
            client.send(b"hello")
            await until(lambda: guests and guests[0].data == b"hello")
            guests[0].transport.write(b"answer")
            await turns(1)
            assert client.recv(10) == b"answer"
        await guests[0].ended()
        address = address_of(server)
        server.close()
        assert not server.is_serving()
        await server.wait_closed()
        assert await refused(address)

    run(both, main())


def test_bytes_sent_with_the_connection(both: asyncio.AbstractEventLoop) -> None:
    """They are there before the connection is accepted."""

    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0)
        with socket.create_connection(address_of(server)) as client:
            client.send(b"early")
            client.shutdown(socket.SHUT_WR)
            await until(lambda: guests and "lost" in guests[0].told)
        assert guests[0].events == ["made", b"early", "eof", "lost"]
        server.close()
        await turns(1)

    run(both, main())


def test_it_does_not_serve_before_it_is_started(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0, start_serving=False)
        assert not server.is_serving()
        address = address_of(server)
        assert await refused(address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        assert not await refused(address)
        await until(lambda: guests.arrived)
        await guests.leave()
        server.close()
        assert await refused(address)

    run(both, main())


def test_a_server_that_never_served_is_closed(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, LOOPBACK, 0, start_serving=False)
        server.close()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()
        assert server.sockets == ()

    run(both, main())


def test_serve_forever_until_it_is_cancelled(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0, start_serving=False)
        address = address_of(server)
        task = asyncio.ensure_future(server.serve_forever())
        await turns(1)
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="is already being awaited"):
            await server.serve_forever()
        assert not await refused(address)
        await until(lambda: guests.arrived)
        await guests.leave()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        assert await refused(address)
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(both, main())


def test_close_ends_serve_forever(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, LOOPBACK, 0)
        task = asyncio.ensure_future(server.serve_forever())
        await turns(1)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(both, main())


def test_as_a_context_manager(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await both.create_server(Recorder, LOOPBACK, 0) as server:
            assert server.is_serving()
            address = address_of(server)
        assert not server.is_serving()
        assert await refused(address)

    run(both, main())


def test_connections_outlive_the_server(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0)
        with socket.create_connection(address_of(server)) as client:
            await until(lambda: guests.arrived)
            server.close()
            await turns(2)
            client.send(b"still here")
            await until(lambda: guests[0].data == b"still here")
            waiting = asyncio.ensure_future(server.wait_closed())
            await turns(2)
            # Since 3.12.1 wait_closed waits for the connections too.
            assert waiting.done() is (sys.version_info < (3, 12, 1))
            await guests.leave()
            await asyncio.wait_for(waiting, 5)

    run(both, main())


def test_wait_closed_of_a_server_without_connections(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, LOOPBACK, 0)
        waiting = asyncio.ensure_future(server.wait_closed())
        await turns(2)
        assert waiting.done() is (sys.version_info[:3] == (3, 12, 0))
        server.close()
        await asyncio.wait_for(waiting, 5)

    run(both, main())


@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_its_clients_can_be_ended(loop: asyncio.AbstractEventLoop, method: str) -> None:
    """asyncio has it since 3.13, noria on every version."""

    async def main() -> None:
        guests = Guests()
        server: Any = await loop.create_server(guests, LOOPBACK, 0)
        clients = [socket.create_connection(address_of(server)) for _ in range(5)]
        await until(lambda: guests.arrived == 5)
        for protocol in guests:
            protocol.transport.write(bytes(5_000_000))
        server.close()
        getattr(server, method)()
        assert all(protocol.transport.is_closing() for protocol in guests)
        await turns(2)
        for protocol in guests:
            assert ("lost" in protocol.told) is (method == "abort_clients")
        for client in clients:
            client.setblocking(False)
            received = 0
            while True:
                try:
                    data = client.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
                    continue
                if not data:
                    break
                received += len(data)
            client.close()
            assert (received == 5_000_000) is (method == "close_clients")
        await asyncio.wait_for(server.wait_closed(), 5)
        for protocol in guests:
            await protocol.ended()

    run(loop, main())


def test_several_sockets_of_one_server(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = Guests()
        hosts = [LOOPBACK, "::1"] if HAS_IPV6 else [LOOPBACK]
        server = await both.create_server(guests, hosts, 0)
        assert len(server.sockets) == len(hosts)
        clients = [socket.create_connection(sock.getsockname()[:2]) for sock in server.sockets]
        await until(lambda: guests.arrived == len(hosts))
        for client in clients:
            client.close()
        await guests.leave()
        numbers = [sock.fileno() for sock in server.sockets]
        assert all(number >= 0 for number in numbers)
        server.close()
        assert server.sockets == ()
        await turns(1)

    run(both, main())


@pytest.mark.parametrize("host", ["", None])
def test_every_interface(both: asyncio.AbstractEventLoop, host: str | None) -> None:
    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, host, unused_port())
        families = {sock.family for sock in server.sockets}
        assert socket.AF_INET in families
        port = server.sockets[0].getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            await until(lambda: guests.arrived)
            await guests.leave()
        server.close()
        await turns(1)

    run(both, main())


def test_a_socket_of_the_user(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = Guests()
        sock = socket.socket()
        sock.bind((LOOPBACK, 0))
        server = await both.create_server(guests, sock=sock)
        with socket.create_connection(sock.getsockname()):
            await until(lambda: guests.arrived)
            await guests.leave()
        server.close()
        await turns(1)
        assert sock.fileno() == -1

    run(both, main())


def test_d3_a_listening_socket_that_its_user_closes(loop: asyncio.AbstractEventLoop) -> None:
    """Its number stays with the server until that is closed; nobody else's file is touched."""

    async def main() -> None:
        sock = socket.socket()
        sock.bind((LOOPBACK, 0))
        server = await loop.create_server(Recorder, sock=sock)
        number = sock.fileno()
        sock.close()
        others = socket.socketpair()
        assert number not in {other.fileno() for other in others}
        server.close()
        await turns(2)
        assert sock.fileno() == -1
        others[0].send(b"untouched")
        assert others[1].recv(100) == b"untouched"
        for other in others:
            other.close()

    run(loop, main())


def test_contradictory_arguments(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            for arguments, message in (
                ({}, "Neither host/port nor sock were specified"),
                ({"sock": datagram}, "Stream Socket was expected"),
                ({"host": LOOPBACK, "port": 0, "sock": sock}, "can not be specified at the same"),
                (
                    {"host": LOOPBACK, "port": 0, "ssl_handshake_timeout": 1},
                    "only meaningful with ssl",
                ),
            ):
                with pytest.raises(ValueError, match=message):
                    await both.create_server(Recorder, **arguments)
            with pytest.raises(TypeError, match="ssl argument must be"):
                await both.create_server(Recorder, LOOPBACK, 0, ssl=True)

    run(both, main())


def test_an_address_in_use(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, LOOPBACK, 0)
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            await both.create_server(Recorder, *address_of(server))
        assert caught.value.errno == errno.EADDRINUSE
        server.close()
        await turns(1)

    run(both, main())


def test_an_address_that_is_not_ours(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"could not bind on any address|attempting to bind"):
            await both.create_server(Recorder, "192.0.2.1", 0)

    run(both, main())


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")
def test_a_port_is_shared(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        guests = [Guests(), Guests()]
        first = await both.create_server(guests[0], LOOPBACK, 0, reuse_port=True)
        second = await both.create_server(guests[1], *address_of(first), reuse_port=True)
        clients = [socket.create_connection(address_of(first)) for _ in range(40)]
        await until(lambda: guests[0].arrived + guests[1].arrived == 40)
        assert guests[0], "the kernel shares connections out at random"
        assert guests[1]
        for client in clients:
            client.close()
        for some in guests:
            await some.leave()
        first.close()
        second.close()
        await turns(1)

    run(both, main())


@pytest.mark.parametrize("keep_alive", [True, None])
def test_options_of_the_listening_socket(
    loop: asyncio.AbstractEventLoop, keep_alive: bool | None
) -> None:
    async def main() -> None:
        server: Any = await loop.create_server(  # type: ignore[call-overload] # newer than the stubs
            Recorder, LOOPBACK, 0, reuse_address=True, keep_alive=keep_alive
        )
        (sock,) = server.sockets
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        value = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert bool(value) is bool(keep_alive)
        server.close()
        await turns(1)

    run(loop, main())


@pytest.mark.parametrize("when", ["factory", "connection_made", "data_received"])
def test_a_server_closed_by_one_of_its_connections(
    loop: asyncio.AbstractEventLoop, when: str
) -> None:
    """While more of them are waiting to be accepted."""

    async def main() -> None:
        guests = Guests()

        class Closing(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                if when == "connection_made":
                    server.close()

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if when == "data_received":
                    server.close()

        def factory() -> Recorder:
            if when == "factory":
                server.close()
            guests.append(Closing())
            return guests[-1]

        server = await loop.create_server(factory, LOOPBACK, 0)
        clients = [socket.create_connection(address_of(server)) for _ in range(5)]
        for client in clients:
            client.send(b"x")
        await until(lambda: not server.is_serving())
        await turns()
        for client in clients:
            client.close()
        for protocol in guests:
            if protocol.transport is not None:
                await protocol.ended()
        await turns(1)

    run(loop, main())


def test_t4_a_factory_that_fails_ends_that_connection_only(
    loop: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    """Silently, as by asyncio, which tells in debug mode, but leaves closing to the collector."""

    async def main() -> None:
        guests = Guests()
        failing = True

        def factory() -> Recorder:
            if failing:
                raise ValueError("of the user")
            return guests()

        server = await loop.create_server(factory, LOOPBACK, 0)
        for debug in (False, True):
            loop.set_debug(debug)
            with socket.create_connection(address_of(server)) as client:
                client.setblocking(False)
                await until(lambda one=client: is_ended(one))  # type: ignore[misc] # its default
            await turns(1)
            taken = reports.take()
            assert len(taken) == debug
            if debug:
                assert "Error on transport creation" in taken[0]["message"]
                assert isinstance(taken[0]["exception"], ValueError)
        loop.set_debug(False)
        failing = False
        with socket.create_connection(address_of(server)):
            await until(lambda: guests.arrived)
            await guests.leave()
        server.close()
        await turns(1)

    run(loop, main())


def is_ended(sock: socket.socket) -> bool:
    """Whether the other end has closed."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_connections_that_are_gone_before_they_are_accepted(
    both: asyncio.AbstractEventLoop,
) -> None:
    skip_asyncio_on_wine(both)

    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0)
        for _ in range(20):
            reset(socket.create_connection(address_of(server)))
        with socket.create_connection(address_of(server)) as client:
            client.send(b"still served")
            await until(lambda: guests and guests[-1].data == b"still served")
        for protocol in guests:
            await protocol.ended()
        server.close()
        await turns(1)

    run(both, main())


def test_hundreds_at_once(both: asyncio.AbstractEventLoop) -> None:
    """More than are accepted in one turn."""

    async def main() -> None:
        guests = Guests()
        server = await both.create_server(guests, LOOPBACK, 0, backlog=400)
        clients = [socket.create_connection(address_of(server)) for _ in range(300)]
        await until(lambda: guests.arrived == 300)
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        await until(lambda: all(protocol.data for protocol in guests))
        assert sorted(int(bytes(protocol.data)) for protocol in guests) == list(range(300))
        for client in clients:
            client.close()
        for protocol in guests:
            await protocol.ended()
        server.close()
        await turns(1)

    run(both, main())


def test_closing_while_connections_come_in(both: asyncio.AbstractEventLoop) -> None:
    """Each is either served or refused, and none is forgotten."""

    async def main() -> None:
        for round_number in range(10):
            guests = Guests()
            server = await both.create_server(guests, LOOPBACK, 0)
            clients = []
            with contextlib.suppress(ConnectionRefusedError):
                for number in range(10):
                    clients.append(socket.create_connection(address_of(server)))
                    if number == round_number:
                        await asyncio.sleep(0)
                        break
            server.close()
            await turns(2)
            for client in clients:
                client.close()
            for protocol in guests:
                if protocol.transport is not None:
                    await protocol.ended()
        await turns(1)

    run(both, main())
