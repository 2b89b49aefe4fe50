"""What noria compiles, and when: the one list, and the switch NORIA_BUILD.

    NORIA_BUILD=auto     (the default) compile if possible; else install interpreted, with a warning
    NORIA_BUILD=require  compile or fail
    NORIA_BUILD=python   interpreted; Cython is not even imported

The compiled set is all or nothing: two modules that disagree about the layout of a class refuse to
import. So everything is built in a staging directory and moved into place only when it is complete.
An installation made in place (`pip install -e`) stays interpreted, because `src` always is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
from pathlib import Path
from typing import Any, Final, cast

MODE: Final = os.environ.get("NORIA_BUILD", "auto")

if MODE == "python":
    # setuptools imports Cython by itself wherever it finds it.
    cast("dict[str, Any]", sys.modules).setdefault("Cython", None)

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

SOURCE: Final = Path("src")

COMPILED: Final = (
    "noria.native.awaits",
    "noria.native.bio",
    "noria.native.block",
    "noria.native.calls",
    "noria.native.clock",
    "noria.native.crew",
    "noria.native.datagrams",
    "noria.native.epoll",
    "noria.native.files",
    "noria.native.linux_aio",
    "noria.native.lines",
    "noria.native.members",
    "noria.native.names",
    "noria.native.pipes",
    "noria.native.posix_aio",
    "noria.native.queue",
    "noria.native.ring",
    "noria.native.sockets",
    "noria.native.transfer",
    "noria.native.views",
    "noria.native.watches",
    "noria.core.buffer",
    "noria.core.clock",
    "noria.core.completion",
    "noria.core.descriptor",
    "noria.core.operation",
    "noria.core.timers",
    "noria.operations.sockets",
    "noria.disk.interface",
    "noria.disk.threads",
    "noria.disk.queued",
    "noria.disk.linux_aio",
    "noria.disk.posix_aio",
    "noria.disk.disk",
    "noria.engines.interface",
    "noria.engines.slots",
    "noria.engines.waker",
    "noria.engines.registrations",
    "noria.engines.offload",
    "noria.engines.readiness",
    "noria.engines.epoll_poller",
    "noria.engines.epoll",
    "noria.engines.ring_files",
    "noria.engines.ring_requests",
    "noria.engines.ring_single",
    "noria.engines.ring_bell",
    "noria.engines.uring",
    "noria.loop.handles",
    "noria.loop.core",
    "noria.loop.waits",
    "noria.loop.coroutines",
    "noria.transports.flow",
    "noria.transports.base",
    "noria.transports.inner",
    "noria.transports.connection",
    "noria.transports.flow_connection",
    "noria.transports.reading",
    "noria.transports.datagram_sender",
    "noria.transports.datagram",
    "noria.transports.sending",
    "noria.transports.stream",
    "noria.transports.pipe",
    "noria.transports.pipe_writing",
    "noria.transports.tls_session",
    "noria.transports.tls_sending",
    "noria.transports.tls",
    "noria.files.host",
    "noria.files.ways",
    "noria.files.operation",
    "noria.files.transfers",
    "noria.files.file",
    "noria.servers.clients",
    "noria.servers.listener",
)
"""The compiled modules. Of `x.pyx` and `x.py` the first is compiled; the `.py` is its twin."""

PLATFORMS: Final = ("linux", "darwin")
"""Where COMPILED is compiled; elsewhere `auto` means interpreted."""

LINUX_ONLY: Final = (
    "noria.native.epoll",
    "noria.native.ring",
    "noria.native.watches",
    "noria.engines.epoll_poller",
    "noria.engines.ring_files",
    "noria.engines.ring_requests",
    "noria.engines.ring_single",
    "noria.engines.ring_bell",
    "noria.engines.uring",
)
"""Those of COMPILED that need headers of Linux; elsewhere they stay interpreted and idle."""

LIBRARIES: Final = {"noria.native.posix_aio": ("rt",)}
"""Libraries of C that modules need on Linux: before glibc 2.34 aio(7) was one of its own."""

PLAIN_C: Final = {
    "noria.lab._client": (
        "client.c",
        "datagram_server.c",
        "module.c",
        "openssl.c",
        "ring_server.c",
        "server.c",
        "spawn.c",
        "tls_server.c",
    ),
}
"""Extension modules in C, against the stable ABI; optional, and built in every mode on Linux."""

DIRECTIVES: Final = {
    "language_level": 3,
    # Annotations are for mypy: an annotation `int` would clash with a C type in the .pxd.
    "annotation_typing": False,
    "binding": True,
    "embedsignature": False,
}
"""Safe defaults; a hot module opts out of a check in its header comment (`# cython: ...`)."""

STABLE_ABI: Final = "0x030B0000"


def source_of(module: str) -> Path:
    """The file that is compiled for a module of COMPILED."""
    base = SOURCE.joinpath(*module.split("."))
    pyx = base.with_suffix(".pyx")
    return pyx if pyx.exists() else base.with_suffix(".py")


def declarations(path: Path) -> set[Path]:
    """The .pxd files that a Cython source reads: its own and those it names."""
    found = {path.with_suffix(".pxd")}
    text = path.read_text("utf-8")
    for package, names in re.findall(r"^from ([\w.]+) cimport (\([^)]*\)|.*)", text, re.MULTILINE):
        modules = [package, *(f"{package}.{name}" for name in re.findall(r"\w+", names))]
        found |= {SOURCE.joinpath(*module.split(".")).with_suffix(".pxd") for module in modules}
    return {path for path in found if path.exists()}


def changed_at(source: Path) -> float:
    """When a source, a .pxd that it depends on, or this file was last changed.

    Cython's own look at dependencies overlooks `from package cimport module`.
    """
    known: set[Path] = set()
    waiting = {source}
    while waiting:
        known |= waiting
        waiting = set().union(*map(declarations, waiting)) - known
    return max(path.stat().st_mtime for path in {*known, Path(__file__)})


def optimization() -> list[str]:
    """Compiler flags; an optimization level in the environment's CFLAGS has precedence."""
    given = os.environ.get("CFLAGS", "").split()
    level = [] if any(flag.startswith("-O") for flag in given) else ["-O2"]
    return [*level, "-g0"]


