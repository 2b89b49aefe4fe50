"""Accepting when the process, the machine or the peer lets it down."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noria.core import codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.driver import Driver
    from tests.faults.conftest import Script, Stages

TEMPORARY = [
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
]


@pytest.mark.parametrize("multishot", [True, False])
@pytest.mark.parametrize("number", TEMPORARY, ids=errno.errorcode.get)
def test_the_listener_lives_on(
    driver: Driver, script: Script, stages: Stages, number: int, multishot: bool
) -> None:
    """The failure is told, nothing is lost: the connection waits in the backlog."""
    stage = stages(codes.ACCEPT)
    op = stage.operation(multishot=multishot)
    script.results(codes.ACCEPT, -number)
    stage.make_ready()
    driver.submit(op)
    driver.finish(op)
    assert op.results == [-number]
    again = stage.operation(multishot=multishot)
    driver.submit(again)
    driver.until(lambda: again.events)
    assert again.results[0] >= 0
    if multishot:
        driver.end(again)


def test_after_a_failure_no_edge_is_needed(driver: Driver, script: Script, stages: Stages) -> None:
    """A listener that backs off finds the connections that came meanwhile, and those before."""
    stage = stages(codes.ACCEPT)
    op = stage.operation(multishot=True)
    script.results(codes.ACCEPT, None, -errno.EMFILE)
    driver.submit(op)
    for _ in range(3):
        stage.make_ready()
    driver.finish(op)
    assert len(op.events) == 2
    stage.make_ready()
    driver.settle_down()
    again = stage.operation(multishot=True)
    driver.submit(again)
    driver.until(lambda: len(again.events) == 3)
    driver.end(again)


@pytest.mark.posix
class TestRealExhaustion:
    """The process really has no descriptor left."""

    @pytest.fixture
    def full(self) -> Iterator[None]:
        import resource

        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(path.name) for path in Path("/dev/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        plugs = []
        with contextlib.suppress(OSError):
            while True:
                plugs.append(os.dup(0))
        yield
        for plug in plugs:
            os.close(plug)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    def test_accept_says_emfile_and_goes_on(
        self, driver: Driver, stages: Stages, request: pytest.FixtureRequest
    ) -> None:
        stage = stages(codes.ACCEPT)
        waiting = stages(codes.RECEIVE)
        op = stage.operation(multishot=True)
        other = waiting.operation()
        driver.submit(op)
        driver.submit(other)
        stage.make_ready()
        request.getfixturevalue("full")
        driver.finish(op)
        assert op.results == [-errno.EMFILE]
        waiting.make_ready()
        driver.finish(other)
        assert other.results == [4], "established connections are served"


def test_a_discarded_accept_closes_its_connection(driver: Driver, stages: Stages) -> None:
    stage = stages(codes.ACCEPT)
    op = stage.operation(multishot=True)
    driver.submit(op)
    stage.make_ready()
    driver.until(lambda: driver.engine.poll(0, driver.batch))
    driver.batch.discard_all()
    driver.end(op)
    assert op.events[0].data is None
