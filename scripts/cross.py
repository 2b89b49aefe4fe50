"""Compile and link every extension module of the Linux build for aarch64: `cross.py DIRECTORY`.

The build is the ordinary one, setup.py with the flags of a release; only compiler and suffix are
other ones. Before it, scripts/cross/abi.c is compiled, which holds native/ring.h against the
kernel's own header. Nothing of the result can be run here.

Exit status: 0 compiled, 77 cannot be done here (the last line says why), anything else failed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

CANNOT: Final = 77
SOURCE: Final = Path("src")
TRIPLE: Final = "aarch64-linux-gnu"
# zig's own default would stop at the first undefined behaviour, which changes the code.
COMPILER: Final = (sys.executable, "-m", "ziglang", "cc", "-target", TRIPLE, "-fno-sanitize=all")
ELF_MACHINE_OFFSET: Final = 18
ELF_MACHINE_AARCH64: Final = 183

KERNEL_NAMES: Final = (
    (r"SYS_(\w+)", lambda name: f"__NR_io_uring_{name.lower()}"),
    (r"SQE_(\w+)", "IOSQE_{}".format),
    (r"CQE_(BUFFER|MORE|NOTIF|SOCK_NONEMPTY)", "IORING_CQE_F_{}".format),
    (r"CANCEL_(\w+)", "IORING_ASYNC_CANCEL_{}".format),
    (r"OPERATION_(\w+)", "IO_URING_OP_{}".format),
    (r"(\w+)", "IORING_{}".format),
)
"""How the kernel calls what ring.h calls NORIA_...; the first that matches."""


def say(text: str) -> None:
    """Print a line of the report, in order with what the compiler prints."""
    print(f"cross: {text}", flush=True)


def obstacle() -> str:
    """Why this machine cannot do it; nothing if it can."""
    if not sys.platform.startswith("linux"):
        return f"this is {sys.platform}: the modules and pyconfig.h of Linux are not here"
    if importlib.util.find_spec("ziglang") is None:
        return "no compiler for aarch64: the extra `cross` of pyproject.toml is not installed"
    return ""


def includes(directory: Path) -> list[str]:
    """Where Python's headers are: those of the host serve, and abi.c holds them to it.

    Debian's pyconfig.h includes one by the architecture's name, of which it has the host's only.
    """
    found = Path(sysconfig.get_path("platinclude"))
    options = [f"-I{found}"]
    native = sysconfig.get_config_var("MULTIARCH") or ""
    hosts = found.parent / native / found.name / "pyconfig.h"
    if native and hosts.exists():
        copy = directory / "include" / TRIPLE / found.name / "pyconfig.h"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(hosts.read_text("utf-8"), "utf-8")
        options.append(f"-I{(directory / 'include').absolute()}")
    return options


def constants(header: str) -> dict[str, str]:
    """The constants of ring.h, and what the kernel calls each."""
    pattern = r"^(?: +NORIA_(\w+) = |#define NORIA_((?:SYS|OFF)_\w+) )"
    found = {}
    for inner, defined in re.findall(pattern, header, re.MULTILINE):
        own = inner or defined
        rules = ((re.fullmatch(rule, own), name) for rule, name in KERNEL_NAMES)
        found[f"NORIA_{own}"] = next(name(match[1]) for match, name in rules if match)
    return found


def check_abi(directory: Path, options: list[str]) -> None:
    """Compile abi.c with every header of native/ and every constant of ring.h."""
    headers = sorted(path.relative_to(SOURCE) for path in SOURCE.glob("noria/native/*.h"))
    values = constants((SOURCE / "noria/native/ring.h").read_text("utf-8"))
    lines = [f"VALUE_IS({own}, {kernel});\n" for own, kernel in values.items()]
    (directory / "values.h").write_text("".join(lines), "utf-8")
    command = [*COMPILER, "-std=gnu11", "-Wall", "-Wextra", "-Werror", *options]
    command += [f"-I{SOURCE}", f"-I{directory}"]
    for header in (Path("Python.h"), *headers):
        command += ["-include", str(header)]
    subprocess.run([*command, "-c", "scripts/cross/abi.c", "-o", directory / "abi.o"], check=True)
    names = ", ".join(header.name for header in headers)
    say(f"{names}: layouts and {len(values)} constants are those of the kernel's header")


def build(directory: Path, options: list[str]) -> None:
    """Run the ordinary build with the other compiler."""
    compiler = " ".join(COMPILER)
    other = {
        "CC": compiler,
        "LDSHARED": f"{compiler} -shared",
        "CFLAGS": " ".join(options),
        "LDFLAGS": "",
        "NORIA_BUILD": "require",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{sys.version_info[0]}{sys.version_info[1]}-{TRIPLE}.so",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    command = [sys.executable, "setup.py", "-q", "build", "-j", str(os.cpu_count() or 1)]
    command += ["--build-base", str(directory), "--build-lib", str(directory / "lib")]
    command += ["--build-temp", str(directory / "temp")]
    subprocess.run(command, env={**os.environ, **other}, stdout=subprocess.DEVNULL, check=True)


def machine_of(path: Path) -> int:
    """For which machine an ELF file is."""
    header = path.read_bytes()[: ELF_MACHINE_OFFSET + 2]
    return int.from_bytes(header[ELF_MACHINE_OFFSET:], "little") if header[:4] == b"\x7fELF" else -1


def missing(library: Path, modules: list[str]) -> list[str]:
    """The modules that are not there as shared objects for aarch64."""
    wrong = []
    for module in modules:
        base = library.joinpath(*module.split("."))
        built = list(base.parent.glob(f"{base.name}.*.so"))
        if [machine_of(path) for path in built] != [ELF_MACHINE_AARCH64]:
            wrong.append(module)
    return wrong


def main(directory: Path) -> int:
    """Do it; the exit status."""
    if reason := obstacle():
        say(f"CANNOT DO IT HERE: {reason}")
        return CANNOT
    sys.path.insert(0, str(Path.cwd()))
    from build_ext import COMPILED, PLAIN_C  # noqa: PLC0415 - it is not beside this file

    directory.mkdir(parents=True, exist_ok=True)
    cache = str((directory.parent / "zig").absolute())
    os.environ.update(ZIG_GLOBAL_CACHE_DIR=cache, ZIG_LOCAL_CACHE_DIR=cache)
    options = includes(directory)
    try:
        check_abi(directory, options)
        build(directory, options)
    except subprocess.CalledProcessError as error:
        say(f"status {error.returncode} of {' '.join(map(str, error.cmd[:3]))} ...")
        return 1
    if wrong := missing(directory / "lib", [*COMPILED, *PLAIN_C]):
        say(f"not compiled: {', '.join(wrong)}")
        return 1
    plain = sum(map(len, PLAIN_C.values()))
    say(f"{len(COMPILED)} modules of Cython and {plain} files of C, linked as shared objects")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
