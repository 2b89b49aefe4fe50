"""The run of other people's tests: what fails it, and that every test gets a result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from scripts.conformance import downstream
from scripts.conformance import exceptions as files
from scripts.conformance.execute import Command, ModuleRun, Result, run_tests
from scripts.conformance.plan import BASELINE, Configuration
from tests.tree import ROOT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.posix  # process groups

HERE = Configuration(sys.executable, "3.13", "compiled", "epoll")
FAILED = Result("failed", "Traceback\nAssertionError: 1 != 2")
PASSED = Result("passed")


def entry(**values: Any) -> files.Entry:
    return files.Entry(tests=("module.Case.test_it",), why="Because.", **values)


def judged(
    *listed: files.Entry,
    pending: tuple[files.Entry, ...] = (),
    result: Result = FAILED,
    baseline: Result | None = None,
) -> files.Verdict:
    """What one test with this result amounts to."""
    run = ModuleRun(HERE, "module", ["module.Case.test_it"], {"module.Case.test_it": result})
    baselines = {} if baseline is None else {("3.13", "module.Case.test_it"): baseline}
    return files.judge(files.Exceptions(listed, pending), [run], baselines)


def test_a_failure_that_is_not_listed_is_wrong() -> None:
    (line,) = judged().wrong
    assert line == "3.13 compiled epoll: module.Case.test_it: AssertionError: 1 != 2"
    assert judged(result=PASSED).wrong == []


def test_a_listed_failure_is_right_and_a_listed_success_is_wrong() -> None:
    listed = entry(reason=files.INTERNALS)
    assert judged(listed).wrong == []
    assert "passes, remove its exception" in judged(listed, result=PASSED).wrong[0]
    assert judged(listed, result=Result("skipped")).wrong == []


def test_what_asyncio_is_said_to_fail_it_has_to_fail() -> None:
    listed = entry(reason=files.ASYNCIO_TOO)
    assert judged(listed, baseline=FAILED).wrong == []
    assert "does not fail it here: passed" in judged(listed, baseline=PASSED).wrong[0]
    assert "was not run" in judged(listed).wrong[0]


def test_a_pattern_that_names_nothing_is_wrong_if_its_module_ran() -> None:
    gone = files.Entry(("module.Case.test_gone",), "Because.", files.INTERNALS)
    elsewhere = files.Entry(("other.Case.test_gone",), "Because.", files.INTERNALS)
    (line,) = judged(gone, elsewhere, result=PASSED).wrong
    assert line.endswith("module.Case.test_gone: matches no test that was run")


def test_an_entry_applies_where_it_says() -> None:
    elsewhere = entry(reason=files.INTERNALS, engines=("uring",))
    assert len(judged(elsewhere).wrong) == 1
    assert judged(entry(reason=files.INTERNALS, pythons=("3.13",))).wrong == []


def test_what_is_pending_is_tolerated_and_told() -> None:
    verdict = judged(pending=(entry(room="TLS", error="1 != 2"),))
    assert verdict.wrong == []
    assert verdict.pending == ["3.13 compiled epoll: module.Case.test_it: waits for TLS"]
    assert len(judged(pending=(entry(room="TLS", error="another"),)).wrong) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[exception]]\ntests = ["a"]\nwhy = "So."\nreason = "it is slow"', "no allowed reason"),
        ('[[exception]]\ntests = ["a"]\nreason = "x"', "needs tests, and why as a sentence"),
        ('[[exception]]\ntests = ["a"]\nwhy = "So."\nreasons = "x"', "unknown keys"),
        ('[[pending]]\ntests = ["a"]\nwhy = "So."', "has a room"),
        ('[[other]]\ntests = ["a"]', "unknown tables"),
    ],
)
def test_the_file_is_held_to_its_form(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "exceptions.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=complaint):
        files.read(path)


def test_the_page_names_every_exception() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    read = files.read()
    patterns = [pattern for item in (*read.listed, *read.pending) for pattern in item.tests]
    missing = [pattern for pattern in patterns if f"`{pattern}`" not in page]
    assert not missing, "run `make conformance-page`"


CHILD = """
import json, os, sys, time
order = json.load(open(sys.argv[1]))
names = ["good", "hangs", "dies", "last"]
with open(sys.argv[2], "a", buffering=1) as events:
    def tell(**event):
        events.write(json.dumps(event) + "\\n")
    tell(all=names)
    for name in names:
        if name in order["not_now"]:
            continue
        tell(begin=name)
        if name == "hangs":
            time.sleep(60)
        if name == "dies":
            print("the last words", flush=True)
            os._exit(3)
        tell(end=name, outcome="passed")
    tell(done=True)
"""


def test_every_test_gets_a_result_whatever_happens(tmp_path: Path) -> None:
    """One hangs, one ends its process: the others run all the same, each once."""
    program = tmp_path / "child.py"
    program.write_text(CHILD, "utf-8")
    command = Command((sys.executable, str(program)), test_seconds=2.0)
    run = run_tests(ModuleRun(HERE, "module"), command, left_out=["good"])
    outcomes = {name: result.outcome for name, result in run.results.items()}
    assert outcomes == {"hangs": "failed", "dies": "failed", "last": "passed"}
    assert "and was ended" in run.results["hangs"].text
    assert run.results["dies"].text == "the last words\n\nthe process ended with 3"


def test_a_process_that_cannot_even_begin_is_a_failure(tmp_path: Path) -> None:
    command = Command((sys.executable, "-c", "raise SystemExit('nothing')"))
    run = run_tests(ModuleRun(HERE, "module"), command)
    (result,) = run.results.values()
    assert result.outcome == "failed"
    assert "nothing" in result.text


def test_a_guest_is_told_from_the_baseline_and_judged_as_noria_is() -> None:
    suite = downstream.Suite("theirs", "1", (), (), "noria.compat.aiofiles")
    theirs, guest = (
        ModuleRun(
            Configuration(sys.executable, "3.13", build, BASELINE), "theirs", ["a", "b"], results
        )
        for build, results in (
            ("", {"a": PASSED, "b": FAILED}),
            ("compiled", {"a": FAILED, "b": FAILED}),
        )
    )
    assert theirs.configuration.name == "3.13 asyncio"
    assert guest.configuration.name == "3.13 compiled, guest on asyncio"
    wrong: list[str] = []
    nothing = files.Exceptions((), ())
    downstream._judge(suite, theirs, guest, nothing, wrong, [])
    told = "theirs:a: AssertionError: 1 != 2 (3.13 compiled, guest on asyncio)"
    assert wrong == [told]
    reason: dict[str, Any] = {"why": "Because.", "reason": files.INTERNALS}
    listed = files.Exceptions(
        (files.Entry(("theirs:a",), **reason), files.Entry(("theirs:c",), **reason)), ()
    )
    wrong.clear()
    downstream._judge(suite, theirs, guest, listed, wrong, [])
    assert wrong == []
    assert downstream._idle(suite, [theirs, guest], listed) == [
        "exceptions.toml: theirs:c: matches no test that was run"
    ]


def test_a_package_of_norias_stands_in_with_all_its_modules(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_python(
        "from scripts.conformance import place\n"
        "place.stand_in('aiofiles', 'noria.compat.aiofiles')\n"
        "import aiofiles.tempfile.temptypes, aiofiles.os\n"
        "from aiofiles.threadpool.binary import AsyncFileIO\n"
        "import noria.compat.aiofiles.threadpool as ours\n"
        "assert ours is aiofiles.threadpool and ours.AsyncFileIO is AsyncFileIO\n"
    )
    assert done.returncode == 0, done.stderr
