"""E7: the waker writes only to one who sleeps, and never after it was closed."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from noria import lowlevel
from noria.engines.slots import Slot, SlotTable
from noria.engines.waker import Waker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@pytest.fixture
def waker() -> Iterator[Waker]:
    made = Waker()
    yield made
    made.close()


def test_nobody_writes_to_one_who_is_awake(waker: Waker) -> None:
    for _ in range(3):
        waker.wake()
    assert waker.noted
    assert waker.sent == 0
    assert waker.drain() == b""


def test_one_who_sleeps_is_written_to(waker: Waker) -> None:
    waker.sleeping = True
    waker.wake()
    assert waker.sent == 1
    assert waker.drain() == b"", "a wake is no signal"
    assert waker.drain() == b""


def test_signals_are_told_apart_from_wakes(waker: Waker) -> None:
    import socket

    writer = socket.socket(fileno=waker.signal_fileno())
    waker.sleeping = True
    writer.send(b"\x02")
    waker.wake()
    writer.send(b"\x0f")
    writer.detach()
    assert waker.drain() == b"\x02\x0f"


def test_a_full_channel_is_full_enough(waker: Waker) -> None:
    waker.sleeping = True
    for _ in range(100_000):
        waker.wake()
        if waker.sent > 5000 and not waker.sent % 1000:
            break
    assert waker.drain() == b""
    waker.wake()
    assert waker.drain() == b""


def test_everything_is_taken_at_once(waker: Waker) -> None:
    """However much was left, the descriptor is not readable afterwards."""
    import select

    waker.sleeping = True
    for _ in range(9000):
        waker.wake()
    while select.select([waker.fileno()], [], [], 0)[0]:
        waker.drain()
    waker.wake()
    assert select.select([waker.fileno()], [], [], 0)[0]


@pytest.mark.parametrize("how", ["close", "abandon"])
def test_a_closed_waker_writes_nowhere(waker: Waker, how: str) -> None:
    waker.sleeping = True
    getattr(waker, how)()
    waker.wake()
    assert waker.sent == 0
    assert (waker.fileno(), waker.signal_fileno()) == (-1, -1)
    waker.close()


def test_a_close_waits_for_a_wake_in_progress(waker: Waker) -> None:
    """The number must not be given back while another thread is about to write to it."""
    closed = threading.Event()

    def close() -> None:
        waker.close()
        closed.set()

    with waker._lock:
        thread = threading.Thread(target=close)
        thread.start()
        assert not closed.wait(0.005)
        assert waker.fileno() >= 0
    thread.join()
    assert closed.is_set()


@pytest.mark.skipif(lowlevel.COMPILED, reason="compiled code is not interrupted between lines")
def test_a_handler_may_interrupt_a_wake_at_any_line(waker: Waker) -> None:
    """As a signal handler does that wakes; a lock that is not re-entrant would stop here for good.

    At each line in turn of a wake and of what it calls, a second wake comes in between.
    """
    line = lines = 0
    while lines >= line:
        line, lines = line + 1, 0

        def interrupt(frame: FrameType, event: str, _: object, at: int = line) -> Any:
            nonlocal lines
            if event == "line":
                lines += 1
                if lines == at:
                    sys.settrace(None)
                    waker.wake()
                    sys.settrace(interrupt)
            return interrupt

        waker.sleeping = True
        sent = waker.sent
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            waker.wake()
        finally:
            sys.settrace(before)
        assert waker.sent - sent == (1 if lines < line else 2)
        assert waker.drain() == b""
        assert waker._lock.acquire(blocking=False)
        waker._lock.release()
    assert line > 5, "too few lines were interrupted"


def test_abandoning_does_not_wait(waker: Waker) -> None:
    """In a forked child the thread that holds the lock does not exist."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with waker._lock:
            held.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    waker.abandon()
    done.set()
    thread.join()


def test_a_slot_is_found_by_its_number() -> None:
    table = SlotTable()
    slots = {number: Slot(number) for number in (7, 0, 300)}
    for slot in slots.values():
        put(table, slot)
    if not hasattr(table, "get"):
        return  # compiled into C; the engines' tests cover it
    assert [table.get(number) for number in (0, 7, 300)] == [slots[0], slots[7], slots[300]]
    assert table.get(5) is None
    assert table.get(-1) is None
    assert table.get(10_000) is None
    assert table.all() == [slots[0], slots[7], slots[300]]
    assert table.pop(7) is slots[7]
    assert table.pop(7) is None
    assert table.pop(-1) is None
    assert table.all() == [slots[0], slots[300]]


def put(table: SlotTable, slot: Slot) -> None:
    if hasattr(table, "put"):
        table.put(slot)


def test_operations_of_a_slot() -> None:
    import noria.operations  # noqa: F401 - enters the rows
    from noria.core import codes
    from noria.core.operation import Operation

    slot = Slot(3)
    operations = [Operation(codes.RECEIVE) for _ in range(4)]
    slot.reader, slot.writer = operations[:2]
    slot.readers = [operations[2]]
    slot.writers = [operations[3]]
    assert slot.operations() == operations
    assert slot.take_operations() == operations
    assert slot.operations() == []
    assert not any((slot.reader, slot.writer, slot.readers, slot.writers))
