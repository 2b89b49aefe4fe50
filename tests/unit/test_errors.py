"""`noria.errors`: from a number to an exception."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from noria import errors
from noria.errors import from_result, name_of

WINDOWS = sys.platform == "win32"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("EBADF", OSError),
        ("EPERM", PermissionError),
        ("ECONNRESET", ConnectionResetError),
        ("ECONNABORTED", ConnectionAbortedError),
        ("ECONNREFUSED", ConnectionRefusedError),
        ("ETIMEDOUT", TimeoutError),
        ("EPIPE", BrokenPipeError),
        ("ENOTCONN", OSError),
        ("EADDRINUSE", OSError),
    ],
)
def test_the_class_and_the_text_belong_to_the_number(name: str, kind: type[OSError]) -> None:
    code: int = getattr(errno, name)
    found = from_result(-code, "receive", 7)
    assert type(found) is kind
    assert found.errno == code
    assert found.filename is None
    assert str(found).endswith(" (receive on descriptor 7)")
    assert "unknown" not in str(found).lower()
    assert name_of(-code) in {name, f"WSA{name}"}


def test_a_path_stands_for_the_descriptor() -> None:
    found = from_result(-errno.ENOENT, "open", 7, "some/file")
    assert isinstance(found, FileNotFoundError)
    assert found.filename == "some/file"
    assert found.strerror == f"{os.strerror(errno.ENOENT)} (open)"


def test_without_an_operation_it_is_the_plain_text() -> None:
    assert from_result(-errno.EBADF).strerror == os.strerror(errno.EBADF)


WINSOCK = [
    (10013, PermissionError, errno.EACCES),
    (10022, OSError, errno.EINVAL),
    (10048, OSError, 10048),
    (10054, ConnectionResetError, 10054),
    (10058, BrokenPipeError, 10058),
    (10061, ConnectionRefusedError, 10061),
    (10999, OSError, 10999),
]


@pytest.mark.skipif(not WINDOWS, reason="numbers of Windows sockets")
@pytest.mark.parametrize(("code", "kind", "number"), WINSOCK)
def test_a_number_of_a_windows_socket(code: int, kind: type[OSError], number: int) -> None:
    found = from_result(-code, "send", 7)
    assert type(found) is kind
    assert found.errno == number
    assert getattr(found, "winerror", None) == code
    assert str(found).startswith(f"[WinError {code}] ")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (10054, "The connection has been reset"),
        (10014, "A fault occurred on the network"),
        (10999, "Unknown error of a socket"),
        (errno.EBADF, os.strerror(errno.EBADF)),
    ],
)
def test_the_text_comes_from_the_table_of_the_socket_module(
    monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    table = {10054: "The connection has been reset.", 10014: "A fault occurred on the network??"}
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(errors, "_WINSOCK_TEXTS", table)
    assert errors._text_of(code) == text


def test_too_many_for_the_engine_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    found = from_result(-errno.EMFILE, "watch", 7)
    assert found.errno == errno.EMFILE
    assert "more sockets than the engine can watch: `noria doctor` tells how many" in str(found)
