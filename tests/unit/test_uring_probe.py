"""Whether `uring` can run here: the trial, what is remembered of it, and what users are told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from noria.engines import uring_probe
from noria.engines.uring import UringEngine
from noria.native import ring as native_ring
from tests import seccomp
from tests.ledger import Ledger, ledger
from tests.rings import needs_uring, refused
from tests.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ledger"]

TRIAL_SECONDS_MAX = 0.05


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is known to the whole process."""
    monkeypatch.setattr(uring_probe, "_known", uring_probe._known)


def forget() -> None:
    uring_probe._known = None


def test_a_trial_is_quick_and_leaves_nothing(ledger: Ledger) -> None:
    forget()
    started = time.monotonic()
    found = UringEngine.probe()
    assert time.monotonic() - started < TRIAL_SECONDS_MAX
    assert found.reason


def test_a_trial_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = UringEngine.probe()

    def examine() -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(uring_probe, "_examine", examine)
    assert UringEngine.probe() is found is uring_probe.probe()
    forget()
    with pytest.raises(AssertionError, match="tried again"):
        UringEngine.probe()


@needs_uring
def test_what_works_names_its_features() -> None:
    forget()
    found = UringEngine.probe()
    assert (found.available, found.reason) == (True, "io_uring works here")
    assert "provided buffers" in found.features


@pytest.mark.skipif(native_ring.COMPILED, reason="about the interpreted build")
def test_the_interpreted_build_says_what_it_lacks() -> None:
    forget()
    found = UringEngine.probe()
    assert not found.available
    if sys.platform == "linux":
        assert found.reason == "io_uring needs the compiled build"


@pytest.mark.parametrize(
    ("release", "refusal"),
    [
        ("5.15.0-91-generic", True),
        ("4.19", True),
        ("6.0.19", True),
        ("6.0", True),
        ("6", True),
        ("6.1", False),
        ("6.1.0-13-amd64", False),
        ("6.6.87.2-microsoft-standard-WSL2", False),
        ("6.18.44-fc-v769", False),
        ("7.0.0-rc1", False),
        ("10.2", False),
        ("unknown", True),
        ("", True),
    ],
)
def test_versions_that_are_not_used(release: str, refusal: bool) -> None:
    reason = uring_probe.refused_version(release)
    assert (reason is not None) == refusal
    if reason is not None:
        assert release in reason
        assert "DEFER_TASKRUN" in reason


def test_the_blocklist_gives_reasons() -> None:
    for refusal in uring_probe.REFUSALS:
        assert refusal.first < refusal.behind
        assert refusal.reason


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("2\n", "io_uring_disabled is 2"),
        ("1\n", "io_uring_disabled is 1"),
        ("0\n", "a seccomp filter or another policy forbids it"),
        (None, "a seccomp filter or another policy forbids it"),
    ],
)
def test_why_it_is_forbidden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, setting: str | None, words: str
) -> None:
    switch = tmp_path / "io_uring_disabled"
    if setting is not None:
        switch.write_text(setting, "ascii")
    monkeypatch.setattr(uring_probe, "_SWITCH", switch)
    reason = uring_probe.explain(refused(number))
    assert words in reason
    assert setting in {"1\n", "2\n"} or reason.startswith(errno.errorcode[number])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSYS, "the kernel was built without it"),
        (errno.EINVAL, "6.1 has it"),
        (errno.EOPNOTSUPP, f"{errno.errorcode[errno.EOPNOTSUPP]}: "),
        (errno.ENOMEM, "ENOMEM: "),
    ],
)
def test_why_it_fails(number: int, words: str) -> None:
    assert words in uring_probe.explain(refused(number))


def test_an_error_without_a_number_is_explained() -> None:
    assert uring_probe.explain(OSError("broken"))
    assert not uring_probe.rule_out(OSError("broken"))


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP]
)
def test_lasting_reasons_rule_it_out(number: int) -> None:
    assert UringEngine.rule_out(refused(number))
    found = UringEngine.probe()
    assert (found.available, found.features) == (False, ())
    assert found.reason == uring_probe.explain(refused(number))


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN])
def test_reasons_that_may_pass_do_not(number: int) -> None:
    before = UringEngine.probe()
    assert not UringEngine.rule_out(refused(number))
    assert UringEngine.probe() is before


@needs_uring
@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE])
def test_a_trial_that_lacks_something_is_made_again(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail() -> None:
        raise refused(number)

    forget()
    with monkeypatch.context() as patch:
        patch.setattr(uring_probe, "_try_hot_kinds", fail)
        assert UringEngine.probe().available, "making the engine tells what is wrong"
        assert uring_probe._known is None
    assert UringEngine.probe().reason == "io_uring works here"


@needs_uring
def test_a_trial_that_goes_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setattr(uring_probe, "_try_hot_kinds", lambda: "a send did not arrive")
    found = UringEngine.probe()
    assert (found.available, found.reason) == (False, "a trial failed: a send did not arrive")


PROLOGUE = """
import asyncio, socket, sys
import noria
from noria.engines import registry
from tests import seccomp
registry.AUTOMATIC = ("uring", "epoll")

async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"echo")
    assert await reader.readexactly(4) == b"echo"
    writer.close()
    server.close()

async def echo(reader, writer):
    writer.write(await reader.readexactly(4))
    writer.close()

def use():
    loop = noria.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(main(), 10))
    loop.close()
    return loop.engine
"""


def run_filtered(program: str) -> str:
    """Run it in an interpreter of its own; what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "NORIA_ENGINE"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    )
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_filter = pytest.mark.skipif(not seccomp.available(), reason="the filter knows two machines")


@needs_uring
@needs_filter
@pytest.mark.parametrize(("number", "words"), [(errno.EPERM, "EPERM"), (errno.ENOSYS, "ENOSYS")])
@pytest.mark.parametrize("calls", ["setup", "all", "register"])
def test_a_filter_from_the_start(number: int, words: str, calls: str) -> None:
    """Containers have one: the choice says why it is epoll, and everything works."""
    which = {
        "setup": "(seccomp.SETUP,)",
        "register": "(seccomp.REGISTER,)",
        "all": "(seccomp.SETUP, seccomp.ENTER, seccomp.REGISTER)",
    }[calls]
    printed = run_filtered(
        f"seccomp.forbid({number}, {which})\n"
        "choice = registry.choose()\n"
        "print(choice.name, choice.reason)\n"
        "print(use())\n"
    )
    choice, engine = printed.splitlines()
    assert choice.startswith("epoll best available: ")
    assert "uring: " in choice
    assert words in choice
    assert engine == "epoll"


@needs_uring
@needs_filter
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_filter_after_a_first_loop(number: int) -> None:
    """What worked when it was tried is forbidden by now: the next loop falls back."""
    printed = run_filtered(
        "print(use())\n"
        f"seccomp.forbid({number})\n"
        "print(use())\n"
        "print(use())\n"
        "print(registry.choose().reason)\n"
        "try:\n"
        "    noria.new_event_loop('uring')\n"
        "except noria.EngineUnavailableError as exc:\n"
        "    print('refused')\n"
    )
    lines = printed.splitlines()
    assert lines[:3] == ["uring", "epoll", "epoll"]
    assert errno.errorcode[number] in lines[3]
    assert lines[4] == "refused"


@needs_uring
@needs_filter
def test_a_filter_that_forbids_to_enter_only() -> None:
    """Found by the trial if it is there in time."""
    printed = run_filtered(f"seccomp.forbid({errno.EPERM}, (seccomp.ENTER,))\nprint(use())\n")
    assert printed == "epoll\n"
