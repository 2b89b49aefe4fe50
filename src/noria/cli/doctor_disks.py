"""What `noria doctor` tells of disks: backends, filesystems, and which way is quicker where."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import noria
from noria import lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK: Final = 4096
ROUNDS: Final = 40
"""Operations of each kind; enough for every way to be measured and one to be chosen."""


def disks(engine: str | None) -> dict[str, Any]:
    """Tell which disk backends can be used with an engine, and which one is."""
    rows = [
        {"name": name, "available": probe.available, "reason": probe.reason}
        for name, probe in lowlevel.explain_disks(engine or "")
    ]
    chosen: dict[str, str | None] = {"name": None, "reason": "no engine can run here"}
    if engine is not None:
        try:
            choice = lowlevel.choose_disk(engine)
            chosen = {"name": choice.name, "reason": choice.reason}
        except noria.EngineUnavailableError as exc:
            chosen["reason"] = str(exc)
    return {"backends": rows, "chosen": chosen}


def filesystems(paths: Iterable[str]) -> list[dict[str, Any]]:
    """Tell what is known of the filesystems of some directories without touching them."""

    async def look(path: str) -> dict[str, Any]:
        try:
            found = await noria.fs.filesystem(path)
        except OSError as exc:
            return {"path": path, "error": str(exc)}
        return {"path": path, "error": None, **_plain(found)}

    async def main() -> list[dict[str, Any]]:
        return [await look(path) for path in paths]

    return noria.run(main())


def measured(paths: Iterable[str]) -> list[dict[str, Any]]:
    """Read and write a temporary file in each directory, and tell which way was quicker."""

    async def main() -> list[dict[str, Any]]:
        return [await _measure(path) for path in paths]

    return noria.run(main())


async def _measure(directory: str) -> dict[str, Any]:
    try:
        fd, name = await asyncio.to_thread(tempfile.mkstemp, prefix=".noria-", dir=directory)
        os.close(fd)
    except OSError as exc:
        return {"path": directory, "error": str(exc)}
    try:
        async with noria.open(name, "r+b", buffering=0) as file:
            for number in range(ROUNDS):
                await file.write_at(bytes(BLOCK), number * BLOCK)
                await file.datasync()
            for number in range(ROUNDS):
                if hasattr(os, "POSIX_FADV_DONTNEED"):
                    await file.advise(0, 0, os.POSIX_FADV_DONTNEED)
                await file.read_at(BLOCK, number * BLOCK)
        direct = await _direct(name)
        found = await noria.fs.filesystem(directory)
    except OSError as exc:
        return {"path": directory, "error": str(exc)}
    finally:
        await asyncio.to_thread(Path(name).unlink)
    return {"path": directory, "error": None, **_plain(found), "direct": direct}


async def _direct(name: str) -> str:
    """Tell the alignment that direct I/O demands, or why there is none."""
    try:
        async with noria.open(name, "rb", direct=True) as file:
            return f"{file.alignment} bytes"
    except io.UnsupportedOperation as exc:
        return f"no: {exc}"
    except OSError as exc:
        return f"no: {exc.strerror}"


def _plain(found: Any) -> dict[str, Any]:
    """Make a record into what JSON can hold."""
    return {**found._asdict(), "ways": [way._asdict() for way in found.ways]}


def render(report: dict[str, Any]) -> list[str]:
    """Set both parts as lines of text."""
    backends = report["disks"]["backends"]
    chosen = report["disks"]["chosen"]["name"]
    width = max(len(each["name"]) for each in backends)
    rows = ["", "disks"]
    for each in backends:
        mark = "*" if each["name"] == chosen else " "
        state = "yes" if each["available"] else "no "
        rows.append(f"{mark} {each['name']:<{width}}  {state}  {each['reason']}")
    rows += ["", "filesystems"]
    for found in report["filesystems"]:
        rows += _filesystem_rows(found)
    return rows


def _filesystem_rows(found: dict[str, Any]) -> list[str]:
    if found["error"] is not None:
        return [f"  {found['path']}  {found['error']}"]
    traits = [found["type"] or "of unknown type"]
    if found["in_memory"]:
        traits.append("in memory")
    if found["distant"]:
        traits.append("any call may wait for a server")
    if found["looks"] is not None:
        traits.append("tells what is cached" if found["looks"] else "does not tell what is cached")
    if "direct" in found:
        traits.append(f"direct I/O: {found['direct']}")
    rows = [f"  {found['path']}  {', '.join(traits)}"]
    for way in found["ways"]:
        mark = "*" if found["chosen"].get(way["kind"]) == way["way"] else " "
        rows.append(f"  {mark} {way['kind']:<13} {way['way']:<7} {way['microseconds']:>9,.1f} us")
    return rows
