"""What `await` asks of an awaited outcome, interpreted twin of awaits.pyx."""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

PENDING = 0
DONE = 1
ENDED_BADLY = 2
PAUSING = 3


def is_spare(made: Awaited) -> bool:
    """Tell whether nobody but its keeper and the caller's variable has it; here nobody knows."""
    return False


def is_wakeup(callback: Any) -> bool:
    """Tell whether it is how a task of asyncio's, of the version in C, has itself woken."""
    return type(callback) is BuiltinFunctionType and callback.__name__ == "task_wakeup"


class Awaited:
    """An outcome that is awaited; it is its own iterator.

    Attributes:
        stage: PENDING; DONE, `outcome` is what `await` gives; ENDED_BADLY, `result` raises; or
            PAUSING, as DONE after one turn of the loop.
        outcome: what it came to.
        spare: how many references it has when it may be used for another outcome; 0 for never.
    """

    __slots__ = ("_asyncio_future_blocking", "outcome", "spare", "stage")

    def __init__(self) -> None:
        self.spare = 0
        self.stage = PENDING
        self._asyncio_future_blocking = False
        self.outcome: Any = None

    def result(self) -> Any:
        """Give the outcome, or raise why there is none."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, None, Any]:
        """Give itself: it is its own iterator."""
        return self  # type: ignore[return-value]

    def __iter__(self) -> Awaited:
        return self

    def __next__(self) -> Any:
        stage = self.stage
        if stage == PENDING:
            self._asyncio_future_blocking = True
            return self
        if stage == PAUSING:
            self.stage = DONE
            return None
        outcome = self.outcome if stage == DONE else self.result()
        if outcome is None:
            raise StopIteration
        raise StopIteration(outcome)
