"""Reads what the kernel says about a process, and places processes on CPUs. Linux only."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.lab.errors import LabError
from noria.lab.settings import (
    DESCRIPTORS_SPARE,
    PORTS_PER_TIME_WAIT,
    QUIET_NS,
    QUIET_TIMEOUT_NS,
    SOURCES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used since it began; subtract two readings for what lies between.

    `cpu_ns` is exact for a process that sleeps. `queued_ns` is how long it was ready to run while
    others had its CPU: where that is much, somebody disturbed the measurement. The ticks (of
    `ticks_per_second`) tell user from kernel time and are coarse: add them up over many rounds
    before dividing.
    """

    cpu_ns: int
    user_ticks: int
    kernel_ticks: int
    sleeps: int
    preemptions: int
    queued_ns: int = 0

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            self.cpu_ns - earlier.cpu_ns,
            self.user_ticks - earlier.user_ticks,
            self.kernel_ticks - earlier.kernel_ticks,
            self.sleeps - earlier.sleeps,
            self.preemptions - earlier.preemptions,
            self.queued_ns - earlier.queued_ns,
        )


def _of_threads(pid: int, name: str) -> list[str]:
    """Read a file of /proc for each live thread. Raises LabError when the process is gone."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                found.append((task / name).read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # this thread has just ended; the process may live on
    except FileNotFoundError:
        pass
    if not found:
        raise LabError(f"process {pid} has ended while it was measured")
    return found


def _switches(status: str) -> tuple[int, int]:
    voluntary = involuntary = 0
    for line in status.splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            voluntary = int(line.split()[1])
        elif line.startswith("nonvoluntary_ctxt_switches:"):
            involuntary = int(line.split()[1])
    return voluntary, involuntary


def _cpu_and_queued_ns(pid: int) -> tuple[int, int]:
    """Sum up all live threads; one that ends takes its share along, so servers keep theirs."""
    cpu_ns = queued_ns = 0
    for text in _of_threads(pid, "schedstat"):
        used, waited, _ = text.split()
        cpu_ns += int(used)
        queued_ns += int(waited)
    return cpu_ns, queued_ns


def read_usage(pid: int) -> Usage:
    """Read what process `pid` used so far. Raises LabError when it is gone."""
    sleeps = preemptions = 0
    for text in _of_threads(pid, "status"):
        voluntary, involuntary = _switches(text)
        sleeps += voluntary
        preemptions += involuntary
    cpu_ns, queued_ns = _cpu_and_queued_ns(pid)
    try:
        # The command name may hold spaces and brackets; the numbers begin after the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise LabError(f"process {pid} has ended while it was measured") from None
    return Usage(cpu_ns, int(fields[11]), int(fields[12]), sleeps, preemptions, queued_ns)


def _asleep(pid: int) -> bool:
    """Tell whether all threads sleep: the state stands behind the bracketed command name."""
    states = [text.rpartition(")")[2].split()[0] for text in _of_threads(pid, "stat")]
    return all(state in "SDTZ" for state in states)


def ticks_per_second() -> int:
    """Ticks per second of Usage.user_ticks and kernel_ticks."""
    if sys.platform == "win32":
        return 1
    return int(os.sysconf("SC_CLK_TCK"))


def wait_quiet(pid: int) -> bool:
    """Wait until process `pid` sleeps, so that its CPU clock is exact; False if it would not."""
    give_up_ns = time.monotonic_ns() + QUIET_TIMEOUT_NS
    last_ns, _ = _cpu_and_queued_ns(pid)
    since_ns = time.monotonic_ns()
    while (now_ns := time.monotonic_ns()) < give_up_ns:
        time.sleep(QUIET_NS / 4e9)
        current_ns, _ = _cpu_and_queued_ns(pid)
        # A clock also stands still while others have the CPU: the threads must be asleep as well.
        if current_ns != last_ns or not _asleep(pid):
            last_ns, since_ns = current_ns, now_ns
        elif now_ns - since_ns >= QUIET_NS:
            return True
    return False


def resident_bytes(pid: int) -> int:
    """Resident set of process `pid` in bytes: Rss of smaps_rollup, else VmRSS of status.

    For smaps_rollup the kernel looks at every page, while VmRSS is a sum of counters that on many
    kernels lag behind by some pages per CPU. Either counts each resident page of the process, even
    if it is pinned, locked or kept from children (MADV_DONTFORK), so the buffers that a process
    gives to a ring are in it. What the kernel keeps for its sockets is not. Raises LabError.
    """
    for name, word in (("smaps_rollup", "Rss:"), ("status", "VmRSS:")):
        try:
            lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
        except OSError:
            continue  # this kernel was built without it, or the process is gone
        found = [int(line.split()[1]) for line in lines if line.startswith(word)]
        if found:
            return found[0] * 1024
    raise LabError(f"the resident memory of process {pid} cannot be read; has it ended?")


def open_descriptors(pid: int) -> int:
    """How many descriptors process `pid` has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def percentiles_ns(samples: bytes) -> dict[str, int]:
    """Sort native uint32 samples: the smallest that so many per cent of them do not exceed."""
    ordered = sorted(array("I", samples))
    if not ordered:
        return {}
    shares = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}
    last = len(ordered) - 1
    return {name: ordered[min(last, int(share * len(ordered)))] for name, share in shares.items()}


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile of at least one value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


