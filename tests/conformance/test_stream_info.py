"""What a transport tells of itself: get_extra_info, state, repr, its type; and its contexts."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
from asyncio import trsock
from typing import Any

import pytest

from tests.loops import (
    HAS_IPV6,
    WINE,
    Recorder,
    end,
    handed_over,
    reset,
    run,
    tcp_pair,
    turns,
    until,
    wire,
)


def test_addresses_of_a_tcp_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        mine, theirs = left.getsockname(), left.getpeername()
        transport, _ = await both.create_connection(asyncio.Protocol, sock=left)
        assert transport.get_extra_info("peername") == theirs
        assert transport.get_extra_info("sockname") == mine
        right.close()
        transport.close()
        await turns()

    run(both, main())


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
def test_addresses_of_an_ipv6_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await both.create_server(factory, "::1", 0)
        address = server.sockets[0].getsockname()
        client = socket.create_connection(address[:2])
        await until(lambda: made and made[0].transport)
        transport = made[0].transport
        assert transport.get_extra_info("peername") == client.getsockname()
        assert transport.get_extra_info("sockname") == address
        assert len(transport.get_extra_info("peername")) == 4
        client.close()
        server.close()
        await made[0].ended()

    run(both, main())


def test_addresses_after_the_peer_has_left(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(tcp=True)
        theirs, mine = one.peer.getsockname(), one.peer.getpeername()
        reset(one.peer)
        await one.protocol.ended()
        await turns()
        assert one.transport.get_extra_info("peername") == theirs
        if not isinstance(both, asyncio.SelectorEventLoop):
            assert one.transport.get_extra_info("sockname") == mine
        await end(one)

    run(both, main())


def test_the_address_of_a_peer_that_leaves_at_once(both: asyncio.AbstractEventLoop) -> None:
    """A server wants to log who it was, even if they were gone before they were served."""
    if WINE:
        pytest.skip("Wine accepts no connection that was reset before")

    async def main() -> None:
        made: list[Recorder] = []
        names: list[Any] = []

        class Asking(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                names.append(transport.get_extra_info("peername"))
                made.append(self)

        server = await both.create_server(Asking, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        name = client.getsockname()
        reset(client)
        await until(lambda: made)
        await made[0].ended()
        assert names == [name]
        assert made[0].transport.get_extra_info("peername") == name
        server.close()

    run(both, main())


@pytest.mark.posix
def test_addresses_of_unix_connections(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        assert one.transport.get_extra_info("peername") == one.peer.getsockname() == ""
        assert one.transport.get_extra_info("sockname") == ""
        await end(one)

    run(both, main())


@pytest.mark.skipif(sys.platform != "linux", reason="names without files are Linux's own")
def test_an_abstract_name_is_given_as_bytes(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        name = f"\0noria-test-{id(both)}"
        made: list[Any] = []

        class Noting(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.append(transport)

        server = await both.create_unix_server(Noting, name)
        client, _ = await both.create_unix_connection(asyncio.Protocol, name)
        await until(lambda: made)
        assert client.get_extra_info("peername") == name.encode()
        assert made[0].get_extra_info("sockname") == name.encode()
        assert made[0].get_extra_info("peername") == ""
        client.close()
        made[0].close()
        server.close()
        await turns()

    run(both, main())


def test_the_socket_is_a_transport_socket(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(tcp=True)
        sock = one.transport.get_extra_info("socket")
        assert type(sock) is trsock.TransportSocket
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.getsockname() == one.peer.getpeername()
        assert sock.getpeername() == one.peer.getsockname()
        assert sock.gettimeout() == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        with pytest.raises(ValueError, match="timeout"):
            sock.settimeout(1)
        assert one.transport.get_extra_info("socket") is sock
        await end(one)
        assert sock.fileno() == -1
        assert one.transport.get_extra_info("socket") is sock

    run(both, main())


def test_the_socket_of_an_accepted_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Any] = []

        class Noting(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.append(transport)

        server = await both.create_server(Noting, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await until(lambda: made)
        sock = made[0].get_extra_info("socket")
        assert sock.getpeername() == client.getsockname()
        assert sock.type == socket.SOCK_STREAM
        assert not sock.get_inheritable()
        made[0].write(b"hello")
        await handed_over()
        assert client.recv(10) == b"hello"
        client.close()
        server.close()
        await turns()
        assert sock.fileno() == -1

    run(both, main())


def test_the_socket_asked_for_after_the_loss(both: asyncio.AbstractEventLoop) -> None:
    """Middleware asks at any time; it gets a closed socket and no surprise."""

    async def main() -> None:
        one = await wire()
        await end(one)
        assert one.transport.get_extra_info("socket").fileno() == -1

    run(both, main())


def test_unknown_names_give_the_default(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        assert one.transport.get_extra_info("sslcontext") is None
        assert one.transport.get_extra_info("cipher", "none") == "none"
        marker = object()
        assert one.transport.get_extra_info("whatever", marker) is marker
        await end(one)

    run(both, main())


@pytest.mark.parametrize("tcp", [True, False])
def test_tcp_nodelay_is_set_where_there_is_tcp(both: asyncio.AbstractEventLoop, tcp: bool) -> None:
    async def main() -> None:
        one = await wire(tcp=tcp)
        sock = one.transport.get_extra_info("socket")
        # asyncio looks at the protocol number, which on Windows is often left at 0.
        if tcp and (sock.proto or not isinstance(both, asyncio.SelectorEventLoop)):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        one.transport.write(b"works")
        assert await one.take(5) == b"works"
        await end(one)

    run(both, main())


def test_it_is_a_transport_of_asyncio(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        for cls in (
            asyncio.Transport,
            asyncio.ReadTransport,
            asyncio.WriteTransport,
            asyncio.BaseTransport,
        ):
            assert isinstance(one.transport, cls)
        assert not isinstance(one.transport, asyncio.DatagramTransport)
        methods = {name for name in dir(asyncio.Transport) if not name.startswith("_")}
        assert methods <= set(dir(one.transport))
        await end(one)

    run(both, main())


def test_repr_tells_the_state(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        fd = one.transport.get_extra_info("socket").fileno()
        text = repr(one.transport)
        assert text == f"<StreamTransport fd={fd} read=polling write=<idle, bufsize=0>>"
        one.transport.pause_reading()
        one.transport.write(bytes(2_000_000))
        size = one.transport.get_write_buffer_size()
        text = repr(one.transport)
        assert text == f"<StreamTransport fd={fd} read=idle write=<polling, bufsize={size}>>"
        one.transport.close()
        assert " closing " in repr(one.transport)
        one.transport.abort()
        await one.protocol.ended()
        await turns(1)
        assert " closed " in repr(one.transport)
        await end(one)

    run(loop, main())


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


class Marking(Recorder):
    """Notes the variable in each method, and sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.name = ""

    def note(self, method: str) -> None:
        """Note what the variable is."""
        self.seen.append((method, variable.get()))

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.note("made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.note("data")
        variable.set(data.decode())

    def eof_received(self) -> bool:
        self.note("eof")
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost")
        super().connection_lost(exc)


def test_l5_a_value_set_for_one_client_is_not_seen_by_another(
    both: asyncio.AbstractEventLoop,
) -> None:
    """House rule: each connection has a context of its own."""

    async def main() -> None:
        made: list[Marking] = []

        def factory() -> Marking:
            assert variable.get() == "server"
            made.append(Marking())
            return made[-1]

        variable.set("server")
        server = await both.create_server(factory, "127.0.0.1", 0)
        variable.set("changed since")
        clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(5)]
        await until(lambda: len(made) == 5)
        for _ in range(2):
            for number, client in enumerate(clients):
                client.send(b"client %d" % number)
            await turns(3)
        order = {client.getsockname(): f"client {n}" for n, client in enumerate(clients)}
        for client in clients:
            client.close()
        await asyncio.gather(*(protocol.ended() for protocol in made))
        for protocol in made:
            own = order[protocol.transport.get_extra_info("peername")]
            values = dict.fromkeys(value for _, value in protocol.seen)
            assert set(values) <= {"server", own}
            assert ("data", own) in protocol.seen[2:]
            assert protocol.seen[0] == ("made", "server")
        server.close()
        assert variable.get() == "changed since"

    run(both, main())


