"""Requests of HTTP: the response is learned once, and demanded byte for byte from then on."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from noria.lab import exchange
from noria.lab.errors import LabError

if sys.platform != "linux":
    pytest.skip("the load generator needs epoll", allow_module_level=True)
_client = pytest.importorskip("noria.lab._client", reason="not built")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = b"HTTP/1.1 200 OK\r\nserver: x\r\nContent-Length: 5\r\n\r\nhello"


@contextlib.contextmanager
def server(answer: Callable[[int], bytes], connections: int = 1) -> Iterator[tuple[str, int]]:
    """Answers each request with what `answer` makes of its number; nothing ends the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def run() -> None:
        count = 0
        for _ in range(connections):
            connection, _ = listener.accept()
            connection.settimeout(10)
            with connection, contextlib.suppress(OSError):
                data = b""
                while more := connection.recv(4096):
                    data += more
                    while exchange.REQUEST in data:
                        data = data.replace(exchange.REQUEST, b"", 1)
                        if not (said := answer(count)):
                            return
                        connection.sendall(said)
                        count += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def test_a_response_is_learned_on_one_connection() -> None:
    with server(lambda _: GOOD) as target:
        assert exchange.learn(target) == GOOD


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "404 Not Found"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], "no Content-Length"),
        ([GOOD, GOOD.replace(b"hello", b"HELLO")], "not always the same"),
        ([GOOD + b"!"], "more than its response"),
        ([b""], "closed a connection"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"], "more than the load generator"),
        ([b"x" * 70_000], "no end"),
    ],
)
def test_a_response_that_cannot_be_demanded_again(answers: list[bytes], message: str) -> None:
    with (
        server(lambda count: answers[min(count, len(answers) - 1)]) as target,
        pytest.raises(LabError, match=message),
    ):
        exchange.learn(target)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        target = probe.getsockname()
    with pytest.raises(LabError, match="does not answer a request of HTTP"):
        exchange.learn(target)


def http_client(target: Any, **keywords: Any) -> Any:
    return _client.Client([target], 1, request=exchange.REQUEST, response=GOOD, **keywords)


def test_every_response_is_compared() -> None:
    with server(lambda _: GOOD) as target:
        client = http_client(target, depth_max=3)
        opened = client.connect(1, size=1)
        assert (opened["requests"], opened["bytes"]) == (1, len(GOOD))
        done = client.echo(5.0, depth=3, requests_max=20, size=7)
        assert (done["requests"], done["bytes"], done["failures"]) == (20, 20 * len(GOOD), {})
        assert client.disconnect()["connections"] == 1
        client.close()


@pytest.mark.parametrize(
    ("bad", "failure"),
    [
        (GOOD.replace(b"hello", b"hullo"), "FAILURE_MISMATCH"),
        (GOOD.replace(b"200", b"500"), "FAILURE_MISMATCH"),
        (GOOD + b"!", "FAILURE_SURPLUS"),
        (b"", "FAILURE_EOF"),
    ],
)
def test_another_response_is_a_failure(bad: bytes, failure: str) -> None:
    with server(lambda count: GOOD if count < 3 else bad) as target:
        client = http_client(target)
        client.connect(1)
        first = client.echo(5.0, requests_max=4)
        failures = first["failures"] or client.idle(0.2)["failures"]
        assert failures == {getattr(_client, failure): 1}
        client.close()


def test_an_answer_before_the_request_is_a_failure() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(GOOD + GOOD)
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                while connection.recv(4096):
                    pass

    thread = threading.Thread(target=talk)
    thread.start()
    client = http_client(listener.getsockname())
    done = client.connect(1)
    failures = done["failures"] or client.idle(0.2)["failures"]
    assert failures == {_client.FAILURE_SURPLUS: 1}
    client.close()
    thread.join(10)
    listener.close()


def test_wrong_arguments() -> None:
    target = [("127.0.0.1", 1)]
    for keywords in ({"request": b"a"}, {"response": b"a"}):
        with pytest.raises(ValueError, match="needs its response"):
            _client.Client(target, 1, **keywords)
    for keywords in (
        {"request": b"", "response": b"a"},
        {"request": b"a", "response": b""},
        {"request": b"a", "response": bytes((1 << 20) + 1)},
    ):
        with pytest.raises(ValueError, match="the size of re"):
            _client.Client(target, 1, **keywords)
