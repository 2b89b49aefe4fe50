"""new_event_loop, run and Runner."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import pytest

import noria
from noria import lowlevel
from noria.api import factory

AVAILABLE = [name for name, probe in lowlevel.explain() if probe.available]
UNAVAILABLE = [name for name, probe in lowlevel.explain() if not probe.available]


async def loop_of() -> noria.Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, noria.Loop)
    return loop


async def engine_of() -> str:
    return (await loop_of()).engine


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked for an engine, and none was announced."""
    monkeypatch.delenv(lowlevel.ENGINE_VARIABLE, raising=False)
    monkeypatch.setattr(factory, "_announced", set())


# -- new_event_loop -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", AVAILABLE)
def test_an_engine_can_be_asked_for(name: str) -> None:
    loop = noria.new_event_loop(engine=name)
    assert loop.engine == name
    assert loop.run_until_complete(engine_of()) == name
    loop.close()


@pytest.mark.parametrize("wish", [None, "auto"])
def test_without_a_wish_the_best_one_is_taken(wish: str | None) -> None:
    loop = noria.new_event_loop(wish)
    best = next(name for name in lowlevel.AUTOMATIC_ENGINE_NAMES if name in AVAILABLE)
    assert loop.engine == best
    loop.close()


@pytest.mark.parametrize("wish", [None, "auto"])
def test_the_environment_can_ask(monkeypatch: pytest.MonkeyPatch, wish: str | None) -> None:
    monkeypatch.setenv("NORIA_ENGINE", AVAILABLE[-1])
    loop = noria.new_event_loop(wish)
    assert loop.engine == AVAILABLE[-1]
    loop.close()


def test_the_program_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_ENGINE", "warp")
    loop = noria.new_event_loop(AVAILABLE[0])
    assert loop.engine == AVAILABLE[0]
    loop.close()


@pytest.mark.parametrize("name", ["warp", *UNAVAILABLE])
@pytest.mark.parametrize("source", ["program", "environment"])
def test_an_engine_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, source: str
) -> None:
    if source == "environment":
        monkeypatch.setenv("NORIA_ENGINE", name)
    with pytest.raises(noria.EngineUnavailableError) as caught:
        noria.new_event_loop(name if source == "program" else None)
    message = str(caught.value)
    assert repr(name) in message
    for available in AVAILABLE:
        assert available in message
    for unavailable, probe in lowlevel.explain():
        if not probe.available:
            assert f"{unavailable}: {probe.reason}" in message


def test_the_choice_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "noria")
    wishes = [AVAILABLE[0], AVAILABLE[0], AVAILABLE[-1], None, AVAILABLE[0], None]
    for wish in wishes:
        noria.new_event_loop(wish).close()
    lines = [
        (record.name, record.levelname, record.message)
        for record in caplog.records
        if record.message.startswith("engine")
    ]
    disks = [record for record in caplog.records if record.message.startswith("disk")]
    assert len(lines) + len(disks) == len(caplog.records)
    assert len(disks) == len(wishes)
    assert disks[0].levelname == "INFO"
    loud = [record.message for record in disks if record.levelname == "INFO"]
    assert sorted(loud) == sorted({record.message for record in disks}), "once each"
    first = f"engine {AVAILABLE[0]}: asked for by the program"
    last = f"engine {AVAILABLE[-1]}: asked for by the program"
    choice = lowlevel.choose()
    best = f"engine {choice.name}: {choice.reason}"
    assert lines == [
        ("noria", "INFO", first),
        ("noria", "DEBUG", first),
        ("noria", "INFO" if len(AVAILABLE) > 1 else "DEBUG", last),
        ("noria", "INFO", best),
        ("noria", "DEBUG", first),
        ("noria", "DEBUG", best),
    ]
    assert "best available" in best


def test_asyncio_takes_the_factory() -> None:
    with asyncio.Runner(loop_factory=noria.new_event_loop) as runner:
        assert isinstance(runner.get_loop(), noria.Loop)
        assert runner.run(engine_of()) == lowlevel.choose().name


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run takes one since 3.12")
def test_asyncio_run_takes_the_factory() -> None:
    run: Any = asyncio.run
    loop = run(loop_of(), loop_factory=noria.new_event_loop)
    assert isinstance(loop, noria.Loop)
    assert loop.is_closed()


# -- run ----------------------------------------------------------------------------------------


def test_run_gives_the_result_and_closes_the_loop() -> None:
    loop = noria.run(loop_of())
    assert loop.is_closed()
    assert not loop.get_debug()


@pytest.mark.parametrize("name", AVAILABLE)
def test_run_takes_an_engine(name: str) -> None:
    assert noria.run(engine_of(), engine=name) == name


@pytest.mark.parametrize("debug", [True, False])
def test_run_sets_debug_mode(debug: bool) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert noria.run(main(), debug=debug) is debug


def test_run_cancels_what_is_left() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("task")

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            ended.append("generator")

    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        generator = numbers()
        await anext(generator)
        ended.clear()
        main.kept = task, generator  # type: ignore[attr-defined]

    noria.run(main())
    assert ended == ["task", "generator"]


def test_run_ends_the_executor() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(None, lambda: threading.current_thread().name)]

    (name,) = noria.run(main())
    assert name not in {thread.name for thread in threading.enumerate()}


def test_run_takes_a_factory() -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(asyncio.SelectorEventLoop())
        return made[0]

    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert noria.run(main(), loop_factory=make) is made[0]


def test_run_inside_a_run_is_refused() -> None:
    async def main() -> None:
        coro = engine_of()
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            noria.run(coro)
        coro.close()

    noria.run(main())


def test_run_wants_a_coroutine() -> None:
    wrong: Any = 5
    with pytest.raises((ValueError, TypeError), match="coroutine"):
        noria.run(wrong)


def test_run_raises_what_the_coroutine_raises() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        noria.run(fail())


# -- Runner -------------------------------------------------------------------------------------


def test_runner_is_asyncios() -> None:
    with noria.Runner() as runner:
        assert isinstance(runner, asyncio.Runner)
        first = runner.run(loop_of())
        assert runner.run(loop_of()) is first is runner.get_loop()
    assert first.is_closed()
    coro = loop_of()
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner.run(coro)
    coro.close()


@pytest.mark.parametrize("name", AVAILABLE)
def test_runner_takes_an_engine_and_debug(name: str) -> None:
    with noria.Runner(engine=name, debug=True) as runner:
        assert runner.run(engine_of()) == name
        assert runner.get_loop().get_debug()


def test_factory_and_engine_exclude_each_other() -> None:
    nothing: Any = None
    with pytest.raises(ValueError, match="loop_factory or engine"):
        noria.Runner(loop_factory=asyncio.SelectorEventLoop, engine=AVAILABLE[0])
    with pytest.raises(ValueError, match="loop_factory or engine"):
        noria.run(nothing, loop_factory=asyncio.SelectorEventLoop, engine=AVAILABLE[0])


def test_runner_makes_no_loop_before_it_needs_one() -> None:
    runner = noria.Runner(engine="warp")
    with pytest.raises(noria.EngineUnavailableError):
        runner.get_loop()
    runner.close()
