"""start_tls: on both sides, while writing is paused, with data on the way, and TLS over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

from tests.conformance.test_stream_buffered import Buffered
from tests.conformance.test_tls_data import Sized, each_side
from tests.loops import Recorder, Reports, Wire, end, pattern, run, turns, until, wire
from tests.tls import NAME, Peer, client_context, finish, secure, server_context, stop


class Upgraded:
    """A connection with plain beginnings."""

    def __init__(self, one: Wire, transport: Any, peer: Peer) -> None:
        self.wire = one
        self.transport = transport
        self.protocol = one.protocol
        self.peer = peer


async def upgrade(one: Wire, server_side: bool = False, **options: Any) -> Upgraded:
    """Do TLS on a plain connection."""
    here, there = client_context(), server_context()
    if server_side:
        here, there = server_context(), client_context()
    peer = Peer(one.peer, there, not server_side)
    shaking = asyncio.ensure_future(peer.handshake())
    try:
        transport = await asyncio.get_running_loop().start_tls(
            one.transport,
            one.protocol,
            here,
            server_side=server_side,
            server_hostname=None if server_side else NAME,
            **options,
        )
        await shaking
    finally:
        shaking.cancel()
        await asyncio.gather(shaking, return_exceptions=True)
    one.protocol.transport = transport
    return Upgraded(one, transport, peer)


@each_side
@pytest.mark.parametrize("kind", [Recorder, lambda: Sized(1000)], ids=["plain", "buffered"])
def test_a_connection_is_upgraded(
    loop: asyncio.AbstractEventLoop, server_side: bool, kind: Any
) -> None:
    async def main() -> None:
        one = await wire(kind(), tcp=True)
        one.transport.write(b"please")
        assert await one.take(6) == b"please"
        one.peer.sendall(b"go on")
        await until(lambda: one.protocol.data == b"go on")
        both = await upgrade(one, server_side)
        assert one.protocol.told == ["made"]
        data = pattern(100_000)
        both.transport.write(data)
        assert await both.peer.take(len(data)) == data
        sending = asyncio.ensure_future(both.peer.write(data))
        await until(lambda: len(one.protocol.data) >= len(data) + 5)
        await sending
        assert one.protocol.data == b"go on" + data
        both.transport.close()
        await both.peer.notify()
        assert await one.protocol.ended() is None
        assert one.protocol.told[-1] == "lost"
        await end(one)

    run(loop, main())


def test_an_upgrade_while_writing_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    """In asyncio an AssertionError when the transport resumes."""

    async def main() -> None:
        one = await wire()  # a socket pair, whose buffers do not grow
        before = pattern(8_000_000)
        one.transport.write(before)
        await until(lambda: "pause" in one.protocol.told)
        peer = Peer(one.peer, server_context(), True)
        upgrading = asyncio.ensure_future(
            loop.start_tls(one.transport, one.protocol, client_context(), server_hostname=NAME)
        )
        await turns()
        assert not upgrading.done()
        assert await one.take(len(before)) == before
        await peer.handshake()
        transport: Any = await upgrading
        await until(lambda: one.protocol.told == ["made", "pause", "resume"])
        after = pattern(5_000_000, 1)
        transport.write(after)
        assert await peer.take(len(after)) == after
        await until(lambda: one.protocol.told == ["made", "pause", "resume", "pause", "resume"])
        transport.abort()
        await one.protocol.ended()
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("paused", [False, True])
def test_the_first_record_may_be_there_already(
    loop: asyncio.AbstractEventLoop, paused: bool
) -> None:
    """The peer's hello waits in the kernel, or in the transport whose reading was paused."""

    async def main() -> None:
        one = await wire()
        if paused:
            one.transport.pause_reading()
        peer = Peer(one.peer, client_context(), False)
        with pytest.raises(ssl.SSLWantReadError):
            peer.object.do_handshake()
        await peer.flush()
        shaking = asyncio.ensure_future(peer.handshake())
        transport: Any = await loop.start_tls(
            one.transport, one.protocol, server_context(), server_side=True
        )
        await shaking
        await peer.write(b"hello")
        await until(lambda: one.protocol.data == b"hello")
        transport.abort()
        await one.protocol.ended()
        await end(one)

    run(loop, main())


