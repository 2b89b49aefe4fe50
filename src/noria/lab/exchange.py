"""A request of HTTP and the response to it, which the load generator then demands byte for byte."""

from __future__ import annotations

import socket
from typing import Final

from noria.lab.errors import LabError

LEARN_TIMEOUT_S: Final = 10.0
HEAD_BYTES_MAX: Final = 65536
BODY_BYTES_MAX: Final = 1 << 20

REQUEST: Final = (
    b"GET / HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\n"
    b"User-Agent: noria-lab\r\n"
    b"Accept: text/plain\r\n"
    b"Connection: keep-alive\r\n"
    b"\r\n"
)
"""A short one with a few headers, as a client that keeps its connection sends it."""


def response_length(head: bytes) -> int:
    """Tell how many bytes follow a response's head. Raises LabError unless it says so itself."""
    status, *lines = head.split(b"\r\n")
    if status.split(b" ")[1:2] != [b"200"]:
        raise LabError(f"the server answered {status!r}")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    raise LabError("the server's response has no Content-Length, so its end cannot be known")


def learn(target: tuple[str, int] | str, request: bytes = REQUEST) -> bytes:
    """Ask a server twice on one connection; return its response, if both are equal.

    Raises LabError where the server answers differently, incompletely, or not at all.
    """
    if isinstance(target, str):
        raise LabError("HTTP is measured over TCP only")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(LEARN_TIMEOUT_S)
        try:
            connection.connect(target)
            first, second = _ask(connection, request), _ask(connection, request)
        except OSError as error:
            raise LabError(f"the server does not answer a request of HTTP: {error}") from error
    if first != second:
        raise LabError(f"the server's responses are not always the same: {first!r}, {second!r}")
    return first


def _ask(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > HEAD_BYTES_MAX:
            raise LabError("the head of the server's response has no end")
        data += _receive(connection)
    whole = end + 4 + response_length(data[:end])
    if whole > end + BODY_BYTES_MAX:
        raise LabError(f"a response of {whole:,} bytes is more than the load generator takes")
    while len(data) < whole:
        data += _receive(connection)
    if len(data) > whole:
        raise LabError("the server sent more than its response")
    return data


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise LabError("the server closed a connection that was to be kept")
    return data
