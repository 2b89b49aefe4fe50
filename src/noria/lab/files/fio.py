"""fio(1): what the system itself can do, measured by a program in C that does nothing else.

It runs for a round and says what it did as JSON. Its clock starts when its jobs do, so its start is
not in the figures.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import LabError
from noria.lab.files.ground import BLOCK_BYTES

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "fio"
ENGINES: Final = ("io_uring", "libaio", "posixaio", "psync")
"""Those that are limits of a disk backend of noria's."""

JOBS_MAX: Final = 256
"""Threads of one fio for `psync`, where each has one operation outstanding."""

GRACE_S: Final = 20.0
"""fio has to end within its own time and this."""

SELF_COUNTING: Final = "posixaio"
"""The C library's threads do its work, and fio counts its own CPU time alone."""


def missing() -> str | None:
    """Say how to get fio where it is not installed."""
    if shutil.which(NAME) is None:
        return "fio is not installed: apt install fio"
    return None


def version() -> str:
    """Say which fio it is. Raises LabError."""
    try:
        done = subprocess.run([NAME, "--version"], capture_output=True, timeout=GRACE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f"fio could not be run: {error}") from error
    return done.stdout.decode(errors="replace").strip()


def command(
    engine: str,
    path: Path,
    size: int,
    *,
    seconds: float,
    depth: int,
    direct: bool,
    write: bool = False,
    datasync: bool = False,
    once: bool = False,
) -> list[str]:
    """Spell fio's command for one round of 4 KiB at random offsets.

    Args:
        engine: one of ENGINES.
        path: what is read or written; it has `size` bytes.
        size: of the file.
        seconds: how long.
        depth: operations outstanding; for psync as many threads, JOBS_MAX at most.
        direct: without the page cache.
        write: instead of reading.
        datasync: fdatasync(2) after each write.
        once: end when every block was read, and forget the page cache before.
    """
    jobs = min(depth, JOBS_MAX) if engine == "psync" else 1
    words = [
        NAME,
        "--name=lab",
        f"--filename={path}",
        f"--size={size}",
        f"--bs={BLOCK_BYTES}",
        f"--rw={'randwrite' if write else 'randread'}",
        f"--ioengine={engine}",
        f"--iodepth={1 if engine == 'psync' else depth}",
        f"--direct={int(direct)}",
        f"--runtime={max(1, round(seconds * 1000))}ms",
        "--thread",
        f"--numjobs={jobs}",
        "--group_reporting",
        "--randrepeat=0",
        "--fadvise_hint=0",
        "--random_generator=lfsr",  # the default goes on beside what it has read, near the end
        f"--invalidate={int(once)}",
        "--output-format=json",
    ]
    if not once:
        words.append("--time_based")
    if datasync:
        words.append("--fdatasync=1")
    return words


def run(words: list[str], seconds: float) -> dict[str, Any]:
    """Run fio once; the result of a round. Raises LabError with what it said."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds + GRACE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"fio could not be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"fio ended with {done.returncode}: {said[-500:]}")
    return parse(done.stdout.decode(errors="replace"))


def parse(output: str) -> dict[str, Any]:
    """Make the result of a round of what fio printed. Raises LabError for anything else."""
    start = output.find("{")  # warnings may come first
    try:
        document = json.loads(output[start:])
        (job,) = document["jobs"]
        if job["error"]:
            raise LabError(f"fio had error {job['error']}")
        side = job["read"] if job["read"]["total_ios"] else job["write"]
        operations = int(side["total_ios"])
        rate = float(side["iops"])
        job_ns = job["job_runtime"] * 1e6
        user_ns = job["usr_cpu"] / 100 * job_ns
        kernel_ns = job["sys_cpu"] / 100 * job_ns
        engine = str(job.get("job options", {}).get("ioengine", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"fio said something else than expected: {output[:200]!r}") from error
    return {
        "elapsed_ns": int(operations / rate * 1e9) if rate else int(job_ns),
        "operations": operations,
        "user_ns": int(user_ns),
        "kernel_ns": int(kernel_ns),
        "cpu_known": engine != SELF_COUNTING,
        "failures": {},
        "details": {},
    }
