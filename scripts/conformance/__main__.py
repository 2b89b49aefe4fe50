"""Other people's tests on noria: python -m scripts.conformance COMMAND.

    cpython [--quick] [--module NAME ...] [--engine NAME ...] [--build NAME ...] PYTHON ...
    downstream [--suite NAME ...] [--engine NAME] PYTHON
    report PATH

Exit status: 0 passed, 77 cannot be run here (the last line says why), anything else failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from scripts.conformance import cpython, execute


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tests = commands.add_parser("cpython", help="CPython's test.test_asyncio")
    tests.add_argument("--quick", action="store_true")
    tests.add_argument("--module", action="append", default=[])
    tests.add_argument("--engine", action="append", default=[])
    tests.add_argument("--build", action="append", default=[])
    tests.add_argument("--jobs", type=int, default=cpython.default_jobs())
    tests.add_argument("python", nargs="+")
    suites = commands.add_parser("downstream", help="the suites of aiohttp and others")
    suites.add_argument("--suite", action="append", default=[])
    suites.add_argument("--engine", default=None)
    suites.add_argument("python")
    report = commands.add_parser("report", help="write the page of results")
    report.add_argument("path", type=Path)
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, execute.end_with)
    if given.command == "cpython":
        wish = cpython.Wish(
            given.quick,
            tuple(given.module),
            tuple(given.engine),
            tuple(given.build),
            given.jobs,
        )
        return cpython.run(given.python, wish)
    if given.command == "downstream":
        from scripts.conformance import downstream  # noqa: PLC0415 - needed by one command

        return downstream.run(given.python, tuple(given.suite), given.engine)
    from scripts.conformance import report as page  # noqa: PLC0415 - needed by one command

    page.write(given.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
