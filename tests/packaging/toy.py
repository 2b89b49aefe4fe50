"""A toy project that is built with noria's own build files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOY_FILES = {
    "README.md": "# Toy\n",
    "LICENSE": "None.\n",
    "src/noria/__init__.py": "",
    "src/noria/core/__init__.py": "",
    "src/noria/core/thing.pxd": """\
from noria.native cimport number as native


cdef class Thing:
    cdef public int value
    cpdef int next(self) except -1
""",
    "src/noria/core/thing.py": '''\
"""A class of the toy."""

from noria.native import number as native


class Thing:
    def __init__(self, value: int) -> None:
        self.value = value

    def next(self) -> int:
        return native.step(self.value)
''',
    "src/noria/native/__init__.py": "",
    "src/noria/native/number.pxd": "cpdef int step(int value) except -1\n",
    "src/noria/native/number.pyi": "def step(value: int) -> int: ...\n",
    "src/noria/native/number.py": "def step(value):\n    return value + 1\n",
    "src/noria/native/number.pyx": """\
cpdef int step(int value) except -1:
    return value + 1000
""",
    "src/noria/native/only.pxd": "cpdef int here() noexcept\n",
    "src/noria/native/only.pyi": "def here() -> int: ...\n",
    "src/noria/native/only.py": "def here():\n    return 0\n",
    "src/noria/native/only.pyx": """\
cdef extern from "<sys/epoll.h>":
    enum: EPOLLIN


cpdef int here() noexcept:
    return EPOLLIN
""",
    "src/noria/lab/__init__.py": "",
    "src/noria/lab/toy.c": """\
#include <Python.h>
static struct PyModuleDef toy = {PyModuleDef_HEAD_INIT, "_client", NULL, 0, NULL};
PyMODINIT_FUNC PyInit__client(void) { return PyModule_Create(&toy); }
""",
}
TOY_COMPILED = '("noria.native.number", "noria.native.only", "noria.core.thing")'
TOY_LINUX_ONLY = '("noria.native.only",)'
TOY_PLAIN_C = '{"noria.lab._client": ("toy.c",)}'


class Toy:
    """A small project with the build files of noria."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in TOY_FILES.items():
            self.write(name, text)
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, path)
        recipe = (ROOT / "build_ext.py").read_text("utf-8")
        recipe = replace_data(recipe, "COMPILED", TOY_COMPILED)
        recipe = replace_data(recipe, "LINUX_ONLY", TOY_LINUX_ONLY)
        self.write("build_ext.py", replace_data(recipe, "PLAIN_C", TOY_PLAIN_C))

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def build(
        self, mode: str | None, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run setup.py, by default its command `build`."""
        variables = {name: value for name, value in os.environ.items() if name != "NORIA_BUILD"}
        if mode is not None:
            variables["NORIA_BUILD"] = mode
        command = arguments or ("build", "--build-lib", "out", "--build-temp", "temp")
        return subprocess.run(
            [sys.executable, "setup.py", *command],
            cwd=self.path,
            env=variables | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def extensions(self, directory: str = "out") -> list[str]:
        """The extension modules below a directory, without the suffix for the platform."""
        found = (self.path / directory).rglob("*.so")
        return sorted(path.name.split(".")[0] for path in found)

    def run(self, code: str) -> str:
        """Run a program on what was built; what it printed."""
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.path / "out",
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()


def replace_data(text: str, name: str, value: str) -> str:
    """Give a constant of build_ext.py another value."""
    changed, count = re.subn(
        rf"^{name}: Final = [({{].*?^[)}}]$",
        f"{name}: Final = {value}",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    assert count == 1
    return changed
