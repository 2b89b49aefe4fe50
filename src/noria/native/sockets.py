"""Calls on stream sockets, interpreted twin of sockets.pyx; acts through the socket object."""

import errno
import socket as socket_module
from socket import socket
from typing import Any

COMPILED = False
"""Whether this is the compiled twin, which acts on numbers and needs no socket objects."""

_VECTOR_MAX = 64  # as in sockets.pyx
_DONTWAIT = getattr(socket_module, "MSG_DONTWAIT", 0)  # also a blocking socket must not block
_HAS_SENDMSG = hasattr(socket, "sendmsg")
_IP_FAMILIES = (socket_module.AF_INET, socket_module.AF_INET6)


def _failure(exc: OSError) -> int:
    if isinstance(exc, BlockingIOError):
        return -errno.EAGAIN
    return -(exc.errno or errno.EIO)


def receive(fd: int, sock: socket, size: int) -> bytes | int:
    """Receive at most `size` bytes; the bytes (empty at the end) or minus errno."""
    try:
        return sock.recv(size, _DONTWAIT)
    except OSError as exc:
        return _failure(exc)


def receive_large(fd: int, sock: socket, size: int) -> bytes | int:
    """Receive as `receive` does; the caller expects nearly `size` bytes."""
    return receive(fd, sock, size)


def receive_into(fd: int, sock: socket, view: memoryview) -> int:
    """Receive into memory; bytes received (0 at the end) or minus errno."""
    try:
        return sock.recv_into(view, 0, _DONTWAIT)
    except OSError as exc:
        return _failure(exc)


def send(fd: int, sock: socket, data: Any, offset: int) -> int:
    """Send what lies behind `offset` in `data`; bytes taken or minus errno."""
    try:
        return sock.send(memoryview(data).cast("B")[offset:] if offset else data, _DONTWAIT)
    except OSError as exc:
        return _failure(exc)


def send_vector(fd: int, sock: socket, chunks: list[Any], offset: int) -> int:
    """Send several chunks at once, the first from `offset` on; bytes taken or minus errno."""
    if not _HAS_SENDMSG:
        return send(fd, sock, chunks[0] if chunks else b"", offset)
    chunks = chunks[:_VECTOR_MAX]
    if offset and chunks:
        chunks[0] = memoryview(chunks[0]).cast("B")[offset:]
    try:
        return sock.sendmsg(chunks, (), _DONTWAIT)
    except OSError as exc:
        return _failure(exc)


def accept(fd: int, sock: socket) -> tuple[int, socket, Any] | int:
    """Accept one connection, non-blocking: its number, socket and raw address, or minus errno."""
    try:
        connection, address = sock.accept()
    except OSError as exc:
        return _failure(exc)
    connection.setblocking(False)
    return connection.fileno(), connection, address


def address_of(raw: Any) -> Any:
    """Make the address that Python programs know from a raw one."""
    return raw


def raw_address(family: int, address: Any) -> bytes | None:
    """Make a raw address of a numeric one; unknown here, where nobody asks for one."""
    return None


def local_address(fd: int, sock: socket) -> Any:
    """Raw address of this end, None where there is none."""
    try:
        return sock.getsockname()
    except OSError:
        return None


def peer_address(fd: int, sock: Any) -> Any:
    """Raw address of the other end, None where there is none."""
    try:
        return sock.getpeername()
    except OSError:
        return None


def is_unix(fd: int, sock: Any) -> bool:
    """Whether it is a Unix socket; what has no socket object is none."""
    return sock is not None and sock.family == getattr(socket_module, "AF_UNIX", None)


def set_nodelay(fd: int, sock: Any, raw_address: Any) -> int:
    """Switch Nagle's algorithm off where the socket is TCP; 0 or minus errno."""
    if sock.family not in _IP_FAMILIES or sock.type != socket_module.SOCK_STREAM:
        return 0
    if sock.proto not in (0, socket_module.IPPROTO_TCP):
        return 0
    try:
        sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
    except OSError as exc:
        return _failure(exc)
    return 0


def shutdown_writing(fd: int, sock: socket) -> int:
    """Send the end of the stream; 0 or minus errno."""
    try:
        sock.shutdown(socket_module.SHUT_WR)
    except OSError as exc:
        return _failure(exc)
    return 0