def compiled_here() -> tuple[str, ...]:
    """The modules that are compiled on this platform, all or none of them."""
    linux = sys.platform.startswith("linux")
    return tuple(module for module in COMPILED if linux or module not in LINUX_ONLY)


def extensions() -> list[Extension]:
    """The extension modules to attempt in this mode on this platform."""
    if MODE not in {"auto", "python", "require"}:
        sys.exit(f"NORIA_BUILD={MODE!r} is not one of auto, python, require")
    found = []
    linux = sys.platform.startswith("linux")
    if MODE == "require" or (MODE == "auto" and sys.platform in PLATFORMS):
        include = [str(SOURCE)]
        headers = [str(path) for path in SOURCE.glob("noria/native/*.h")]
        found += [
            Extension(
                module,
                [str(source_of(module))],
                include_dirs=include,
                depends=headers,
                libraries=list(LIBRARIES.get(module, ())) if linux else [],
            )
            for module in compiled_here()
        ]
    if linux:
        for module, names in PLAIN_C.items():
            directory = SOURCE.joinpath(*module.split(".")).parent
            found.append(
                Extension(
                    module,
                    [str(directory / name) for name in names],
                    include_dirs=[str(SOURCE)],
                    depends=[str(path) for path in directory.glob("*.h")],
                    define_macros=[("Py_LIMITED_API", STABLE_ABI)],
                    py_limited_api=True,
                    optional=True,
                )
            )
    return found


class BuildPython(build_py):
    """Copy the Python files, and delete from the build directory what the source no longer has."""

    def run(self) -> None:
        """Copy and prune."""
        super().run()
        if self.editable_mode:
            return
        current = {Path(output).resolve() for output in self.get_outputs()}
        for path in (Path(self.build_lib) / "noria").rglob("*.py*"):
            if path.suffix in {".py", ".pyi", ".pyx", ".pxd"} and path.resolve() not in current:
                path.unlink()


