"""The source tree as data, for the tests that hold it to its rules.

Python files are read with `ast`. Cython files are read line by line, which is enough for what is
asked of them: what they import, and which classes, fields and functions they declare.
"""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "noria"
NOT_OURS = {".git", ".venv", "build", "dist", "__pycache__"}


@dataclass(frozen=True)
class Import:
    """One import or cimport of one module."""

    path: Path
    line: int
    target: str

    def __str__(self) -> str:
        where = f"{relative(self.path)}:{self.line}"
        return f"{where}: {module_name(self.path)} imports {self.target}"


@dataclass
class Class:
    """A class: its bases, its fields, and its methods with the names of their parameters."""

    bases: list[str] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    methods: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Declarations:
    """What a module declares on its outermost level."""

    classes: dict[str, Class] = field(default_factory=dict)
    functions: dict[str, list[str]] = field(default_factory=dict)


def files(*suffixes: str, under: Path = ROOT) -> list[Path]:
    """The files of the project whose names end so, in order."""
    found: list[Path] = []
    for directory, names, filenames in os.walk(under):
        names[:] = [name for name in names if name not in NOT_OURS]
        found += [Path(directory, name) for name in filenames if name.endswith(suffixes)]
    return sorted(found)


def relative(path: Path) -> str:
    """A path as people write it."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """The dotted name of a file below src."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, list[Path]]:
    """The modules of noria and the files of each."""
    found: dict[str, list[Path]] = {}
    for path in files(".py", ".pyx", ".pxd", ".pyi", under=PACKAGE):
        found.setdefault(module_name(path), []).append(path)
    return found


def imports(path: Path, known: set[str]) -> list[Import]:
    """Every import of a file, those for type checking too."""
    found = python_imports(path) if path.suffix in {".py", ".pyi"} else cython_imports(path)
    targets = []
    for line, module, names in found:
        inner = {f"{module}.{name}" for name in names if f"{module}.{name}" in known}
        outer = {module} if not names or len(inner) < len(names) else set()
        targets += [Import(path, line, target) for target in sorted(inner | outer)]
    return targets


def build_data(name: str) -> Any:
    """A literal of build_ext.py, read without importing it: not everybody has setuptools."""
    for node in ast.parse((ROOT / "build_ext.py").read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def python_imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and names of each import of a Python file."""
    package = module_name(path).split(".")
    if path.stem != "__init__":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, module, [alias.name for alias in node.names]


def cython_imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and names of each import and cimport of a Cython file."""
    for line, text in logical_lines(path):
        statement = text.strip()
        if match := re.match(r"from\s+([\w.]+)\s+c?import\s+(.+)", statement):
            names = re.sub(r"[()\s]+", " ", match[2]).split(",")
            yield line, match[1], [name.split()[0] for name in names if name.strip()]
        elif match := re.match(r"c?import\s+(.+)", statement):
            for name in match[1].split(","):
                yield line, name.split()[0], []


def logical_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a Cython file, without comments, strings and breaks."""
    text = path.read_text("utf-8")
    text = re.sub(r'"""(?s:.*?)"""', lambda match: "\n" * match[0].count("\n"), text)
    start, pending = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"""("[^"\n]*"|'[^'\n]*')|#.*""", lambda match: '""' if match[1] else "", raw)
        start = start if pending else number
        pending = f"{pending} {line.strip()}" if pending else line.rstrip()
        if pending.endswith("\\"):
            pending = pending[:-1]
        elif pending.count("(") <= pending.count(")"):
            if pending.strip():
                yield start, pending
            pending = ""


def python_declarations(path: Path) -> Declarations:
    """Classes and functions of a Python file; a field is what a method assigns to self."""
    found = Declarations()
    for node in statements(ast.parse(path.read_text("utf-8")).body):
        if isinstance(node, ast.ClassDef):
            found.classes[node.name] = python_class(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.functions[node.name] = parameters(node)
    return found


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of one level, those below an `if` or `try` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from statements(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from statements(node.body + node.orelse + node.finalbody)


def python_class(node: ast.ClassDef) -> Class:
    """A class of a Python file."""
    found = Class(bases=[ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases])
    for item in statements(node.body):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            found.methods[item.name] = parameters(item)
            owner = item.args.args[0].arg if item.args.args else ""
            for inner in ast.walk(item):
                if (
                    isinstance(inner, ast.Attribute)
                    and isinstance(inner.ctx, ast.Store)
                    and isinstance(inner.value, ast.Name)
                    and inner.value.id == owner
                ):
                    found.fields.add(inner.attr)
        elif isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__slots__":
            found.fields.update(ast.literal_eval(item.value))
    return found


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names of a function's parameters, in order."""
    given = node.args
    found = [argument.arg for argument in given.posonlyargs + given.args + given.kwonlyargs]
    return found + [f"*{extra.arg}" for extra in (given.vararg, given.kwarg) if extra]


def cython_declarations(path: Path) -> Declarations:
    """C classes and functions that a .pxd or .pyx declares; a .pyx adds its `def` functions."""
    found = Declarations()
    current: Class | None = None
    extern = -1
    for _, line in logical_lines(path):
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if indent <= extern:
            extern = -1
        if re.match(r"cdef\s+extern\b", text):
            extern = indent
        if extern >= 0 or text.startswith("@"):
            continue
        if indent == 0:
            current = None
        if match := re.match(r"(?:cdef\s+)?class\s+(\w+)\s*(?:\((.*)\))?\s*:", text):
            bases = [base.strip() for base in (match[2] or "").split(",") if base.strip()]
            current = found.classes[match[1]] = Class(bases=bases)
        elif match := re.match(r"(?:c?p?def)\s+(?:[^(=]*?[\s*])?(\w+)\s*\((.*)\)", text):
            names = [cython_parameter(item) for item in split_parameters(match[2])]
            (current.methods if current else found.functions)[match[1]] = names
        elif current and (match := re.match(r"cdef\s+(?:public\s+|readonly\s+)?(.+)", text)):
            declared = re.sub(r"\[[^\]]*\]", "", match[1]).split(",")
            current.fields.update(item.replace("*", " ").split()[-1] for item in declared)
    return found


def split_parameters(text: str) -> list[str]:
    """The parameters of a C function, split at the outermost commas."""
    found, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [item.strip() for item in found if item.strip() not in {"", "*", "/"}]


def cython_parameter(text: str) -> str:
    """The name of one parameter of a C function."""
    text = text.split("=", maxsplit=1)[0].split(":", maxsplit=1)[0].strip()
    if text.startswith("*"):
        return text
    return re.sub(r"\[[^\]]*\]", "", text).replace("*", " ").replace("&", " ").split()[-1]


def class_fields(name: str, classes: dict[str, Class]) -> set[str]:
    """The fields of a class and of its bases, as far as they are known."""
    found: set[str] = set()
    while name in classes:
        found |= classes[name].fields
        name = classes[name].bases[0] if classes[name].bases else ""
    return found