@dataclass(frozen=True, slots=True)
class Cores:
    """Which CPUs the server, the load generator and the driver run on."""

    server: int
    client: int
    driver: int

    @property
    def shared(self) -> bool:
        """True where server and load generator have to share one CPU: no figure means much then."""
        return self.server == self.client


def choose_cores(server: int | None = None, client: int | None = None) -> Cores:
    """Choose CPUs among those this process may use. Raises LabError for one that it may not."""
    if sys.platform != "linux":
        raise LabError("the lab runs on Linux only: its load generator needs epoll")
    usable = sorted(os.sched_getaffinity(0))
    for wanted in (server, client):
        if wanted is not None and wanted not in usable:
            raise LabError(f"CPU {wanted} is not one of those this process may use: {usable}")
    if server is None:
        server = next((core for core in reversed(usable) if core != client), usable[-1])
    if client is None:
        client = next((core for core in usable if core != server), usable[0])
    driver = next((core for core in usable if core not in {server, client}), client)
    return Cores(server, client, driver)


def pin(core: int) -> None:
    """Keep this process, and the children it starts from now on, on one CPU."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {core})


class Pinned:
    """Keeps the driver on its CPU for the length of a `with` block."""

    __slots__ = ("_before", "_core")

    def __init__(self, core: int) -> None:
        self._core = core
        self._before: set[int] = set()

    def __enter__(self) -> None:
        if sys.platform == "linux":
            self._before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {self._core})

    def __exit__(self, *_: object) -> None:
        if sys.platform == "linux":
            os.sched_setaffinity(0, self._before)


def clients_allowed(wanted: int) -> int:
    """Raise the soft descriptor limit as far as `wanted` clients need; how many it allows."""
    if sys.platform == "win32":
        raise LabError("the lab runs on Linux only")
    import resource  # noqa: PLC0415 - absent on Windows, where this module is still type-checked

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + DESCRIPTORS_SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        unlimited = hard == resource.RLIM_INFINITY
        soft = needed if unlimited else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(0, min(wanted, soft - DESCRIPTORS_SPARE))


def churn_sources(settings: Path = Path("/proc/sys/net/ipv4")) -> int:
    """How many addresses to connect from, so that TIME_WAIT never takes all their ports.

    Whoever closes first leaves its port in TIME_WAIT for a minute. The kernel bounds how many of
    them there are, so enough addresses have free ports at any rate, for as long as one likes.
    """
    first, last = map(int, (settings / "ip_local_port_range").read_text().split())
    held = int((settings / "tcp_max_tw_buckets").read_text())
    wanted = -(-PORTS_PER_TIME_WAIT * held // (last - first + 1))
    return min(max(wanted, 1), SOURCES_MAX)


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def _siblings(core: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        return path.read_text().strip()
    except OSError:
        return str(core)


def host_facts(cores: Cores) -> dict[str, Any]:
    """Say where a measurement was made: what a reader needs to judge the numbers."""
    return {
        "processor": _processor_name(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "server_core": cores.server,
        "client_core": cores.client,
        "server_core_siblings": _siblings(cores.server),
    }
