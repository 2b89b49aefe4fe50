"""What lies in dist/ installs in a bare virtual environment and serves a client there."""

from __future__ import annotations

import json
import re
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.packaging.conftest import Bare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="describes the build on Linux")

ECHO = """
import asyncio, noria

async def serve(reader, writer):
    writer.write(await reader.readexactly(5))
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        print((await reader.read()).decode())
        writer.close()
        await writer.wait_closed()

noria.run(main())
"""

BUILD = """
import importlib.util, json, pathlib, noria
directory = pathlib.Path(noria.__file__).parent
record = json.loads((directory / "build.json").read_text())
record["extensions"] = sorted(path.name.split(".")[0] for path in directory.rglob("*.so"))
record["cython"] = importlib.util.find_spec("Cython") is not None
print(json.dumps(record))
"""


def check(bare: Bare, *, compiled: bool) -> None:
    """The installed package is what it says, works without Cython, and has its command."""
    record = json.loads(bare.run("python", "-c", BUILD).stdout)
    assert record["compiled"] is compiled
    assert ("operation" in record["extensions"]) is compiled
    assert not record["cython"]
    echo = bare.run("python", "-W", "error", "-c", ECHO)
    assert (echo.returncode, echo.stdout) == (0, "hello\n"), echo.stdout
    command = bare.run("noria", "--version")
    assert command.returncode == 0, command.stdout
    assert command.stdout.startswith("noria ")
    doctor = bare.run("noria", "doctor")
    assert doctor.returncode == 0, doctor.stdout
    made = "compiled" if compiled else f"interpreted ({record['reason']})"
    assert f", {made}\n" in doctor.stdout
    check_dependencies = bare.pip("check")
    assert check_dependencies.returncode == 0, check_dependencies.stdout


def test_the_wheel_has_what_runs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    suffixes = {
        re.sub(r"^.*?(\.[a-z]+)$", r"\1", name) for name in names if "dist-info" not in name
    }
    assert suffixes == {".py", ".pyi", ".so", ".typed", ".json"}
    assert "noria/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"noria"}


def test_the_sdist_has_every_source_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "LICENSE",
        "Makefile",
        "README.md",
        "build_ext.py",
        "setup.py",
        "src/noria/core/operation.pxd",
        "src/noria/lab/client.c",
        "src/noria/native/sockets.pyx",
        "tests/conftest.py",
    ):
        assert wanted in names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc", "build.json"))]
    c_files = {name for name in names if name.startswith("src/") and name.endswith(".c")}
    assert {name.rpartition("/")[0] for name in c_files} == {"src/noria/lab"}


def test_the_wheel_installs_in_a_bare_environment(bare: Bare, wheel: Path) -> None:
    result = bare.pip("install", "--no-index", "--no-deps", str(wheel))
    assert result.returncode == 0, result.stdout
    check(bare, compiled=True)


def test_the_sdist_compiles(bare: Bare, sdist: Path) -> None:
    result = bare.pip("install", "--no-cache-dir", str(sdist), CFLAGS="-O0", NORIA_BUILD="require")
    assert result.returncode == 0, result.stdout
    check(bare, compiled=True)


def test_the_sdist_installs_without_a_compiler(bare: Bare, sdist: Path) -> None:
    environment = {"CC": "/bin/false", "PATH": str(bare.path / "bin")}
    result = bare.pip("install", "--verbose", "--no-cache-dir", str(sdist), **environment)
    assert result.returncode == 0, result.stdout
    assert "WARNING: noria is being installed interpreted" in result.stdout
    check(bare, compiled=False)


def test_the_sdist_installs_without_cython(bare: Bare, sdist: Path) -> None:
    """The load generator is in C and built all the same."""
    assert bare.pip("install", "setuptools>=77").returncode == 0
    arguments = ("--verbose", "--no-build-isolation", "--no-cache-dir", str(sdist))
    result = bare.pip("install", *arguments)
    assert result.returncode == 0, result.stdout
    assert "WARNING: noria is being installed interpreted" in result.stdout
    assert "No module named 'Cython'" in result.stdout
    check(bare, compiled=False)
    assert bare.run("python", "-c", "import noria.lab._client").returncode == 0


def test_require_refuses_to_install_without_a_compiler(bare: Bare, sdist: Path) -> None:
    environment = {"CC": "/bin/false", "NORIA_BUILD": "require"}
    result = bare.pip("install", "--no-cache-dir", str(sdist), **environment)
    assert result.returncode != 0
    assert "NORIA_BUILD=require" in result.stdout
