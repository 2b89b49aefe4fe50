"""`noria doctor`: what this machine offers to noria, and what noria makes of it."""

from __future__ import annotations

import importlib
import json
import platform
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import noria
from noria import lowlevel
from noria.cli import doctor_disks
from noria.lab.settings import DESCRIPTORS_SPARE

if TYPE_CHECKING:
    import argparse

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_UNAVAILABLE = 1
"""Exit status of `--check` where no engine can run, or not the one that NORIA_ENGINE names."""

_MISPLACED = "its compiled modules are for another Python"
"""Why a build that was compiled runs interpreted."""

_COLUMNS = 100
"""Where the only row that may be long, the reason for the choice, is wrapped."""


def register(subparsers: Subparsers) -> None:
    """Add the subcommand `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="tell which engines can run here, and what limits the number of clients",
        description="Tell which engines can run here and why the others cannot, how noria was "
        "built, and how many clients the descriptor limits allow.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if no loop could be made here"
    )
    parser.add_argument(
        "--measure",
        metavar="DIR",
        action="append",
        default=[],
        help="write and read a temporary file there, and tell which way is quicker; repeatable",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; the exit status."""
    report = examine(arguments.measure)
    print(json.dumps(report, indent=2) if arguments.json else render(report))
    return _UNAVAILABLE if arguments.check and report["chosen"]["name"] is None else 0


def examine(measured: list[str] | None = None) -> dict[str, Any]:
    """Collect everything that the report tells, as JSON can hold it.

    Args:
        measured: directories to write and read a temporary file in; without any, what is known of
            the current and the temporary directory's filesystems is told.
    """
    probes = dict(lowlevel.explain())
    chosen = _chosen()
    probe = probes.get(chosen["name"] or "")
    disks = doctor_disks.disks(chosen["name"])
    return {
        "noria": {"version": noria.__version__, **_build()},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
        },
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "kernel": platform.release(),
        },
        "engines": [
            {
                "name": name,
                "available": probe.available,
                "reason": probe.reason,
                "features": list(probe.features),
                "descriptors_max": probe.descriptors_max,
                "automatic": name in lowlevel.AUTOMATIC_ENGINE_NAMES,
            }
            for name, probe in probes.items()
        ],
        "chosen": chosen,
        "disks": disks,
        "filesystems": _filesystems(measured or [], disks["chosen"]["name"]),
        "descriptors": _descriptors(probe.descriptors_max if probe else None),
    }


def render(report: dict[str, Any]) -> str:
    """Set the report as plain text."""
    made = "compiled" if report["noria"]["compiled"] else "interpreted"
    reason = report["noria"]["reason"]
    kernel = report["platform"]
    rows = [
        ("noria", f"{report['noria']['version']}, {made}" + (f" ({reason})" if reason else "")),
        ("python", f"{report['python']['implementation']} {report['python']['version']}"),
        ("platform", f"{kernel['system']} {kernel['kernel']}, {kernel['machine']}"),
        ("disk", report["disks"]["chosen"]["name"] or "none"),
        *_descriptor_rows(report["descriptors"]),
    ]
    chosen = report["chosen"]
    name = chosen["name"] or "none"
    return "\n".join(
        [
            *(f"{title:<10}{text}" for title, text in rows),
            *textwrap.wrap(
                f"{'engine':<10}{name}: {chosen['reason']}", _COLUMNS, subsequent_indent=" " * 10
            ),
            "",
            "engines",
            *_engine_rows(report["engines"], chosen["name"]),
            *doctor_disks.render(report),
        ]
    )


def _filesystems(measured: list[str], disk: str | None) -> list[dict[str, Any]]:
    if disk is None:
        return []
    if measured:
        return doctor_disks.measured(measured)
    return doctor_disks.filesystems(dict.fromkeys((str(Path.cwd()), tempfile.gettempdir())))


def _build() -> dict[str, Any]:
    """Tell whether the compiled modules are in use, and why not where the build wrote it down."""
    record = Path(noria.__file__).with_name("build.json")
    reason = None
    if not lowlevel.COMPILED:
        try:
            reason = json.loads(record.read_text("utf-8"))["reason"] or _MISPLACED
        except (OSError, ValueError, KeyError, TypeError):
            reason = "run from source"
    return {"compiled": lowlevel.COMPILED, "reason": reason}


def _chosen() -> dict[str, str | None]:
    try:
        choice = lowlevel.choose()
    except noria.EngineUnavailableError as exc:
        return {"name": None, "reason": str(exc)}
    return {"name": choice.name, "reason": choice.reason}


def _descriptors(watched_max: int | None) -> dict[str, int | None]:
    """Tell the limits of open descriptors, what the engine can watch, and the clients they allow.

    None stands for no limit; Windows sets none, but its engines may.
    """
    soft = hard = None
    if sys.platform != "win32":
        resource = importlib.import_module("resource")  # Windows has no such module
        soft, hard = (
            None if limit == resource.RLIM_INFINITY else limit
            for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
        )
    return {
        "soft": soft,
        "hard": hard,
        "watched": watched_max,
        "clients_soft": _clients(soft, watched_max),
        "clients_hard": _clients(hard, watched_max),
    }


def _clients(*limits: int | None) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known) - DESCRIPTORS_SPARE) if known else None


def _descriptor_rows(descriptors: dict[str, int | None]) -> list[tuple[str, str]]:
    limits = f"{_number(descriptors['soft'])} descriptors"
    clients = f"{_number(descriptors['clients_soft'])} at the same time"
    if descriptors["hard"] != descriptors["soft"]:
        limits += f", can be raised to {_number(descriptors['hard'])} (ulimit -n)"
    if descriptors["clients_hard"] != descriptors["clients_soft"]:
        clients += f", {_number(descriptors['clients_hard'])} with the limit raised"
    if descriptors["watched"] is not None:
        limits += f"; the engine watches {_number(descriptors['watched'])}"
    return [("limits", limits), ("clients", clients)]


def _number(value: int | None) -> str:
    return "unlimited" if value is None else f"{value:,}"


def _engine_rows(engines: list[dict[str, Any]], chosen: str | None) -> list[str]:
    width = max(len(engine["name"]) for engine in engines)
    rows = []
    for engine in engines:
        mark = "*" if engine["name"] == chosen else " "
        state = "yes" if engine["available"] else "no "
        features = f" ({', '.join(engine['features'])})" if engine["features"] else ""
        rows.append(f"{mark} {engine['name']:<{width}}  {state}  {engine['reason']}{features}")
    return rows
