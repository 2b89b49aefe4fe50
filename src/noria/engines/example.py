"""A skeleton for a new engine; type-checked, never chosen.

Copy this file to `<name>.py`, fill in the three methods of the Poller, and add one line to
`registry.py`. The module's docstring is the place for "facts about <mechanism>": what the kernel
promises, what it does not, and what follows for the code. Conformance, fault and soak tests find
the engine through the registry.
"""

from __future__ import annotations

from noria.engines.interface import NewsSink, Poller, Probe
from noria.engines.readiness import ReadinessEngine


class ExamplePoller(Poller):
    """Poller on a mechanism that reports nothing."""

    def __init__(self) -> None:
        # edge=True where news come once per change; the ready list then remembers the rest.
        Poller.__init__(self, edge=False)
        self._interest: dict[int, int] = {}

    def modify(self, fd: int, old: int, new: int, level: bool) -> int:
        """Tell the mechanism; return 0 or minus errno, never raise for a bad descriptor."""
        if new:
            self._interest[fd] = new
        else:
            self._interest.pop(fd, None)
        return 0

    def wait(self, timeout_ns: int, sink: NewsSink) -> int:
        """Wait in the mechanism, then call `sink.news(fd, READABLE | WRITABLE | HANGUP)`."""
        return 0

    def close(self) -> None:
        """Release the mechanism; called twice without harm."""
        self._interest.clear()


class ExampleEngine(ReadinessEngine):
    """Engine on that mechanism."""

    name = "example"

    def __init__(self) -> None:
        ReadinessEngine.__init__(self, ExamplePoller())

    @classmethod
    def probe(cls) -> Probe:
        """Say whether it can run here and why, without leaving anything behind."""
        return Probe(False, "an example")
