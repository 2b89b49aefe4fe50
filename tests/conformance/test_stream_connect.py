"""create_connection and its kin: what they try, what they refuse, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import sys
import warnings
from asyncio import staggered
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.loops import Recorder, end, handed_over, run, tcp_pair, turns, until, unused_port, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on the loopback interface."""
    with socket.create_server((LOOPBACK, 0), backlog=100) as sock:
        yield sock


def infos(*addresses: tuple[str, int]) -> Callable[..., Any]:
    """A getaddrinfo that knows one name with these addresses."""

    async def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
        return [
            (
                socket.AF_INET6 if ":" in host else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (host, port, 0, 0) if ":" in host else (host, port),
            )
            for host, port in addresses
        ]

    return getaddrinfo


@pytest.fixture
def resolve(
    both: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Have the loop find the given addresses for every name."""

    def set_addresses(*addresses: tuple[str, int]) -> None:
        monkeypatch.setattr(both, "getaddrinfo", infos(*addresses))

    return set_addresses


async def connected(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, **options: Any
) -> Any:
    """Connect to a listener; transport and the accepted socket."""
    transport, protocol = await loop.create_connection(
        Recorder, LOOPBACK, listener.getsockname()[1], **options
    )
    accepted, _ = listener.accept()
    assert transport.get_protocol() is protocol
    return transport, accepted


def test_it_connects_and_calls_connection_made_first(
    both: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    async def main() -> None:
        transport, accepted = await connected(both, listener)
        assert transport.get_protocol().told == ["made"]
        with accepted:
            transport.write(b"hello")
            await handed_over()
            assert accepted.recv(10) == b"hello"
            transport.close()
            await transport.get_protocol().ended()

    run(both, main())


def test_a_refused_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        port = unused_port()
        with pytest.raises(ConnectionRefusedError) as caught:
            await both.create_connection(Recorder, LOOPBACK, port)
        assert caught.value.errno == errno.ECONNREFUSED
        assert str(port) in str(caught.value)

    run(both, main())


def test_addresses_are_tried_one_after_the_other(
    both: asyncio.AbstractEventLoop, listener: socket.socket, resolve: Callable[..., None]
) -> None:
    async def main() -> None:
        good = listener.getsockname()[1]
        resolve((LOOPBACK, unused_port()), (LOOPBACK, unused_port()), (LOOPBACK, good))
        transport, _ = await both.create_connection(Recorder, "somewhere", 1)
        assert transport.get_extra_info("peername") == (LOOPBACK, good)
        transport.abort()
        await turns()

    run(both, main())


def test_all_addresses_fail(both: asyncio.AbstractEventLoop, resolve: Callable[..., None]) -> None:
    async def main() -> None:
        one, two = unused_port(), unused_port()
        resolve((LOOPBACK, one), (LOOPBACK, two))
        with pytest.raises(OSError, match="Multiple exceptions") as caught:
            await both.create_connection(Recorder, "somewhere", 1)
        assert str(one) in str(caught.value)
        assert str(two) in str(caught.value)
        if sys.version_info >= (3, 12) or isinstance(both, noria.Loop):
            with pytest.raises(ExceptionGroup) as group:
                await both.create_connection(Recorder, "somewhere", 1, all_errors=True)  # type: ignore[call-overload] # newer than the stubs
            assert [type(exc) for exc in group.value.exceptions] == [ConnectionRefusedError] * 2
        resolve((LOOPBACK, one), (LOOPBACK, one))
        with pytest.raises(ConnectionRefusedError):  # the same twice is said once
            await both.create_connection(Recorder, "somewhere", 1)
        resolve()
        with pytest.raises(OSError, match="empty list"):
            await both.create_connection(Recorder, "somewhere", 1)

    run(both, main())


def test_happy_eyeballs_do_not_wait_for_the_slow_one(
    both: asyncio.AbstractEventLoop, listener: socket.socket, resolve: Callable[..., None]
) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=1))
            silent = full.getsockname()
            for _ in range(4):  # fill the backlog: further connects are not answered
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(silent)
            await turns()
            good = listener.getsockname()[1]
            resolve(silent, (LOOPBACK, good))
            transport, _ = await both.create_connection(
                Recorder, "somewhere", 1, happy_eyeballs_delay=0.01
            )
            assert transport.get_extra_info("peername") == (LOOPBACK, good)
            transport.abort()
            await turns()

    run(both, main())


def test_happy_eyeballs_when_all_fail(
    both: asyncio.AbstractEventLoop, resolve: Callable[..., None]
) -> None:
    async def main() -> None:
        resolve((LOOPBACK, unused_port()), (LOOPBACK, unused_port()))
        with pytest.raises(OSError, match="Multiple exceptions"):
            await both.create_connection(Recorder, "somewhere", 1, happy_eyeballs_delay=0.01)

    run(both, main())


def test_happy_eyeballs_close_the_losers(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several attempts succeed in one turn: one is used, and no other stays open."""

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(4)]
            addresses = [server.getsockname() for server in servers]
            monkeypatch.setattr(loop, "getaddrinfo", infos(*addresses))
            for _ in range(10):
                transport, _ = await loop.create_connection(
                    Recorder, "somewhere", 1, happy_eyeballs_delay=1e-6
                )
                await turns(2)
                name = transport.get_extra_info("sockname")
                transport.abort()
                await turns(1)
                for server in servers:
                    server.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            accepted, address = server.accept()
                            with accepted:
                                accepted.setblocking(False)
                                assert address == name or accepted.recv(1) == b""

    run(loop, main())