def test_l5_a_client_connection_has_the_context_of_its_making(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        variable.set("maker")
        one = await wire(Marking())
        variable.set("changed since")
        one.peer.send(b"by data_received")
        await until(lambda: one.protocol.data)
        one.peer.send(b"again")
        await until(lambda: len(one.protocol.chunks) == 2)
        one.peer.shutdown(socket.SHUT_WR)
        await one.protocol.ended()
        assert one.protocol.seen[0] == ("made", "maker")
        assert one.protocol.seen[1:4] == [
            ("data", "maker"),
            ("data", "by data_received"),
            ("eof", "again"),
        ]
        assert variable.get() == "changed since"
        await end(one)

    run(both, main())


def test_l5_held_data_comes_in_the_same_context(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio goes over to the context of whoever calls resume_reading."""

    class Pausing(Marking):
        def data_received(self, data: bytes) -> None:
            super().data_received(data[:4])
            self.transport.pause_reading()
            variable.get()

    async def main() -> None:
        variable.set("maker")
        one = await wire(Pausing(), tcp=True)
        one.peer.send(b"first".ljust(12_000))
        await until(lambda: one.protocol.chunks)
        one.peer.send(b"second".ljust(200_000))
        variable.set("changed since")
        while sum(map(len, one.protocol.chunks)) < 8:
            one.transport.resume_reading()
            await turns(1)
        assert one.protocol.seen[1:3] == [
            ("data", "maker"),
            ("data", "firs"),  # codespell:ignore firs
        ]
        await end(one)

    run(loop, main())


def test_l5_buffered_protocols_have_it_too(both: asyncio.AbstractEventLoop) -> None:
    seen: list[tuple[str, str]] = []

    class Buffered(asyncio.BufferedProtocol):
        memory = bytearray(100)

        def get_buffer(self, sizehint: int) -> bytearray:
            seen.append(("get", variable.get()))
            variable.set("set by get_buffer")
            return self.memory

        def buffer_updated(self, nbytes: int) -> None:
            seen.append(("updated", variable.get()))

    async def main() -> None:
        variable.set("maker")
        one = await wire(Buffered())
        variable.set("changed since")
        one.peer.send(b"x")
        await until(lambda: len(seen) == 2)
        assert seen == [("get", "maker"), ("updated", "set by get_buffer")]
        await end(one)
        assert variable.get() == "changed since"

    run(both, main())
