"""getaddrinfo and getnameinfo: what is answered at once, and what goes to threads."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

import noria

if TYPE_CHECKING:
    from collections.abc import Coroutine

INTERFACE = socket.if_nameindex()[0][1]
UNIX = getattr(socket, "AF_UNIX", -1)

LITERALS = [
    "0.0.0.0",
    "127.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "2001:db8::8:800:200c:417a",
    "2001:0db8:0000:0000:0008:0800:200C:417A",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::192.0.2.33",
    f"fe80::1%{INTERFACE}",
    "fe80::1%1",
    "fe80::1%4294967295",
    f"ff02::1%{INTERFACE}",
    f"2001:db8::1%{INTERFACE}",
    "fe80::1%there-is-none",
    "fe80::1%",
    "::1%1",
]
PORTS = [None, 0, 80, 65535, "0", "80", "0080", "65535", "65536", "99999999999"]
FAMILIES = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, UNIX, 99]
TYPES = [
    (0, 0),
    (0, socket.IPPROTO_TCP),
    (socket.SOCK_STREAM, 0),
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_STREAM, socket.IPPROTO_UDP),
    (socket.SOCK_DGRAM, 0),
    (socket.SOCK_RAW, 0),
    (99, 99),
]
FLAGS = [
    0,
    socket.AI_PASSIVE,
    socket.AI_NUMERICHOST,
    socket.AI_NUMERICSERV | socket.AI_PASSIVE,
    socket.AI_ADDRCONFIG,
    socket.AI_V4MAPPED,
    socket.AI_V4MAPPED | socket.AI_ALL,
]

DOUBTFUL: list[tuple[Any, Any, Any]] = [
    ("localhost", 80, 0),
    ("", 80, 0),
    (None, 80, 0),
    (b"127.0.0.1", 80, 0),
    ("127.1", 80, 0),
    ("0x7f000001", 80, 0),
    ("2130706433", 80, 0),
    ("127.0.0.1 ", 80, 0),
    ("127.0.0.1\0", 80, 0),
    ("127.0.0.01", 80, 0),
    ("127.0.0.1%lo", 80, 0),
    ("１２７.0.0.1", 80, 0),  # noqa: RUF001 - digits that IDNA turns into others
    ("[::1]", 80, 0),
    ("::1::", 80, 0),
    ("127.0.0.1", "http", 0),
    ("127.0.0.1", "", 0),
    ("127.0.0.1", " 80", 0),
    ("127.0.0.1", "8_0", 0),
    ("127.0.0.1", "٨٠", 0),  # digits to Python, a service to the system
    ("127.0.0.1", b"80", 0),
    ("127.0.0.1", -1, 0),
    ("127.0.0.1", 65536, 0),
    ("127.0.0.1", True, 0),
    ("127.0.0.1", 80.0, 0),
    ("127.0.0.1", 80, socket.AI_CANONNAME),
    ("127.0.0.1", 80, 1 << 30),
    ("127.0.0.1", 80, None),
    (127, 80, 0),
]


class Asked(Exception):
    """A look-up went to the threads."""


class NoResolver:
    """Stands for the threads: says that it was asked, with what."""

    def submit(self, loop: object, function: object, args: tuple[Any, ...]) -> None:
        raise Asked(*args)

    def close(self) -> None:
        pass


def at_once(coro: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not wait."""
    try:
        coro.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coro.close()
    raise AssertionError("it waits")


@pytest.fixture
def no_threads(loop: noria.Loop, monkeypatch: pytest.MonkeyPatch) -> noria.Loop:
    monkeypatch.setattr(loop, "_resolver", NoResolver())
    return loop


@pytest.mark.parametrize("host", LITERALS)
def test_literals_are_answered_at_once_and_as_the_system_does(
    no_threads: noria.Loop, host: str
) -> None:
    answered = 0
    for port, family, (kind, proto), flags in itertools.product(PORTS, FAMILIES, TYPES, FLAGS):
        try:
            expected: Any = socket.getaddrinfo(
                host, port, family, kind, proto, flags | socket.AI_NUMERICHOST
            )
        except OSError:
            expected = None  # then the whole call has to word the error
        arguments = (host, port, family, kind, proto, flags)
        try:
            found = at_once(
                no_threads.getaddrinfo(
                    host, port, family=family, type=kind, proto=proto, flags=flags
                )
            )
        except Asked as asked:
            found = None
            passed_on = asked.args
        else:
            passed_on = (*arguments, 0)
        assert found == expected, arguments
        assert passed_on == (*arguments, 0)
        answered += found is not None
    assert answered or "%" in host


