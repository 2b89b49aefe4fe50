"""Fixtures of the packaging tests: the toy, bare virtual environments, and what lies in dist/."""

from __future__ import annotations

import os
import subprocess
import venv
from typing import TYPE_CHECKING

import pytest

from tests.packaging.toy import ROOT, Toy

if TYPE_CHECKING:
    from pathlib import Path


class Bare:
    """A virtual environment with nothing but pip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        venv.create(path, with_pip=True)

    def pip(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run pip in it."""
        options = ("-m", "pip", "--disable-pip-version-check")
        return self.run("python", *options, *arguments, **environment)

    def run(
        self, program: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs outside the project."""
        dropped = {"PYTHONPATH", "NORIA_BUILD", "NORIA_ENGINE"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return subprocess.run(
            [str(self.path / "bin" / program), *arguments],
            cwd=self.path,
            env=kept | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare(tmp_path / "bare")


def artefact(pattern: str) -> Path:
    """The one file in dist/ of this kind."""
    found = list((ROOT / "dist").glob(pattern))
    if not found:
        pytest.skip("nothing in dist/; run `make wheel`")
    assert len(found) == 1, "dist/ holds files of several builds; run `make wheel`"
    return found[0]


@pytest.fixture
def wheel() -> Path:
    return artefact("noria-*.whl")


@pytest.fixture
def sdist() -> Path:
    return artefact("noria-*.tar.gz")
