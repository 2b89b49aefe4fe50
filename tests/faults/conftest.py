"""Faults by script: the rows of the catalog are replaced for the length of a test."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from noria.core.catalog import CATALOG, OFFLOAD
from noria.engines.registry import ENGINES, engine_class
from tests.driver import Driver
from tests.faults.stage import Stage
from tests.ledger import Ledger, ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from noria.core.operation import Operation

    Stages = Callable[[int], Stage]

__all__ = ["ledger"]


class Script:
    """What the next attempts of an operation come to.

    An attempt for which nothing is written is made for real.
    """

    def __init__(self) -> None:
        self._rows = dict(CATALOG)
        self._results: dict[int, dict[int, int]] = {}
        self._sizes: dict[int, int] = {}
        self.attempts: dict[int, int] = dict.fromkeys(CATALOG, 0)
        for code, row in self._rows.items():
            CATALOG[code] = row._replace(attempt=self._attempt)

    def results(self, code: int, *results: int | None) -> None:
        """Let the attempts have these results, in order; None is the real thing."""
        self._results[code] = {
            number: result for number, result in enumerate(results, 1) if result is not None
        }
        self.attempts[code] = 0

    def fail(self, code: int, number: int, *, nth: int = 1) -> None:
        """Let the nth attempt fail with an errno; those before it say EAGAIN."""
        self.results(code, *[-errno.EAGAIN] * (nth - 1), -number)

    def shorten(self, code: int, size: int) -> None:
        """Let every attempt move at most `size` bytes."""
        self._sizes[code] = size

    def end(self) -> None:
        """Put the rows back."""
        CATALOG.clear()
        CATALOG.update(self._rows)

    def _attempt(self, op: Operation) -> int:
        code = op.code
        self.attempts[code] += 1
        scripted = self._results.get(code, {}).get(self.attempts[code])
        if scripted is not None:
            return scripted
        size = self._sizes.get(code)
        if size is None:
            return self._rows[code].attempt(op)
        return self._shortened(op, size)

    def _shortened(self, op: Operation, size: int) -> int:
        row = self._rows[op.code]
        buffer, offset, asked = op.buffer, op.offset, op.size
        op.size = min(asked, size)
        if buffer is not None:
            start = 0 if row.lane == OFFLOAD else offset
            op.buffer = memoryview(buffer)[start : start + size]
            op.offset = offset - start
        result = row.attempt(op)
        op.size = asked
        if buffer is not None:
            op.buffer, op.offset = buffer, offset
        return result


@pytest.fixture
def script() -> Iterator[Script]:
    """A script without entries."""
    made = Script()
    yield made
    made.end()


@pytest.fixture(params=list(ENGINES))
def driver(request: pytest.FixtureRequest, ledger: Ledger) -> Driver:
    """A driver for each engine that can run here, without short cuts around the catalog."""
    cls = engine_class(request.param)
    probe = cls.probe()
    if not probe.available:
        pytest.skip(probe.reason)
    engine = cls()
    ledger.watch(engine)
    engine.direct = False  # type: ignore[attr-defined]  # every engine here is a ReadinessEngine
    return Driver(engine)


@pytest.fixture
def stages(driver: Driver) -> Iterator[Stages]:
    """Makes a stage for an operation; taken down after the test."""
    made: list[Stage] = []

    def make(code: int) -> Stage:
        made.append(Stage(driver, code))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


@pytest.fixture
def users() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected non-blocking sockets."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()
