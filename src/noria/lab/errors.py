"""What the lab raises for the world outside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IMPOSSIBLE = 2
"""Exit code of a process of the lab that could not do what it was started for."""

UNABLE = 3
"""Exit code of one whose contender cannot do what is to be measured."""


class LabError(Exception):
    """A measurement cannot be made; the message says what is missing and what to do about it."""


class UnableError(LabError):
    """A contender cannot do what is to be measured: its loop does not implement that."""


def exit_code(main: Callable[[], int]) -> int:
    """Run a process of the lab: a LabError becomes a message and an exit code, not a traceback."""
    try:
        return main()
    except LabError as error:
        print(error, file=sys.stderr)
        return UNABLE if isinstance(error, UnableError) else IMPOSSIBLE