def test_interleaving(
    both: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    resolve: Callable[..., None],
) -> None:
    tried: list[Any] = []

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")

    async def connect_owned(descriptor: Any, sock: socket.socket, address: Any) -> None:
        await sock_connect(sock, address)

    async def main() -> None:
        monkeypatch.setattr(both, "sock_connect", sock_connect)
        monkeypatch.setattr(both, "_connect_owned", connect_owned, raising=False)
        resolve(("::1", 1), ("::2", 1), ("::3", 1), ("127.0.0.1", 1), ("127.0.0.2", 1))
        for interleave, order in (
            (None, ["::1", "::2", "::3", "127.0.0.1", "127.0.0.2"]),
            (1, ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]),
            (2, ["::1", "::2", "127.0.0.1", "::3", "127.0.0.2"]),
        ):
            tried.clear()
            with pytest.raises(OSError, match="Connect call failed"):
                await both.create_connection(Recorder, "somewhere", 1, interleave=interleave)
            assert tried == order

    run(both, main())


def test_the_local_address_is_bound(
    both: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    async def main() -> None:
        port = unused_port()
        transport, accepted = await connected(both, listener, local_addr=(LOOPBACK, port))
        with accepted:
            assert accepted.getpeername() == (LOOPBACK, port)
            assert transport.get_extra_info("sockname") == (LOOPBACK, port)
            transport.abort()
            await turns()

    run(both, main())


def test_a_local_address_that_cannot_be_bound(
    both: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    async def main() -> None:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            await both.create_connection(Recorder, LOOPBACK, port, local_addr=(LOOPBACK, port))
        with pytest.raises(OSError, match="no matching local address"):
            await both.create_connection(Recorder, LOOPBACK, port, local_addr=("::1", 0))

    run(both, main())


def test_a_connected_socket_is_taken_over(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.settimeout(5)
        transport, protocol = await both.create_connection(Recorder, sock=left)
        assert left.gettimeout() == 0
        right.send(b"hello")
        await until(lambda: protocol.data == b"hello")
        transport.close()
        await protocol.ended()
        assert left.fileno() == -1
        right.close()

    run(both, main())


def test_contradictory_arguments(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            for arguments, message in (
                ({"host": LOOPBACK, "port": 1, "sock": sock}, "can not be specified at the same"),
                ({"port": 1, "sock": sock}, "can not be specified at the same"),
                ({}, "no sock specified"),
                ({"sock": datagram}, "Stream Socket was expected"),
                ({"host": LOOPBACK, "port": 1, "server_hostname": "x"}, "only meaningful with ssl"),
                (
                    {"host": LOOPBACK, "port": 1, "ssl_handshake_timeout": 1},
                    "only meaningful with ssl",
                ),
                (
                    {"host": LOOPBACK, "port": 1, "ssl_shutdown_timeout": 1},
                    "only meaningful with ssl",
                ),
                ({"sock": sock, "ssl": True}, "server_hostname"),
            ):
                with pytest.raises(ValueError, match=message):
                    await both.create_connection(Recorder, **arguments)

    run(both, main())


@pytest.mark.parametrize("happy", [None, 0.001])
@pytest.mark.parametrize("pauses", [0, 1, 2, 3, 4, 6])
def test_d3_cancelled_in_the_middle_nothing_stays_open(
    both: asyncio.AbstractEventLoop,
    listener: socket.socket,
    resolve: Callable[..., None],
    happy: float | None,
    pauses: int,
) -> None:
    """The ledger counts descriptors; nothing may need the collector, which would warn."""

    async def main() -> None:
        address = listener.getsockname()
        resolve(address, address, address)
        made: list[Any] = []

        class Noting(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                made.append(self)

        for _ in range(5):
            task = asyncio.ensure_future(
                both.create_connection(Noting, "somewhere", 1, happy_eyeballs_delay=happy)
            )
            for _ in range(pauses):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                pass
            else:
                transport.abort()
        await turns()
        for protocol in made:
            assert protocol.told == ["made", "lost"]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(both, main())
        gc.collect()
    if not isinstance(both, asyncio.SelectorEventLoop):
        assert [str(warning.message) for warning in caught] == []


def test_d3_an_attempt_that_outlives_its_race_closes_its_socket(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's staggered race of 3.11 may lose the cancellation of an attempt."""
    left: list[asyncio.Task[Any]] = []

    async def careless(attempts: Any, *args: Any, **options: Any) -> None:
        left.append(asyncio.ensure_future(attempts[0]()))
        await asyncio.sleep(3600)

    async def main() -> None:
        monkeypatch.setattr(staggered, "staggered_race", careless)
        host, port = listener.getsockname()
        task = asyncio.ensure_future(
            loop.create_connection(Recorder, host, port, happy_eyeballs_delay=1)
        )
        await until(lambda: left)
        task.cancel()
        await asyncio.wait([task, *left])
        assert left[0].cancelled()

    run(loop, main())


def test_a_protocol_factory_that_fails(
    both: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    def fail() -> asyncio.Protocol:
        raise ValueError("of the user")

    async def main() -> None:
        with pytest.raises(ValueError, match="of the user"):
            await both.create_connection(fail, *listener.getsockname())
        left, right = socket.socketpair()
        with left, right:
            with pytest.raises(ValueError, match="of the user"):
                await both.create_connection(fail, sock=left)
            assert left.fileno() >= 0, "the socket is still the user's"

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(both, main())
        gc.collect()
    if not isinstance(both, asyncio.SelectorEventLoop):
        assert [str(warning.message) for warning in caught] == []


def test_a_cancelled_take_over_closes_the_socket(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        protocol = Recorder()
        task = asyncio.ensure_future(both.create_connection(lambda: protocol, sock=left))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns()
        assert left.fileno() == -1
        assert protocol.told == ["made", "lost"]
        right.close()

    run(both, main())


@pytest.mark.posix
def test_unix_connections(both: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            for name in (path, str(path), bytes(path)):
                transport, protocol = await both.create_unix_connection(Recorder, name)  # type: ignore[arg-type] # paths too
                accepted, _ = server.accept()
                with accepted:
                    assert transport.get_extra_info("peername") == str(path)
                    accepted.send(b"hello")
                    await until(lambda one=protocol: one.data == b"hello")  # type: ignore[misc] # its default
                    transport.close()
                    await protocol.ended()
            left, right = socket.socketpair()
            transport, protocol = await both.create_unix_connection(Recorder, sock=left)
            transport.abort()
            right.close()
            await protocol.ended()

    run(both, main())


@pytest.mark.posix
def test_unix_connections_that_fail(both: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        path = str(tmp_path / "nobody")
        with pytest.raises(FileNotFoundError):
            await both.create_unix_connection(Recorder, path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            with pytest.raises(ConnectionRefusedError):
                await both.create_unix_connection(Recorder, path)
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as sock:
            for arguments, message in (
                ({}, "no path and sock were specified"),
                ({"path": path, "sock": sock}, "can not be specified at the same time"),
                ({"sock": tcp}, "UNIX Domain Stream Socket was expected"),
                ({"path": path, "server_hostname": "x"}, "only meaningful with ssl"),
                ({"path": path, "ssl": True}, "server_hostname"),
            ):
                with pytest.raises(ValueError, match=message):
                    await both.create_unix_connection(Recorder, **arguments)

    run(both, main())


@pytest.mark.posix
def test_a_unix_connection_to_a_full_backlog(
    loop: asyncio.AbstractEventLoop, tmp_path: Any
) -> None:
    """An error that can be retried, and not a connection that nobody has accepted."""

    async def main() -> None:
        path = str(tmp_path / "socket")
        made = []
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(1)
            with pytest.raises(BlockingIOError):  # noqa: PT012 - at some of these attempts
                for _ in range(10):
                    transport, _ = await loop.create_unix_connection(Recorder, path)
                    made.append(transport)
            assert len(made) < 4
            accepted, _ = server.accept()
            accepted.close()
            transport, _ = await loop.create_unix_connection(Recorder, path)
            for one in (*made, transport):
                one.abort()
            await turns()

    run(loop, main())


def test_an_accepted_socket(both: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        transport, protocol = await both.connect_accepted_socket(Recorder, accepted)
        assert protocol.told == ["made"]
        client.send(b"hello")
        await until(lambda: protocol.data == b"hello")
        transport.close()
        await protocol.ended()
        assert client.recv(1) == b""
        client.close()
        with (
            socket.socket(type=socket.SOCK_DGRAM) as datagram,
            pytest.raises(ValueError, match="Stream Socket was expected"),
        ):
            await both.connect_accepted_socket(Recorder, datagram)
        with (
            socket.socket() as sock,
            pytest.raises(ValueError, match="only meaningful with ssl"),
        ):
            await both.connect_accepted_socket(Recorder, sock, ssl_handshake_timeout=1)

    run(both, main())


def test_d3_a_socket_that_was_passed_and_is_closed_by_its_user(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The transport goes on, and above all does not use a number that is another file's by now."""

    async def main() -> None:
        left, right = socket.socketpair()
        number = left.fileno()
        right.setblocking(False)
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        left.close()
        others = [socket.socketpair() for _ in range(3)]
        numbers = {sock.fileno() for pair in others for sock in pair}
        assert number not in numbers, "the number was freed though a transport uses it"
        transport.write(b"hello")
        await handed_over()
        assert right.recv(10) == b"hello"
        right.send(b"answer")
        await until(lambda: protocol.data == b"answer")
        transport.close()
        await protocol.ended()
        await turns(1)
        assert right.recv(10) == b""
        theirs = [sock for pair in others for sock in pair]
        for sock in theirs:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
        for sock in (*theirs, right):
            sock.close()

    run(loop, main())


def test_connecting_to_oneself_many_times(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await both.create_server(factory, LOOPBACK, 0, backlog=200)
        port = server.sockets[0].getsockname()[1]
        clients = await asyncio.gather(
            *(both.create_connection(Recorder, LOOPBACK, port) for _ in range(100))
        )
        await until(lambda: len(made) == 100)
        for transport, _ in clients:
            transport.write(b"x")
        await until(lambda: all(protocol.data == b"x" for protocol in made))
        for transport, _ in clients:
            transport.close()
        for protocol in made:
            await protocol.ended()
        for _, protocol in clients:
            await protocol.ended()
        server.close()
        await turns()

    run(both, main())


def test_the_first_bytes_wait_for_connection_made(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        right.send(b"early")
        right.shutdown(socket.SHUT_WR)
        _, protocol = await both.create_connection(Recorder, sock=left)
        await protocol.ended()
        assert protocol.events == ["made", b"early", "eof", "lost"]
        right.close()
        one = await wire()
        await end(one)

    run(both, main())
