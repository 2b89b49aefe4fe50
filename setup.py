"""The compiled part of the build; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

# An isolated build does not have the project's directory on its path.
sys.path.insert(0, str(Path(__file__).parent))

import build_ext

setup(
    ext_modules=build_ext.extensions(),
    cmdclass={"build_ext": build_ext.BuildExtensions, "build_py": build_ext.BuildPython},
)
