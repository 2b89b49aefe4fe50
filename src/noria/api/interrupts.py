"""InterruptGuard: KeyboardInterrupt comes out of user code or between two callbacks, nowhere else.

Python raises it between any two bytecodes. In the middle of noria's own code that would lose what
is in its hands: a callback taken from the queue and not yet called, news taken from the kernel and
not yet noted. So while the loop runs, SIGINT is answered here. If it interrupts user code, the
exception is raised there and then; if it interrupts noria, a callback is scheduled that raises it,
and a wait ends at once. A second SIGINT before that callback has run is raised wherever it comes.

Only the interpreter's own handler is replaced, and only for the time of a run: who handles SIGINT
otherwise (asyncio.Runner, a program's own handler) is not interfered with.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from types import FrameType

    from noria.loop.core import LoopCore
    from noria.loop.handles import Handle

_DOORS: Final = frozenset({"noria.native.calls", "noria.api.run", "noria.api.tasks"})
"""Modules through which user code is called: every callback in interpreted and in compiled builds,
and the first step of an eager task."""


class InterruptGuard:
    """Handler of SIGINT while a loop runs in the main thread."""

    def __init__(self) -> None:
        self._loop: LoopCore | None = None
        self._waiting: Handle | None = None

    def install(self, loop: LoopCore) -> None:
        """Answer SIGINT for `loop`, if the interpreter's own handler does now; main thread only."""
        if self._waiting is not None:
            self._waiting.cancel()  # left by a second interrupt at the very end of the last run
            self._waiting = None
        current = signal.getsignal(signal.SIGINT)
        # A guard may be left over where a program has put back what it found during a run.
        if current is signal.default_int_handler or isinstance(current, InterruptGuard):
            self._loop = loop
            signal.signal(signal.SIGINT, self)

    def remove(self) -> bool:
        """Put the interpreter's own handler back, unless there is another one by now.

        Returns:
            True if an interrupt was put off and its callback has not run; the caller raises it.
        """
        if signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # up to here it is put off
        self._loop = None
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return False
        waiting.cancel()
        return True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, or have it raised soon."""
        loop = self._loop
        if loop is not None and self._waiting is None and _in_noria(frame):
            self._waiting = loop.call_soon_threadsafe(self._raise, number)
            return
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        signal.default_int_handler(number, frame)

    def _raise(self, number: int) -> NoReturn:
        self._waiting = None
        signal.default_int_handler(number, None)


def _in_noria(frame: FrameType | None) -> bool:
    """Whether the code that `frame` runs is noria's own, or called by it for its own purposes."""
    top = frame
    while frame is not None:
        name: Any = frame.f_globals.get("__name__")
        if isinstance(name, str) and name.startswith("noria."):
            return frame is top or name not in _DOORS
        frame = frame.f_back
    return False