@each_side
def test_tls_over_tls(loop: asyncio.AbstractEventLoop, server_side: bool) -> None:
    async def main() -> None:
        outer = await secure(server_side=server_side)
        here, there = client_context(), server_context()
        if server_side:
            here, there = server_context(), client_context()
        left, right = socket.socketpair()
        inner = Peer(right, there, not server_side)

        async def carry() -> None:
            """Take the inner peer's bytes through the outer TLS, both ways."""
            left.setblocking(False)

            async def outward() -> None:
                while data := await loop.sock_recv(left, 65536):
                    await outer.peer.write(data)

            async def inward() -> None:
                while data := await outer.peer.read():
                    await loop.sock_sendall(left, data)
                left.shutdown(socket.SHUT_WR)

            await asyncio.gather(outward(), inward())

        carrying = asyncio.ensure_future(carry())
        shaking = asyncio.ensure_future(inner.handshake())
        transport: Any = await loop.start_tls(
            outer.transport,
            outer.protocol,
            here,
            server_side=server_side,
            server_hostname=None if server_side else NAME,
        )
        await shaking
        assert transport.get_extra_info("peername") == outer.transport.get_extra_info("peername")
        assert transport.get_extra_info("ssl_object") is not outer.transport.get_extra_info(
            "ssl_object"
        )
        data = pattern(400_000)
        transport.write(data)
        assert await inner.take(len(data)) == data
        sending = asyncio.ensure_future(inner.write(data))
        await until(lambda: len(outer.protocol.data) >= len(data))
        await sending
        assert outer.protocol.data == data
        transport.write(b"last words")
        transport.close()
        assert await inner.take_all() == b"last words"
        await inner.notify()
        inner.sock.close()
        await asyncio.wait({carrying})
        await outer.peer.notify()
        assert await outer.protocol.ended() is None
        assert outer.protocol.told == ["made", "lost"]
        left.close()
        await finish(outer)

    run(loop, main())


def test_streams_upgrade_too(both: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.start_tls(server_context())
        writer.write(b"you said " + await reader.readline())
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go on\n"
        await writer.start_tls(client_context(), server_hostname=NAME)
        writer.write(b"hello\n")
        assert await reader.readline() == b"you said hello\n"
        writer.close()
        await writer.wait_closed()
        await stop(server)

    run(both, main())


# -- what is refused, and what fails ----------------------------------------------------------


def test_wrong_arguments_change_nothing(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        loop: Any = both
        one = await wire()
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
            await both.start_tls(one.transport, one.protocol, None)  # type: ignore[arg-type] # on purpose
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await both.start_tls(None, one.protocol, client_context())  # type: ignore[arg-type] # on purpose
        for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{name} should be a positive number, got 0"):
                await loop.start_tls(
                    one.transport,
                    one.protocol,
                    client_context(),
                    server_hostname=NAME,
                    **{name: 0},
                )
        one.peer.send(b"still plain")
        await until(lambda: one.protocol.data == b"still plain")
        await end(one)

    run(both, main())


def test_a_failed_upgrade_ends_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.peer.send(b"this is no TLS, and long enough for a record")
        with pytest.raises(ssl.SSLError) as raised:
            await loop.start_tls(
                one.transport, one.protocol, client_context(), server_hostname=NAME
            )
        assert await one.protocol.ended() is raised.value
        assert one.protocol.told == ["made", "lost"]
        await end(one)

    run(loop, main())


def test_an_upgrade_that_takes_too_long(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        with pytest.raises(ConnectionAbortedError, match=r"longer than 0\.05 seconds"):
            await loop.start_tls(
                one.transport,
                one.protocol,
                client_context(),
                server_hostname=NAME,
                ssl_handshake_timeout=0.05,
            )
        assert isinstance(await one.protocol.ended(), ConnectionAbortedError)
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_a_cancelled_upgrade_ends_the_connection(
    loop: asyncio.AbstractEventLoop, rounds: int
) -> None:
    async def main() -> None:
        one = await wire()
        upgrading = asyncio.ensure_future(
            loop.start_tls(one.transport, one.protocol, client_context(), server_hostname=NAME)
        )
        for _ in range(rounds):
            await asyncio.sleep(0)
        upgrading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upgrading
        assert await one.protocol.ended() is None
        assert one.protocol.told == ["made", "lost"]
        await end(one)

    run(loop, main())


def test_an_upgrade_of_a_connection_that_ends(
    loop: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    async def main() -> None:
        one = await wire(Buffered())
        upgrading = asyncio.ensure_future(
            loop.start_tls(one.transport, one.protocol, client_context(), server_hostname=NAME)
        )
        await turns()
        one.peer.close()
        with pytest.raises(ConnectionResetError):
            await upgrading
        assert isinstance(await one.protocol.ended(), ConnectionResetError)
        await end(one)

    run(loop, main())


def test_a_connection_that_is_closing_already_gives_none(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(tcp=True)
        one.transport.close()
        found = await both.start_tls(
            one.transport, one.protocol, client_context(), server_hostname=NAME
        )
        assert found is None
        await turns()
        one.peer.close()

    run(both, main())