@pytest.mark.parametrize("case", DOUBTFUL, ids=repr)
def test_everything_doubtful_is_left_to_the_threads(
    no_threads: noria.Loop, monkeypatch: pytest.MonkeyPatch, case: Any
) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    host, port, flags = case
    with pytest.raises(Asked) as asked:
        at_once(no_threads.getaddrinfo(host, port, flags=flags))
    assert asked.value.args == (host, port, 0, 0, 0, flags, 0)


@pytest.mark.parametrize("host", LITERALS)
def test_the_systems_name_server_is_kept_out(
    no_threads: noria.Loop, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    flags: list[int] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: flags.append(args[-1]))
    at_once(no_threads.getaddrinfo(host, 80, flags=socket.AI_PASSIVE))
    assert flags == [socket.AI_PASSIVE | socket.AI_NUMERICHOST]


def test_zone_becomes_the_scope(loop: noria.Loop) -> None:
    index = socket.if_nametoindex(INTERFACE)
    zone = index if sys.platform == "win32" else INTERFACE  # Windows knows no zone by its name
    found = loop.run_until_complete(
        loop.getaddrinfo(f"fe80::1%{zone}", 80, type=socket.SOCK_STREAM)
    )
    assert found[0][4] == ("fe80::1", 80, 0, index)


def test_names_are_resolved(either: asyncio.AbstractEventLoop) -> None:
    found = either.run_until_complete(either.getaddrinfo("localhost", 80, type=1))
    assert found == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)


@pytest.mark.parametrize(
    ("host", "port", "family"),
    [("127.0.0.1", 80, socket.AF_INET6), ("::1", 80, socket.AF_INET), ("127.0.0.1", "wrong", 0)],
)
def test_errors_are_those_of_the_system(
    either: asyncio.AbstractEventLoop, host: str, port: int | str, family: int
) -> None:
    with pytest.raises(socket.gaierror) as expected:
        socket.getaddrinfo(host, port, family)
    with pytest.raises(socket.gaierror) as found:
        either.run_until_complete(either.getaddrinfo(host, port, family=family))
    assert found.value.args == expected.value.args


def test_a_function_put_in_place_of_the_systems_is_used(
    either: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [args[0]])
    for host in ("127.0.0.1", "example.org"):
        found: Any = either.run_until_complete(either.getaddrinfo(host, 80))
        assert found == [host]


def test_closed_loop_resolves_nothing(either: asyncio.AbstractEventLoop) -> None:
    either.close()
    for coro in (either.getaddrinfo("127.0.0.1", 80), either.getnameinfo(("127.0.0.1", 80))):
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            at_once(coro)


# -- getnameinfo ------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 8080), ("::1", 80, 0, 0)])
@pytest.mark.parametrize("more", [0, socket.NI_DGRAM, socket.NI_NAMEREQD])
def test_numbers_to_numbers_are_answered_at_once(
    no_threads: noria.Loop, address: Any, more: int
) -> None:
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV | more
    try:
        expected: Any = socket.getnameinfo(address, flags)
    except OSError as exc:
        expected = exc.args
    try:
        found = at_once(no_threads.getnameinfo(address, flags))
    except OSError as exc:
        found = exc.args
    assert found == expected


@pytest.mark.parametrize("flags", [0, socket.NI_NUMERICHOST, socket.NI_NUMERICSERV])
def test_names_of_addresses_go_to_threads(no_threads: noria.Loop, flags: int) -> None:
    with pytest.raises(Asked) as asked:
        at_once(no_threads.getnameinfo(("127.0.0.1", 80), flags))
    assert asked.value.args == (("127.0.0.1", 80), flags)


