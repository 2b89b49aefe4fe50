"""Datagram transports: receiving, batches, addresses and errors."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from noria.limits import DATAGRAMS_COLLECTED_MAX, DATAGRAMS_PER_RECEIVE_MAX
from tests.datagrams import (
    HOST,
    Echo,
    Listener,
    arrivals,
    drain,
    end,
    endpoint,
    name_of,
    numbers,
    plain,
    unix_pair,
)
from tests.loops import POSIX, Reports, run, turns, until

if TYPE_CHECKING:
    from collections.abc import Callable

Loop = asyncio.AbstractEventLoop
NEW = sys.version_info >= (3, 13)


def client_has(client: Listener, count: int) -> Callable[[], bool]:
    """Whether so many datagrams have been received."""
    return lambda: len(client.got) == count


@pytest.mark.parametrize("count", [1, 2, 16, 17, 150])
def test_a_burst_arrives_whole_and_in_order(both: Loop, count: int) -> None:
    async def main() -> None:
        server = await endpoint()
        with plain(connect=name_of(server)) as peer:
            for data in numbers(count):
                peer.send(data)
            await until(lambda: len(server.got) == count)
            assert server.got == [(data, peer.getsockname()) for data in numbers(count)]
        await end(server)

    run(both, main())


@pytest.mark.parametrize("count", [1, 2, 16, 17, 150])
def test_a_burst_is_answered_in_order(both: Loop, count: int) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(count):
                peer.send(data)
            found = await arrivals(peer, count)
            assert found == numbers(count)
        await end(server)

    run(both, main())


def test_what_is_sent_in_a_batch_and_behind_it_keeps_its_order(both: Loop) -> None:
    """Several answers to each datagram, more than are collected, and some from a callback."""

    class Many(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            for part in range(DATAGRAMS_COLLECTED_MAX // 2 + 1):
                self.transport.sendto(b"%s.%d" % (data, part), addr)
            if len(self.got) == 5:
                asyncio.get_running_loop().call_soon(self.transport.sendto, b"later", addr)

    async def main() -> None:
        server = await endpoint(Many())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(5):
                peer.send(data)
            parts = range(DATAGRAMS_COLLECTED_MAX // 2 + 1)
            found = await arrivals(peer, 5 * len(parts) + 1)
            assert found[-1] == b"later"
            assert found[:-1] == [b"%s.%d" % (data, part) for data in numbers(5) for part in parts]
        assert server.transport.get_write_buffer_size() == 0
        await end(server)

    run(both, main())


def test_a_batch_is_answered_by_few_calls(loop: Any) -> None:
    """That is what batches are for: the attempts of the engine tell of receiving."""

    async def main() -> None:
        server = await endpoint(Echo())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(64):
                peer.send(data)
            before = loop._engine.statistics().attempts
            await until(lambda: len(server.got) == 64)
            attempts = loop._engine.statistics().attempts - before
            assert attempts <= 64 // DATAGRAMS_PER_RECEIVE_MAX + 2
        await end(server)

    run(loop, main())


def test_answers_to_many_peers_in_one_batch(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        peers = [plain(connect=name_of(server)) for _ in range(20)]
        for round_number in range(3):
            for number, peer in enumerate(peers):
                peer.send(b"%d %d" % (round_number, number))
        await until(lambda: len(server.got) == 60)
        await turns(1)
        for number, peer in enumerate(peers):
            assert drain(peer) == [b"%d %d" % (each, number) for each in range(3)]
            peer.close()
        await end(server)

    run(both, main())


def test_empty_datagrams(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        client = await endpoint(remote_addr=name_of(server))
        with plain(connect=name_of(server)) as peer:
            peer.send(b"")
            await until(lambda: server.got)
            assert server.data == [b""]
            await turns(1)
            assert drain(peer) == ([b""] if NEW else []), "sent since 3.13"
        for data in (b"", bytearray(), memoryview(b"")):
            client.transport.sendto(data)
        client.transport.sendto(b"end")
        await until(lambda: b"end" in server.data)
        assert server.data[1:] == [b""] * 3 * NEW + [b"end"]
        await end(server, client)

    run(both, main())


@pytest.mark.parametrize("size", [1, 1472, 20_000, 65_507])
def test_datagrams_of_any_size(both: Loop, size: int) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        client = await endpoint(remote_addr=name_of(server))
        data = bytes(range(256)) * (size // 256 + 1)
        sock = client.transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < size or not POSIX:
            pytest.skip("the system sends no datagram of that size")
        for number in range(3):
            client.transport.sendto(data[number : number + size])
            await until(client_has(client, number + 1))
        assert client.data == [data[number : number + size] for number in range(3)]
        await end(server, client)

    run(both, main())


@pytest.mark.posix
def test_a_unix_datagram_that_is_too_long_is_cut(both: Loop) -> None:
    """256 KiB are received at most, as in asyncio; the rest is lost (recv(2))."""

    async def main() -> None:
        left, right = unix_pair()
        right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_000_000)
        one = await endpoint(sock=left)
        data = bytes(range(250)) * 1200
        try:
            right.send(data)
        except OSError as exc:
            right.close()
            await end(one)
            pytest.skip(f"the system sends no datagram of that size: {exc}")
        right.send(b"next")
        await until(lambda: len(one.got) == 2)
        assert one.data == [data[: 256 * 1024], b"next"]
        await end(one)
        right.close()

    run(both, main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_d4_a_buffer_may_be_changed_after_sendto(both: Loop, kind: Any) -> None:
    class Sending(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            memory = bytearray(data)
            self.transport.sendto(kind(memory) if kind is not bytearray else memory, addr)
            memory[:] = b"changed"
            if kind is not memoryview:
                memory.clear()

    async def main() -> None:
        server = await endpoint(Sending())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(5):
                peer.send(data)
            await until(lambda: len(server.got) == 5)
            await turns(1)
            assert drain(peer) == numbers(5)
        await end(server)

    run(both, main())


@pytest.mark.parametrize("data", ["text", None, 5, [b"list"]])
def test_what_is_no_data_is_refused(both: Loop, data: Any) -> None:
    async def main() -> None:
        server = await endpoint()
        kind = type(data).__name__
        with pytest.raises(TypeError, match=f"must be a bytes-like object, not '{kind}'"):
            server.transport.sendto(data, (HOST, 5))
        assert not server.transport.is_closing()
        await end(server)

    run(both, main())


def test_sendto_on_a_connected_endpoint(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint()
        client = await endpoint(remote_addr=name_of(server))
        client.transport.sendto(b"a")
        client.transport.sendto(b"b", None)
        client.transport.sendto(b"c", name_of(server))
        with pytest.raises(ValueError, match=r"Invalid address: must be None or \('127.0.0.1', "):
            client.transport.sendto(b"d", (HOST, 1))
        await until(lambda: len(server.got) == 3)
        assert server.data == [b"a", b"b", b"c"]
        await end(server, client)

    run(both, main())


def test_a_connected_socket_of_the_user_ignores_addresses(both: Loop) -> None:
    """asyncio sends to the peer, wherever it was to go."""

    async def main() -> None:
        server = await endpoint()
        client = await endpoint(sock=plain(connect=name_of(server)))
        client.transport.sendto(b"a", (HOST, 1))
        await until(lambda: server.got)
        await end(server, client)

    run(both, main())


@pytest.mark.parametrize("host", ["localhost", "127.1", "127.0.0.1"])
def test_addresses_as_the_socket_module_takes_them(both: Loop, host: str) -> None:
    async def main() -> None:
        server = await endpoint()
        client = await endpoint()
        address = (host, name_of(server)[1])
        client.transport.sendto(b"a", address)
        client.transport.sendto(b"b", tuple(address))
        await until(lambda: len(server.got) == 2)
        await end(server, client)

    run(both, main())


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (None, TypeError),
        ("text", TypeError),
        ((HOST, 70000), OverflowError),
        ((HOST, "port"), TypeError),
    ],
)
def test_what_is_no_address_is_fatal(both: Loop, reports: Reports, address: Any, kind: Any) -> None:
    """As in asyncio: it is the program's mistake, and it ends the endpoint."""

    async def main() -> None:
        server = await endpoint()
        server.transport.sendto(b"data", address)
        assert isinstance(await server.ended(), kind)
        report = reports.take_one()
        assert report["message"] == "Fatal write error on datagram transport"
        assert report["transport"] is not None
        await turns(1)

    run(both, main())


