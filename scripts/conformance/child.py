"""One module of CPython's test.test_asyncio, in a process of its own; execute.py starts it.

    python -m scripts.conformance.child ORDER EVENTS

ORDER is a file with JSON: the module, the loop (an engine's name, or "asyncio"), and the ids of
tests that are not to run. What happens is appended to EVENTS, one JSON object per line, at once, so
that the reader knows which test was running when this process hangs or dies.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

PACKAGE = "test.test_asyncio."
TEXT_CHARACTERS = 3000


class Recorder(unittest.TestResult):
    """Tells what became of each test.

    Args:
        tell: takes one event.
        loops_made: how many loops of noria's there have been so far.
    """

    def __init__(self, tell: Callable[..., None], loops_made: Callable[[], int]) -> None:
        super().__init__()
        self.tell = tell
        self.loops_made = loops_made
        self.running = False
        self.outcome = ("passed", "")
        self.loops_before = 0
        self.started = 0.0

    def startTest(self, test: unittest.TestCase) -> None:
        """A test begins."""
        super().startTest(test)
        self.running, self.outcome = True, ("passed", "")
        self.loops_before, self.started = self.loops_made(), time.monotonic()
        self.tell(begin=short(test))

    def stopTest(self, test: unittest.TestCase) -> None:
        """A test is over."""
        super().stopTest(test)
        self.running = False
        outcome, text = self.outcome
        self.tell(
            end=short(test),
            outcome=outcome,
            text=text,
            loops=self.loops_made() - self.loops_before,
            seconds=round(time.monotonic() - self.started, 3),
        )

    def addError(self, test: Any, err: Any) -> None:
        """A test, or the set-up of a class, raised."""
        self.note(test, "failed", last_lines(err))

    def addFailure(self, test: Any, err: Any) -> None:
        """An assertion of a test failed."""
        self.note(test, "failed", last_lines(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        """A part of a test is over; the test fails with it."""
        if err is not None:
            self.note(test, "failed", f"{subtest}\n{last_lines(err)}")

    def addSkip(self, test: Any, reason: str) -> None:
        """A test, or a class, said that it cannot run here."""
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        """A test failed as its author expects: nothing to report."""

    def addUnexpectedSuccess(self, test: Any) -> None:
        """A test passed against its author's expectation, which is a failure."""
        self.note(test, "failed", "an expected failure has passed")

    def note(self, test: Any, outcome: str, text: str) -> None:
        """Keep the worst; outside of a test, tell at once: the id is then that of a class."""
        if not self.running:
            self.tell(end=short(test), outcome=outcome, text=text, loops=0, seconds=0.0)
        elif self.outcome[0] != "failed":
            self.outcome = (outcome, text)


def last_lines(err: tuple[type[BaseException], BaseException, TracebackType]) -> str:
    """The end of a traceback."""
    return "".join(traceback.format_exception(*err))[-TEXT_CHARACTERS:]


def short(test: Any) -> str:
    """A test's id, from the module on."""
    found: str = test.id()
    return found.replace(PACKAGE, "")


def cases(suite: Any) -> Iterator[unittest.TestCase]:
    """The tests of a suite, one by one."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def main(order_path: str, events_path: str) -> None:
    """Run what the order says."""
    order = json.loads(Path(order_path).read_text("utf-8"))
    with Path(events_path).open("a", encoding="utf-8", buffering=1) as events:

        def tell(**event: Any) -> None:
            events.write(json.dumps(event) + "\n")

        loops_made: Callable[[], int] = int
        if order["loop"] != "asyncio":
            from scripts.conformance import place  # noqa: PLC0415 - the baseline is without noria

            place.put(order["loop"])
            loops_made = lambda: place.PlacedLoop.made  # noqa: E731
        try:
            module = importlib.import_module(PACKAGE + order["module"])
        except unittest.SkipTest as exc:
            tell(all=[], skipped=str(exc))
            return
        found = list(cases(unittest.defaultTestLoader.loadTestsFromModule(module)))
        tell(all=[short(test) for test in found])
        not_now = set(order["not_now"])
        only = set(order["only"]) if order["only"] is not None else None
        suite = unittest.TestSuite(
            test
            for test in found
            if short(test) not in not_now and (only is None or short(test) in only)
        )
        found.clear()  # a suite lets go of its tests as they are done, and so of their garbage
        suite.run(Recorder(tell, loops_made))
        tell(done=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
