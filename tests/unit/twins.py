"""The two forms of a native module: the interpreted twin from its file, and the one in use.

Interpreted, both are the same source; compiled, every test of a twin runs on both, and one test
compares their answers.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import noria.native

if TYPE_CHECKING:
    from types import ModuleType

_FOLDER = Path(noria.native.__file__).parent


def interpreted(name: str) -> ModuleType:
    """Load `noria/native/<name>.py`, also where a compiled module of that name wins on import."""
    alias = f"interpreted_{name}"
    if alias in sys.modules:
        return sys.modules[alias]
    spec = importlib.util.spec_from_file_location(alias, _FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    return module


def twins(name: str) -> list[ModuleType]:
    """The interpreted twin and, where there is one, the compiled module."""
    module = importlib.import_module(f"noria.native.{name}")
    compiled = not str(module.__file__).endswith(".py")
    return [interpreted(name), module] if compiled else [interpreted(name)]


def build_of(module: ModuleType) -> str:
    """Test id of a twin."""
    return "interpreted" if module.__name__.startswith("interpreted_") else "compiled"
