"""Bad input gets asyncio's own exception, and nothing else is disturbed by it.

What has a subject of its own is tested there: `test_sock_refusals.py`, `test_loop_watch.py`, the
contradictory arguments of connecting and serving. Here is the rest: wrong types, sockets in the
wrong state, closed loops and closed transports, protocols that are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import noria
from tests.loops import POSIX, Recorder, Wire, end, run, turns, until, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.loops import Reports

LOOPBACK = "127.0.0.1"
PROTOCOL = asyncio.Protocol
HUGE = 10**30

Refusal = tuple["Callable[[Any], Any]", type[BaseException], str]


async def check_refusals(loop: asyncio.AbstractEventLoop, refusals: list[Refusal]) -> None:
    """Each call fails as it should, beside a connection that notices nothing."""
    one = await wire()
    for call, error, message in refusals:
        with pytest.raises(error, match=message):
            await finished(call(loop))
        one.transport.write(b"ping")
        assert await one.take(4) == b"ping"
    one.peer.send(b"pong")
    await until(lambda: one.protocol.data == b"pong")
    await end(one)


async def finished(result: Any) -> None:
    """Wait for what can be waited for."""
    if inspect.isawaitable(result):
        await result


INTEGER = "cannot be interpreted as an integer"

SCHEDULING: list[Refusal] = [
    (lambda loop: loop.call_later(None, print), TypeError, "delay must not be None"),
    (lambda loop: loop.call_at(None, print), TypeError, "when cannot be None"),
    (lambda loop: loop.call_later("1", print), TypeError, "."),
    (lambda loop: loop.call_soon(), TypeError, "argument"),
    (lambda loop: loop.call_soon_threadsafe(), TypeError, "argument"),
    (lambda loop: loop.create_task(None), TypeError, "a coroutine was expected, got None"),
    (lambda loop: loop.set_task_factory(5), TypeError, "callable or None"),
    (lambda loop: loop.set_exception_handler(5), TypeError, "callable object or None"),
    (lambda loop: loop.set_default_executor(None), TypeError, "ThreadPoolExecutor"),
    (lambda loop: loop.run_in_executor("none", print), AttributeError, "submit"),
]

RESOLVING: list[Refusal] = [
    (lambda loop: loop.getaddrinfo(5, 80), TypeError, "must be string or None"),
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80.5), (OSError, TypeError), "."),  # type: ignore[list-item]
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80, family="4"), TypeError, INTEGER),
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80, type=None), TypeError, INTEGER),
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80, proto=None), TypeError, INTEGER),
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80, flags=None), TypeError, "."),
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80, type=HUGE), OverflowError, "too large"),
    (lambda loop: loop.getaddrinfo(LOOPBACK, 80, 4), TypeError, "positional argument"),
    (lambda loop: loop.getnameinfo(LOOPBACK), TypeError, "must be a tuple"),
    (lambda loop: loop.getnameinfo(()), TypeError, "."),
    (lambda loop: loop.getnameinfo((LOOPBACK, None), 3), TypeError, INTEGER),
    (lambda loop: loop.getnameinfo((LOOPBACK, 1), None), TypeError, "."),
]

CONNECTING: list[Refusal] = [
    (lambda loop: loop.create_connection(PROTOCOL, LOOPBACK, HUGE), OverflowError, "0-65535"),
    (lambda loop: loop.create_connection(PROTOCOL, 5, 80), TypeError, "."),
    (lambda loop: loop.create_connection(PROTOCOL, LOOPBACK, 80, family=None), TypeError, INTEGER),
    (lambda loop: loop.create_connection(PROTOCOL, LOOPBACK, 80, proto=None), TypeError, INTEGER),
    (lambda loop: loop.create_connection(PROTOCOL, LOOPBACK, 80, local_addr=5), TypeError, "."),
    (lambda loop: loop.create_connection(PROTOCOL, sock=5), AttributeError, "type"),
    (lambda loop: loop.connect_accepted_socket(PROTOCOL, None), AttributeError, "type"),
    (lambda loop: loop.connect_accepted_socket(PROTOCOL), TypeError, "sock"),
]

SERVING: list[Refusal] = [
    (lambda loop: loop.create_server(PROTOCOL, LOOPBACK, HUGE), OverflowError, "0-65535"),
    (lambda loop: loop.create_server(PROTOCOL, 5, 0), TypeError, "."),
    (lambda loop: loop.create_server(PROTOCOL, LOOPBACK, 0, family=None), TypeError, INTEGER),
    (lambda loop: loop.create_server(PROTOCOL, sock=5), AttributeError, "type"),
    (lambda loop: loop.create_server(PROTOCOL, LOOPBACK, 0, wrong=1), TypeError, "wrong"),
]

BACKLOG: list[Refusal] = [
    (lambda loop: loop.create_server(PROTOCOL, LOOPBACK, 0, backlog=None), TypeError, INTEGER),
    (lambda loop: loop.create_server(PROTOCOL, LOOPBACK, 0, backlog=HUGE), OverflowError, "large"),
]

UNIX: list[Refusal] = [
    (lambda loop: loop.create_unix_connection(PROTOCOL, 5), TypeError, "PathLike"),
    (lambda loop: loop.create_unix_connection(PROTOCOL, sock=5), AttributeError, "family"),
    (lambda loop: loop.create_unix_server(PROTOCOL, 5), TypeError, "PathLike"),
    (lambda loop: loop.create_unix_server(PROTOCOL, sock=5), AttributeError, "family"),
]

SOCKETS: list[Refusal] = [
    (lambda loop: loop.sock_recv(None, 10), AttributeError, "NoneType"),
    (lambda loop: loop.sock_recv_into(5, bytearray(3)), AttributeError, "int"),
    (lambda loop: loop.sock_recvfrom(5, 10), AttributeError, "int"),
    (lambda loop: loop.sock_recvfrom_into(5, bytearray(3)), AttributeError, "int"),
    (lambda loop: loop.sock_sendall(5, b"x"), AttributeError, "int"),
    (lambda loop: loop.sock_sendto(5, b"x", (LOOPBACK, 9)), AttributeError, "int"),
    (lambda loop: loop.sock_connect(5, (LOOPBACK, 9)), AttributeError, "int"),
    (lambda loop: loop.sock_accept(5), AttributeError, "int"),
]

GROUPS = {
    "scheduling": SCHEDULING,
    "resolving": RESOLVING,
    "connecting": CONNECTING,
    "serving": SERVING,
    "backlog": BACKLOG,
    "unix": UNIX if POSIX else [],
    "sockets": SOCKETS,
}


@pytest.mark.parametrize("group", GROUPS)
def test_wrong_types(both: asyncio.AbstractEventLoop, group: str) -> None:
    if group == "backlog" and not isinstance(both, noria.Loop):
        pytest.skip("asyncio refuses too, and leaves the socket that it has bound")
    run(both, check_refusals(both, GROUPS[group]))


@contextlib.contextmanager
def in_state(state: str) -> Iterator[socket.socket]:
    """A socket of the user that is not what a method expects."""
    kind = socket.SOCK_DGRAM if state == "datagram" else socket.SOCK_STREAM
    with socket.socket(type=kind) as sock:
        if state == "listening":
            sock.bind((LOOPBACK, 0))
            sock.listen()
        sock.setblocking(False)
        if state == "closed":
            sock.close()
        yield sock


STATES: dict[str, list[tuple[Callable[[Any, Any], Any], type[BaseException], str]]] = {
    "closed": [
        (lambda loop, sock: loop.create_connection(PROTOCOL, sock=sock), OSError, "descriptor"),
        (lambda loop, sock: loop.connect_accepted_socket(PROTOCOL, sock), OSError, "descriptor"),
        (lambda loop, sock: loop.create_server(PROTOCOL, sock=sock), OSError, "descriptor"),
        (lambda _, sock: asyncio.open_connection(sock=sock), OSError, "descriptor"),
        (lambda loop, sock: loop.add_reader(sock, print), ValueError, "Invalid file"),
    ],
    "not connected": [
        (lambda loop, sock: loop.sock_accept(sock), OSError, "Invalid argument"),
        (lambda loop, sock: loop.sock_recv(sock, 1), OSError, "not connected"),
        (lambda loop, sock: loop.sock_sendall(sock, b"x"), OSError, "Broken pipe"),
    ],
    "listening": [
        (lambda loop, sock: loop.sock_recv(sock, 1), OSError, "not connected"),
        (lambda loop, sock: loop.sock_connect(sock, (LOOPBACK, 1)), OSError, "already connected"),
    ],
    "datagram": [
        (lambda loop, sock: loop.connect_accepted_socket(PROTOCOL, sock), ValueError, "Stream"),
        (lambda loop, sock: loop.sock_accept(sock), OSError, "not supported"),
        (lambda loop, sock: loop.sock_sendall(sock, b"x"), OSError, "address required"),
        (lambda _, sock: asyncio.open_connection(sock=sock), ValueError, "Stream Socket"),
    ],
}


def with_socket(call: Callable[[Any, Any], Any], sock: socket.socket, loop: Any) -> Any:
    return call(loop, sock)


@pytest.mark.posix  # other systems have other words
@pytest.mark.parametrize("state", STATES)
def test_sockets_in_the_wrong_state(both: asyncio.AbstractEventLoop, state: str) -> None:
    with in_state(state) as sock:
        refusals: list[Refusal] = [
            (functools.partial(with_socket, call, sock), error, message)
            for call, error, message in STATES[state]
        ]
        run(both, check_refusals(both, refusals))
        assert (sock.fileno() == -1) is (state == "closed"), "the user's socket is the user's"


@pytest.mark.parametrize("wrong", [None, 5, object()], ids=["None", "number", "object"])
def test_a_factory_that_makes_no_protocol(
    loop: asyncio.AbstractEventLoop, reports: Reports, wrong: Any
) -> None:
    """Refused as asyncio refuses it, which leaves a socket behind; the next one is served."""
    made: list[Recorder] = []

    def factory() -> Any:
        if not refused:
            refused.append(True)
            return wrong
        made.append(Recorder())
        return made[-1]

    refused: list[bool] = []

    async def main() -> None:
        left, right = socket.socketpair()
        with left, right, pytest.raises(AttributeError, match="connection_made"):
            await loop.create_connection(factory, sock=left)
        refused.clear()
        loop.set_debug(True)  # otherwise nothing is said
        server = await loop.create_server(factory, LOOPBACK, 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as first:
            await until(lambda: refused)
            await turns()
            with socket.create_connection(address) as second:
                second.send(b"hello")
                await until(lambda: made and made[0].data == b"hello")
            first.settimeout(5)
            assert first.recv(1) == b"", "the connection that nobody serves is closed"
        await made[0].ended()
        server.close()
        await turns()

    run(loop, main())
    report = reports.take_one()
    assert report["message"] == "Error on transport creation for incoming connection"
    assert isinstance(report["exception"], AttributeError)


CLOSED_LOOP: dict[str, Callable[[Any, Any], Any]] = {
    "create_connection": lambda loop, _: loop.create_connection(PROTOCOL, LOOPBACK, 1),
    "create_connection with a socket": lambda loop, sock: loop.create_connection(
        PROTOCOL, sock=sock
    ),
    "connect_accepted_socket": lambda loop, sock: loop.connect_accepted_socket(PROTOCOL, sock),
    "create_server with a socket": lambda loop, sock: loop.create_server(PROTOCOL, sock=sock),
    "getaddrinfo": lambda loop, _: loop.getaddrinfo("localhost", 80),
    "getaddrinfo of a number": lambda loop, _: loop.getaddrinfo(LOOPBACK, 80),
    "getnameinfo": lambda loop, _: loop.getnameinfo((LOOPBACK, 80)),
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(1)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 1),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, bytes(10_000_000)),
    "add_reader": lambda loop, sock: loop.add_reader(sock, print),
    "add_writer": lambda loop, sock: loop.add_writer(sock, print),
    "call_soon": lambda loop, _: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop, _: loop.call_soon_threadsafe(print),
    "run_in_executor": lambda loop, _: loop.run_in_executor(None, print),
}

LEFT_BEHIND = {
    "create_connection",
    "create_connection with a socket",
    "connect_accepted_socket",
    "create_server with a socket",
}


@pytest.mark.parametrize("method", CLOSED_LOOP)
def test_a_closed_loop_refuses_in_asyncios_words(
    both: asyncio.AbstractEventLoop, method: str
) -> None:
    if method in LEFT_BEHIND and not isinstance(both, noria.Loop):
        pytest.skip("asyncio raises too, and leaves a transport or a watched socket behind")
    both.close()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            drive(CLOSED_LOOP[method](both, left))
        assert left.fileno() >= 0, "the user's socket is the user's"
        assert both.remove_reader(left) is both.remove_writer(left) is False


def drive(result: Any) -> None:
    """Run a coroutine without a loop, as far as it comes."""
    if asyncio.iscoroutine(result):
        try:
            result.send(None)
            pytest.fail("it waits for a loop that will never run")
        except StopIteration:
            pytest.fail("it succeeded")
        finally:
            result.close()


@pytest.mark.posix
def test_a_closed_loop_leaves_no_unix_socket_behind(loop: Any, tmp_path: Any) -> None:
    loop.close()
    for method in (loop.create_unix_server, loop.create_unix_connection):
        with pytest.raises((RuntimeError, FileNotFoundError)):
            drive(method(PROTOCOL, tmp_path / "socket"))
    assert not list(tmp_path.iterdir())


QUIET: dict[str, tuple[Any, ...]] = {
    "close": (),
    "abort": (),
    "write": (b"x",),
    "writelines": ([b"x", b"y"],),
    "write_eof": (),
    "pause_reading": (),
    "resume_reading": (),
    "set_write_buffer_limits": (10,),
}
"""What a transport that is closed takes in silence."""


async def closed_in(way: str) -> Wire:
    """A transport that was closed, and is already gone unless it is `closing`."""
    one = await wire()
    if way == "by the peer":
        one.peer.close()
    elif way == "aborted":
        one.transport.abort()
    else:
        one.transport.close()
    if way != "closing":
        await one.protocol.ended()
        await turns(1)
    return one


@pytest.mark.parametrize("way", ["closing", "closed", "aborted", "by the peer"])
def test_a_closed_transport_takes_everything_in_silence(
    both: asyncio.AbstractEventLoop, way: str
) -> None:
    async def main() -> None:
        other = await wire()
        for method, arguments in QUIET.items():
            if method == "writelines" and not isinstance(both, noria.Loop):
                continue  # asyncio 3.12 and 3.13 stumble over what they have cleaned up
            one = await closed_in(way)
            getattr(one.transport, method)(*arguments)
            assert one.transport.is_closing()
            assert not one.transport.is_reading()
            assert one.transport.get_write_buffer_size() == 0
            await turns(1)
            assert one.protocol.told.count("lost") == 1
            await end(one)
        other.transport.write(b"undisturbed")
        assert await other.take(11) == b"undisturbed"
        await end(other)

    run(both, main())


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_other_threads_are_refused_in_debug_mode(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    """asyncio would watch, and wake up late or never."""
    caught: list[BaseException] = []
    called: list[int] = []

    def elsewhere(sock: socket.socket) -> None:
        try:
            getattr(loop, method)(sock, called.append, 1)
        except RuntimeError as exc:
            caught.append(exc)

    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            right.send(b"x")
            thread = threading.Thread(target=elsewhere, args=(left,))
            thread.start()
            await until(lambda: not thread.is_alive())
            thread.join()
            await turns()
            assert loop.remove_reader(left) is loop.remove_writer(left) is False

    loop.set_debug(True)
    run(loop, main())
    assert "Non-thread-safe operation" in str(caught[0])
    assert called == []
