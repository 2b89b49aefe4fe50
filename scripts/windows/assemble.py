"""Unpack wheels into the folders that the Windows Python runs from.

Run by a CPython 3.11 of the host, whose standard library becomes the Windows one:

    assemble.py runtime WHEEL FOLDER     DLLs and extension modules, and FOLDER/Lib
    assemble.py packages WHEELS FOLDER   every wheel of the folder WHEELS
"""

import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

_RUNTIME_FOLDER = "deploy_libs/"

# Of the host's library: what belongs to its own installation or platform, and what no test needs.
_LIBRARY_SKIPPED = (
    "__pycache__",
    "site-packages",
    "dist-packages",
    "lib-dynload",
    "config-*",
    "_sysconfigdata*",
    "test",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "tkinter",
    "turtledemo",
)


def unpack_runtime(wheel: Path, folder: Path) -> None:
    """Lay out a Windows Python home: DLLs beside python.exe, the library in `Lib`."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_RUNTIME_FOLDER) and not name.endswith("/"):
                (folder / Path(name).name).write_bytes(archive.read(name))
    if not (folder / "python311.dll").is_file():
        sys.exit(f"{wheel.name}: no python311.dll in {_RUNTIME_FOLDER}")
    skipped = shutil.ignore_patterns(*_LIBRARY_SKIPPED)
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "Lib", ignore=skipped)


def unpack_packages(wheels: Path, folder: Path) -> None:
    """Unpack every wheel of a folder into one folder for PYTHONPATH."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def main() -> None:
    """Do what the command line asks for."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    what, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    if what == "runtime":
        unpack_runtime(source, folder)
    elif what == "packages":
        unpack_packages(source, folder)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
