"""noria's objects are asyncio's to every program that asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from noria.loop import handles

if TYPE_CHECKING:
    import noria


def test_loop(loop: noria.Loop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert issubclass(type(loop), asyncio.AbstractEventLoop)


def test_handle(loop: noria.Loop) -> None:
    for handle in (loop.call_soon(int), loop.call_soon_threadsafe(int)):
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
        assert type(handle) is handles.Handle, "and not asyncio's own"


def test_timer_handle(loop: noria.Loop) -> None:
    for handle in (loop.call_later(1, int), loop.call_at(1, int)):
        assert isinstance(handle, asyncio.TimerHandle)
        assert isinstance(handle, asyncio.Handle)
        assert type(handle) is handles.TimerHandle


def test_classes_match_like_asyncios(loop: noria.Loop) -> None:
    match loop.call_later(1, int):
        case asyncio.TimerHandle() as found:
            assert found.when() > 0
        case _:
            pytest.fail("no TimerHandle")


def test_futures_and_tasks_are_asyncios_own(loop: noria.Loop) -> None:
    async def main() -> None:
        pass

    task = loop.create_task(main())
    assert type(loop.create_future()) is asyncio.Future
    assert type(task) is asyncio.Task
    loop.run_until_complete(task)
