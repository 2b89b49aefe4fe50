"""Completions: delivered in order, once each, also around an interrupt."""

from __future__ import annotations

import gc
import weakref

import pytest

import noria.operations  # noqa: F401 - enters the rows
from noria.core import codes
from noria.core.completion import Completion, Completions
from noria.core.operation import MORE, Operation


class Noted(Operation):
    """Writes down what it is given."""

    __slots__ = ("__weakref__", "notes", "raises")

    def __init__(self, raises: type[BaseException] | None = None) -> None:
        super().__init__(codes.RECEIVE)
        self.notes: list[tuple[str, int, int, object]] = []
        self.raises = raises

    def deliver(self, result: int, flags: int, data: object) -> None:
        self.notes.append(("delivered", result, flags, data))
        if self.raises is not None:
            raise self.raises

    def discard(self, result: int, data: object) -> None:
        self.notes.append(("discarded", result, 0, data))
        if self.raises is not None:
            raise self.raises


class Blob:
    """Something that can be watched dying."""


def test_a_new_batch_is_empty() -> None:
    batch = Completions()
    assert (batch.count, batch.position) == (0, 0)
    batch.deliver_all()
    batch.discard_all()
    assert (batch.count, batch.position) == (0, 0)


def test_delivery_keeps_the_order() -> None:
    batch = Completions()
    one, two = Noted(), Noted()
    batch.add(one, 3, MORE, b"abc")
    batch.add(two, -9, 0, None)
    batch.add(one, 0, 0, b"")
    assert batch.count == 3
    batch.deliver_all()
    assert one.notes == [("delivered", 3, MORE, b"abc"), ("delivered", 0, 0, b"")]
    assert two.notes == [("delivered", -9, 0, None)]
    assert (batch.count, batch.position) == (0, 0)


def test_records_are_used_again() -> None:
    batch = Completions()
    op = Noted()
    for _ in range(3):
        for number in range(4):
            batch.add(op, number, 0, None)
        batch.deliver_all()
    assert len(batch.entries) == 4
    assert all(isinstance(entry, Completion) for entry in batch.entries)


def test_delivered_records_hold_nothing() -> None:
    batch = Completions()
    op = Noted()
    blob = Blob()
    ghosts: list[weakref.ref[object]] = [weakref.ref(op), weakref.ref(blob)]
    batch.add(op, 1, 0, blob)
    batch.deliver_all()
    op.notes.clear()
    del op, blob
    gc.collect()
    assert [ghost() for ghost in ghosts] == [None, None]


@pytest.mark.parametrize("how", ["deliver_all", "discard_all"])
def test_l4_an_interrupt_loses_and_repeats_nothing(how: str) -> None:
    batch = Completions()
    before, bad, after = Noted(), Noted(KeyboardInterrupt), Noted()
    for number, op in enumerate((before, bad, after, bad)):
        batch.add(op, number, 0, None)
    run = getattr(batch, how)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert batch.position == 2
    assert not after.notes
    with pytest.raises(KeyboardInterrupt):
        run()
    run()
    assert [note[1] for op in (before, bad, after) for note in op.notes] == [0, 1, 3, 2]
    assert (batch.count, batch.position) == (0, 0)


def test_discarding_what_an_interrupt_left() -> None:
    batch = Completions()
    bad, late = Noted(SystemExit), Noted()
    batch.add(bad, 0, 0, None)
    batch.add(late, 1, 0, "data")
    with pytest.raises(SystemExit):
        batch.deliver_all()
    batch.discard_all()
    assert late.notes == [("discarded", 1, 0, "data")]


def test_more_may_be_added_while_some_are_delivered() -> None:
    """An engine that is closed from a delivery adds its last completions to the same batch."""
    batch = Completions()
    late = Noted()

    class Adds(Noted):
        __slots__ = ()

        def deliver(self, result: int, flags: int, data: object) -> None:
            batch.add(late, 7, 0, None)

    batch.add(Adds(), 0, 0, None)
    batch.deliver_all()
    assert late.notes == [("delivered", 7, 0, None)]
