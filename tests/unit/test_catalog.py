"""The catalog: every operation has one number, one name, one lane, and says what it does."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

import noria.operations  # noqa: F401 - enters the rows
from noria.core import catalog, codes
from noria.core.catalog import CATALOG, LANE_NAMES, OFFLOAD, READ, WRITE, operation, result_of

if TYPE_CHECKING:
    from noria.core.operation import Operation

NUMBERS = {
    "ACCEPT": 1,
    "CONNECT": 2,
    "RECEIVE": 3,
    "RECEIVE_INTO": 4,
    "RECEIVE_FROM": 5,
    "RECEIVE_FROM_INTO": 6,
    "SEND": 7,
    "SEND_VECTOR": 8,
    "SEND_TO": 9,
    "WAIT_READABLE": 10,
    "WAIT_WRITABLE": 11,
    "SEND_FILE": 20,
    "RECEIVE_DATAGRAMS": 12,
    "READ_AT": 30,
    "WRITE_AT": 31,
    "FSYNC": 32,
    "DATASYNC": 33,
    "TRUNCATE": 34,
    "CLOSE_FILE": 35,
    "READ_INTO_AT": 36,
    "READ_VECTOR_AT": 37,
    "WRITE_VECTOR_AT": 38,
    "ALLOCATE": 39,
    "OPEN_AT": 40,
    "STATUS_AT": 41,
    "UNLINK_AT": 42,
    "REMOVE_DIRECTORY_AT": 43,
    "MAKE_DIRECTORY_AT": 44,
    "RENAME_AT": 45,
    "LINK_AT": 46,
    "SYMLINK_AT": 47,
    "ADVISE": 50,
    "RUN": 51,
    "WRITE_FILE": 52,
    "OPEN_FILE": 53,
    "WAIT_CHILD": 60,
}
"""Numbers given out so far. They may appear in journals, so a line is added but never changed."""


def codes_by_name() -> dict[str, int]:
    return {name: value for name, value in vars(codes).items() if name.isupper()}


def test_numbers_are_never_reused() -> None:
    found = codes_by_name()
    assert {name: found.get(name) for name in NUMBERS} == NUMBERS
    assert set(found) == set(NUMBERS), "write the new operation's number down here"
    assert len(set(found.values())) == len(found)


def test_every_number_has_its_row_and_every_row_its_number() -> None:
    assert {name.lower(): code for name, code in codes_by_name().items()} == {
        row.name: code for code, row in CATALOG.items()
    }


@pytest.mark.parametrize("code", sorted(CATALOG), ids=lambda code: CATALOG[code].name)
def test_a_row_is_complete(code: int) -> None:
    row = CATALOG[code]
    assert row.code == code
    assert row.attempt.__name__ == row.name
    assert row.lane in {READ, WRITE, OFFLOAD}
    assert row.attempt.__doc__


def test_lanes() -> None:
    assert [LANE_NAMES[lane] for lane in (READ, WRITE, OFFLOAD)] == ["read", "write", "offload"]
    readers = {row.name for row in CATALOG.values() if row.lane == READ}
    assert readers == {
        "accept",
        "receive",
        "receive_into",
        "receive_from",
        "receive_from_into",
        "receive_datagrams",
        "wait_readable",
        "wait_child",
    }


def test_a_taken_number_is_refused() -> None:
    before = dict(CATALOG)
    with pytest.raises(ValueError, match="code 3 is taken by 'receive'"):

        @operation(code=codes.RECEIVE, lane=READ)
        def another(op: Operation) -> int:
            return 0

    assert before == CATALOG


def test_an_unknown_lane_is_refused() -> None:
    with pytest.raises(ValueError, match="no such lane: 7"):

        @operation(code=9999, lane=7)
        def lost(op: Operation) -> int:
            return 0

    assert 9999 not in CATALOG


@pytest.mark.parametrize(
    ("exc", "result"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), -errno.ECONNRESET),
        (BlockingIOError(errno.EAGAIN, "later"), -errno.EAGAIN),
        (BlockingIOError(errno.EINPROGRESS, "under way"), -errno.EINPROGRESS),
        (BlockingIOError(10035, "WSAEWOULDBLOCK"), -errno.EAGAIN),
        (BlockingIOError(), -errno.EAGAIN),
        (OSError("no number at all"), -errno.EIO),
        (OSError(0, "zero is no failure"), -errno.EIO),
        (TimeoutError(), -errno.EIO),
    ],
)
def test_exceptions_become_numbers(exc: OSError, result: int) -> None:
    assert catalog.result_of(exc) == result
    assert result_of(exc) < 0
