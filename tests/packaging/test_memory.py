"""scripts/test-memory.sh believes nothing: neither its sanitizers, nor its list, nor pytest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.toy import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gcc's sanitizers on Linux")

INTERPRETER = """\
#!/bin/sh
case "$*" in
*setup.py*) exit 0 ;;
*probe.py*) {probe} ;;
*doctor*) echo "  uring  no  {trouble}" ;;
*) {pytest} ;;
esac
"""
REAL = f'exec "{sys.executable}" "$@"'


def has_sanitizers() -> bool:
    if shutil.which("gcc") is None:
        return False
    asked = ["gcc", "-print-file-name=libasan.so"]
    return Path(subprocess.check_output(asked, text=True).strip()).is_absolute()


needs_sanitizers = pytest.mark.skipif(not has_sanitizers(), reason="gcc has no libasan here")


def run(
    path: Path,
    *,
    probe: str = REAL,
    pytest: str = "echo 5 passed",
    left_out: str = "",
    programs: str = "",
    trouble: str = "the kernel is old",
) -> subprocess.CompletedProcess[str]:
    """Run the script in a tree of its own, with an interpreter that pretends."""
    shutil.copytree(ROOT / "scripts/memory", path / "scripts/memory")
    shutil.copy(ROOT / "scripts/test-memory.sh", path / "scripts")
    (path / "scripts/memory/left-out.txt").write_text(left_out)
    (path / "build/asan/lib").mkdir(parents=True)
    for folder in ("loops", "packages"):
        (path / "tests" / folder).mkdir(parents=True)
        (path / "tests" / folder / "test_it.py").touch()
    interpreter = path / "python"
    interpreter.write_text(INTERPRETER.format(probe=probe, pytest=pytest, trouble=trouble))
    interpreter.chmod(0o755)
    return subprocess.run(
        ["bash", "scripts/test-memory.sh", "./python", "build/asan", "build/reports"],
        cwd=path,
        env={"PATH": programs or "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_sanitizers
def test_it_passes_if_nothing_was_found(tmp_path: Path) -> None:
    result = run(tmp_path, left_out="tests/packages: not this build\n")
    assert result.returncode == 0, result.stderr
    assert "memory: left out: tests/packages: not this build" in result.stdout
    assert "each was seen" in result.stdout
    assert "pytest tests/loops --ignore=tests/packages\n" in result.stdout
    assert "pytest tests/packages" not in result.stdout


@needs_sanitizers
def test_a_report_fails_though_every_test_has_passed(tmp_path: Path) -> None:
    write = 'echo "heap-use-after-free in x" >"$NORIA_SANITIZER_REPORTS.123"'
    result = run(tmp_path, pytest=write)
    assert result.returncode == 1
    assert "heap-use-after-free in x" in result.stdout
    assert "reports of the sanitizers" in result.stderr


@needs_sanitizers
def test_a_failing_test_fails(tmp_path: Path) -> None:
    assert run(tmp_path, pytest="exit 5").returncode == 1


@needs_sanitizers
def test_a_blind_sanitizer_fails(tmp_path: Path) -> None:
    """As it would be if the interpreter dropped LD_PRELOAD."""
    result = run(tmp_path, probe="exit 0")
    assert result.returncode == 1
    assert "past_the_heap went unnoticed" in result.stderr


@needs_sanitizers
def test_a_broken_engine_is_no_reason_to_skip_its_tests(tmp_path: Path) -> None:
    result = run(tmp_path, trouble="a trial failed: a send did not arrive")
    assert result.returncode == 1
    assert "an engine is broken" in result.stderr


@needs_sanitizers
@pytest.mark.parametrize(
    "line", ["tests/gone.py: a reason", "scripts/test-memory.sh", "scripts/memory/probe.py::no: x"]
)
def test_the_list_is_held_to_the_truth(line: str, tmp_path: Path) -> None:
    result = run(tmp_path, left_out=f"{line}\n")
    assert result.returncode == 1
    assert "scripts/memory/left-out.txt: " in result.stderr


def test_without_a_compiler_it_cannot_run(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "uname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    result = run(tmp_path, programs=str(programs))
    assert result.returncode == 77
    assert "CANNOT RUN HERE: no gcc" in result.stderr
