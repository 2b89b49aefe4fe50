"""A server that runs out of descriptors rests and goes on; failed accepts disturb nobody."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from tests.loops import Recorder, Reports, run, turns, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Lower the limit of this process to what it has open."""
    resource = pytest.importorskip("resource")
    probe = os.dup(0)
    os.close(probe)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have listeners rest for a few milliseconds instead of a second."""
    monkeypatch.setattr("noria.servers.listener.ACCEPT_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.02)


@pytest.mark.posix
@pytest.mark.usefixtures("impatient")
def test_emfile_is_reported_and_the_server_rests_and_goes_on(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await both.create_server(factory, LOOPBACK, 0, backlog=10)
        address = server.sockets[0].getsockname()
        clients = [socket.socket() for _ in range(3)]
        others = socket.socketpair()
        others[0].setblocking(False)
        await turns()
        with no_descriptor_left():
            for client in clients:
                client.connect(address)
            await until(lambda: reports)
            # The others are served meanwhile, and the listener does not spin.
            others[1].send(b"hello")
            assert await both.sock_recv(others[0], 10) == b"hello"
            await asyncio.sleep(0.1)
            count = len(reports)
            assert not made
        assert 1 <= count <= 3 * 10 * 100
        await until(lambda: len(made) == 3)
        # Only now: one more may have been on its way when there was room again.
        for report in reports.take():
            assert report["message"] == "socket.accept() out of system resource"
            assert report["exception"].errno == errno.EMFILE
            assert report["socket"].fileno() >= 0
        for client in clients:
            client.send(b"at last")
        await until(lambda: all(protocol.data == b"at last" for protocol in made))
        for sock in (*clients, *others):
            sock.close()
        for protocol in made:
            await protocol.ended()
        server.close()
        await turns(1)

    run(both, main())


@pytest.mark.posix
@pytest.mark.usefixtures("impatient")
def test_emfile_costs_one_attempt_per_rest(loop: Any, reports: Reports) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, LOOPBACK, 0)
        client = socket.socket()
        await turns()
        with no_descriptor_left():
            client.connect(server.sockets[0].getsockname())
            await until(lambda: reports)
            before = loop._engine.statistics()
            await asyncio.sleep(0.11)
            after = loop._engine.statistics()
        assert 1 <= after.attempts - before.attempts <= 8
        assert after.waits - before.waits < 60
        assert len(reports.take()) <= 9
        server.close()
        client.close()
        await turns()

    run(loop, main())


@pytest.mark.posix
@pytest.mark.usefixtures("impatient")
def test_a_server_closed_while_it_rests(loop: asyncio.AbstractEventLoop, reports: Reports) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, LOOPBACK, 0)
        client = socket.socket()
        with no_descriptor_left():
            client.connect(server.sockets[0].getsockname())
            await until(lambda: reports)
            server.close()
            await asyncio.sleep(0.05)
        assert len(reports.take()) == 1
        client.close()
        await turns()

    run(loop, main())


class Scripted:
    """Makes the first accepts fail with given errno numbers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, numbers: list[int]) -> None:
        from noria.core.catalog import CATALOG

        self.calls = 0
        spec = CATALOG[codes.ACCEPT]
        original = spec.attempt

        def attempt(op: Any) -> int:
            self.calls += 1
            if self.calls <= len(numbers):
                return -numbers[self.calls - 1]
            return original(op)

        monkeypatch.setitem(CATALOG, codes.ACCEPT, spec._replace(attempt=attempt))


def serve_one(loop: asyncio.AbstractEventLoop, check: Callable[[], None] | None = None) -> None:
    """Serve one client, whatever happens to the first accepts."""

    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, LOOPBACK, 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(b"hello")
            await until(lambda: made and made[0].data == b"hello")
        await made[0].ended()
        server.close()
        await turns(1)
        if check is not None:
            check()

    run(loop, main())


def test_aborted_connections_are_passed_over_in_silence(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECONNABORTED is the client's business; the next one is accepted at once."""
    scripted = Scripted(monkeypatch, [errno.ECONNABORTED] * 3)
    started = loop.time()
    serve_one(loop)
    assert loop.time() - started < 0.9, "the listener has rested"
    assert scripted.calls >= 4


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("number", [errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE])
def test_exhaustion_of_any_kind_is_waited_out(
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    reports: Reports,
    number: int,
) -> None:
    Scripted(monkeypatch, [number] * 2)

    def check() -> None:
        taken = reports.take()
        assert [report["exception"].errno for report in taken] == [number] * 2
        assert {report["message"] for report in taken} == {"socket.accept() out of system resource"}

    serve_one(loop, check)


@pytest.mark.usefixtures("impatient")
def test_any_other_failure_is_reported_and_tried_again(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    Scripted(monkeypatch, [errno.EPERM])

    def check() -> None:
        assert isinstance(reports.take_one()["exception"], PermissionError)

    serve_one(loop, check)
