"""Does one row's work with one subject, in a process of its own; JSON lines in and out.

`{"seconds": 0.4, "seed": 3}` is answered by `{"ok": true, "result": {...}}` with `elapsed_ns`,
`operations`, `user_ns` and `kernel_ns` of this process or of fio, `failures` and `details`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.lab.client import load_native
from noria.lab.errors import LabError, UnableError, exit_code
from noria.lab.files import fio, subjects, sync_os
from noria.lab.files.ground import Ground
from noria.lab.files.hung import hung, stuck
from noria.lab.files.rows import ROWS
from noria.lab.files.sync_work import SYNC_WORKS
from noria.lab.files.work import WORKS
from noria.lab.spawner import serve

if TYPE_CHECKING:
    from noria.lab.files.rows import Row
    from noria.lab.files.subject import Subject

    Result = dict[str, Any]


def serve_fio(engine: str, row: Row, ground: Ground) -> None:
    """Run fio until stdin ends. Raises UnableError where it has nothing for the row."""
    if not row.fio:
        raise UnableError("fio has nothing for this row")
    path, size = (
        (ground.scratch, ground.scratch_bytes)
        if row.fio.get("write")
        else (ground.large, ground.large_bytes)
    )

    def play(seconds: float, seed: int) -> Result:
        words = fio.command(engine, path, size, seconds=seconds, **row.fio)
        return fio.run(words, seconds)

    serve({"loop": "none", "version": fio.version()}, play)


def serve_sync(row: Row, ground: Ground) -> None:
    """Run without an event loop until stdin ends. Raises UnableError for a row that needs one."""
    work = SYNC_WORKS.get(row.work)
    if work is None:
        raise UnableError("os has nothing for this row")

    def play(seconds: float, seed: int) -> Result:
        return work(ground, seconds, seed, **row.arguments).result()

    serve({"loop": "none", "version": f"Python {sys.version.split()[0]}"}, play)


def serve_on_loop(subject: Subject, row: Row, ground: Ground) -> None:
    """Run on the subject's loop until stdin ends. Raises LabError."""
    work = {**WORKS, "hung": hung, "stuck": stuck}[row.work]
    loop = subject.new_event_loop()
    facts = subject.facts(loop)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(subject.start())

        async def once(seconds: float, seed: int) -> Result:
            try:
                return (await work(subject, ground, seconds, seed, **row.arguments)).result()
            except (NotImplementedError, AttributeError) as error:
                raise UnableError(f"it cannot do this row: {error!r}") from error
            except OSError as error:
                raise LabError(f"it failed: {error!r}") from error

        def play(seconds: float, seed: int) -> Result:
            return runner.run(once(seconds, seed))

        try:
            serve(facts, play)
        finally:
            runner.run(subject.stop())


def main(arguments: list[str] | None = None) -> int:
    """Serve commands until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m noria.lab.filer", description=__doc__)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--row", required=True, choices=ROWS)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--large-bytes", required=True, type=int)
    parser.add_argument("--small-files", required=True, type=int)
    parser.add_argument("--core", type=int, action="append", help="CPU it may use; several times")
    options: Any = parser.parse_args(arguments)
    load_native().end_with_parent()
    if options.core and sys.platform == "linux":
        os.sched_setaffinity(0, options.core)
    row = ROWS[options.row]
    ground = Ground(options.folder, options.large_bytes, options.small_files)
    try:
        name, option = subjects.split(options.contender)
        if name == fio.NAME:
            serve_fio(option, row, ground)
        elif name == sync_os.NAME:
            serve_sync(row, ground)
        else:
            serve_on_loop(subjects.load(options.contender), row, ground)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
