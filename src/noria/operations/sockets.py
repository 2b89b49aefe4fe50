"""Operations on sockets.

Each function makes one attempt on a non-blocking socket: a value >= 0, or minus errno, where
-EAGAIN asks to be called again after the lane's readiness. Objects that come out are left in
`op.buffer` and addresses in `op.address`. The manual pages are those of the calls: accept(2),
connect(2), ...
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from noria.core.catalog import READ, WRITE, operation, result_of
from noria.core.codes import (
    ACCEPT,
    CONNECT,
    RECEIVE,
    RECEIVE_DATAGRAMS,
    RECEIVE_FROM,
    RECEIVE_FROM_INTO,
    RECEIVE_INTO,
    SEND,
    SEND_FILE,
    SEND_TO,
    SEND_VECTOR,
    WAIT_READABLE,
    WAIT_WRITABLE,
)
from noria.native import sockets as native
from noria.native.datagrams import Endpoint

if TYPE_CHECKING:
    from noria.core.operation import Operation

_PENDING_NAMES = ("EINPROGRESS", "EALREADY", "EWOULDBLOCK", "EAGAIN", "WSAEWOULDBLOCK")
_send_file: Any = getattr(os, "sendfile", None)  # not on Windows
_CONNECT_PENDING = {getattr(errno, name) for name in _PENDING_NAMES if hasattr(errno, name)}


def _close_accepted(result: int, data: Any) -> None:
    if data is None:
        return
    number, sock, _ = data
    if sock is None:
        os.close(number)
    else:
        sock.close()


@operation(code=ACCEPT, lane=READ, discard=_close_accepted)
def accept(op: Operation) -> int:
    """Accept one connection: its number; `op.buffer` gets (number, socket or None, raw address)."""
    accepted = native.accept(op.fd, op.sock)
    if isinstance(accepted, int):
        return accepted
    op.buffer = accepted
    return accepted[0]


@operation(code=CONNECT, lane=WRITE)
def connect(op: Operation) -> int:
    """Connect to `op.address`: 0. The second attempt, after readiness, asks for the outcome.

    A Unix socket whose listener has a full backlog answers EAGAIN and is no nearer to connected;
    that is the caller's failure, not something to wait for.
    """
    if op.size == 0:
        code: int = op.sock.connect_ex(op.address)
        if code not in _CONNECT_PENDING:
            return -code
        if code == errno.EAGAIN and op.sock.family == getattr(socket, "AF_UNIX", None):
            op.nowait = True  # nothing is under way, so there is no readiness to wait for
            return -errno.EAGAIN
        op.size = 1
        return -errno.EAGAIN
    failure: int = op.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return -failure


@operation(code=RECEIVE, lane=READ)
def receive(op: Operation) -> int:
    """Receive at most `op.size` bytes into a new bytes object, left in `op.buffer`: how many."""
    data = native.receive(op.fd, op.sock, op.size)
    if isinstance(data, int):
        return data
    op.buffer = data
    return len(data)


@operation(code=RECEIVE_INTO, lane=READ)
def receive_into(op: Operation) -> int:
    """Receive into the memory of `op.buffer`: how many bytes."""
    return native.receive_into(op.fd, op.sock, op.buffer)


@operation(code=RECEIVE_FROM, lane=READ)
def receive_from(op: Operation) -> int:
    """Receive one datagram of at most `op.size` bytes: length; `op.buffer`, `op.address` filled."""
    try:
        op.buffer, op.address = op.sock.recvfrom(op.size)
    except OSError as exc:
        return result_of(exc)
    return len(op.buffer)


@operation(code=RECEIVE_FROM_INTO, lane=READ)
def receive_from_into(op: Operation) -> int:
    """Receive one datagram into `op.buffer`, at most `op.size` bytes: length; `op.address` set."""
    try:
        count, op.address = op.sock.recvfrom_into(op.buffer, op.size)
    except OSError as exc:
        return result_of(exc)
    return int(count)


@operation(code=RECEIVE_DATAGRAMS, lane=READ)
def receive_datagrams(op: Operation) -> int:
    """Receive up to `op.size` datagrams by the Endpoint `op.address`: how many.

    `op.buffer` gets a list of data and address in turn, `op.expected` the number of bytes. A result
    is >= 1 also if all of them are empty.
    """
    if not isinstance(op.address, Endpoint):
        return -errno.EINVAL
    batch = op.address.receive(op.fd, op.sock, op.size)
    if isinstance(batch, int):
        return batch
    op.buffer = batch
    op.expected = op.address.received_bytes
    return len(batch) // 2


@operation(code=SEND, lane=WRITE)
def send(op: Operation) -> int:
    """Send what lies behind `op.offset` in `op.buffer`: how many bytes were taken."""
    return native.send(op.fd, op.sock, op.buffer, op.offset)


@operation(code=SEND_VECTOR, lane=WRITE)
def send_vector(op: Operation) -> int:
    """Send the chunks of the list `op.buffer`, the first from `op.offset` on: bytes taken."""
    return native.send_vector(op.fd, op.sock, op.buffer, op.offset)


@operation(code=SEND_TO, lane=WRITE)
def send_to(op: Operation) -> int:
    """Send the datagram `op.buffer` to `op.address`: its length."""
    try:
        return int(op.sock.sendto(op.buffer, op.address))
    except OSError as exc:
        return result_of(exc)


@operation(code=SEND_FILE, lane=WRITE)
def send_file(op: Operation) -> int:
    """Send from `op.offset` of the file that the Descriptor `op.buffer` owns: bytes, 0 at its end.

    At most `op.size`, and fewer when the socket is full (sendfile(2)); the file's own position
    stays. The kernel reads pages that are not cached meanwhile, with the interpreter lock released.
    """
    if _send_file is None:
        return -errno.ENOSYS
    try:
        return int(_send_file(op.fd, op.buffer.fd, op.offset, op.size))
    except OSError as exc:
        return result_of(exc)


@operation(code=WAIT_READABLE, lane=READ)
def wait_readable(op: Operation) -> int:
    """Succeed with 0: called only after the descriptor was found readable."""
    return 0


@operation(code=WAIT_WRITABLE, lane=WRITE)
def wait_writable(op: Operation) -> int:
    """Succeed with 0: called only after the descriptor was found writable."""
    return 0
