"""Handshakes that work and that fail, and what is known afterwards."""

from __future__ import annotations

import asyncio
import functools
import gc
import socket
import ssl
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.conformance.test_tls_data import each_version
from tests.loops import Recorder, Reports, pattern, run, tcp_pair, turns, until
from tests.tls import NAME, Peer, authority, client_context, finish, secure, server_context, stop

if TYPE_CHECKING:
    from pathlib import Path

# -- what is known ----------------------------------------------------------------------------


@each_version
def test_extra_information(both: asyncio.AbstractEventLoop, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        here = client_context(version=version)
        one = await secure(here=here, tcp=True)
        info = one.transport.get_extra_info
        sslobj = info("ssl_object")
        assert isinstance(sslobj, ssl.SSLObject)
        assert info("sslcontext") is here
        assert info("cipher") == sslobj.cipher() == one.peer.object.cipher()
        assert info("compression") == sslobj.compression()
        names = [value for _, value in info("peercert")["subjectAltName"]]
        assert NAME in names
        assert info("peername") == one.peer.sock.getsockname()
        assert info("sockname") == one.peer.sock.getpeername()
        assert info("socket").fileno() >= 0
        assert info("nothing") is None
        assert info("nothing", 5) == 5
        assert sslobj.session is not None or version == ssl.TLSVersion.TLSv1_3
        await finish(one)
        assert info("sslcontext") is here
        assert info("cipher") is not None

    run(both, main())


def test_it_is_a_transport(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        assert isinstance(one.transport, asyncio.Transport)
        assert isinstance(one.transport, asyncio.sslproto._SSLProtocolTransport)
        assert getattr(one.transport, "_start_tls_compatible", False)
        assert one.transport.get_protocol() is one.protocol
        assert one.transport.is_reading()
        assert "open" in repr(one.transport) or isinstance(both, asyncio.SelectorEventLoop)
        await finish(one)

    run(both, main())


@pytest.mark.parametrize("server_side", [False, True])
def test_alpn(both: asyncio.AbstractEventLoop, server_side: bool) -> None:
    async def main() -> None:
        server = server_context(alpn=["h2", "http/1.1"])
        client = client_context(alpn=["http/1.1", "x"])
        here, there = (server, client) if server_side else (client, server)
        one = await secure(server_side=server_side, here=here, there=there)
        assert one.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert one.peer.object.selected_alpn_protocol() == "http/1.1"
        await finish(one)

    run(both, main())


def test_sni_chooses_a_context(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        other = server_context(alpn=["chosen"])
        server = server_context(name="other.test")
        seen: list[Any] = []

        def choose(sslobj: Any, name: str | None, context: ssl.SSLContext) -> None:
            seen.append((name, context is server))
            sslobj.context = other

        server.sni_callback = choose
        one = await secure(server_side=True, here=server)
        assert seen == [(NAME, True)]
        await one.peer.write(b"x")
        await until(lambda: one.protocol.data == b"x")
        await finish(one)

    run(both, main())


@each_version
def test_client_certificates(both: asyncio.AbstractEventLoop, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        one = await secure(
            server_side=True,
            here=server_context(ask=True, version=version),
            there=client_context(certificate=True, version=version),
        )
        names = [v for _, v in one.transport.get_extra_info("peercert")["subjectAltName"]]
        assert "client.test" in names
        await finish(one)

    run(both, main())


def test_no_name_is_checked_if_none_is_given(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        context = client_context()
        context.check_hostname = False
        server = await both.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context())
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await both.create_connection(
            Recorder, "127.0.0.1", port, ssl=context, server_hostname=""
        )
        transport.abort()
        await protocol.ended()
        await stop(server)

    run(both, main())


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_over_unix_sockets(both: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def make() -> Recorder:
            made.append(Recorder())
            return made[-1]

        path = str(tmp_path / "s")
        server = await both.create_unix_server(make, path, ssl=server_context())
        transport, protocol = await both.create_unix_connection(
            Recorder, path, ssl=client_context(), server_hostname=NAME
        )
        transport.write(b"hello")
        await until(lambda: made and made[0].data == b"hello")
        transport.close()
        assert await protocol.ended() is None
        await made[0].ended()
        await stop(server)

    run(both, main())


def test_a_blocking_client_in_a_thread(both: asyncio.AbstractEventLoop) -> None:
    found: list[bytes] = []

    def client(port: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            client_context().wrap_socket(plain, server_hostname=NAME) as sock,
        ):
            sock.sendall(pattern(1_000_000))
            answer = bytearray()
            while len(answer) < 1_000_000:
                answer += sock.recv(65536)
            found.append(bytes(answer))
            sock.unwrap().close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1_000_000))
        await writer.drain()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*(asyncio.to_thread(client, port) for _ in range(4)))
        await stop(server)

    run(both, main())
    assert found == [pattern(1_000_000)] * 4


def test_an_ssl_object_of_the_user_s_own_is_asked(loop: asyncio.AbstractEventLoop) -> None:
    """As truststore does it: a context whose objects check more, or note what passes."""
    seen: list[int] = []

    class Noting(ssl.SSLObject):
        def read(self, len: int = 1024, buffer: Any = None) -> Any:
            got = super().read(len, buffer) if buffer is not None else super().read(len)
            seen.append(1)
            return got

    async def main() -> None:
        context = client_context()
        context.sslobject_class = Noting
        one = await secure(here=context)
        data = pattern(100_000)
        await one.peer.write(data)
        await until(lambda: one.protocol.data == data)
        assert seen
        one.transport.close()
        await one.peer.notify()
        assert await one.protocol.ended() is None
        await finish(one)

    run(loop, main())


# -- handshakes that fail ---------------------------------------------------------------------


def test_a_certificate_nobody_vouches_for(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def make() -> Recorder:
            made.append(Recorder())
            return made[-1]

        for context in (client_context(trust=False), True):
            server = await both.create_server(make, "127.0.0.1", 0, ssl=server_context())
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)verify failed"):
                await both.create_connection(
                    Recorder, "127.0.0.1", port, ssl=context, server_hostname=NAME
                )
            await stop(server)
        assert not [protocol for protocol in made if "made" in protocol.told and protocol.data]

    run(both, main())


def test_a_certificate_for_another_name(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        peer = Peer(right, _only("other.test"), True)
        shaking = asyncio.ensure_future(peer.handshake())
        left.setblocking(False)
        with pytest.raises(ssl.CertificateError, match=r"(?i)hostname mismatch"):
            await both.create_connection(
                Recorder, sock=left, ssl=client_context(), server_hostname=NAME
            )
        shaking.cancel()
        await asyncio.gather(shaking, return_exceptions=True)
        right.close()

    run(both, main())


@functools.cache
def _only(name: str) -> ssl.SSLContext:
    """A server's context with a certificate for one name only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context


def test_the_peer_learns_why(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        peer = Peer(right, client_context(), False)
        left.setblocking(False)
        shaking = asyncio.ensure_future(peer.handshake())
        with pytest.raises(ssl.SSLError, match=r"(?i)peer did not return a certificate"):
            await loop.connect_accepted_socket(
                Recorder, left, ssl=server_context(ask=True, version=ssl.TLSVersion.TLSv1_2)
            )
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await shaking
        right.close()

    run(loop, main())


@pytest.mark.parametrize("versions", [(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)])
def test_no_version_in_common(both: asyncio.AbstractEventLoop, versions: Any) -> None:
    async def main() -> None:
        here = client_context(version=versions[0])
        there = server_context(version=versions[1])
        with pytest.raises(ssl.SSLError):
            await secure(here=here, there=there)

    run(both, main())


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.9\r\n", b"\0", b"\x80\x01\x02"])
def test_an_answer_that_is_no_tls(both: asyncio.AbstractEventLoop, garbage: bytes) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.setblocking(False)
        connecting = asyncio.ensure_future(
            both.create_connection(Recorder, sock=left, ssl=client_context(), server_hostname=NAME)
        )
        await turns()
        right.sendall(garbage)
        await turns()
        right.close()
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connecting

    run(both, main())


def test_a_plain_request_to_a_tls_server(both: asyncio.AbstractEventLoop) -> None:
    """It is refused at once, not kept until the handshake's time is over."""

    async def main() -> None:
        server = await both.create_server(Recorder, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            await reader.read()
        except ConnectionResetError:
            pass
        writer.close()
        await stop(server)

    run(both, main())


def test_the_end_of_the_stream_in_a_handshake(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.setblocking(False)
        connecting = asyncio.ensure_future(
            both.create_connection(Recorder, sock=left, ssl=client_context(), server_hostname=NAME)
        )
        await turns()
        right.recv(100_000)
        right.close()
        with pytest.raises(ConnectionResetError):
            await connecting

    run(both, main())


def test_a_handshake_that_takes_too_long(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.setblocking(False)
        message = "SSL handshake is taking longer than 0.05 seconds: aborting the connection"
        with right, pytest.raises(ConnectionAbortedError, match=f"^{message}$"):
            await both.create_connection(
                Recorder,
                sock=left,
                ssl=client_context(),
                server_hostname=NAME,
                ssl_handshake_timeout=0.05,
            )

    run(both, main())


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_cancelling_a_handshake_closes_the_socket(
    both: asyncio.AbstractEventLoop, rounds: int
) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.setblocking(False)
        connecting = asyncio.ensure_future(
            both.create_connection(Recorder, sock=left, ssl=client_context(), server_hostname=NAME)
        )
        for _ in range(rounds):
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await turns()
        if rounds or not isinstance(both, asyncio.SelectorEventLoop):
            right.settimeout(5)
            if rounds:
                assert left.fileno() == -1
        left.close()
        right.close()

    run(both, main())


def test_a_failed_handshake_ends_one_connection_of_a_server(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def make() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await both.create_server(make, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as bad:
            bad.sendall(b"no TLS at all\r\n" * 10)
            transport, protocol = await both.create_connection(
                Recorder, *address, ssl=client_context(), server_hostname=NAME
            )
            transport.write(b"good")
            await until(lambda: any(one.data == b"good" for one in made))
        assert not [one for one in made if "lost" in one.told]
        transport.abort()
        await protocol.ended()
        await until(lambda: any("lost" in one.told for one in made))
        await stop(server)

    run(both, main())


def test_a_server_reports_failed_handshakes_in_debug_mode(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    async def main() -> None:
        server = await both.create_server(Recorder, "127.0.0.1", 0, ssl=server_context())
        with socket.create_connection(server.sockets[0].getsockname()) as bad:
            bad.sendall(b"no TLS at all\r\n" * 10)
            await until(lambda: reports)
        await stop(server)

    both.set_debug(True)
    run(both, main())
    report = reports.take_one()
    assert report["message"] == "Error on transport creation for incoming connection"
    assert isinstance(report["exception"], ssl.SSLError)
    assert isinstance(report["protocol"], Recorder)


@pytest.mark.parametrize("server_side", [False, True])
def test_an_exception_in_connection_made(
    loop: asyncio.AbstractEventLoop, reports: Reports, server_side: bool
) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError("on purpose")

    async def main() -> None:
        protocol = Failing()
        with pytest.raises(ZeroDivisionError):
            await secure(protocol, server_side=server_side)
        assert isinstance(await protocol.ended(), ZeroDivisionError)
        assert "connection_made() call failed" in reports.take_one()["message"]

    run(loop, main())


def test_what_is_no_protocol_is_refused(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.setblocking(False)
        shaking = asyncio.ensure_future(Peer(right, server_context(), True).handshake())
        with left, right, pytest.raises(AttributeError):
            await both.create_connection(
                object,  # type: ignore[type-var] # on purpose
                sock=left,
                ssl=client_context(),
                server_hostname=NAME,
            )
        shaking.cancel()
        await asyncio.gather(shaking, return_exceptions=True)

    if isinstance(both, noria.Loop):
        run(both, main())


# -- what stays behind ------------------------------------------------------------------------


def test_nothing_is_left_of_a_connection(loop: asyncio.AbstractEventLoop) -> None:
    refs: list[weakref.ref[Any]] = []

    async def main() -> None:
        one = await secure()
        refs.extend((weakref.ref(one.transport), weakref.ref(one.protocol)))
        one.transport.close()
        await one.peer.notify()
        await one.protocol.ended()
        await finish(one)

    run(loop, main())
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_a_failed_connection_leaves_its_context_alone(loop: asyncio.AbstractEventLoop) -> None:
    """No timer keeps it (the handshake's, for a minute)."""

    async def main() -> weakref.ref[Any]:
        context = client_context(trust=False)
        with pytest.raises(ssl.SSLError):
            await secure(here=context)
        return weakref.ref(context)

    ref = run(loop, main())
    run(loop, asyncio.sleep(0))
    gc.collect()
    assert ref() is None


def test_debug_mode_logs_handshakes(
    both: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one = await secure()
        await finish(one)

    both.set_debug(True)
    with caplog.at_level("DEBUG", "asyncio"):
        run(both, main())
    assert "starts SSL handshake" in caplog.text
    assert "SSL handshake took" in caplog.text


def test_closing_a_server_s_clients(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def make() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server: Any = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        clients = [
            await loop.create_connection(
                Recorder, *address, ssl=client_context(), server_hostname=NAME
            )
            for _ in range(3)
        ]
        await until(lambda: sum("made" in protocol.told for protocol in made) == 3)
        server.close()
        server.close_clients()
        for _, protocol in clients:
            assert await protocol.ended() is None
            assert protocol.told == ["made", "eof", "lost"]
        await stop(server)

    run(loop, main())
