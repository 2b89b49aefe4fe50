"""The errors of create_connection are free without the garbage collector."""

from __future__ import annotations

import contextlib
import gc
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.test_stream_connect import LOOPBACK, infos
from tests.loops import Recorder, run, turns, unused_port

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on the loopback interface."""
    with socket.create_server((LOOPBACK, 0), backlog=100) as sock:
        yield sock


@pytest.fixture
def resolve_ours(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Have noria's loop find the given addresses for every name but a local address."""
    original = loop.getaddrinfo

    def set_addresses(*addresses: tuple[str, int]) -> None:
        found = infos(*addresses)

        async def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            known = found if host == "somewhere" else original
            return await known(host, *args, **kwargs)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

    return set_addresses


@pytest.mark.parametrize("local", [None, (LOOPBACK, 0), ("192.0.2.1", 0)])
@pytest.mark.parametrize("all_errors", [False, True])
@pytest.mark.parametrize("happy", [None, 0.001])
@pytest.mark.parametrize("works", [False, True])
def test_the_errors_of_attempts_need_no_collector(
    loop: asyncio.AbstractEventLoop,
    listener: socket.socket,
    resolve_ours: Callable[..., None],
    works: bool,
    happy: float | None,
    all_errors: bool,
    local: tuple[str, int] | None,
) -> None:
    """An exception that something in its own frames refers to would wait for the collector."""

    async def main() -> None:
        last = listener.getsockname() if works else (LOOPBACK, unused_port())
        resolve_ours((LOOPBACK, unused_port()), last)
        with contextlib.suppress(OSError, ExceptionGroup):
            transport, _ = await loop.create_connection(  # type: ignore[call-overload] # newer than the stubs
                Recorder,
                "somewhere",
                1,
                happy_eyeballs_delay=happy,
                all_errors=all_errors,
                local_addr=local,
            )
            transport.abort()
        await turns()

    run(loop, main())
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        run(loop, main())
        gc.collect()
        left = [item for item in gc.garbage if isinstance(item, (OSError, ExceptionGroup))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []
