"""Certificates, contexts and peers for the tests of TLS.

The peer is an SSLObject on a plain socket that the test turns by hand, so a test decides what is
sent record by record, or byte by byte.
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import tempfile
import time
from typing import TYPE_CHECKING, Any

import trustme

from tests.loops import PATIENCE_SECONDS, Recorder, socket_pair, tcp_pair, until

if TYPE_CHECKING:
    import socket

NAME = "noria.test"


@functools.cache
def authority() -> trustme.CA:
    """The authority that both sides trust; made once, as keys take time."""
    return trustme.CA()


@functools.cache
def leaf(name: str = NAME) -> trustme.LeafCert:
    """A certificate of that authority."""
    return authority().issue_cert(name, "localhost", "127.0.0.1")


def server_context(**options: Any) -> ssl.SSLContext:
    """A server's context.

    Args:
        options: `alpn`, a list of names; `version`, the only TLS version; `ask`, to require a
            certificate of the client.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf(options.get("name", NAME)).configure_cert(context)
    return _configured(context, options)


def client_context(**options: Any) -> ssl.SSLContext:
    """A client's context; `trust=False` for one that knows another authority only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.get("trust", True):
        authority().configure_trust(context)
    if options.get("certificate"):
        leaf("client.test").configure_cert(context)
    return _configured(context, options)


def _configured(context: ssl.SSLContext, options: dict[str, Any]) -> ssl.SSLContext:
    if "alpn" in options:
        context.set_alpn_protocols(options["alpn"])
    if "version" in options:
        context.minimum_version = context.maximum_version = options["version"]
    if options.get("ask"):
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
    return context


def pem_file() -> str:
    """Path of a file with the server's key and certificate; the caller removes it."""
    handle, path = tempfile.mkstemp(suffix=".pem")
    os.write(handle, leaf().private_key_and_cert_chain_pem.bytes())
    os.close(handle)
    return path


class Peer:
    """The other end: an SSLObject on a non-blocking socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_side: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else NAME,
        )
        self.ended = False

    def encrypted(self, data: bytes) -> bytes:
        """The records of some data, not sent."""
        view = memoryview(data)
        while view:
            view = view[self.object.write(view) :]
        return self.outgoing.read()

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        deadline = time.monotonic() + PATIENCE_SECONDS / 2
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                assert time.monotonic() < deadline, "the other end does not receive"
                await asyncio.sleep(0)

    async def flush(self) -> None:
        """Send what the object wants to send."""
        await self.send_raw(self.outgoing.read())

    async def more(self) -> None:
        """Wait for bytes and hand them to the object."""
        deadline = time.monotonic() + PATIENCE_SECONDS / 2
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                assert time.monotonic() < deadline, "nothing came"
                await asyncio.sleep(0)
                continue
            if data:
                self.incoming.write(data)
            else:
                self.ended = True
                self.incoming.write_eof()
            return

    async def turn(self, method: Any, *args: Any) -> Any:
        """Call a method of the object until it has what it wants to read."""
        while True:
            try:
                result = method(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.more()
            else:
                await self.flush()
                return result

    async def handshake(self) -> None:
        """Do the handshake."""
        try:
            await self.turn(self.object.do_handshake)
        except ssl.SSLError:
            await self.flush()
            raise

    async def write(self, data: bytes) -> None:
        """Encrypt and send."""
        await self.send_raw(self.encrypted(data))

    async def read(self, size: int = 65536) -> bytes:
        """Something; empty after close_notify."""
        try:
            data: bytes = await self.turn(self.object.read, size)
        except ssl.SSLZeroReturnError:
            return b""
        return data

    async def take(self, size: int) -> bytes:
        """Exactly so many bytes."""
        found = bytearray()
        while len(found) < size:
            data = await self.read(size - len(found))
            assert data, f"close_notify after {len(found)} of {size} bytes"
            found += data
        return bytes(found)

    async def take_all(self) -> bytes:
        """Everything up to close_notify."""
        found = bytearray()
        while data := await self.read():
            found += data
        return bytes(found)

    async def notify(self) -> None:
        """Send close_notify without waiting for the other one."""
        try:
            self.object.unwrap()
        except ssl.SSLWantReadError:
            pass
        await self.flush()

    async def end_of_stream(self) -> None:
        """Wait for the TCP end; what comes before is dropped."""
        while not self.ended:
            await self.more()


class Secure:
    """A TLS transport with its protocol, and the peer."""

    def __init__(self, transport: Any, protocol: Any, peer: Peer) -> None:
        self.transport = transport
        self.protocol = protocol
        self.peer = peer


async def secure(protocol: Any = None, **options: Any) -> Secure:
    """Make a TLS connection of the running loop.

    Args:
        protocol: the protocol; None for a Recorder.
        options: `server_side`: the loop's end is the server, else the client. `tcp=True` for a
            connection over the loopback interface. `version`: the only TLS version. `shutdown`:
            time limit of closing. `here`, `there`: contexts of the two ends.
    """
    left, right = tcp_pair() if options.get("tcp") else socket_pair()
    server_side = options.get("server_side", False)
    some = {key: options[key] for key in ("version",) if key in options}
    make_here, make_there = (
        (server_context, client_context) if server_side else (client_context, server_context)
    )
    here = options.get("here") or make_here(**some)
    there = options.get("there") or make_there(**some)
    peer = Peer(right, there, not server_side)
    chosen = Recorder() if protocol is None else protocol
    loop = asyncio.get_running_loop()
    left.setblocking(False)
    limits: dict[str, Any] = {"ssl_shutdown_timeout": options.get("shutdown")}
    if server_side:
        made = loop.connect_accepted_socket(lambda: chosen, left, ssl=here, **limits)
    else:
        made = loop.create_connection(
            lambda: chosen, sock=left, ssl=here, server_hostname=NAME, **limits
        )
    shaking = asyncio.ensure_future(peer.handshake())
    try:
        transport, _ = await made
        await shaking
    except BaseException:
        shaking.cancel()
        right.close()
        raise
    return Secure(transport, chosen, peer)


async def finish(*ones: Secure) -> None:
    """Abort what is left and close the peers."""
    for one in ones:
        if not one.transport.is_closing():
            one.transport.abort()
        one.peer.sock.close()
    for _ in range(200):
        await asyncio.sleep(0)


async def stop(server: Any) -> None:
    """Close a server and wait for its connections, which Python 3.11 does not."""
    server.close()
    await server.wait_closed()
    await until(lambda: not getattr(server, "_active_count", 0), "the end of all connections")
    for _ in range(200):
        await asyncio.sleep(0)
