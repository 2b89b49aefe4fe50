"""create_datagram_endpoint: what it makes, what it refuses, and with which words."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.datagrams import HOST, Echo, Listener, end, endpoint, name_of, plain, unix_pair
from tests.loops import POSIX, run, turns, until

if TYPE_CHECKING:
    from pathlib import Path

Loop = asyncio.AbstractEventLoop
NEW = sys.version_info >= (3, 13)
LINUX = sys.platform.startswith("linux")
BROADCAST = "127.255.255.255"
"""What Linux takes for the broadcast address of the loopback interface."""


def test_an_echo_over_ipv4(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        client = await endpoint(remote_addr=name_of(server))
        client.transport.sendto(b"hello")
        await until(lambda: client.got)
        assert client.got == [(b"hello", name_of(server))]
        assert server.got == [(b"hello", name_of(client))]
        await end(server, client)

    run(both, main())


def test_an_echo_over_ipv6(both: Loop) -> None:
    async def main() -> None:
        try:
            server = await endpoint(Echo(), local_addr=("::1", 0))
        except OSError as exc:
            pytest.skip(f"no IPv6 here: {exc}")
        client = await endpoint(remote_addr=name_of(server)[:2])
        client.transport.sendto(b"hello")
        await until(lambda: client.got)
        assert client.got == [(b"hello", name_of(server))]
        assert len(client.got[0][1]) == 4
        await end(server, client)

    run(both, main())


def test_a_name_is_resolved(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint(Echo(), local_addr=("localhost", 0), family=socket.AF_INET)
        client = await endpoint(remote_addr=("localhost", name_of(server)[1]), family=2)
        client.transport.sendto(b"hello")
        await until(lambda: client.got)
        await end(server, client)

    run(both, main())


def test_both_addresses(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        with plain() as free:
            local = free.getsockname()
        client = await endpoint(local_addr=local, remote_addr=name_of(server))
        assert name_of(client) == local
        client.transport.sendto(b"hello")
        await until(lambda: client.got)
        assert server.got == [(b"hello", local)]
        await end(server, client)

    run(both, main())


def test_a_family_alone(both: Loop) -> None:
    """Neither bound nor connected: it gets a port when it first sends."""

    async def main() -> None:
        server = await endpoint(Echo())
        client = await endpoint(family=socket.AF_INET)
        client.transport.sendto(b"hello", name_of(server))
        await until(lambda: client.got)
        await end(server, client)

    if not POSIX:
        pytest.skip("Windows receives only on bound sockets")
    run(both, main())


@pytest.mark.parametrize("connected", [False, True])
def test_a_socket_of_the_user(both: Loop, connected: bool) -> None:
    async def main() -> None:
        server = await endpoint(Echo())
        sock = plain(connect=name_of(server) if connected else None)
        sock.setblocking(True)
        client = await endpoint(sock=sock)
        assert sock.gettimeout() == 0
        client.transport.sendto(b"hello", None if connected else name_of(server))
        await until(lambda: client.got)
        assert client.transport.get_extra_info("socket").fileno() == sock.fileno()
        await end(server, client)
        assert sock.fileno() == -1, "closed through its object"

    run(both, main())


def test_information(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint()
        transport = server.transport
        client = await endpoint(remote_addr=name_of(server))
        assert transport.get_extra_info("peername", "default") is None
        assert client.transport.get_extra_info("peername") == name_of(server)
        assert name_of(server)[0] == HOST
        wrapped = transport.get_extra_info("socket")
        assert wrapped.type == socket.SOCK_DGRAM
        assert wrapped.getsockname() == name_of(server)
        assert transport.get_extra_info("nothing", 5) == 5
        assert transport.get_protocol() is server
        assert not transport.is_closing()
        assert "DatagramTransport" in repr(transport)
        assert f"fd={wrapped.fileno()} read=polling write=<idle, bufsize=0>" in repr(transport)
        assert isinstance(transport, asyncio.DatagramTransport if NEW else asyncio.Transport)
        assert isinstance(transport, asyncio.Transport)
        await end(server, client)
        assert "closed" in repr(transport)

    run(both, main())


def test_broadcast(both: Loop) -> None:
    async def main() -> None:
        sender = await endpoint(local_addr=(HOST, 0), allow_broadcast=True)
        sock = sender.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        other = await endpoint()
        assert not other.transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_BROADCAST
        )
        await end(sender, other)

    run(both, main())


@pytest.mark.skipif(not LINUX, reason="elsewhere the loopback interface broadcasts nothing")
def test_what_is_broadcast_arrives(both: Loop) -> None:
    async def main() -> None:
        receivers = [await endpoint(local_addr=(host, 0)) for host in (BROADCAST, "0.0.0.0")]
        sender = await endpoint(local_addr=(HOST, 0), allow_broadcast=True)
        fixed = await endpoint(
            local_addr=(HOST, 0),
            remote_addr=(BROADCAST, name_of(receivers[0])[1]),
            allow_broadcast=True,
        )
        fixed.transport.sendto(b"to its address")
        for receiver in receivers:
            sender.transport.sendto(b"to all", (BROADCAST, name_of(receiver)[1]))
        await until(lambda: len(receivers[0].got) == 2 and receivers[1].got)
        assert receivers[0].got == [
            (b"to its address", name_of(fixed)),
            (b"to all", name_of(sender)),
        ]
        assert receivers[1].got == [(b"to all", name_of(sender))]
        assert not sender.errors + fixed.errors
        await end(sender, fixed, *receivers)

    run(both, main())


@pytest.mark.skipif(not LINUX, reason="elsewhere the loopback interface broadcasts nothing")
def test_without_being_allowed_to_nothing_is_broadcast(both: Loop) -> None:
    async def main() -> None:
        receiver = await endpoint(local_addr=(BROADCAST, 0))
        sender = await endpoint()
        sender.transport.sendto(b"to all", name_of(receiver))
        (error,) = sender.errors
        assert type(error) is PermissionError
        assert error.errno == errno.EACCES
        assert not sender.transport.is_closing()
        with pytest.raises(PermissionError):
            await endpoint(remote_addr=name_of(receiver))
        await turns(2)
        assert not receiver.got
        await end(sender, receiver)

    run(both, main())


def test_broadcast_with_a_remote_address_does_not_connect(both: Loop) -> None:
    """Or the answers, which come from other addresses, would be lost."""

    async def main() -> None:
        server = await endpoint()
        client = await endpoint(remote_addr=name_of(server), allow_broadcast=True)
        assert client.transport.get_extra_info("peername") is None
        client.transport.sendto(b"a")
        client.transport.sendto(b"b", name_of(server))
        client.transport.sendto(b"c", (HOST, name_of(server)[1]))
        await until(lambda: len(server.got) == 3)
        assert server.data == [b"a", b"b", b"c"]
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.transport.sendto(b"d", (HOST, 1))
        with plain() as other:
            other.sendto(b"from elsewhere", (HOST, server.got[0][1][1]))
            await until(lambda: client.got)
        await end(server, client)

    run(both, main())


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")
def test_reuse_port(both: Loop) -> None:
    async def main() -> None:
        first = await endpoint(local_addr=(HOST, 0), reuse_port=True)
        second = await endpoint(local_addr=name_of(first), reuse_port=True)
        assert name_of(first) == name_of(second)
        with pytest.raises(OSError, match="in use"):
            await endpoint(local_addr=name_of(first))
        await end(first, second)

    run(both, main())


def test_reuse_port_where_there_is_none(both: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)

    async def main() -> None:
        with pytest.raises(ValueError, match="reuse_port not supported by socket module"):
            await endpoint(local_addr=(HOST, 0), reuse_port=True)

    run(both, main())


def test_refusals(both: Loop) -> None:
    """asyncio's types and words, in its order."""

    async def refuse(kind: Any, words: str, **options: Any) -> None:
        with pytest.raises(kind, match=words):
            await both.create_datagram_endpoint(Listener, **options)

    async def main() -> None:
        await refuse(ValueError, "unexpected address family")
        await refuse(ValueError, "unexpected address family", reuse_port=True)
        await refuse(TypeError, "2-tuple is expected", local_addr="text")
        await refuse(TypeError, "2-tuple is expected", local_addr=(HOST, 0, 0))
        await refuse(TypeError, "2-tuple is expected", remote_addr=[HOST, 0])
        await refuse(
            ValueError,
            "can not get address information",
            local_addr=("::1", 0),
            remote_addr=(HOST, 5),
        )
        await refuse(socket.gaierror, "Errno", local_addr=("no.such.host.invalid.", 0))
        with plain() as sock:
            await refuse(
                ValueError,
                r"socket modifier keyword arguments can not be used when sock is specified. "
                r"\(local_addr=\('127.0.0.1', 0\), family=2, reuse_port=True\)",
                sock=sock,
                local_addr=(HOST, 0),
                family=2,
                proto=0,
                reuse_port=True,
            )
            assert sock.fileno() != -1
        kind = "datagram socket" if NEW else "UDP Socket"
        with socket.socket() as stream:
            await refuse(ValueError, f"A {kind} was expected, got <socket", sock=stream)
            await refuse(ValueError, f"A {kind} was expected", sock=stream, family=2)
        if hasattr(socket, "AF_UNIX"):
            for path in (b"bytes", (HOST, 0), 5):
                await refuse(
                    TypeError, "string is expected", local_addr=path, family=socket.AF_UNIX
                )

    run(both, main())


