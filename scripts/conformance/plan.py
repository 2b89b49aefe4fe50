"""What there is to run: interpreters, builds, engines, modules."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BASELINE: Final = "asyncio"
"""In the place of an engine's name: asyncio's own loop."""

LEFT_OUT: Final = {
    "test_proactor_events": "asyncio's own loop for Windows, on mocks",
    "test_windows_events": "asyncio's own loop for Windows",
    "test_windows_utils": "asyncio's own pipes for Windows",
}
"""Modules that are not run, and what they are about."""

_ASK = """
import importlib.util, json, pathlib, sys
sys.path[:0] = sys.argv[1:]
found = {"version": "%d.%d" % sys.version_info[:2], "full": sys.version.split()[0],
         "modules": [], "engines": []}
spec = all(importlib.util.find_spec(name) for name in ("test", "test.test_asyncio"))
if spec:
    import test.test_asyncio
    for folder in test.test_asyncio.__path__:
        found["modules"] += sorted(path.stem for path in pathlib.Path(folder).glob("test_*.py"))
from noria import lowlevel
found["compiled"] = lowlevel.COMPILED
found["engines"] = [name for name, probe in lowlevel.explain() if probe.available]
found["chosen"] = lowlevel.choose("auto").name
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Configuration:
    """What a module runs on.

    Attributes:
        python: the interpreter's path.
        version: its version, as "3.13".
        build: "compiled" or "interpreted"; "" for the baseline.
        engine: an engine's name, or BASELINE.
    """

    python: str
    version: str
    build: str
    engine: str

    @property
    def name(self) -> str:
        """The configuration in a few words."""
        if self.engine == BASELINE:
            guest = f" {self.build}, guest on" if self.build else ""
            return f"{self.version}{guest} asyncio"
        return f"{self.version} {self.build} {self.engine}"

    def environment(self) -> dict[str, str]:
        """The variables that make it so."""
        library = library_folder(self.version, self.build)
        return {"PYTHONPATH": f"{library}:{ROOT}", "NORIA_ENGINE": ""}


@dataclass(frozen=True)
class Interpreter:
    """An interpreter, and what can be run on it.

    Attributes:
        python: its path.
        version: as "3.13".
        full: as "3.13.0".
        modules: of test.test_asyncio; none if it has come without its tests.
        engines: by build.
        chosen: the engine that noria chooses by itself, by build.
    """

    python: str
    version: str
    full: str
    modules: tuple[str, ...]
    engines: dict[str, tuple[str, ...]]
    chosen: dict[str, str]

    @property
    def baseline(self) -> Configuration:
        """asyncio's own loop on it."""
        return Configuration(self.python, self.version, "", BASELINE)

    def configurations(self) -> list[Configuration]:
        """Everything of noria's that runs on it."""
        return [
            Configuration(self.python, self.version, build, engine)
            for build, engines in self.engines.items()
            for engine in engines
        ]


def library_folder(version: str, build: str) -> Path:
    """Where noria lies for an interpreter."""
    if build == "compiled":
        return ROOT / "build" / f"cp{version.replace('.', '')}" / "lib"
    return ROOT / "src"


def look_at(python: str) -> Interpreter:
    """Find out what an interpreter offers.

    Raises:
        RuntimeError: a build is not what its folder says.
    """
    python = str(Path(python).absolute())  # not resolved: a virtual environment's is a link
    engines: dict[str, tuple[str, ...]] = {}
    chosen: dict[str, str] = {}
    found = {}
    version = ask(python, "import sys; print('%d.%d' % sys.version_info[:2])")
    for build in ("compiled", "interpreted"):
        library = library_folder(version, build)
        if not library.exists():
            raise RuntimeError(f"{library} is missing; run `make build PYTHON={python}`")
        found = json.loads(ask(python, _ASK, str(library)))
        if found["compiled"] is not (build == "compiled"):
            raise RuntimeError(f"noria in {library} is not {build}")
        engines[build] = tuple(found["engines"])
        chosen[build] = found["chosen"]
    modules = tuple(name for name in found["modules"] if name not in LEFT_OUT)
    return Interpreter(python, version, found["full"], modules, engines, chosen)


def ask(python: str, program: str, *arguments: str) -> str:
    """What a small program prints."""
    done = subprocess.run(
        [python, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
        env=None,
    )
    return done.stdout.strip()


def machine() -> str:
    """The kind of machine, without anything that is only its own."""
    import platform  # noqa: PLC0415 - needed once

    return f"{sys.platform}, {platform.machine()}"