@pytest.mark.parametrize("flags", [0, socket.NI_NUMERICHOST, socket.NI_NUMERICHOST | 2])
def test_addresses_get_their_names(either: asyncio.AbstractEventLoop, flags: int) -> None:
    found = either.run_until_complete(either.getnameinfo(("127.0.0.1", 80), flags))
    assert found == socket.getnameinfo(("127.0.0.1", 80), flags)


# -- addresses for connect --------------------------------------------------------------------


def ensure(loop: Any, address: tuple[Any, ...], **hints: Any) -> Any:
    if isinstance(loop, noria.Loop):
        return loop.run_until_complete(loop._ensure_resolved(address, **hints))
    return loop.run_until_complete(loop._ensure_resolved(address, **hints, loop=loop))


ADDRESSES: list[tuple[Any, ...]] = [
    ("127.0.0.1", 80),
    ("127.0.0.1", "80"),
    ("127.0.0.1", " 80 "),
    ("127.0.0.1", None),
    ("127.0.0.1", ""),
    ("127.0.0.1", b""),
    ("127.0.0.1", b"80"),
    ("127.0.0.1", 99999),
    ("127.0.0.1", "http"),
    (b"127.0.0.1", 80),
    ("::1", 80),
    ("0:0::1", 80),
    ("fe80::1", 80, 7, 3),
    ("fe80::1", 80, 7),
    (f"fe80::1%{INTERFACE}", 80),
    (f"fe80::1%{INTERFACE}", 80, 7, 3),
    ("localhost", 80),
    ("localhost", 80, 0, 3),
    ("localhost", None),
]
HINTS: list[dict[str, Any]] = [
    {},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6},
    {"type": socket.SOCK_DGRAM},
    {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_TCP},
    {"type": 0},
    {"proto": socket.IPPROTO_TCP, "flags": socket.AI_PASSIVE},
    {"proto": 99},
]


@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
def test_resolved_for_connect_as_asyncio_does(
    loop: noria.Loop, address: tuple[Any, ...], request: pytest.FixtureRequest
) -> None:
    reference = asyncio.SelectorEventLoop()
    request.addfinalizer(reference.close)

    def outcome(of: Any, hints: dict[str, Any]) -> Any:
        try:
            return ensure(of, address, **hints)
        except OSError as exc:
            return exc.args

    for hints in HINTS:
        assert outcome(loop, hints) == outcome(reference, hints), hints


@pytest.mark.parametrize("host", ["127.0.0.1\0", "localhost\0.example", b"127.0.0.1\0"])
def test_a_host_with_a_null_is_refused(either: asyncio.AbstractEventLoop, host: Any) -> None:
    """getaddrinfo takes what stands before it, which is another host than the program checked."""
    with pytest.raises(ValueError, match="embedded null character"):
        ensure(either, (host, 80))


def test_a_literal_for_connect_needs_no_look_up(
    loop: noria.Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert at_once(loop._ensure_resolved(("127.0.0.1", 80)))[0][4] == ("127.0.0.1", 80)


# -- debug mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_debug_mode_tells_how_long_it_took(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")
    either.set_debug(True)
    either.slow_callback_duration = 1000.0
    caplog.clear()
    either.run_until_complete(either.getaddrinfo(host, 80, type=socket.SOCK_STREAM))
    asked = f"{host}:80, type={socket.SOCK_STREAM!r}"
    records = [record for record in caplog.records if "address info" in record.message]
    assert [record.levelno for record in records] == [logging.DEBUG, logging.DEBUG]
    assert records[0].message == f"Get address info {asked}"
    assert records[1].message.startswith(f"Getting address info {asked} took ")
    assert "ms: [(" in records[1].message


def test_debug_mode_tells_slow_look_ups_louder(
    either: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncio")
    either.set_debug(True)
    either.slow_callback_duration = 0.0
    either.run_until_complete(either.getaddrinfo("localhost", "80", family=2, proto=6))
    messages = [record.message for record in caplog.records if "took" in record.message]
    assert any(
        message.startswith("Getting address info localhost:'80', family=2, proto=6 took ")
        for message in messages
    )
