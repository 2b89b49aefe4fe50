"""What linters do not check: lengths as ratchets, words, dead modules, and where things live."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING, Any

import noria
from tests import tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600

LONG_FUNCTIONS: dict[str, int] = {}
"""Functions that may be longer, as `path:name`, with the lines they may have. Only ever shorter."""

LONG_MODULES: dict[str, int] = {}
"""Modules that may be longer, by path, with the lines they may have. Only ever shorter."""

BANNED = {
    r"\bin order to\b": "to",
    r"\butili[sz]e": "use",
    r"\bleverag(e|es|ing)\b": "use",
    r"\bfunctionality\b": "what it does",
    r"\bobviously\b": "nothing: what is obvious needs no word",
    r"\bsimply\b": "nothing",
    r"\bblazing|\blightning[- ]fast\b": "a number from the lab",
    r"\bseamless": "what exactly works without change",
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "an issue, or the work itself",
    r"\bwhitelist": "allow list",
    r"\bblacklist": "deny list",
    r"\band/or\b": "`or`",
    r"\b(file ?handle)s?\b": "descriptor (docs/glossary.md)",
    r"\bevent ?loops? engine": "engine (docs/glossary.md)",
}
"""Patterns that stay out of sources and documents, and what to write instead."""

ENTRIES = {
    "noria.__main__",
    "noria.cli.main",
    "noria.compat.aiofiles.os",
    "noria.compat.gunicorn",
    "noria.engines.example",
    "noria.lowlevel",
}
"""Modules that people, the interpreter or other programs import, and the skeleton to copy."""

LIMIT = re.compile(r"^_?[A-Z][A-Z0-9_]*_(MAX|MIN|LIMIT|BYTES|SECONDS|BACKLOG|CAPACITY)(_|$)")
"""Names of bounds and defaults."""

LIMITS_ELSEWHERE = {
    "src/noria/native": "knows nothing of noria",
    "src/noria/lab": "the sizes of an experiment are its own",
}
"""Where bounds may stand outside limits.py, and why."""

CODE = (".py", ".pyx", ".pxd", ".pyi")
EXEMPT = {"tests/unit/test_tidy.py", "STYLE.md", "LICENSE"}
"""Files that have to name what they ban."""


def text_files() -> Iterator[Path]:
    for path in tree.files(*CODE, ".c", ".h", ".md", ".toml", ".sh", "Makefile", "run"):
        if tree.relative(path) not in EXEMPT:
            yield path


def found_lines(pattern: str, paths: Iterator[Path] | list[Path]) -> list[str]:
    """Where a pattern stands."""
    return [
        f"{tree.relative(path)}:{number}: {line.strip()[:90]}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function of a file, decorators not counted."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                yield node.name, node.end_lineno - node.lineno + 1
        return
    open_functions: list[tuple[int, str, int]] = []
    last = 0
    for number, line in [*tree.logical_lines(path), (0, "end")]:
        indent = len(line) - len(line.lstrip())
        while open_functions and indent <= open_functions[-1][0]:
            _, name, start = open_functions.pop()
            yield name, last - start + 1
        if match := re.match(r"\s*(?:c?p?def)\s[^=]*?(\w+)\s*\(.*:$", line):
            open_functions.append((indent, match[1], number))
        last = number


def over_the_ratchet(lengths: dict[str, int], limit: int, allowed: dict[str, int]) -> list[str]:
    """What is too long, and exceptions that are no longer needed."""
    long = {name: length for name, length in lengths.items() if length > limit}
    wrong = [
        f"{name} has {length} lines, at most {allowed.get(name, limit)} are allowed"
        for name, length in long.items()
        if length > allowed.get(name, limit)
    ]
    wrong += [f"{name} is short now: remove its exception" for name in set(allowed) - set(long)]
    return wrong


def test_lines_have_at_most_100_columns() -> None:
    """In what neither ruff nor cython-lint reads."""
    others = [path for path in text_files() if path.suffix in {".c", ".h", ".sh", ".toml", ""}]
    wrong = found_lines(rf"^.{{{COLUMNS_MAX + 1},}}$", others)
    assert not wrong, "\n" + "\n".join(wrong)


def test_functions_are_short() -> None:
    lengths: dict[str, int] = {}
    for path in tree.files(".py", ".pyx"):
        for name, length in function_lengths(path):
            key = f"{tree.relative(path)}:{name}"
            lengths[key] = max(length, lengths.get(key, 0))
    wrong = over_the_ratchet(lengths, FUNCTION_LINES_MAX, LONG_FUNCTIONS)
    assert not wrong, "\n" + "\n".join(wrong)


def test_modules_are_short() -> None:
    lengths = {
        tree.relative(path): len(path.read_text("utf-8").splitlines()) for path in tree.files(*CODE)
    }
    wrong = over_the_ratchet(lengths, MODULE_LINES_MAX, LONG_MODULES)
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_ratchet_turns_one_way() -> None:
    assert over_the_ratchet({"a": 80, "b": 71}, 70, {"b": 71}) == [
        "a has 80 lines, at most 70 are allowed"
    ]
    assert over_the_ratchet({"a": 60}, 70, {"a": 80}) == ["a is short now: remove its exception"]
    assert over_the_ratchet({"a": 81}, 70, {"a": 80}) == ["a has 81 lines, at most 80 are allowed"]


def test_banned_words() -> None:
    wrong = [
        f"{line} (write: {better})"
        for pattern, better in BANNED.items()
        for line in found_lines(f"(?i){pattern}" if pattern.islower() else pattern, text_files())
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_paths_of_one_machine() -> None:
    wrong = found_lines(r"(?<![\w.$}])/(root|home|Users|work)/\w|[A-Z]:\\Users", text_files())
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_module_is_dead() -> None:
    known = set(tree.modules())
    used = set(ENTRIES)
    for path in tree.files(".py", ".pyx", ".pxd", under=tree.PACKAGE):
        here = tree.module_name(path)
        used |= {found.target for found in tree.imports(path, known) if found.target != here}
        used |= set(re.findall(r'"(noria(?:\.\w+)+)"', path.read_text("utf-8")))
    packages = {tree.module_name(path) for path in tree.files("__init__.py", under=tree.PACKAGE)}
    dead = known - used - packages
    assert not dead, "nobody imports these"


def test_every_directory_of_modules_is_a_package() -> None:
    directories = {path.parent for path in tree.files(*CODE, under=tree.PACKAGE)}
    assert not [tree.relative(path) for path in directories if not (path / "__init__.py").exists()]


def test_limits_live_in_limits() -> None:
    wrong = []
    for path in tree.files(".py", under=tree.PACKAGE):
        name = tree.relative(path)
        if path.name == "limits.py" or name.startswith(tuple(LIMITS_ELSEWHERE)):
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if numeric(node.value) and LIMIT.match(ast.unparse(target)):
                    wrong.append(f"{name}:{node.lineno}: {ast.unparse(target)}")
    assert not wrong, "bounds and defaults belong into limits.py:\n" + "\n".join(wrong)


def numeric(node: ast.expr | None) -> bool:
    """Whether an expression is a number written down."""
    if isinstance(node, ast.BinOp):
        return numeric(node.left) and numeric(node.right)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def test_extern_declarations_live_in_native() -> None:
    cython = tree.files(".pyx", ".pxd", under=tree.PACKAGE)
    wrong = found_lines(r"^\s*cdef\s+extern\b", [p for p in cython if p.parent.name != "native"])
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_page_has_one_title() -> None:
    wrong = []
    for path in tree.files(".md"):
        if path.parent.name == "news":
            continue
        text = re.sub(
            r"^(```|~~~).*?^\1", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        if len(re.findall(r"^# ", text, re.MULTILINE)) != 1:
            wrong.append(tree.relative(path))
    assert not wrong, "these have no title or several"


def test_news_fragments_have_a_known_kind() -> None:
    kinds = {entry["directory"] for entry in project()["tool"]["towncrier"]["type"]}
    for path in tree.files(".md", under=tree.ROOT / "news"):
        assert path.name.split(".")[1] in kinds, path.name


def test_one_version() -> None:
    assert noria.__version__ == project()["project"]["version"]


def project() -> dict[str, Any]:
    with (tree.ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)
