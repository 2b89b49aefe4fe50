"""A first-in, first-out queue, interpreted twin of queue.pyx."""

from collections import deque
from typing import Any


class Queue(deque[Any]):
    """Queue whose `append` is one step under the interpreter lock, so any thread may call it."""

    def size(self) -> int:
        """How many items wait."""
        return len(self)
