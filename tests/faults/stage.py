"""A stage for each operation of the catalog: what it needs, and how it becomes ready."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.core.descriptor import Descriptor
from noria.native.datagrams import Endpoint
from tests.driver import Driver, Owned, Recorded, close_accepted

if TYPE_CHECKING:
    from collections.abc import Callable


class Stage:
    """The descriptors that one operation acts on."""

    def __init__(self, driver: Driver, code: int) -> None:
        self.driver = driver
        self.code = code
        self.closing = contextlib.ExitStack()
        self.owned: Owned | None = None
        self.fd = -1
        self.attributes: dict[str, Any] = {}
        self.make_ready: Callable[[], object] = lambda: None
        self._operations: list[Recorded] = []
        KINDS[code](self)

    def operation(self, **attributes: Any) -> Recorded:
        """A new operation on this stage."""
        given = self.attributes | attributes
        if self.owned is not None:
            op = self.owned.operation(self.code, **given)
        else:
            op = Recorded(self.code, self.fd)
            for name, value in given.items():
                setattr(op, name, value)
        self._operations.append(op)
        return op

    @property
    def leases(self) -> int:
        """Operations that hold the descriptor."""
        return 0 if self.owned is None else self.owned.descriptor.leases

    def close(self) -> None:
        """Take everything down."""
        for op in self._operations:
            for event in op.events:
                if op.code == codes.ACCEPT and event.data is not None:
                    close_accepted(event.data)
        if self.owned is not None:
            self.owned.close()
        self.closing.close()

    def own(self, sock: socket.socket) -> None:
        """Act on this socket."""
        self.owned = Owned(self.driver, sock)
        self.fd = sock.fileno()


def pair_to_read(stage: Stage) -> None:
    left, right = socket.socketpair()
    stage.closing.enter_context(right)
    stage.own(left)
    stage.make_ready = lambda: right.send(b"data")
    stage.attributes = {"size": 100}
    if stage.code == codes.RECEIVE_INTO:
        stage.attributes["buffer"] = memoryview(bytearray(100))


def pair_to_write(stage: Stage) -> None:
    left, right = socket.socketpair()
    stage.closing.enter_context(right)
    stage.own(left)
    data = b"data"
    stage.attributes = {"buffer": [data] if stage.code == codes.SEND_VECTOR else data}


def file_to_write(stage: Stage) -> None:
    if not hasattr(os, "sendfile"):
        pytest.skip("this system has no sendfile")
    pair_to_write(stage)
    opened = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the stage
    stage.closing.enter_context(opened)
    opened.write(b"data")
    opened.flush()
    held = Descriptor(os.dup(opened.fileno()))
    stage.closing.callback(held.close)
    stage.attributes = {"buffer": held, "size": 10}


def datagrams(stage: Stage) -> None:
    left, right = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    stage.closing.enter_context(right)
    for sock in (left, right):
        sock.bind(("127.0.0.1", 0))
    stage.own(left)
    name = left.getsockname()
    stage.make_ready = lambda: right.sendto(b"data", name)
    stage.attributes = {"size": 100, "address": right.getsockname(), "buffer": bytearray(100)}


def datagram_batch(stage: Stage) -> None:
    datagrams(stage)
    stage.attributes = {"size": 10, "address": Endpoint(socket.AF_INET)}


def listening(stage: Stage) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(10)
    stage.own(sock)
    name = sock.getsockname()
    stage.make_ready = lambda: stage.closing.enter_context(socket.create_connection(name))


def connecting(stage: Stage) -> None:
    listener = stage.closing.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(10)
    sock = socket.socket()
    stage.own(sock)
    address = listener.getsockname()
    stage.attributes = {"address": address}
    # An attempt that was only scripted has not begun to connect.
    stage.make_ready = lambda: sock.connect_ex(address)


FILE_ATTRIBUTES: dict[int, dict[str, Any]] = {
    codes.WRITE_AT: {"buffer": b"data"},
    codes.READ_INTO_AT: {"buffer": bytearray(10)},
    codes.READ_VECTOR_AT: {"buffer": [bytearray(10), bytearray(10)]},
    codes.WRITE_VECTOR_AT: {"buffer": [b"da", b"ta"]},
    codes.ADVISE: {"address": 0},
    codes.RUN: {"buffer": tempfile.gettempdir},
}


def file(stage: Stage) -> None:
    opened = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the stage
    stage.fd = stage.closing.enter_context(opened).fileno()
    stage.attributes = {"size": 10}
    stage.attributes |= FILE_ATTRIBUTES.get(stage.code, {})


def names(stage: Stage) -> None:
    """A directory with what the operation needs there, and names that are free."""
    made = Path(stage.closing.enter_context(tempfile.TemporaryDirectory()))
    (made / "file").write_bytes(b"data")
    (made / "empty").mkdir()
    first = {codes.REMOVE_DIRECTORY_AT: "empty", codes.MAKE_DIRECTORY_AT: "new"}
    name = made / first.get(stage.code, "file")
    stage.attributes = {"buffer": str(name), "address": str(made / "other")}
    if stage.code == codes.WRITE_FILE:
        stage.attributes |= {"buffer": b"data", "size": os.O_WRONLY | os.O_CREAT, "offset": 0o600}


def child(stage: Stage) -> None:
    """A child process; it ends at the latest with the stage."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no descriptors of processes")
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    stage.closing.callback(process.wait)
    stage.closing.callback(process.kill)
    assert process.stdin is not None
    stage.closing.callback(process.stdin.close)
    stage.fd = os.pidfd_open(process.pid)
    stage.closing.callback(os.close, stage.fd)
    stage.make_ready = process.kill


KINDS: dict[int, Callable[[Stage], None]] = {
    codes.ACCEPT: listening,
    codes.CONNECT: connecting,
    codes.RECEIVE: pair_to_read,
    codes.RECEIVE_INTO: pair_to_read,
    codes.RECEIVE_FROM: datagrams,
    codes.RECEIVE_FROM_INTO: datagrams,
    codes.RECEIVE_DATAGRAMS: datagram_batch,
    codes.SEND: pair_to_write,
    codes.SEND_VECTOR: pair_to_write,
    codes.SEND_TO: datagrams,
    codes.SEND_FILE: file_to_write,
    codes.WAIT_READABLE: pair_to_read,
    codes.WAIT_WRITABLE: pair_to_write,
    codes.READ_AT: file,
    codes.WRITE_AT: file,
    codes.FSYNC: file,
    codes.DATASYNC: file,
    codes.TRUNCATE: file,
    codes.CLOSE_FILE: file,
    codes.READ_INTO_AT: file,
    codes.READ_VECTOR_AT: file,
    codes.WRITE_VECTOR_AT: file,
    codes.ALLOCATE: file,
    codes.ADVISE: file,
    codes.RUN: file,
    codes.OPEN_AT: names,
    codes.WRITE_FILE: names,
    codes.OPEN_FILE: names,
    codes.STATUS_AT: names,
    codes.UNLINK_AT: names,
    codes.REMOVE_DIRECTORY_AT: names,
    codes.MAKE_DIRECTORY_AT: names,
    codes.RENAME_AT: names,
    codes.LINK_AT: names,
    codes.SYMLINK_AT: names,
    codes.WAIT_CHILD: child,
}
"""How each operation is staged; a row of the catalog that is missing here fails a test."""
