"""What tests of signals share: signals from other threads, and what a process has only once."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Installs a handler of SIGUSR1 for the length of a test, as programs do without a loop."""
    before = signal.getsignal(signal.SIGUSR1)

    def install(action: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda _number, _frame: action())

    yield install
    signal.signal(signal.SIGUSR1, before)


def wakeup() -> int:
    """The interpreter's wakeup descriptor."""
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def turn(loop: asyncio.AbstractEventLoop, seconds: float = 0.005) -> None:
    """Let the loop look at everything that has happened."""
    handle = loop.call_later(seconds, loop.stop)
    loop.run_forever()
    handle.cancel()


def soon(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any
) -> threading.Thread:
    """Call a function from another thread when the loop runs, and most probably waits."""

    def call() -> None:
        while not loop.is_running():
            time.sleep(0.001)
        time.sleep(0.01)
        function(*args)

    thread = threading.Thread(target=call)
    thread.start()
    return thread


def during_a_run(loop: asyncio.AbstractEventLoop, look: Callable[[], Any]) -> Any:
    """What a function gives when the loop runs."""

    async def main() -> Any:
        return look()

    return loop.run_until_complete(main())
