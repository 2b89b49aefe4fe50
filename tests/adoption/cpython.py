"""Runs CPython's own tests of event loops on noria's; test_cpython.py starts it.

    python tests/adoption/cpython.py ENGINE

prints one JSON object: how many tests ran, and the last line of each failure by its test.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import unittest
from typing import Any

import noria

SUITES = (
    ("test_events", "EventLoopTestsMixin"),
    ("test_events", "SubprocessTestsMixin"),
    ("test_subprocess", "SubprocessMixin"),
    ("test_sock_lowlevel", "BaseSockTestsMixin"),
    ("test_sendfile", "SendfileTestsBase"),
    ("test_server", "BaseStartServer"),
    ("test_buffered_proto", "BaseTestBufferedProtocol"),
)
"""Modules and their classes of tests that leave it to a subclass which loop they test."""

GIVEN_A_LOOP = {"SubprocessTestsMixin", "SubprocessMixin"}
"""Those whose subclass makes the loop, in setUp."""


def suite(engine: str) -> unittest.TestSuite:
    """Those tests on noria's loop."""

    def make(_: Any) -> noria.Loop:
        return noria.new_event_loop(engine)

    def set_up(case: Any) -> None:
        base.setUp(case)
        case.loop = make(case)
        case.set_event_loop(case.loop)

    found = unittest.TestSuite()
    base = importlib.import_module("test.test_asyncio.utils").TestCase
    for module, name in SUITES:
        tests = getattr(importlib.import_module(f"test.test_asyncio.{module}"), name)
        methods: dict[str, Any] = {"create_event_loop": make, "new_loop": make}
        if name in GIVEN_A_LOOP:
            methods["setUp"] = set_up
        case = type(name, (tests, base), methods)
        found.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    return found


def main(engine: str) -> None:
    """Run them and print what came of it."""
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite(engine))
    failed = {
        case.id().rpartition(".")[2]: text.strip().splitlines()[-1]
        for case, text in [*result.errors, *result.failures]
    }
    print(json.dumps({"ran": result.testsRun, "skipped": len(result.skipped), "failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1])