class BuildExtensions(build_ext):
    """Compile COMPILED completely or not at all; plain C extensions one by one."""

    build_lib: str
    compiler: Any
    extensions: list[Extension]

    def run(self) -> None:
        """Build, prune what is no longer built, and record the outcome."""
        in_place = bool(self.inplace)
        attempted = self.extensions
        compiler = self.compiler
        compiled = [] if in_place else [ext for ext in attempted if not ext.optional]
        reason = "chosen by NORIA_BUILD=python" if MODE == "python" else ""
        if in_place and MODE == "require":
            sys.exit("NORIA_BUILD=require: an installation in place is always interpreted")
        if compiled:
            reason = self._build_all(compiled)
        elif not reason:
            reason = "not compiled in place" if in_place else f"not compiled on {sys.platform}"
        self.compiler = compiler  # each run makes its own compiler from the option
        built = [] if reason else compiled
        built += self._build_optional([ext for ext in attempted if ext.optional], in_place)
        self.extensions = built
        if not in_place:
            self._prune()
            self._record(reason)

    def _build_all(self, compiled: list[Extension]) -> str:
        """Compile everything into staging, then move it; the reason for not doing so, or ''."""
        target, staging = Path(self.build_lib), Path(self.build_temp) / "staging"
        failure = None
        try:
            self._generate(compiled)
            self.build_lib, self.extensions = str(staging), compiled
            super().run()
        except (Exception, SystemExit) as error:  # a build may fail in any way at all
            failure = error
        self.build_lib = str(target)
        if failure is not None:
            self.extensions = []
            self._prune()
            reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
            if MODE == "require":
                raise CompileError(f"NORIA_BUILD=require: {reason}") from failure
            print(WARNING.format(reason=reason), file=sys.stderr, flush=True)
            return reason
        for name in (self.get_ext_filename(ext.name) for ext in compiled):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(staging / name), str(target / name))
        return ""

    def _generate(self, compiled: list[Extension]) -> None:
        """Let Cython write the C files, and put them in the place of the sources."""
        from Cython.Build import cythonize  # noqa: PLC0415 - absent where nothing is compiled

        directory = Path(self.build_temp) / "cython"
        for source in map(source_of, (ext.name for ext in compiled)):
            generated_file = directory / source.with_suffix(".c")
            if generated_file.exists() and changed_at(source) > generated_file.stat().st_mtime:
                generated_file.unlink()
        forks = multiprocessing.get_start_method() == "fork"
        generated = cythonize(
            compiled,
            nthreads=self._jobs() if forks else 0,
            build_dir=str(directory),
            include_path=[str(SOURCE)],
            compiler_directives=DIRECTIVES,
        )
        sources = {ext.name: ext.sources for ext in generated}
        for ext in compiled:
            ext.sources = sources[ext.name]

    def _build_optional(self, optional: list[Extension], in_place: bool) -> list[Extension]:
        """Build the plain C extensions; those that could be built."""
        root = SOURCE if in_place else Path(self.build_lib)
        for ext in optional:
            changed = max(Path(path).stat().st_mtime for path in [*ext.sources, *ext.depends])
            for path in (root, Path(self.build_lib)):
                built = path / self.get_ext_filename(ext.name)
                if built.exists() and built.stat().st_mtime < changed:
                    built.unlink()  # an old one must not pass for what could not be built
        self.extensions = optional
        try:
            super().run()
        except (Exception, SystemExit) as error:  # a build may fail in any way at all
            print(f"WARNING: not built: {error}", file=sys.stderr, flush=True)
        return [ext for ext in optional if (root / self.get_ext_filename(ext.name)).exists()]

    def build_extensions(self) -> None:
        """Build with noria's flags and as many jobs as were asked for."""
        self.parallel = self._jobs()
        if self.compiler.compiler_type == "unix":
            for ext in self.extensions:
                ext.extra_compile_args = optimization()
        super().build_extensions()

    def _jobs(self) -> int:
        """The number of parallel jobs."""
        return int(self.parallel or os.environ.get("NORIA_BUILD_JOBS") or os.cpu_count() or 1)

    def _prune(self) -> None:
        """Delete extension modules that this build did not make."""
        current = {Path(output).resolve() for output in self.get_outputs()}
        for pattern in ("*.so", "*.pyd"):
            for path in (Path(self.build_lib) / "noria").rglob(pattern):
                if path.resolve() not in current:
                    path.unlink()

    def _record(self, reason: str) -> None:
        """Write down what was built, for `noria doctor`."""
        record = {"compiled": not reason, "reason": reason, "mode": MODE}
        path = Path(self.build_lib) / "noria" / "build.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record) + "\n", encoding="utf-8")


WARNING: Final = """
*** WARNING: noria is being installed interpreted, which is slower.
*** {reason}
*** To have it compiled, install a C compiler and the headers of Python, then run
***     pip install --force-reinstall --no-cache-dir noria
*** NORIA_BUILD=require makes this an error; NORIA_BUILD=python says it is meant so.
"""
