"""Every row of the catalog fails at least once, at once and after waiting, on every engine."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

import noria.operations  # noqa: F401 - enters the rows
from noria.core import codes
from noria.core.catalog import CATALOG, OFFLOAD, WRITE
from tests.faults.stage import KINDS

if TYPE_CHECKING:
    from noria.core.operation import Operation
    from tests.driver import Driver
    from tests.faults.conftest import Script, Stages

MULTISHOT = (
    codes.ACCEPT,
    codes.RECEIVE,
    codes.RECEIVE_DATAGRAMS,
    codes.WAIT_READABLE,
    codes.WAIT_WRITABLE,
)
ON_SOCKETS = [
    code for code in sorted(CATALOG) if CATALOG[code].lane != OFFLOAD and code != codes.WAIT_CHILD
]
WAITS = (codes.WAIT_READABLE, codes.WAIT_WRITABLE)

ERRORS = (errno.ECONNRESET, errno.ENOMEM, errno.EXDEV)
"""One that is expected, one that any call may have, and one that nobody expects."""


def name(code: int) -> str:
    return CATALOG[code].name


def test_no_row_is_left_out() -> None:
    assert set(KINDS) == set(CATALOG), "stage the new operation in tests/faults/stage.py"


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize("code", sorted(CATALOG), ids=name)
def test_the_first_attempt_fails(
    driver: Driver, script: Script, stages: Stages, code: int, number: int
) -> None:
    stage = stages(code)
    op = stage.operation()
    script.fail(code, number)
    at_once = driver.submit(op)
    assert at_once == (CATALOG[code].lane != OFFLOAD and code not in WAITS)
    stage.make_ready()
    driver.finish(op)
    assert op.results == [-number]
    assert script.attempts[code] == 1
    assert stage.leases == 0
    assert driver.statistics().in_flight == 0


@pytest.mark.parametrize("nth", [2, 3])
@pytest.mark.parametrize("code", ON_SOCKETS, ids=name)
def test_a_later_attempt_fails(
    driver: Driver, script: Script, stages: Stages, code: int, nth: int
) -> None:
    """Waiting and failing; each attempt follows its own piece of news."""
    room_is_told_once = driver.engine.name == "epoll-et" and CATALOG[code].lane == WRITE
    if room_is_told_once and nth > (1 if code in WAITS else 2):
        pytest.skip(
            "the kernel never says EAGAIN to a socket with room; by script there is no edge"
        )
    stage = stages(code)
    op = stage.operation()
    script.fail(code, errno.ECONNRESET, nth=nth)
    assert not driver.submit(op)
    assert stage.leases == 1

    def more() -> bool:
        stage.make_ready()
        return bool(op.terminal)

    driver.until(more)
    assert op.results == [-errno.ECONNRESET]
    assert script.attempts[code] == nth
    assert stage.leases == 0


@pytest.mark.parametrize("code", MULTISHOT, ids=name)
def test_a_multishot_fails_after_a_success(
    driver: Driver, script: Script, stages: Stages, code: int
) -> None:
    stage = stages(code)
    op = stage.operation(multishot=True, borrowed=code in WAITS)
    if op.borrowed:
        op.descriptor = None
    script.results(code, None, -errno.ENOBUFS)
    driver.submit(op)
    stage.make_ready()
    driver.until(lambda: op.events)
    stage.make_ready()
    driver.finish(op)
    assert op.terminal == [-errno.ENOBUFS]
    assert op.results[0] >= 0
    assert op.results[1:] == [-errno.ENOBUFS]
    assert stage.leases == 0


@pytest.mark.parametrize("code", ON_SOCKETS, ids=name)
def test_after_a_failure_the_operation_can_be_tried_again(
    driver: Driver, script: Script, stages: Stages, code: int
) -> None:
    stage = stages(code)
    op = stage.operation()
    script.fail(code, errno.ENOBUFS)
    driver.submit(op)
    stage.make_ready()
    driver.finish(op)
    op.events.clear()
    if code == codes.CONNECT:
        op.size = 0
    driver.submit(op)
    driver.finish(op)
    assert op.results[0] >= 0 or op.results == [-errno.EISCONN]


@pytest.mark.parametrize("code", ON_SOCKETS, ids=name)
def test_a_failure_disturbs_nobody_else(
    driver: Driver, script: Script, stages: Stages, code: int
) -> None:
    stage = stages(code)
    other = stages(codes.RECEIVE if code != codes.RECEIVE else codes.RECEIVE_INTO)
    waiting = other.operation()
    driver.submit(waiting)
    op = stage.operation()
    script.fail(code, errno.EIO)
    driver.submit(op)
    stage.make_ready()
    driver.finish(op)
    other.make_ready()
    driver.finish(waiting)
    assert waiting.results == [4]


def test_an_attempt_that_finds_nothing_to_wait_for(driver: Driver, stages: Stages) -> None:
    """Told by `nowait`, also if the attempt was made in poll: it must not be repeated for ever."""
    stage = stages(codes.SEND)
    row = CATALOG[codes.SEND]

    def refuse(op: Operation) -> int:
        op.nowait = True
        return -errno.EAGAIN

    CATALOG[codes.SEND] = row._replace(attempt=refuse)
    try:
        for expectant in (False, True):
            op = stage.operation(expectant=expectant)
            driver.submit(op)
            driver.finish(op)
            assert op.results == [-errno.EAGAIN]
    finally:
        CATALOG[codes.SEND] = row


def test_the_kernel_cancels_unasked(driver: Driver, script: Script, stages: Stages) -> None:
    """Passed on as it is; `cancelled` tells the loop that nobody asked for it."""
    stage = stages(codes.RECEIVE)
    op = stage.operation()
    script.fail(codes.RECEIVE, errno.ECANCELED)
    driver.submit(op)
    driver.finish(op)
    assert op.results == [-errno.ECANCELED]
    assert not op.cancelled


@pytest.mark.parametrize("code", [codes.READ_AT, codes.WRITE_AT, codes.FSYNC], ids=name)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR])
def test_disk_failures(
    driver: Driver, script: Script, stages: Stages, code: int, number: int
) -> None:
    stage = stages(code)
    operations = [stage.operation() for _ in range(5)]
    script.results(code, None, None, -number)
    driver.submit(*operations)
    driver.finish(*operations)
    results = [op.results[0] for op in operations]
    assert results.count(-number) == 1
    assert all(result >= 0 for result in results if result != -number)


def test_misuse_of_an_offloaded_operation_is_einval(
    driver: Driver, script: Script, stages: Stages
) -> None:
    """E4: its completion must not be lost with the thread's exception."""
    stage = stages(codes.WRITE_AT)
    op = stage.operation(buffer="not bytes")
    driver.submit(op)
    driver.finish(op)
    assert op.results == [-errno.EINVAL]
