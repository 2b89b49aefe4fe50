"""Which room may import which: the table, and the check.

Read are `import` and `cimport` lines of .py, .pyx and .pxd files. Imports for type checking count:
a room that needs the name of another one's type already depends on it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.tree import PACKAGE, Import, files, imports, module_name, modules

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = (
    {"errors", "limits"},
    {"native"},
    {"core"},
    {"operations"},
    {"disk"},
    {"engines"},
    {"loop"},
    {"transports"},
    {"files"},
    {"servers"},
    {"api"},
    {"lowlevel"},
    {"guest"},
    {"fs"},
    {"noria"},
    {"compat"},
    {"lab"},
    {"cli"},
    {"__main__"},
)
"""The rooms, bottom to top: a room imports what lies below it, never what lies above or beside."""

ONLY = {
    "errors": set[str](),
    "limits": set[str](),
    "native": set[str](),
    "compat": {"noria", "lowlevel", "fs"},
    "lab": {"noria", "lowlevel"},
    "cli": {"noria", "lowlevel", "lab"},
    "__main__": {"cli"},
    "guest": {"lowlevel", "files", "errors"},
    "fs": {"files", "errors"},
}
"""Rooms with a shorter list. What the lab and the command line need, users need: it is public."""

NEVER = {
    "loop": {"disk"},
    "transports": {"disk", "engines"},
    "servers": {"disk", "engines"},
    "api": {"disk"},
}
"""Rooms that lie below and are still none of a room's business: engines are chosen by name."""

OUTSIDE = {
    ("core", "time"): {"core.clock"},
    ("core", "select"): set[str](),
    ("core", "socket"): {"core.descriptor"},
    ("operations", "time"): set[str](),
    ("disk", "time"): set[str](),
    ("engines", "time"): {"engines.select"},  # it sleeps where select refuses to wait for nothing
    ("engines", "random"): set[str](),
    ("loop", "time"): set[str](),
    ("loop", "random"): set[str](),
}
"""Modules of the standard library that a room must not import, and who may.

`core.clock` is the only reader of time (E9), so that a simulated clock can take its place.
"""

REGISTRY = (PACKAGE / "engines" / "registry.py").read_text("utf-8")
CONCRETE = {"noria.engines.example", *re.findall(r'"(noria\.engines\.\w+)"', REGISTRY)}
"""The engines themselves: the registry names them, and nobody imports them."""

KNOWN = set(modules())
IMPORTS = [
    found for path in files(".py", ".pyx", ".pxd", under=PACKAGE) for found in imports(path, KNOWN)
]


def inside(module: str) -> str:
    """A dotted name without `noria.`; the package itself is `noria`."""
    return module.removeprefix("noria.")


def room(module: str) -> str:
    return inside(module).split(".")[0]


def level(name: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if name in rooms)


def ours(found: Import) -> bool:
    return found.target.split(".")[0] == "noria"


def complaint(found: Import) -> str | None:
    """Why noria must not import this from noria; None if it may."""
    here, there = room(module_name(found.path)), room(found.target)
    if here == there:
        return None
    if level(there) >= level(here):
        return f"{there} is not below {here}"
    if here in ONLY and there not in ONLY[here]:
        return f"{here} imports only {', '.join(sorted(ONLY[here])) or 'nothing of noria'}"
    if there in NEVER.get(here, ()):
        return f"{there} is none of its business"
    return None


def test_every_room_has_its_place() -> None:
    rooms = {room(name) for name in KNOWN}
    assert not rooms - set().union(*LAYERS), "add the new room to LAYERS"


def test_rooms_import_downwards() -> None:
    wrong = [
        f"{found}: {reason}" for found in IMPORTS if ours(found) and (reason := complaint(found))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_nobody_imports_an_engine() -> None:
    assert len(CONCRETE) > 1
    wrong = [
        str(found)
        for found in IMPORTS
        if found.target in CONCRETE and module_name(found.path) != found.target
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(("here", "target"), OUTSIDE, ids=map("-".join, OUTSIDE))
def test_outside_modules_stay_where_they_belong(here: str, target: str) -> None:
    names = {target, f"_{target}", f"posix.{target}", f"libc.{target}"}
    wrong = [
        str(found)
        for found in IMPORTS
        if room(module_name(found.path)) == here
        and found.target in names
        and inside(module_name(found.path)) not in OUTSIDE[here, target]
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_reader_of_imports_sees_every_kind(tmp_path: Path) -> None:
    text = '''"""Not an import:
import nothing
"""
from libc.errno cimport errno, EINTR  # import never
from noria.native cimport (
    sockets as native,
    clock,
)
cimport cython, noria.limits as limits
import os
    from noria.core.operation cimport Operation
'''
    path = tmp_path / "imagined.pyx"
    path.write_text(text)
    known = {"noria.native.sockets", "noria.native.clock", "noria.core.operation"}
    assert [(found.line, found.target) for found in imports(path, known)] == [
        (4, "libc.errno"),
        (5, "noria.native.clock"),
        (5, "noria.native.sockets"),
        (9, "cython"),
        (9, "noria.limits"),
        (10, "os"),
        (11, "noria.core.operation"),
    ]
