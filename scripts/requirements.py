"""Print the requirements of some extras of pyproject.toml, for pip install -r."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(extras: dict[str, list[str]], wanted: list[str]) -> list[str]:
    """The requirements of the wanted extras, with extras of noria itself resolved."""
    found: list[str] = []
    for name in wanted:
        for line in extras[name]:
            if line.startswith("noria["):
                found += requirements(extras, line[len("noria[") : -1].split(","))
            else:
                found.append(line)
    return found


if __name__ == "__main__":
    with Path("pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    print("\n".join(requirements(project["optional-dependencies"], sys.argv[1:])))
