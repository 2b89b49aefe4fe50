"""What the lab reads of processes is what they did."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the lab reads /proc", allow_module_level=True)

from noria.lab import measure
from noria.lab.errors import LabError
from noria.lab.measure import Cores, Usage
from noria.lab.settings import SOURCES_MAX


def test_usage_of_this_process() -> None:
    pid = os.getpid()
    before, own_ns = measure.read_usage(pid), time.process_time_ns()
    for _ in range(50):  # a sleep that ends before its switch is none, so not all of them count
        time.sleep(0.001)
    sum(range(200_000))
    own_ns = time.process_time_ns() - own_ns
    used = measure.read_usage(pid) - before
    assert 25 <= used.sleeps <= 100
    # A running thread's clock is brought up to date by the scheduler's tick at the latest.
    assert abs(used.cpu_ns - own_ns) < 50_000_000


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(LabError, match=str(child.pid)):
        measure.read_usage(child.pid)


def test_quiet_and_busy_processes() -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert measure.wait_quiet(child.pid)
        assert measure.resident_bytes(child.pid) > 1_000_000
        assert measure.open_descriptors(child.pid) >= 3
        child.communicate()


KEPT_FROM_CHILDREN = """
import mmap, sys
print(flush=True)
sys.stdin.readline()
memory = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_DONTFORK)
memory.write(bytes(8 << 20))
print(flush=True)
sys.stdin.readline()
"""
"""Keeps half of its 16 MiB resident, in the way of buffers that belong to a ring."""


@pytest.mark.parametrize("absent", ["", "smaps_rollup"])
def test_resident_memory_is_what_was_touched(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "Path", lambda path: Path(str(path).replace(absent or " ", "x")))
    with subprocess.Popen(
        [sys.executable, "-c", KEPT_FROM_CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        before = measure.resident_bytes(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        # `bytes` of the same size came and went; huge pages and lagging counters get their share.
        grown = measure.resident_bytes(child.pid) - before
        child.communicate()
    assert 7 << 20 < grown < 12 << 20
    with pytest.raises(LabError, match=f"{child.pid} cannot be read"):
        measure.resident_bytes(child.pid)


@pytest.mark.parametrize(
    ("ports", "held", "sources"),
    [
        ("32768 60999", 131_072, 38),
        ("1024\t65535", 4096, 1),
        ("40000 40999", 131_072, 1049),
        ("40000 40000", 1 << 20, SOURCES_MAX),
    ],
)
def test_ports_last_whatever_time_wait_holds(
    tmp_path: Path, ports: str, held: int, sources: int
) -> None:
    (tmp_path / "ip_local_port_range").write_text(f"{ports}\n")
    (tmp_path / "tcp_max_tw_buckets").write_text(f"{held}\n")
    assert measure.churn_sources(tmp_path) == sources
    assert measure.churn_sources() > 0


def test_a_process_that_waits_for_its_cpu_is_not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "QUIET_TIMEOUT_NS", 60_000_000)
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    try:
        time.sleep(0.2)
        assert not any(measure.wait_quiet(child.pid) for child in spinners)
    finally:
        for child in spinners:
            child.kill()
            child.wait()


def test_usage_is_subtracted_field_by_field() -> None:
    assert Usage(9, 8, 7, 6, 5, 4) - Usage(1, 1, 1, 1, 1, 1) == Usage(8, 7, 6, 5, 4, 3)


def test_percentiles_are_samples() -> None:
    samples = array("I", range(1, 1001)).tobytes()
    assert measure.percentiles_ns(samples) == {
        "p50_ns": 501,
        "p90_ns": 901,
        "p99_ns": 991,
        "p999_ns": 1000,
    }
    assert measure.percentiles_ns(array("I", [7]).tobytes())["p999_ns"] == 7
    assert measure.percentiles_ns(b"") == {}


def test_quartiles() -> None:
    assert measure.quartiles([3.0]) == (3.0, 3.0, 3.0)
    assert measure.quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("usable", "wanted", "expected"),
    [
        ({0, 1}, (None, None), Cores(1, 0, 0)),
        ({0, 1, 2, 3}, (None, None), Cores(3, 0, 1)),
        ({0, 1, 2, 3}, (0, None), Cores(0, 1, 2)),
        ({0, 1, 2, 3}, (None, 3), Cores(2, 3, 0)),
        ({5}, (None, None), Cores(5, 5, 5)),
    ],
)
def test_server_and_clients_get_cores_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
    usable: set[int],
    wanted: tuple[int | None, int | None],
    expected: Cores,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable)
    assert measure.choose_cores(*wanted) == expected
    assert expected.shared == (len(usable) == 1)


def test_a_core_that_may_not_be_used() -> None:
    with pytest.raises(LabError, match="CPU 100000"):
        measure.choose_cores(100_000)


def test_the_driver_goes_back_to_its_cpus() -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    with measure.Pinned(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("limits", "wanted", "allowed", "raised"),
    [
        ((1024, 20_000), 10_000, 10_000, (10_064, 20_000)),
        ((1024, 4096), 10_000, 4032, (4096, 4096)),
        ((20_000, 20_000), 10_000, 10_000, None),
        ((1024, -1), 10_000, 10_000, (10_064, -1)),
        ((-1, -1), 10_000, 10_000, None),
        ((32, 32), 10_000, 0, (32, 32)),
    ],
)
def test_the_descriptor_limit_is_raised_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    wanted: int,
    allowed: int,
    raised: tuple[int, int] | None,
) -> None:
    import resource

    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: calls.append(new))
    assert measure.clients_allowed(wanted) == allowed
    assert calls == ([raised] if raised else [])


def test_the_host_is_described() -> None:
    facts = measure.host_facts(Cores(1, 0, 0))
    assert facts["python"] == sys.version.split()[0]
    assert facts["server_core"] == 1
