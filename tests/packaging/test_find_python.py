"""scripts/find-python.sh finds an interpreter that runs, wherever it hides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.toy import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def find(wanted: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts/find-python.sh"), wanted],
        env={"PATH": f"{path}:/usr/bin:/bin", "HOME": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("wanted", [VERSION, f"python{VERSION}"])
def test_on_path(tmp_path: Path, wanted: str) -> None:
    program(tmp_path / f"python{VERSION}", f'exec "{sys.executable}" "$@"')
    result = find(wanted, tmp_path)
    assert Path(result.stdout.strip()).samefile(sys.executable), result.stderr


def test_by_its_own_path(tmp_path: Path) -> None:
    assert find(sys.executable, tmp_path).stdout.strip() == sys.executable


def test_behind_a_stand_in_that_refuses(tmp_path: Path) -> None:
    """What a version manager puts on PATH may exist and not run; the manager knows where it is."""
    program(tmp_path / f"python{VERSION}", "echo 'not chosen here' >&2; exit 127")
    program(tmp_path / f"versions/{VERSION}.9/bin/python", "exit 1")
    program(tmp_path / f"versions/{VERSION}.8/bin/python", f'exec "{sys.executable}" "$@"')
    versions = f"printf '%s\\n' 2.7.18 {VERSION}.8 {VERSION}.9"
    program(
        tmp_path / "pyenv", f'case $1 in root) echo "{tmp_path}" ;; versions) {versions} ;; esac'
    )
    result = find(VERSION, tmp_path)
    assert Path(result.stdout.strip()).samefile(sys.executable), result.stderr


@pytest.mark.parametrize("wanted", ["3.2", "python3.2", "no-such-program"])
def test_a_missing_one_is_named(tmp_path: Path, wanted: str) -> None:
    result = find(wanted, tmp_path)
    assert result.returncode == 1
    assert f"'{wanted}'" in result.stderr
    assert not result.stdout
