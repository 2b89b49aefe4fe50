"""scripts/cross.py tells what it compiled, and .ci/run excuses a missing compiler alone."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.packaging.toy import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="describes the build on Linux")

VERDICTS = {
    "compiled for aarch64, not run": (0, "cross: passed"),
    "NOT DONE, this cannot be done here": (0, "cross: NOT DONE"),
    "FAILED (status 1)": (2, ""),
}
X86_64, AARCH64 = 62, 183


@pytest.fixture
def cross() -> Any:
    spec = importlib.util.spec_from_file_location("cross", ROOT / "scripts/cross.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def elf(path: Path, machine: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF" + bytes(12) + struct.pack("<HH", 3, machine))


def test_every_constant_has_the_kernels_name(cross: Any) -> None:
    header = "#define NORIA_RING_H\n#define NORIA_SYS_ENTER 426\n#define NORIA_OFF_SQES 0x10LL\n"
    header += "enum { /* x */\n    NORIA_OP_SEND = 26,\n    NORIA_SQE_IO_LINK = 1 << 2,\n"
    header += "    NORIA_CQE_MORE = 1 << 1,\n    NORIA_CANCEL_FD = 1 << 1\n};\n"
    assert cross.constants(header) == {
        "NORIA_SYS_ENTER": "__NR_io_uring_enter",
        "NORIA_OFF_SQES": "IORING_OFF_SQES",
        "NORIA_OP_SEND": "IORING_OP_SEND",
        "NORIA_SQE_IO_LINK": "IOSQE_IO_LINK",
        "NORIA_CQE_MORE": "IORING_CQE_F_MORE",
        "NORIA_CANCEL_FD": "IORING_ASYNC_CANCEL_FD",
    }


def test_what_is_not_for_aarch64_is_missing(cross: Any, tmp_path: Path) -> None:
    elf(tmp_path / "noria/core/good.cpython-313-aarch64-linux-gnu.so", AARCH64)
    elf(tmp_path / "noria/core/hosts.cpython-313-aarch64-linux-gnu.so", X86_64)
    modules = ["noria.core.good", "noria.core.hosts", "noria.core.absent"]
    assert cross.missing(tmp_path, modules) == ["noria.core.hosts", "noria.core.absent"]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_ci_excuses_only_what_cannot_be_done(verdict: str, tmp_path: Path) -> None:
    """The word FAILED, or no word at all, is a failure."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    make = tmp_path / "bin/make"
    make.parent.mkdir()
    make.write_text(
        "#!/bin/sh\n"
        '[ "$1" = cross ] || exit 0\n'
        "mkdir -p build/reports\n"
        f"echo 'cross: {verdict}' >build/reports/cross.txt\n"
        f"exit {0 if verdict.startswith('compiled') else 2}\n"
    )
    make.chmod(0o755)
    result = subprocess.run(
        ["bash", str(tmp_path / ".ci/run")],
        env={"PATH": f"{make.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    status, line = VERDICTS[verdict]
    assert (result.returncode == 0) is (status == 0), result.stdout
    assert line in result.stdout
    assert (f"cross: {verdict}" in result.stdout) is (status == 0)
