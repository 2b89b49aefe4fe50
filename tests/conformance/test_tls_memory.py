"""An idle TLS connection keeps nothing big, whatever went through it before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria.native import bio
from noria.native import sockets as native
from tests.conformance.test_tls_data import each_version
from tests.loops import pattern, run, until
from tests.tls import NAME, client_context, finish, pem_file, secure

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

CONNECTIONS = 400  # of fewer what a server makes only now and then would be a large share
IDLE_KIB_MAX = 30 if bio.AVAILABLE else 60

SERVER = """
import asyncio, ctypes, ssl, sys
import noria

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=context, backlog=200)
    print(server.sockets[0].getsockname()[1], flush=True)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
    while await loop.run_in_executor(None, sys.stdin.readline):
        trim(0)
        with open("/proc/self/status") as status:
            print(next(line.split()[1] for line in status if line.startswith("VmRSS:")), flush=True)

noria.run(main())
"""


def resident_kib(server: subprocess.Popen[str]) -> int:
    """Memory of a server that is in RAM, without the holes that the allocator keeps for later.

    How many holes there are is chance, and the same for every loop; it may be 20 KiB a connection.
    """
    assert server.stdout is not None
    assert server.stdin is not None
    server.stdin.write("weigh\n")
    server.stdin.flush()
    return int(server.stdout.readline())


@contextlib.contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """An echo server in a process of its own, and its port."""
    path = pem_file()
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)
            Path(path).unlink()


def echo(port: int, size: int) -> ssl.SSLSocket:
    """A connection that has had so many bytes echoed."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock = client_context().wrap_socket(plain, server_hostname=NAME)
    data = pattern(size)
    sock.sendall(data)
    found = bytearray()
    while len(found) < size:
        found += sock.recv(65536)
    assert found == data
    return sock


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not native.COMPILED, reason="the bound is that of the compiled build")
@pytest.mark.parametrize("size", [1024, 100_000])
def test_idle_connections_are_small(size: int) -> None:
    with serving() as (server, port), contextlib.ExitStack() as stack:
        for _ in range(20):  # what a server makes only once
            stack.enter_context(echo(port, size))
        before = resident_kib(server)
        for _ in range(CONNECTIONS):
            stack.enter_context(echo(port, size))
        each = (resident_kib(server) - before) / CONNECTIONS
    assert each <= IDLE_KIB_MAX, f"{each:.1f} KiB for each"


@each_version
def test_the_bios_never_hold_more_than_a_record(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion
) -> None:
    held: list[int] = []

    class Measuring(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.count = 0

        def data_received(self, data: bytes) -> None:
            self.count += len(data)
            self.transport.write(data)
            held.append(self.transport._incoming.pending + self.transport._outgoing.pending)

    async def main() -> None:
        one = await secure(Measuring(), version=version)
        data = pattern(2_000_000)
        sending = asyncio.ensure_future(one.peer.write(data))
        assert await one.peer.take(len(data)) == data
        await sending
        await until(lambda: one.protocol.count == len(data))
        assert max(held) <= 16384 + 2048 + 5
        assert one.transport._incoming.pending == one.transport._outgoing.pending == 0
        assert one.transport.get_read_buffer_size() == 0
        await finish(one)

    run(loop, main())
