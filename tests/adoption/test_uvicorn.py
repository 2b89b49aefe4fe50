"""`uvicorn --loop noria:new_event_loop` serves, keeps connections alive and stops gracefully.

asyncio's loop goes through the same: what it does under uvicorn is what is expected of noria's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria import lowlevel
from tests.loops import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., "Uvicorn"]

pytestmark = pytest.mark.posix  # signals, Unix sockets, inherited descriptors

PATIENCE_SECONDS = 20.0
OURS = "noria:new_event_loop"
ENGINES = [name for name, probe in lowlevel.explain() if probe.available]
READY = re.compile(r"Uvicorn running on (?:http://127\.0\.0\.1:(\d+)|.*) \(Press")
EXITS = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}
"""How uvicorn ends after a graceful stop: SIGTERM is raised once more, Ctrl-C is not."""


class Uvicorn:
    """uvicorn in a process of its own.

    Args:
        log: where everything goes that it prints.
        options: more arguments of the command line.
        engine: the value of NORIA_ENGINE.
        fds: descriptors that it inherits.
    """

    def __init__(
        self, log: Path, *options: str, engine: str = "auto", fds: tuple[int, ...] = ()
    ) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "default::ResourceWarning", "-m", "uvicorn"),
                    *("app:app", "--app-dir", str(Path(__file__).parent), "--no-use-colors"),
                    *options,
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {lowlevel.ENGINE_VARIABLE: engine},
                pass_fds=fds,
            )

    @property
    def printed(self) -> str:
        """Everything that it has printed."""
        return self.log.read_text("utf-8")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition comes true while the process runs; what it gave."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.printed}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(0.01)
                pytest.fail(f"uvicorn ended with {status} before: {what}\n{self.printed}")
        return found

    def port(self) -> int:
        """Wait until it serves; its port, 0 if it does not listen on one of its own."""
        found = self.until(lambda: READY.search(self.printed), "it serves")
        return int(found[1] or 0)

    def end(self, number: signal.Signals) -> int:
        """Send a signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts uvicorn; what still runs after the test is killed."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, **settings: Any) -> Uvicorn:
            made = Uvicorn(tmp_path / "log", *options, **settings)
            stack.callback(made.kill)
            return made

        yield start


def connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)


def fetch(client: http.client.HTTPConnection, path: str, body: bytes | None = None) -> bytes:
    """Ask once over a connection that is kept."""
    client.request("GET" if body is None else "POST", path, body)
    response = client.getresponse()
    assert response.status == 200
    return response.read()


def check_end(server: Uvicorn, number: signal.Signals) -> None:
    """It stops by a signal as it does on asyncio, and leaves nothing open."""
    assert server.end(number) == EXITS[number], server.printed
    assert "startup\n" in server.printed
    assert "shutdown\n" in server.printed
    for trouble in ("Traceback", "ResourceWarning", "ERROR"):
        assert trouble not in server.printed, server.printed


@pytest.mark.parametrize("engine", ENGINES)
def test_it_runs_on_noria_and_keeps_connections_alive(start: Start, engine: str) -> None:
    server = start("--loop", OURS, "--port", "0", engine=engine)
    port = server.port()
    with contextlib.closing(connect(port)) as one, contextlib.closing(connect(port)) as other:
        for client in (one, other, other, one):
            told = json.loads(fetch(client, "/who"))
            assert client.sock is not None  # it would be dropped with `Connection: close`
            assert told == {
                "loop": "noria.api.loop.Loop",
                "engine": engine,
                "compiled": lowlevel.COMPILED,
                "client": list(client.sock.getsockname()),
            }
        for size in (0, 1, 100_000, 3_000_000):
            body = pattern(size)
            assert fetch(one, "/echo", body) == body
        assert one.sock is not None
    check_end(server, signal.SIGTERM)


@pytest.mark.parametrize("loop", [OURS, "asyncio"])
@pytest.mark.parametrize("number", EXITS)
def test_a_request_under_way_is_finished_before_the_end(
    start: Start, loop: str, number: signal.Signals
) -> None:
    server = start("--loop", loop, "--port", "0")
    port = server.port()
    with contextlib.closing(connect(port)) as client, contextlib.closing(connect(port)) as idle:
        assert json.loads(fetch(idle, "/who"))["engine"] == (
            lowlevel.choose().name if loop == OURS else None
        )
        client.putrequest("POST", "/echo")
        client.putheader("Content-Length", "8")
        client.endheaders(b"half")
        response = client.getresponse()
        assert response.read(4) == b"half"
        server.process.send_signal(number)
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""  # idle connections are closed at once
        server.until(lambda: is_refused(port), "nobody else is accepted")
        client.send(b"rest")
        assert response.read() == b"rest"
    assert server.process.wait(PATIENCE_SECONDS) == EXITS[number], server.printed
    assert "shutdown\n" in server.printed
    assert "Traceback" not in server.printed


def is_refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("loop", [OURS, "asyncio"])
def test_a_descriptor_that_is_inherited(start: Start, loop: str) -> None:
    """uvicorn says AF_UNIX of it, whatever it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = start("--loop", loop, "--fd", str(fd), fds=(fd,))
        port = listener.getsockname()[1]
    with contextlib.closing(connect(port)) as client:
        for _ in range(3):
            told = json.loads(fetch(client, "/who"))
            assert client.sock is not None
            assert told["client"] == list(client.sock.getsockname())
            assert (told["engine"] is None) is (loop == "asyncio")
    check_end(server, signal.SIGTERM)


@pytest.mark.parametrize("loop", [OURS, "asyncio"])
def test_a_unix_socket(start: Start, loop: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = start("--loop", loop, "--uds", str(path))
    assert server.port() == 0
    with socket.socket(socket.AF_UNIX) as sock, contextlib.closing(connect(0)) as client:
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(str(path))
        client.sock = sock
        for _ in range(3):
            told = json.loads(fetch(client, "/who"))
            assert told["client"] is None
            assert (told["engine"] is None) is (loop == "asyncio")
    check_end(server, signal.SIGINT)
    assert not path.exists()


def test_an_engine_that_is_not_there_is_told(start: Start) -> None:
    server = start("--loop", OURS, "--port", "0", engine="warp")
    assert server.process.wait(PATIENCE_SECONDS) == 1
    assert "EngineUnavailableError" in server.printed
    assert ", ".join(ENGINES) in server.printed
