# cython: boundscheck=False, wraparound=False
"""Completions: what one poll hands to the loop.

A batch is a row of reusable records, filled by the engine and emptied by the loop, so that news
costs no allocation. Order is the order of filling, and within one operation the order of its
events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noria.core.operation import Operation


class Completion:
    """One completion of one operation."""

    __slots__ = ("data", "flags", "operation", "result")

    def __init__(self) -> None:
        self.operation: Operation | None = None
        self.result = 0
        self.flags = 0
        self.data: Any = None


class Completions:
    """A batch of completions.

    Attributes:
        entries: the records; only the first `count` are meaningful.
        count: how many the engine has filled in.
        position: the first that the loop has not taken yet.
    """

    __slots__ = ("count", "entries", "position")

    def __init__(self) -> None:
        self.entries: list[Completion] = []
        self.count = 0
        self.position = 0

    def add(self, operation: Operation, result: int, flags: int, data: object) -> None:
        """Append one completion; for engines."""
        if self.count == len(self.entries):
            self.entries.append(Completion())
        entry = self.entries[self.count]
        entry.operation = operation
        entry.result = result
        entry.flags = flags
        entry.data = data
        self.count += 1

    def deliver_all(self) -> None:
        """Deliver what has not been taken yet, then empty the batch.

        When a delivery raises (only SystemExit and KeyboardInterrupt may), the rest stays and the
        next call goes on behind it: no completion is lost and none is delivered twice.
        """
        while self.position < self.count:
            entry = self.entries[self.position]
            self.position += 1
            operation = entry.operation
            data = entry.data
            entry.operation = None
            entry.data = None
            assert operation is not None
            operation.deliver(entry.result, entry.flags, data)
        self.position = 0
        self.count = 0

    def discard_all(self) -> None:
        """Free what is left without calling user code; for closing a loop."""
        while self.position < self.count:
            entry = self.entries[self.position]
            self.position += 1
            operation = entry.operation
            data = entry.data
            entry.operation = None
            entry.data = None
            assert operation is not None
            operation.discard(entry.result, data)
        self.position = 0
        self.count = 0
