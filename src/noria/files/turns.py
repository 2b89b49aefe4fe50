"""Turns: what is written at the end of a file that is open for direct I/O, one after the other.

XFS finds the end for direct writes without keeping others off, so two of them at a time end up at
the same place. Other filesystems do them one after the other themselves.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noria.files.transfers import FileTransfer


class Turns:
    """Whose turn it is among the writes of one file."""

    __slots__ = ("_passing", "_taken", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[FileTransfer] = deque()
        self._taken = False
        self._passing = False

    def take(self, op: FileTransfer) -> bool:
        """Take the turn; False if somebody has it, then the operation is handed over later."""
        if self._taken:
            self._waiting.append(op)
            return False
        self._taken = True
        return True

    def pass_on(self) -> None:
        """Hand over the next one: that before it has ended."""
        self._taken = False
        if self._passing:
            return  # one that ended at once has called this
        self._passing = True
        try:
            while self._waiting and not self._taken:
                self._taken = True
                self._hand_over(self._waiting.popleft())
        finally:
            self._passing = False

    def _hand_over(self, op: FileTransfer) -> None:
        try:
            op.submit()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            if op.pending is None:
                raise  # it was cancelled, and has left already
            op.fail(exc)
