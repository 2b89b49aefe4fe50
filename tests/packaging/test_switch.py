"""NORIA_BUILD: what is compiled, what happens when it cannot be, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.packaging.toy import TOY_FILES

if TYPE_CHECKING:
    from tests.packaging.toy import Toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="describes the build on Linux")

ALL = ["_client", "number", "only", "thing"]
STEP = "from noria.core.thing import Thing; print(Thing(1).next())"


def breakage(toy: Toy, kind: str) -> dict[str, str]:
    """Make compiling impossible; the environment it takes."""
    if kind == "no compiler":
        toy.write("src/noria/native/number.pyx", TOY_FILES["src/noria/native/number.pyx"] + "\n")
        return {"CC": "/bin/false"}
    if kind == "no cython":
        toy.write("hidden/Cython.py", "raise ImportError('no Cython here')\n")
        return {"PYTHONPATH": str(toy.path / "hidden")}
    if kind == "cython refuses one":
        toy.write(
            "src/noria/native/number.pyx", "cpdef int step(int value) except -1:\n    return (\n"
        )
    if kind == "compiler refuses one":
        toy.write("src/noria/native/number.pxd", "cpdef int step(int value) except -1\n")
        text = 'cdef extern from "no_such_header.h":\n    int missing\n'
        text += "cpdef int step(int value) except -1:\n    return missing\n"
        toy.write("src/noria/native/number.pyx", text)
    return {}


BREAKAGES = ["no compiler", "no cython", "cython refuses one", "compiler refuses one"]


def test_everything_is_compiled_and_pyx_wins(toy: Toy) -> None:
    result = toy.build("require")
    assert result.returncode == 0, result.stdout
    assert toy.extensions() == ALL
    assert toy.run(STEP) == "1001"
    record = json.loads((toy.path / "out/noria/build.json").read_text())
    assert record == {"compiled": True, "reason": "", "mode": "require"}


def test_source_stays_clean(toy: Toy) -> None:
    before = sorted((toy.path / "src").rglob("*"))
    assert toy.build(None).returncode == 0
    assert sorted((toy.path / "src").rglob("*")) == before


def test_python_compiles_only_plain_c(toy: Toy) -> None:
    toy.write("hidden/Cython/__init__.py", "raise SystemExit('Cython was imported')\n")
    result = toy.build("python", PYTHONPATH=str(toy.path / "hidden"))
    assert result.returncode == 0, result.stdout
    assert toy.extensions() == ["_client"]
    assert list((toy.path / "out").rglob("_client.abi3.so"))
    assert toy.run(STEP) == "2"
    assert "WARNING" not in result.stdout


@pytest.mark.parametrize("kind", BREAKAGES)
def test_auto_falls_back_with_a_warning_and_removes_everything(toy: Toy, kind: str) -> None:
    assert toy.build("auto").returncode == 0
    assert toy.extensions() == ALL
    result = toy.build("auto", **breakage(toy, kind))
    assert result.returncode == 0, result.stdout
    assert "WARNING: noria is being installed interpreted" in result.stdout
    assert not {"number", "only", "thing"} & set(toy.extensions())
    assert toy.run(STEP) == "2"
    record = json.loads((toy.path / "out/noria/build.json").read_text())
    assert not record["compiled"]
    assert record["reason"]


@pytest.mark.parametrize("kind", BREAKAGES)
def test_require_fails_and_leaves_nothing_half_done(toy: Toy, kind: str) -> None:
    result = toy.build("require", **breakage(toy, kind))
    assert result.returncode != 0
    assert "NORIA_BUILD=require" in result.stdout
    assert not {"number", "only", "thing"} & set(toy.extensions())


def test_what_needs_linux_stays_interpreted_elsewhere(toy: Toy) -> None:
    """As on a Mac, which has no such header: the rest is compiled, and that counts as all."""
    recipe = (toy.path / "build_ext.py").read_text("utf-8")
    toy.write("build_ext.py", recipe.replace("sys.platform", "'darwin'"))
    text = (toy.path / "src/noria/native/only.pyx").read_text("utf-8")
    toy.write("src/noria/native/only.pyx", text.replace("sys/epoll.h", "no_such_header.h"))
    result = toy.build("require")
    assert result.returncode == 0, result.stdout
    assert toy.extensions() == ["number", "thing"]
    assert toy.run(STEP) == "1001"
    assert toy.run("from noria.native.only import here; print(here())") == "0"
    assert json.loads((toy.path / "out/noria/build.json").read_text())["compiled"]


def test_a_plain_c_extension_may_fail(toy: Toy) -> None:
    assert toy.build("require").returncode == 0
    assert toy.extensions() == ALL
    toy.write("src/noria/lab/toy.c", "#error not today\n")
    assert toy.build("require").returncode == 0
    assert toy.extensions() == ["number", "only", "thing"]
    assert toy.run(STEP) == "1001"


def test_an_unknown_mode_is_refused(toy: Toy) -> None:
    result = toy.build("maybe")
    assert result.returncode != 0
    assert "auto, python, require" in result.stdout


def test_in_place_only_plain_c_is_built(toy: Toy) -> None:
    result = toy.build("auto", "build_ext", "--inplace")
    assert result.returncode == 0, result.stdout
    assert toy.extensions("src") == ["_client"]
    assert toy.build("require", "build_ext", "--inplace").returncode != 0


def test_a_changed_pxd_recompiles_what_depends_on_it(toy: Toy) -> None:
    assert toy.build("require").returncode == 0
    quiet = toy.build("require")
    assert "Cythonizing" not in quiet.stdout
    assert "gcc" not in quiet.stdout
    pxd = toy.path / "src/noria/native/number.pxd"
    later = pxd.stat().st_mtime + 60
    os.utime(pxd, (later, later))
    again = toy.build("require").stdout
    assert "Cythonizing src/noria/native/number.pyx" in again
    assert "Cythonizing src/noria/core/thing.py" in again


def test_what_the_source_no_longer_has_disappears(toy: Toy) -> None:
    toy.write("src/noria/core/old.py", "")
    assert toy.build("require").returncode == 0
    (toy.path / "src/noria/core/old.py").unlink()
    assert toy.build("python").returncode == 0
    assert not (toy.path / "out/noria/core/old.py").exists()
    assert toy.extensions() == ["_client"]


def test_the_optimization_level_of_the_environment_counts(toy: Toy) -> None:
    assert "-O2" in toy.build("require").stdout
    assert "-O2" not in toy.build("require", "build", "--force", CFLAGS="-O0").stdout
