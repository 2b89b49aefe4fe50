"""What every test run needs: the build it claims to test, and the switch for deep tests.

`NORIA_TEST_BUILD` is `interpreted` or `compiled`, set by the Makefile together with PYTHONPATH. A
run that would test another build than it says ends before the first test.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.tree import SOURCE, build_data

LINUX = sys.platform.startswith("linux")
COMPILED: tuple[str, ...] = tuple(
    name for name in build_data("COMPILED") if LINUX or name not in build_data("LINUX_ONLY")
)
EXPECTED = os.environ.get("NORIA_TEST_BUILD")

if importlib.util.find_spec("noria") is None:
    sys.path.insert(0, str(SOURCE))
    os.environ["PYTHONPATH"] = str(SOURCE)

if EXPECTED == "interpreted":
    # Interpreted means without Cython installed: an import of it must fail here too.
    for name in ("Cython", "cython"):
        cast("dict[str, Any]", sys.modules)[name] = None


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background jobs. The programs that tests start and interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DEEP = os.environ.get("NORIA_TEST_DEEP") == "1"

if importlib.util.find_spec("hypothesis") is not None:
    from hypothesis import settings

    # The same examples in every run: a failure belongs to the change it is seen with.
    settings.register_profile("steady", deadline=None, derandomize=True, database=None)
    settings.register_profile("deep", deadline=None, max_examples=2000, print_blob=True)
    settings.load_profile("deep" if DEEP else "steady")


def compiled_modules() -> list[str]:
    """Those of COMPILED that would be imported as extension modules."""
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    found = []
    for name in COMPILED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(suffixes):
            found.append(name)
    return found


def build_under_test() -> str:
    """`compiled` or `interpreted`; a mixture is an error."""
    found = compiled_modules()
    if found and len(found) != len(COMPILED):
        missing = sorted(set(COMPILED) - set(found))
        raise pytest.UsageError(f"partly compiled: not {', '.join(missing)}; run `make clean`")
    return "compiled" if found else "interpreted"


def pytest_configure() -> None:
    actual = build_under_test()
    if EXPECTED not in {None, actual}:
        raise pytest.UsageError(f"this run is to test the {EXPECTED} build, but finds it {actual}")


def pytest_report_header() -> str:
    import noria

    return f"noria: {build_under_test()}, from {Path(noria.__file__).parent}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DEEP:
        return
    for item in items:
        if item.get_closest_marker("deep") is not None:
            item.add_marker(pytest.mark.skip(reason="deep; run `make test-deep`"))
