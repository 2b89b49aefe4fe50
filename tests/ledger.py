"""The ledger: what a test took and has to give back.

Operations in flight, descriptors that noria owns, descriptors of the process and threads are
counted before and after; a difference fails the test. The `conftest.py` of a folder imports the
fixture.
"""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noria.core.completion import Completions
from noria.core.descriptor import open_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noria.engines.interface import Engine

_FOLDER = Path("/proc/self/fd")
_THREADS_END_SECONDS = 5.0


def open_descriptors() -> set[str]:
    """What this process has open, as `number -> file`; empty where the system does not tell."""
    return set(_descriptors()) if _FOLDER.is_dir() else set()


def _descriptors() -> Iterator[str]:
    for path in sorted(_FOLDER.iterdir()):
        try:
            yield f"{path.name} -> {path.readlink()}"
        except OSError:
            pass  # the descriptor that listed the folder


class Ledger:
    """Balance of one test."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._owned = open_count()
        self._descriptors = open_descriptors()
        self._threads = set(threading.enumerate())

    def watch(self, engine: Engine) -> None:
        """Have an engine closed and counted at the end."""
        self._engines.append(engine)

    def close_engines(self) -> None:
        """Close what is still open; what was in flight is discarded."""
        for engine in self._engines:
            batch = Completions()
            engine.close(batch)
            batch.discard_all()

    def check(self) -> None:
        """Compare; raises AssertionError with what is left over."""
        in_flight = {engine.name: engine.statistics().in_flight for engine in self._engines}
        assert not any(in_flight.values()), f"operations are still in flight: {in_flight}"
        owned = open_count() - self._owned
        assert owned == 0, f"{owned} descriptors are still owned"
        threads = self._threads_left()
        assert not threads, f"threads are still running: {threads}"
        if open_descriptors() - self._descriptors:
            gc.collect()  # a cycle may keep a socket a little longer
        left = open_descriptors() - self._descriptors
        assert not left, f"descriptors are still open: {sorted(left)}"
        closed = self._descriptors - open_descriptors()
        assert not closed, f"descriptors of others were closed: {sorted(closed)}"

    def _threads_left(self) -> list[str]:
        deadline = time.monotonic() + _THREADS_END_SECONDS
        while True:
            left = [thread for thread in threading.enumerate() if thread not in self._threads]
            if not left or time.monotonic() > deadline:
                return [thread.name for thread in left]
            time.sleep(0.001)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger that is checked when the test has passed."""
    book = Ledger()
    yield book
    book.close_engines()
    book.check()
