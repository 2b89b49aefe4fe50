"""A compiled module and what stands beside it agree: .py with .pxd, .pyx with .pyi and its twin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests import tree

if TYPE_CHECKING:
    from pathlib import Path

COMPILED: tuple[str, ...] = tree.build_data("COMPILED")
LINUX_ONLY: tuple[str, ...] = tree.build_data("LINUX_ONLY")
LINUX_HEADER = re.compile(
    r"#\s*include <(linux/|sys/(epoll|eventfd|inotify|prctl|signalfd|timerfd)\.h)"
    r"|\bnoria/native/(punctual|ring)\.h"  # which include such headers
)
NEVER_MADE = {"AioContext", "AioQueue", "Aiocb", "Crew", "Iocb", "Job", "Ring", "Transfer"}
"""Classes whose interpreted twin cannot be made, so it needs no methods."""

PLAIN_C: dict[str, tuple[str, ...]] = tree.build_data("PLAIN_C")
PXD = tree.files(".pxd", under=tree.PACKAGE)
PYX = tree.files(".pyx", under=tree.PACKAGE)
PAIRS = [path for path in PXD if path.with_suffix(".py").exists()]
PAIRS = [path for path in PAIRS if not path.with_suffix(".pyx").exists()]
TWINS = [path for path in PYX if path.with_suffix(".py").exists()]
C_CLASSES = {
    name: declared
    for path in PXD
    for name, declared in tree.cython_declarations(path).classes.items()
}


def by_name(path: Path) -> str:
    return tree.relative(path.with_suffix(""))


def functions(declared: tree.Declarations) -> dict[str, list[str]]:
    """Functions and methods by their dotted names."""
    found = dict(declared.functions)
    for name, owner in declared.classes.items():
        for method, names in owner.methods.items():
            found[f"{name}.{method.replace('__cinit__', '__init__')}"] = names
    return found


def test_the_list_names_every_compiled_module() -> None:
    compilable = {tree.module_name(path) for path in [*PYX, *PAIRS]}
    assert set(COMPILED) == compilable
    assert len(COMPILED) == len(set(COMPILED))


def test_what_needs_linux_is_compiled_on_linux_only() -> None:
    """What a header of Linux stands in, and whatever is laid out after it (cimport)."""
    known = set(tree.modules())
    needing = {
        tree.module_name(path) for path in PYX if LINUX_HEADER.search(path.read_text("utf-8"))
    }
    assert "noria.native.epoll" in needing
    before: set[str] = set()
    while before != needing:
        before = set(needing)
        needing |= {
            tree.module_name(path)
            for path in PXD
            if needing & {found.target for found in tree.imports(path, known)}
        }
    assert set(LINUX_ONLY) == needing
    assert len(LINUX_ONLY) == len(set(LINUX_ONLY))


def test_plain_c_is_another_list() -> None:
    assert not set(PLAIN_C) & set(COMPILED)
    for module, names in PLAIN_C.items():
        directory = tree.SOURCE.joinpath(*module.split(".")).parent
        assert {path.name for path in directory.glob("*.c")} == set(names)


def test_a_pxd_declares_something_that_exists() -> None:
    lonely = [
        tree.relative(path)
        for path in PXD
        if not path.with_suffix(".py").exists()
        and not path.with_suffix(".pyx").exists()
        and path.parent.name != "native"
    ]
    assert not lonely, "only native/ has .pxd files that stand alone"


def test_every_pyx_has_a_stub_and_a_twin() -> None:
    missing = [
        tree.relative(path.with_suffix(suffix))
        for path in PYX
        for suffix in ((".pyi", ".pxd", ".py") if path.parent.name == "native" else (".pyi",))
        if not path.with_suffix(suffix).exists()
    ]
    assert not missing


@pytest.mark.parametrize("path", PAIRS, ids=by_name)
def test_a_pxd_fits_its_module(path: Path) -> None:
    declared = tree.cython_declarations(path)
    real = tree.python_declarations(path.with_suffix(".py"))
    assert not set(declared.classes) - set(real.classes)
    found = functions(real)
    for name, names in functions(declared).items():
        assert found.get(name) == names, f"{name} has other parameters in the .pxd"


@pytest.mark.parametrize("path", PAIRS, ids=by_name)
def test_fields_are_declared(path: Path) -> None:
    """A compiled class has the fields of its .pxd and no others."""
    real = tree.python_declarations(path.with_suffix(".py"))
    for name in tree.cython_declarations(path).classes:
        used = real.classes[name].fields - set(real.classes[name].methods)
        undeclared = used - tree.class_fields(name, C_CLASSES)
        assert not undeclared, f"{name} in {tree.relative(path)} lacks {sorted(undeclared)}"


@pytest.mark.parametrize("path", PAIRS, ids=by_name)
def test_bases_are_declared(path: Path) -> None:
    real = tree.python_declarations(path.with_suffix(".py"))
    for name, declared in tree.cython_declarations(path).classes.items():
        ours = [base for base in real.classes[name].bases if base in C_CLASSES]
        assert declared.bases == ours, f"{name} has other bases in {tree.relative(path)}"


@pytest.mark.parametrize("path", TWINS, ids=by_name)
def test_a_twin_has_the_same_functions(path: Path) -> None:
    stub = functions(tree.python_declarations(path.with_suffix(".pyi")))
    real = functions(tree.cython_declarations(path))
    twin_path = path.with_suffix(".py")
    twin = tree.python_declarations(twin_path)
    for name, names in stub.items():
        assert real.get(name) == names, f"{name} differs in {tree.relative(path)}"
        if not taken_over(name, twin, twin_path):
            found = functions(twin).get(name)
            assert found == names, f"{name} differs in {tree.relative(twin_path)}"


def taken_over(name: str, twin: tree.Declarations, path: Path) -> bool:
    """Whether a twin has this from the standard library: by import, assignment or inheritance."""
    owner, _, method = name.rpartition(".")
    if owner in NEVER_MADE and method != "__init__":
        return True
    if owner:
        return bool(twin.classes[owner].bases) and method not in twin.classes[owner].methods
    pattern = rf"\bimport\b.*\b{name}\b|^{name} = "
    return bool(re.search(pattern, path.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", [p for p in PYX if p.with_suffix(".pxd").exists()], ids=by_name)
def test_a_stub_tells_all(path: Path) -> None:
    """What other modules can call from C, they can find in the stub."""
    declared = functions(tree.cython_declarations(path.with_suffix(".pxd")))
    stub = functions(tree.python_declarations(path.with_suffix(".pyi")))
    public = {name for name in declared if not re.search(r"(^|\.)_(?!_)", name)}
    assert not public - set(stub)


def test_the_reader_of_declarations(tmp_path: Path) -> None:
    path = tmp_path / "imagined.pxd"
    path.write_text(
        """
cdef extern from "<time.h>" nogil:
    int clock_gettime(int clock, timespec *now)

cdef int helper(object data, Py_ssize_t size=*) except -1
cpdef long long now() noexcept

@cython.final
cdef class Ring(Engine):
    cdef object __weakref__
    cdef public long long offset, end
    cdef unsigned char scratch[64]
    cdef Py_buffer *view

    @cython.locals(entry=Entry, last=int)
    cpdef int add(self, Operation op, long long result,
                  dict[str, int] table) except -1
"""
    )
    declared = tree.cython_declarations(path)
    assert declared.functions == {"helper": ["data", "size"], "now": []}
    assert declared.classes == {
        "Ring": tree.Class(
            bases=["Engine"],
            fields={"__weakref__", "offset", "end", "scratch", "view"},
            methods={"add": ["self", "op", "result", "table"]},
        )
    }
