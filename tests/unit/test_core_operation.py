"""Operation: IDLE, IN_FLIGHT, SETTLED, and what it leases meanwhile."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

import noria.operations  # noqa: F401 - enters the rows
from noria.core import codes
from noria.core.catalog import CATALOG, READ, WRITE
from noria.core.descriptor import Descriptor
from noria.core.operation import IDLE, IN_FLIGHT, READINESS, SETTLED, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def descriptor() -> Iterator[Descriptor]:
    reading, writing = os.pipe()
    os.close(writing)
    owner = Descriptor(reading)
    yield owner
    owner.close()


def test_a_new_operation_is_idle() -> None:
    op = Operation(codes.SEND, 7, "socket")
    assert (op.state, op.code, op.lane, op.fd, op.sock) == (IDLE, codes.SEND, WRITE, 7, "socket")
    assert (op.descriptor, op.buffer, op.address) == (None, None, None)
    assert (op.offset, op.size, op.result, op.route) == (0, 0, 0, 0)
    assert not any((op.multishot, op.borrowed, op.expectant, op.nowait, op.cancelled))
    assert Operation(codes.ACCEPT).lane == READ


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(KeyError):
        Operation(9999)


def test_one_life(descriptor: Descriptor) -> None:
    op = Operation(codes.RECEIVE, descriptor.fd)
    op.descriptor = descriptor
    op.cancelled = True
    op.begin(READINESS)
    assert (op.state, op.route, op.cancelled) == (IN_FLIGHT, READINESS, False)
    assert descriptor.leases == 1
    op.settle(-errno.ECONNRESET)
    assert (op.state, op.result) == (SETTLED, -errno.ECONNRESET)
    assert descriptor.leases == 0
    op.begin(READINESS)
    op.settle(5)
    assert op.result == 5


def test_e1_both_sides_of_the_hand_over_are_asserted(descriptor: Descriptor) -> None:
    op = Operation(codes.RECEIVE, descriptor.fd)
    op.descriptor = descriptor
    with pytest.raises(AssertionError, match="not in flight"):
        op.settle(0)
    op.begin(READINESS)
    with pytest.raises(AssertionError, match="in flight already"):
        op.begin(READINESS)
    assert descriptor.leases == 1
    op.settle(0)
    with pytest.raises(AssertionError, match="not in flight"):
        op.settle(0)
    assert descriptor.leases == 0


def test_a_closing_descriptor_refuses_before_anything_changes(descriptor: Descriptor) -> None:
    op = Operation(codes.RECEIVE, descriptor.fd)
    op.descriptor = descriptor
    descriptor.close()
    with pytest.raises(OSError, match="closing"):
        op.begin(READINESS)
    assert (op.state, op.route) == (IDLE, 0)


def test_perform_looks_the_row_up_each_time() -> None:
    """Fault injection replaces rows while operations exist."""
    op = Operation(codes.FSYNC)
    row = CATALOG[codes.FSYNC]
    CATALOG[codes.FSYNC] = row._replace(attempt=lambda op: op.code)
    try:
        assert op.perform() == codes.FSYNC
    finally:
        CATALOG[codes.FSYNC] = row
    assert op.perform() == -errno.EBADF


def test_a_plain_operation_ignores_its_completions() -> None:
    op = Operation(codes.SEND)
    op.deliver(1, 0, None)
    op.discard(1, None)
    assert op.state == IDLE


def test_results_may_be_large() -> None:
    op = Operation(codes.WRITE_AT)
    op.offset = 2**40
    op.begin(READINESS)
    op.settle(2**40)
    assert (op.offset, op.result) == (2**40, 2**40)


def test_repr_names_what_it_is() -> None:
    op = Operation(codes.SEND_VECTOR, 12)
    assert repr(op) == "<Operation send_vector fd=12 idle>"
    op.begin(READINESS)
    assert repr(op).endswith("in flight>")
    op.settle(0)
    assert repr(op).endswith("settled>")
