"""The public interface, name by name: a change here is a change for users."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

import pytest

import noria
from noria import errors, lowlevel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

NORIA = [
    "EngineClosedError",
    "EngineUnavailableError",
    "ForkedEngineError",
    "Loop",
    "NoriaError",
    "Path",
    "Runner",
    "__version__",
    "fs",
    "new_event_loop",
    "run",
]

LOWLEVEL = [
    "AUTOMATIC_ENGINE_NAMES",
    "BackendStatistics",
    "COMPILED",
    "Choice",
    "Completion",
    "Completions",
    "DISK_BACKEND_NAMES",
    "Descriptor",
    "DiskBackend",
    "DiskChoice",
    "DiskProbe",
    "DiskStatistics",
    "ENGINE_NAMES",
    "ENGINE_VARIABLE",
    "Engine",
    "EngineStatistics",
    "HANGUP",
    "MORE",
    "NewsSink",
    "Operation",
    "Poller",
    "Probe",
    "READABLE",
    "ReadinessEngine",
    "WRITABLE",
    "choose",
    "choose_disk",
    "explain",
    "explain_disks",
]


@pytest.mark.parametrize(("module", "names"), [(noria, NORIA), (lowlevel, LOWLEVEL)])
def test_public_names(module: object, names: list[str]) -> None:
    assert sorted(getattr(module, "__all__", [])) == sorted(names)
    for name in names:
        assert getattr(module, name, None) is not None
    assert set(names) <= set(dir(module))


def test_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from noria import *", names)
    del names["__builtins__"]
    assert sorted(names) == sorted(NORIA)


def test_unknown_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'noria' has no attribute 'lop'$"):
        _ = noria.lop
    with pytest.raises(ImportError):
        exec("from noria import lop")


def test_open_does_not_take_the_place_of_the_builtin() -> None:
    names: dict[str, object] = {}
    exec("from noria import *", names)
    assert "open" not in names
    assert "open" in dir(noria)
    assert noria.open is noria.fs.open
    assert noria.open.__module__ == "noria.files.streams"


def test_names_come_from_where_they_live() -> None:
    for name in NORIA:
        if name not in {"__version__", "fs"}:
            found = getattr(noria, name)
            assert getattr(importlib.import_module(found.__module__), name) is found


def test_the_module_of_the_file_system_is_an_attribute(
    run_python: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    program = """
import noria
print(noria.fs.__name__)
import noria.fs as module
print(module is noria.fs)
"""
    result = run_python(program)
    assert result.stdout.split() == ["noria.fs", "True"], result.stderr


def test_import_is_cheap(
    run_python: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    program = """
import sys
before = set(sys.modules)
import noria
print(noria.__version__, *sorted(set(sys.modules) - before))
"""
    result = run_python(program)
    assert result.stdout.split() == [noria.__version__, "__future__", "noria"], result.stderr


def test_command_line_and_program_are_separate(
    run_python: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    program = """
import sys, asyncio, noria
noria.run(asyncio.sleep(0))
print(*sorted(name for name in sys.modules if name.startswith(("noria.cli", "noria.lab", "rich"))))
"""
    assert run_python(program).stdout == "\n"


def test_errors_of_misuse_are_runtime_errors() -> None:
    """As asyncio's own are."""
    for name in ("EngineUnavailableError", "ForkedEngineError", "EngineClosedError"):
        error = getattr(errors, name)
        assert issubclass(error, errors.NoriaError)
        assert issubclass(error, RuntimeError)


def test_engine_names() -> None:
    assert lowlevel.ENGINE_NAMES == ("uring", "epoll", "kqueue", "poll", "select", "epoll-et")
    assert set(lowlevel.AUTOMATIC_ENGINE_NAMES) <= set(lowlevel.ENGINE_NAMES)
    assert [name for name, _ in lowlevel.explain()] == list(lowlevel.ENGINE_NAMES)
    assert lowlevel.ENGINE_VARIABLE == "NORIA_ENGINE"
    assert lowlevel.DISK_BACKEND_NAMES == ("linux_aio", "threads", "posix_aio")


def test_a_library_can_do_an_operation_without_a_loop() -> None:
    """What the door is for: an engine, an operation, its completion."""
    choice = lowlevel.choose()
    engine = choice.engine_class()
    batch = lowlevel.Completions()
    try:
        assert engine.name == choice.name
        engine.wake()
        assert engine.poll(-1, batch) == 0, "woken, and nothing completed"
        assert engine.statistics().in_flight == 0
    finally:
        engine.close(batch)


def test_loop_adds_little_to_asyncios_interface() -> None:
    def public(of: type) -> set[str]:
        return {name for name in dir(of) if not name.startswith("_")}

    instance_only = {"slow_callback_duration"}  # a field of the compiled class
    added = public(noria.Loop) - public(asyncio.SelectorEventLoop) - instance_only
    assert added == {"cancel_operation", "engine", "forget", "submit", "submit_operation"}
