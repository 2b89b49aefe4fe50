"""L7: what other threads and signal handlers leave arrives, in order, and wakes the reader."""

from __future__ import annotations

import signal
import threading

import pytest

from noria.core.inbox import Inbox
from noria.native.queue import Queue


def take_all(queue: Queue) -> list[object]:
    return [queue.popleft() for _ in range(queue.size())]


def test_items_keep_their_order_and_wake() -> None:
    queue = Queue()
    wakes: list[int] = []
    inbox = Inbox(queue, lambda: wakes.append(queue.size()))
    queue.append("own")
    for item in "abc":
        inbox.put(item)
    assert wakes == [2, 3, 4], "the item is there before the wake"
    assert take_all(queue) == ["own", "a", "b", "c"]


def test_many_threads() -> None:
    queue = Queue()
    inbox = Inbox(queue, lambda: None)

    def work(number: int) -> None:
        for item in range(500):
            inbox.put((number, item))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = take_all(queue)
    assert len(items) == 2000
    for number in range(4):
        assert [item for item in items if item[0] == number] == [  # type: ignore[index]
            (number, item) for item in range(500)
        ]


@pytest.mark.posix
def test_a_handler_that_interrupts_a_put() -> None:
    queue = Queue()
    inbox = Inbox(queue, lambda: signal.raise_signal(signal.SIGUSR1))
    nested = Inbox(queue, lambda: None)
    before = signal.signal(signal.SIGUSR1, lambda *_: nested.put("handler"))
    try:
        inbox.put("thread")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert take_all(queue) == ["thread", "handler"]