def test_an_address_that_cannot_be_bound(both: Loop) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"Errno|WinError") as caught:
            await endpoint(local_addr=("240.0.0.1", 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL or not POSIX

    run(both, main())


@pytest.mark.posix
def test_the_first_error_is_raised(both: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next address is tried before."""
    infos = [
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("240.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("240.0.0.2", 0)),
    ]

    async def resolve(*_: Any, **__: Any) -> Any:
        return infos

    monkeypatch.setattr(both, "_ensure_resolved", resolve)

    async def main() -> None:
        with pytest.raises(OSError, match=r"Errno|WinError"):
            await endpoint(local_addr=("name", 0))
        infos.append((socket.AF_INET, socket.SOCK_DGRAM, 0, "", (HOST, 0)))
        made = await endpoint(local_addr=("name", 0))
        await end(made)

    run(both, main())


def test_a_factory_that_raises_leaves_nothing_open(loop: Loop) -> None:
    def fail() -> Any:
        raise LookupError("of the user")

    async def main() -> None:
        with pytest.raises(LookupError):
            await loop.create_datagram_endpoint(fail, local_addr=(HOST, 0))
        with plain() as sock:
            with pytest.raises(LookupError):
                await loop.create_datagram_endpoint(fail, sock=sock)
            assert sock.fileno() != -1, "it is the user's"

    run(loop, main())


def test_a_socket_that_is_used_already(loop: Loop) -> None:
    async def main() -> None:
        made = await endpoint()
        sock = made.transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(sock.fileno(), print)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await endpoint(sock=sock._sock)
        await end(made)

    run(loop, main())


def test_cancelling_it_closes_the_socket(both: Loop) -> None:
    async def main() -> None:
        sock = plain()
        task = asyncio.ensure_future(both.create_datagram_endpoint(Listener, sock=sock))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: sock.fileno() == -1)

    run(both, main())


def test_it_is_logged_in_debug_mode(both: Loop, caplog: pytest.LogCaptureFixture) -> None:
    both.set_debug(True)
    both.slow_callback_duration = 100

    async def main() -> None:
        with caplog.at_level(logging.DEBUG, "asyncio"):
            made = await endpoint()
            client = await endpoint(remote_addr=name_of(made))
        found = [record.getMessage() for record in caplog.records]
        assert any(text.startswith("Datagram endpoint local_addr=('127") for text in found)
        assert any(text.startswith("Datagram endpoint remote_addr=('127") for text in found)
        await end(made, client)

    run(both, main())


class Answering(Echo):
    """Sends back to whom has a name."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr is None:
            Listener.datagram_received(self, data, addr)
        else:
            super().datagram_received(data, addr)


@pytest.mark.posix
def test_unix_paths(both: Loop, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "server")
        server = await endpoint(Answering(), local_addr=path, family=socket.AF_UNIX)
        assert name_of(server) == path
        client = await endpoint(
            local_addr=str(tmp_path / "client"), remote_addr=path, family=socket.AF_UNIX
        )
        assert client.transport.get_extra_info("peername") == path
        client.transport.sendto(b"hello")
        await until(lambda: client.got)
        assert client.got == [(b"hello", path)]
        assert server.got == [(b"hello", str(tmp_path / "client"))]
        nameless = await endpoint(remote_addr=path, family=socket.AF_UNIX)
        nameless.transport.sendto(b"no name")
        await until(lambda: len(server.got) == 2 or server.errors)
        assert server.got[1] == (b"no name", None)
        await end(server, client, nameless)

    run(both, main())


@pytest.mark.posix
def test_a_stale_socket_file_is_replaced(both: Loop, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as old:
        old.bind(str(path))

    async def main() -> None:
        made = await endpoint(local_addr=str(path), family=socket.AF_UNIX)
        await end(made)
        (tmp_path / "file").write_text("not a socket")
        with pytest.raises(OSError, match=r"Errno|WinError"):
            await endpoint(local_addr=str(tmp_path / "file"), family=socket.AF_UNIX)
        assert (tmp_path / "file").read_text() == "not a socket"

    run(both, main())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux names abstract sockets")
def test_abstract_unix_addresses(both: Loop) -> None:
    async def main() -> None:
        name = f"\0noria-datagram-{os.getpid()}"
        server = await endpoint(Echo(), local_addr=name, family=socket.AF_UNIX)
        client = await endpoint(
            local_addr=name + "-client", remote_addr=name, family=socket.AF_UNIX
        )
        client.transport.sendto(b"hello")
        await until(lambda: client.got)
        assert client.got == [(b"hello", name.encode())]
        await end(server, client)

    run(both, main())


@pytest.mark.posix
def test_a_pair_of_unix_sockets_without_names(loop: Loop) -> None:
    """asyncio's own loop cannot send on it: it asks for an address, though there is a peer."""

    async def main() -> None:
        left, right = unix_pair()
        one = await endpoint(sock=left)
        one.transport.sendto(b"hello")
        assert right.recv(100) == b"hello"
        right.send(b"back")
        await until(lambda: one.got)
        assert one.got == [(b"back", None)]
        await end(one)
        right.close()

    run(loop, main())


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="netlink is Linux")
def test_netlink(both: Loop) -> None:
    """A family whose addresses only the socket module knows."""

    async def main() -> None:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
        sock.bind((0, 0))
        one = await endpoint(sock=sock)
        one.transport.sendto(b"\x11\0\0\0\x12\0\x01\x03\x01\0\0\0\0\0\0\0\0", (0, 0))
        await until(lambda: one.got)
        assert one.got[0][1] == (0, 0)
        await end(one)

    run(both, main())


@pytest.mark.skipif(not NEW, reason="asyncio takes them since 3.13")
@pytest.mark.skipif(not hasattr(socket, "SOCK_SEQPACKET"), reason="not on this system")
@pytest.mark.posix
def test_sockets_of_other_types(both: Loop) -> None:
    async def main() -> None:
        try:
            left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as exc:
            pytest.skip(f"no such sockets here: {exc}")
        one = await endpoint(sock=left)
        right.send(b"packet")
        await until(lambda: one.got)
        await end(one)
        right.close()

    run(both, main())


def test_it_is_a_coroutine_of_the_loop(loop: Loop) -> None:
    assert isinstance(loop, noria.Loop)
    assert asyncio.iscoroutinefunction(loop.create_datagram_endpoint)
