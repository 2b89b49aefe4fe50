"""TLS of the load generator and its bare server, on the OpenSSL of the ssl module."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from noria.lab import openssl
from noria.lab.errors import LabError
from noria.lab.measure import open_descriptors

if sys.platform != "linux":
    pytest.skip("the load generator needs epoll", allow_module_level=True)
_client = pytest.importorskip("noria.lab._client", reason="not built")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if reason := openssl.missing():
    pytest.skip(reason, allow_module_level=True)

REMADE_SECONDS = 8 * 86400


@contextlib.contextmanager
def native_server() -> Iterator[list[Any]]:
    """The bare server in a thread; yields targets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        stop, stopper = socket.socketpair()
        arguments = [listener.fileno()], stop.fileno()
        thread = threading.Thread(target=_client.serve_tls, args=arguments)
        thread.start()
        try:
            yield [listener.getsockname()]
        finally:
            stopper.close()
            thread.join(10)
            stop.close()
        assert not thread.is_alive()


@contextlib.contextmanager
def python_server(
    serve: Callable[[ssl.SSLSocket], None], context: ssl.SSLContext
) -> Iterator[list[Any]]:
    """One connection, served by a function in a thread; yields targets."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def run() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(10)
            with context.wrap_socket(connection, server_side=True) as wrapped:
                serve(wrapped)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield [listener.getsockname()]
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def take(connection: ssl.SSLSocket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


@pytest.mark.parametrize(("size", "depth"), [(1, 1), (1024, 3), (102_400, 1), (300_001, 2)])
def test_echoes_of_the_bare_server(size: int, depth: int) -> None:
    open_before = open_descriptors(os.getpid())
    with native_server() as targets:
        client = _client.Client(targets, 5, size_max=size, depth_max=depth, tls=True)
        opened = client.connect(5, size=size)
        assert (opened["connections"], opened["requests"], opened["failures"]) == (5, 5, {})
        done = client.echo(10.0, size=size, depth=depth, requests_max=7)
        assert (done["requests"], done["bytes"], done["failures"]) == (35, 35 * size, {})
        assert client.idle(0.01)["connections"] == 5
        ended = client.disconnect()
        assert (ended["connections"], ended["alive"], ended["failures"]) == (5, 0, {})
        client.close()
    assert open_descriptors(os.getpid()) == open_before


def test_the_session_is_tls_1_3_with_one_cipher_suite_and_no_ticket() -> None:
    seen: list[Any] = []

    def echo(connection: ssl.SSLSocket) -> None:
        seen.extend([connection.version(), connection.cipher(), connection.session_reused])
        connection.sendall(take(connection, 64))
        seen.append(connection.recv(1))

    with python_server(echo, openssl.server_context()) as targets:
        client = _client.Client(targets, 1, tls=True)
        assert client.connect(1)["failures"] == {}
        assert client.disconnect()["failures"] == {}
        client.close()
    assert seen == ["TLSv1.3", (openssl.CIPHER_SUITE, "TLSv1.3", 128), False, b""]


def test_the_bare_server_speaks_with_the_ssl_module_and_says_goodbye() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with native_server() as targets, socket.create_connection(targets[0], 10) as plain:
        connection = context.wrap_socket(plain, suppress_ragged_eofs=False)
        assert connection.version() == "TLSv1.3"
        connection.sendall(b"x" * 100_000)
        assert take(connection, 100_000) == b"x" * 100_000
        assert connection.session is None or not connection.session.has_ticket
        plain_again = connection.unwrap()
        assert plain_again.recv(1) == b""
        plain_again.close()


def test_a_certificate_is_made_anew_and_is_valid_now(tmp_path: Path) -> None:
    certificate, key = _client.make_certificate()
    assert _client.make_certificate() != (certificate, key)
    path = tmp_path / "certificate.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(certificate) + openssl.key_pem(key), "ascii")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    trusting = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(certificate))
    trusting.check_hostname = False
    with (
        python_server(lambda connection: connection.sendall(b"!"), server) as targets,
        socket.create_connection(targets[0], 10) as plain,
        trusting.wrap_socket(plain) as connection,
    ):
        assert connection.recv(1) == b"!", "it was verified by itself"
        facts = connection.getpeercert()
    assert facts is not None
    assert facts["subject"] == ((("commonName", "localhost"),),)
    before, after = (
        ssl.cert_time_to_seconds(str(facts[name])) for name in ("notBefore", "notAfter")
    )
    assert before < time.time() < after < time.time() + REMADE_SECONDS


def test_a_wrong_byte_is_found_through_tls() -> None:
    def corrupt(connection: ssl.SSLSocket) -> None:
        connection.sendall(take(connection, 64))
        data = bytearray(take(connection, 40_000))
        data[31_415] ^= 0x10
        connection.sendall(data)
        connection.recv(1)

    with python_server(corrupt, openssl.server_context()) as targets:
        client = _client.Client(targets, 1, tls=True)
        client.connect(1)
        done = client.echo(5.0, size=40_000, requests_max=1)
        assert done["failures"] == {_client.FAILURE_MISMATCH: 1}
        assert done["mismatch"][:3] == (0, 1, 31_415)
        client.close()


@pytest.mark.parametrize("goodbye", [True, False])
def test_an_early_end_is_a_failure(goodbye: bool) -> None:
    def leave(connection: ssl.SSLSocket) -> None:
        connection.sendall(take(connection, 64))
        take(connection, 64)
        if goodbye:
            with contextlib.suppress(OSError):
                connection.unwrap()

    with python_server(leave, openssl.server_context()) as targets:
        client = _client.Client(targets, 1, tls=True)
        client.connect(1)
        done = client.echo(5.0, requests_max=1)
        assert done["failures"] == {_client.FAILURE_EOF: 1}
        client.close()


def test_a_server_without_tls_or_of_another_version_is_a_failure() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=talk)
    thread.start()
    client = _client.Client([listener.getsockname()], 1, tls=True)
    assert client.connect(1)["failures"] == {errno.EPROTO: 1}
    thread.join(10)
    listener.close()
    client.close()

    older = openssl.server_context()
    older.minimum_version = ssl.TLSVersion.TLSv1_2
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with python_server(lambda _: None, older) as targets:
        client = _client.Client(targets, 1, tls=True)
        assert client.connect(1)["failures"] == {errno.EPROTO: 1}
        client.close()


def test_a_reset_is_counted_by_errno() -> None:
    def reset(connection: ssl.SSLSocket) -> None:
        connection.sendall(take(connection, 64))
        take(connection, 64)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with python_server(reset, openssl.server_context()) as targets:
        client = _client.Client(targets, 1, tls=True)
        client.connect(1)
        assert client.echo(5.0, requests_max=1)["failures"] == {errno.ECONNRESET: 1}
        client.close()


def test_the_bare_server_drops_who_breaks_the_protocol_and_serves_the_others() -> None:
    with native_server() as targets:
        with socket.create_connection(targets[0], 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while plain.recv(4096):
                pass  # an alert, and then the end
        client = _client.Client(targets, 1, tls=True)
        assert client.connect(1)["failures"] == {}
        client.close()


def test_the_libraries_are_those_of_the_ssl_module(tmp_path: Path) -> None:
    ssl_path, crypto_path = openssl.libraries()
    assert "libssl" in ssl_path
    assert "libcrypto" in crypto_path
    assert ssl.OPENSSL_VERSION in openssl.description()
    maps = tmp_path / "maps"
    maps.write_text("00-01 r-xp 00 00:00 0      /usr/lib/libcrypto.so.3\n00-01 rw-p 0 0:0 0\n")
    with pytest.raises(LabError, match="has its own built in"):
        openssl.libraries(maps)
    maps.write_text("0-1 r 0 0 1 /a b/libcrypto-1a2b.so.3\n0-1 r 0 0 1 /a b/libssl.so.1.1\n")
    assert openssl.libraries(maps) == ("/a b/libssl.so.1.1", "/a b/libcrypto-1a2b.so.3")


def test_without_openssl_the_job_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from noria.lab.jobs import tls
    from noria.lab.stage import Silence

    def nothing() -> tuple[str, str]:
        raise LabError("no OpenSSL here")

    monkeypatch.setattr(openssl, "libraries", nothing)
    assert openssl.missing() == "no OpenSSL here"
    with pytest.raises(LabError, match="no OpenSSL here"):
        tls.run(tls.TlsOptions(contenders=("c-openssl",), against=()), Silence())


def test_what_cannot_be_loaded_is_named() -> None:
    import subprocess

    program = """
from noria.lab import _client
for paths in (("libssl-none.so", "libcrypto-none.so"), ("libc.so.6", "libc.so.6")):
    try:
        _client.load_tls(*paths)
    except OSError as error:
        print(error)
for call in (_client.make_certificate, lambda: _client.Client([("127.0.0.1", 1)], 1, tls=True)):
    try:
        call()
    except RuntimeError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines() == [
        "libcrypto-none.so cannot be loaded",
        "TLS_client_method cannot be loaded",
        "load_tls comes before TLS",
        "load_tls comes before TLS",
    ]