def test_a_host_that_does_not_exist_is_told(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint()
        server.transport.sendto(b"data", ("no.such.host.invalid.", 5))
        (error,) = server.errors
        assert isinstance(error, socket.gaierror)
        assert not server.transport.is_closing()
        await end(server)

    run(both, main())


@pytest.mark.posix
def test_too_long_a_datagram_is_told_and_the_next_one_sent(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        client = await endpoint(remote_addr=name_of(server))
        client.transport.sendto(bytes(70_000))
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]
        client.transport.sendto(b"fits")
        await until(lambda: client.got)
        await end(server, client)

    run(both, main())


@pytest.mark.posix
def test_an_error_in_a_batch_concerns_one_datagram(both: Loop) -> None:
    class Sending(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(bytes(70_000) if data in {b"1", b"3"} else data, addr)

    async def main() -> None:
        server = await endpoint(Sending())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(6):
                peer.send(data)
            await until(lambda: len(server.got) == 6 and len(server.errors) == 2)
            assert [error.errno for error in server.errors] == [errno.EMSGSIZE] * 2
            await turns(1)
            assert drain(peer) == [b"0", b"2", b"4", b"5"]
        await end(server)

    run(both, main())


@pytest.mark.posix
def test_a_refused_port_is_told_and_the_endpoint_hears_on(both: Loop) -> None:
    async def main() -> None:
        with plain() as free:
            address = free.getsockname()
        client = await endpoint(remote_addr=address)
        for _ in range(3):
            client.errors.clear()
            client.transport.sendto(b"to nobody")
            await until(lambda: client.errors)
            assert isinstance(client.errors[0], ConnectionRefusedError)
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind(address)
            peer.setblocking(False)
            client.transport.sendto(b"hello")
            await until(lambda: client.errors or drain(peer) == [b"hello"])
            peer.sendto(b"back", name_of(client))
            await until(lambda: client.got)
        assert not client.transport.is_closing()
        await end(client)

    run(both, main())


def test_an_unconnected_endpoint_does_not_hear_of_refused_ports(both: Loop) -> None:
    async def main() -> None:
        with plain() as free:
            address = free.getsockname()
        server = await endpoint()
        for _ in range(3):
            server.transport.sendto(b"to nobody", address)
            await turns(1)
        with plain(connect=name_of(server)) as peer:
            peer.send(b"hello")
            await until(lambda: server.got)
        assert not server.errors or not POSIX
        await end(server)

    run(both, main())
