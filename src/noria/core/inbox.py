"""Inbox: where other threads and signal handlers leave work for the loop.

It is a door to the loop's own queue, so that what is left here keeps its order among what the
loop's thread schedules itself. Appending is a single step under the interpreter lock, hence a
signal handler that interrupts a `put` may `put` as well (L7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.native.queue import Queue


class Inbox:
    """Thread-safe entrance to a queue.

    Args:
        queue: where the items go.
        wake: called after each item; ends the wait of the queue's reader.
    """

    __slots__ = ("_queue", "_wake")

    def __init__(self, queue: Queue, wake: Callable[[], object]) -> None:
        self._queue = queue
        self._wake = wake

    def put(self, item: Any) -> None:
        """Leave an item; any thread, and signal handlers too."""
        self._queue.append(item)
        self._wake()
