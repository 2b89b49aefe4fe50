"""A set that does not keep its members alive, interpreted twin of members.pyx."""

from typing import Any
from weakref import WeakSet


class Members:
    """Objects that leave (`discard`) before they go."""

    def __init__(self) -> None:
        self._members: WeakSet[Any] = WeakSet()

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Any) -> None:
        """Enter an object, once."""
        self._members.add(member)

    def discard(self, member: Any) -> None:
        """Take an object out, if it is in."""
        self._members.discard(member)

    def copy(self) -> list[Any]:
        """Give the members in a list, which keeps them alive."""
        return list(self._members)
