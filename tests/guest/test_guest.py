"""Files on asyncio's own loop and on uvloop: an engine of noria's own serves them."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from noria import fs
from noria.errors import EngineUnavailableError
from noria.files.file import File
from noria.files.hops import hop
from noria.files.host import running_host
from noria.files.opening import open_file
from noria.guest.host import guest_of
from noria.native.sockets import COMPILED
from tests.guest.conftest import Blind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    Factory = Callable[[], asyncio.AbstractEventLoop]

DATA = os.urandom(50_000)
PATIENCE_SECONDS = 20.0


def run(factory: Factory, main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(asyncio.wait_for(main, PATIENCE_SECONDS))


async def opened(path: Path) -> File:
    file = await open_file(File, path, os.O_RDWR | os.O_CREAT)
    file.looks = False
    return file


def test_positions_work_as_on_noria_s_own_loop(
    engine: str, factory: Factory, tmp_path: Path
) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        assert await file.write_at(DATA, 0) == len(DATA)
        places = range(0, 40_000, 1000)
        parts = await asyncio.gather(*(file.read_at(1500, place) for place in places))
        assert parts == [DATA[place : place + 1500] for place in places]
        await file.sync()
        await file.truncate_at(10)
        assert await file.read_at(100, 0) == DATA[:10]
        host = file.host
        assert host is running_host()
        assert not host.native
        assert host.engine.name == engine
        await file.close()

    run(factory, main())


def test_many_in_a_row_and_many_at_once(engine: str, factory: Factory, tmp_path: Path) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        await file.write_at(DATA, 0)
        for place in range(200):
            assert await file.read_at(10, place) == DATA[place : place + 10]
        found = await asyncio.gather(*(file.read_at(10, place) for place in range(300)))
        assert found == [DATA[place : place + 10] for place in range(300)]
        assert file.statistics().in_flight == 0
        await file.close()

    run(factory, main())


def test_hops_wake_a_loop_that_sleeps(engine: str, factory: Factory) -> None:
    async def main() -> None:
        started = threading.Event()
        gate = threading.Event()

        def wait() -> int:
            started.set()
            return 5 if gate.wait(PATIENCE_SECONDS) else 0

        waiting = asyncio.ensure_future(hop(wait))
        await asyncio.sleep(0.01)
        assert started.is_set()
        assert not waiting.done()
        gate.set()
        assert await waiting == 5
        with pytest.raises(ZeroDivisionError):
            await hop(lambda: 1 // 0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(hop(lambda: threading.Event().wait(0.05)), 0.001)

    run(factory, main())


def test_the_engine_ends_with_the_loop(engine: str, factory: Factory) -> None:
    hosts = []

    async def main() -> None:
        assert await hop(lambda: 1) == 1
        hosts.append(running_host())

    run(factory, main())
    run(factory, main())
    assert hosts[0] is not hosts[1]
    assert all(host.engine.closed for host in hosts)


def test_a_loop_that_was_just_closed_is_noticed_by_the_next(engine: str, factory: Factory) -> None:
    async def main() -> Any:
        assert await hop(lambda: 1) == 1
        return running_host()

    loop = factory()
    first = loop.run_until_complete(main())
    loop.close()
    assert not first.engine.closed
    run(factory, main())
    assert first.engine.closed


def test_how_the_loop_is_woken_can_be_seen(engine: str, factory: Factory) -> None:
    async def main() -> None:
        host = guest_of(asyncio.get_running_loop())
        blind = isinstance(host.loop, Blind)
        assert host.wakes_by == ("thread" if blind else "add_reader")
        assert re.fullmatch(rf"<GuestHost on \S+: {engine} wakes by {host.wakes_by}>", repr(host))
        companions = [each for each in threading.enumerate() if "companion" in each.name]
        assert [each.daemon for each in companions] == [True] * blind
        host.close()
        host.close()
        assert repr(host).endswith("closed>")
        assert not any(each.is_alive() for each in companions)

    run(factory, main())


def test_a_disk_backend_that_was_asked_for(
    engine: str, factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        file = await opened(tmp_path / "file")
        await file.write_at(DATA, 0)
        found = file.host.engine.disk_statistics()
        assert (found.name, found.forced) == ("threads", True)
        assert file.statistics().native == 0
        await file.close()

    monkeypatch.setenv("NORIA_DISK", "threads")
    run(factory, main())


def test_a_disk_backend_that_is_not_there_is_an_error(
    engine: str, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with pytest.raises(EngineUnavailableError, match="unknown disk backend 'punched_cards'"):
            running_host()

    monkeypatch.setenv("NORIA_DISK", "punched_cards")
    run(factory, main())


def test_watching_on_a_loop_that_watches_no_descriptors(engine: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with fs.watch(tmp_path, interval=0.01) as watcher:
            assert watcher.backend == "polling"
            (tmp_path / "file").touch()
            assert (await anext(watcher)).path == str(tmp_path / "file")

    run(Blind, main())


@pytest.mark.skipif(COMPILED, reason="there threads of C tell by a descriptor")
def test_an_engine_without_a_descriptor_is_told_of_by_its_waker(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where select is all there is."""

    async def main() -> None:
        file = await opened(tmp_path / "file")
        assert file.host.engine.name == "select"
        assert await file.write_at(DATA, 0) == len(DATA)
        parts = await asyncio.gather(*(file.read_at(100, place) for place in range(0, 9000, 90)))
        assert parts == [DATA[place : place + 100] for place in range(0, 9000, 90)]
        for _ in range(100):
            assert await hop(lambda: 1) == 1
        await file.close()

    monkeypatch.setenv("NORIA_ENGINE", "select")
    run(factory, main())
