"""The jobs run from start to end, small, on asyncio and the bare server; nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "linux":
    pytest.skip("the lab runs on Linux", allow_module_level=True)
pytest.importorskip("noria.lab._client", reason="not built")

from noria import lowlevel
from noria.lab import adapters
from noria.lab.compare import Contestant, Round
from noria.lab.errors import LabError
from noria.lab.jobs import c10k, churn, idle, micro, rows
from noria.lab.measure import Usage, choose_cores
from noria.lab.processes import ClientProcess, ServerProcess
from noria.lab.settings import DESCRIPTORS_SPARE
from noria.lab.stage import Silence, Stage, connect, must_connect
from tests.children import children

if TYPE_CHECKING:
    from pathlib import Path

SILENCE = Silence()
CORES = choose_cores()


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    before, affinity = children(), os.sched_getaffinity(0)
    yield
    assert children() <= before, "child processes were left behind"
    assert os.sched_getaffinity(0) == affinity


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (c10k, idle):
        monkeypatch.setattr(module, "WARM_S", 0.02)
        monkeypatch.setattr(module, "WARM_CLIENTS", 5)
    monkeypatch.setattr(c10k, "ROUND_MIN_S", 0.02)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("scenario", ["echo", "streams", "sock"])
def test_scenarios_echo_and_end(scenario: str, unix: bool) -> None:
    with Stage(CORES, SILENCE) as stage:
        server = stage.server("asyncio", scenario, unix=unix)
        client = stage.client()
        contestant = stage.contestant("asyncio", server, client, 5, size_max=300_000)
        must_connect(contestant, 5)
        for size in (1, 64, 300_000):
            done = client.ask("echo", contestant.key, seconds=5.0, size=size, requests_max=3)
            assert (done["requests"], done["failures"]) == (15, {})
        ended = client.ask("disconnect", contestant.key)
        assert (ended["connections"], ended["failures"]) == (5, {})
        assert client.progress().answered == 5 + 45


def test_rows() -> None:
    options = rows.RowOptions(
        sizes=(1, 2048),
        connections=(5,),
        contenders=("asyncio",),
        against=("c-epoll",),
        pairs=2,
        round_s=0.03,
        generations=2,
    )
    document = rows.run(options, SILENCE).as_json()
    assert [(row["size"], row["connections"]) for row in document["rows"]] == [(1, 5), (2048, 5)]
    for row in document["rows"]:
        assert [one["contender"] for one in row["contenders"]] == [
            "asyncio",
            "asyncio (itself)",
            "c-epoll",
        ]
        assert all(one["rounds"] == 2 and one["requests"] > 0 for one in row["contenders"])
        assert all(one["failures"] == {} for one in row["contenders"])
        assert all(0 < one["cpu_us"] < 10_000 for one in row["contenders"])
        assert [one["pairs"] for one in row["comparisons"]] == [2, 2]
    assert "a first look" in document["notes"][-1]


def test_every_contender_has_a_load_generator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So each gets as many connections as one process may have."""
    monkeypatch.setattr("noria.lab.stage.clients_allowed", lambda wanted: min(wanted, 12))
    options = rows.RowOptions(
        sizes=(64,), connections=(10, 30), contenders=("c-epoll",), against=(), pairs=1
    )
    options.round_s, options.generations = 0.03, 1
    document = rows.run(options, SILENCE)
    assert [row["connections"] for row in document.rows] == [10, 12]
    assert all(one["failures"] == {} for row in document.rows for one in row["contenders"])


def test_rows_tell_user_and_kernel_time_and_compare_rates() -> None:
    options = rows.RowOptions(
        sizes=(64,), connections=(5,), contenders=("asyncio",), against=("c-epoll",), pairs=1
    )
    options.round_s, options.generations = 0.1, 1
    (row,) = rows.run(options, SILENCE).rows
    base, _, other = row["contenders"]
    for one in (base, other):
        assert one["user_us"] + one["kernel_us"] == pytest.approx(one["cpu_us"])
    _, rates = row["rate_comparisons"]
    assert (rates["base"], rates["other"]) == ("asyncio", "c-epoll")
    assert rates["ratio"] == pytest.approx(base["requests_per_s"] / other["requests_per_s"])


@pytest.mark.parametrize(
    ("scenario", "unix", "half_close"),
    [
        ("echo", False, False),
        ("streams", False, True),
        ("sock", True, False),
        ("echo", True, True),
    ],
)
def test_churn(
    scenario: str, unix: bool, half_close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(churn, "CHURN_WARM_S", 0.02)
    options = churn.ChurnOptions(
        scenario=scenario,
        sizes=(1000,),
        connections=(4,),
        contenders=("asyncio",),
        against=("c-epoll", "other=asyncio:SelectorEventLoop"),
        pairs=1,
        round_s=0.2,
        generations=1,
        unix=unix,
        half_close=half_close,
    )
    document = churn.run(options, SILENCE).as_json()
    assert document["job"] == "churn"
    (row,) = document["rows"]
    assert [one["contender"] for one in row["contenders"]] == [
        *("asyncio", "asyncio (itself)", "c-epoll", "other=asyncio:SelectorEventLoop")
    ]
    for one in row["contenders"]:
        assert one["requests"] > 4, "connections came after the first ones"
        assert one["failures"] == {}
        assert one["descriptors_left"] == 0
        assert one["p50_ns"] > 0
    assert len(row["comparisons"]) == len(row["rate_comparisons"]) == 3


def test_descriptors_that_a_server_keeps_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Per generation two servers are counted before (10, 20) and after their rounds (13, 20).
    counts = iter([10, 20, 13, 20, 10, 20, 11, 19])
    monkeypatch.setattr(rows, "open_descriptors", lambda _: next(counts))
    monkeypatch.setattr(churn, "CHURN_WARM_S", 0.02)
    options = churn.ChurnOptions(
        sizes=(1,), connections=(2,), contenders=("c-epoll",), against=(), pairs=2
    )
    options.round_s, options.generations = 0.02, 2
    (row,) = churn.run(options, SILENCE).rows
    assert [one["descriptors_left"] for one in row["contenders"]] == [3, 0]


def test_a_server_that_cannot_be_churned_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="1,025 connections at a time"):
        churn.run(churn.ChurnOptions(connections=(50, 1025)), SILENCE)
    result = {"requests": 7, "failures": {"ECONNRESET": 2}}
    monkeypatch.setattr(Contestant, "load", lambda *_, **__: Round(result, Usage(0, 0, 0, 0, 0)))
    options = churn.ChurnOptions(contenders=("c-epoll",), against=())
    with pytest.raises(LabError, match=r"7 connections were served, failures: {'ECONNRESET': 2}"):
        churn.run(options, SILENCE)
    result |= {"requests": 0, "failures": {}}
    with pytest.raises(LabError, match="0 connections were served, failures: none"):
        churn.run(options, SILENCE)


def test_c10k_alone() -> None:
    options = c10k.C10kOptions(clients=30, contenders=("asyncio",), seconds=0.05, idle_s=0.05)
    (row,) = c10k.run(options, SILENCE).rows
    (one,) = row["contenders"]
    assert (row["clients"], one["held"], one["good_runs"]) == (30, 30, 1)
    assert one["failures"] == {}
    assert one["descriptors_left"] == 0
    assert one["runs"][0]["ended"] == 30
    assert row["comparisons"] == []


def test_c10k_against_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c10k, "PAIRS_MIN", 3)
    options = c10k.C10kOptions(
        clients=20, active=5, contenders=("asyncio",), against=("c-epoll",), seconds=0.1, runs=2
    )
    options.idle_s = 0.02
    (row,) = c10k.run(options, SILENCE).rows
    assert [one["contender"] for one in row["contenders"]][::2] == ["asyncio", "c-epoll"]
    assert [one["pairs"] for one in row["comparisons"]] == [4, 4]
    assert all(one["good_runs"] == 2 for one in row["contenders"])


def test_fewer_descriptors_mean_fewer_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.lab.stage.clients_allowed", lambda wanted: min(wanted, 12))
    options = c10k.C10kOptions(clients=30, contenders=("c-epoll",), seconds=0.05, idle_s=0.02)
    document = c10k.run(options, SILENCE)
    assert document.rows[0]["contenders"][0]["held"] == 12
    assert "allows 12" in document.notes[0]


def test_an_engine_that_watches_few_descriptors_gets_fewer_clients() -> None:
    probe = dict(lowlevel.explain())["select"]
    assert probe.descriptors_max is not None
    options = c10k.C10kOptions(
        clients=3000, active=5, contenders=("noria:select",), seconds=0.05, idle_s=0.02
    )
    document = c10k.run(options, SILENCE)
    (one,) = document.rows[0]["contenders"]
    assert one["failures"] == {}
    assert one["held"] == document.rows[0]["clients"] == probe.descriptors_max - DESCRIPTORS_SPARE
    assert f"noria:select watches {probe.descriptors_max:,} descriptors" in document.notes[0]


def test_the_command_runs_with_what_a_real_limit_allows(tmp_path: Path) -> None:
    """In a process of its own, whose limit cannot be raised."""
    result = tmp_path / "result.json"
    program = f"""
import resource, sys
from noria.cli.main import main
resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
sys.exit(main(["lab", "c10k", "--clients", "400", "--seconds", "0.05", "--idle-s", "0.02",
    "--json", {str(result)!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    saved = json.loads(result.read_text("utf-8"))
    (one,) = saved["rows"][0]["contenders"]
    assert one["held"] == 150 - DESCRIPTORS_SPARE
    assert one["failures"] == {}
    assert "400 clients were asked for; the hard descriptor limit (ulimit -Hn) allows 86" in (
        " ".join(saved["notes"])
    )
    shown = " ".join(done.stdout.split())
    assert "clients were asked for" in shown
    for row in (
        *("connections held", "time to first answer, worst", "connects/s", "requests/s"),
        *("latency p50", "latency p99", "latency p99.9", "CPU µs/request (user + kernel)"),
        *("resident bytes per idle connection", "errors"),
    ):
        assert row in shown


def test_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "ACTIVE", 5)
    options = idle.IdleOptions(
        clients=40,
        contenders=("asyncio",),
        against=("c-epoll",),
        seconds=0.05,
        pairs=1,
        round_s=0.02,
        bursts=1,
    )
    (row,) = idle.run(options, SILENCE).rows
    assert (row["clients"], row["active"]) == (40, 5)
    for one in row["contenders"]:
        assert one["burst_answered"] == 40
        assert one["failures"] == {}
        assert one["idle_ratio"] > 0
    assert "resident_bytes_streams" in row["contenders"][0]


def test_idle_connections_are_weighed_after_an_echo_of_a_kibibyte_on_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = iter([1_000_000, 1_300_000, 1_340_000])
    done: list[Any] = []

    def weigh(_: int) -> int:
        done.append("weighed")
        return next(weights)

    def watched(contestant: Any, count: int, *, size: int = 64) -> None:
        must_connect(contestant, count, size=size)
        done.append((count, size))

    monkeypatch.setattr(idle, "resident_bytes", weigh)
    monkeypatch.setattr(idle, "must_connect", watched)
    options = idle.IdleOptions(
        clients=40, contenders=("c-epoll",), against=(), seconds=0.02, pairs=1, round_s=0.02
    )
    (row,) = idle.run(options, SILENCE).rows
    assert done[:5] == ["weighed", (5, 1024), "weighed", (40, 1024), "weighed"]
    (one,) = row["contenders"]
    assert one["resident_bytes"] == 40_000 / 40
    assert one["resident_bytes_from_start"] == 340_000 / 40


def test_micro(monkeypatch: pytest.MonkeyPatch) -> None:
    options = micro.MicroOptions(
        benches=("create_task", "timer_lateness"), contenders=("asyncio",), against=(), pairs=1
    )
    tasks, late = micro.run(options, SILENCE).rows
    assert tasks["contenders"][0]["rate_per_s"] > 1000
    assert late["contenders"][0]["timers"] == 20
    assert late["contenders"][0]["early"] == 0


def test_any_loop_can_be_measured() -> None:
    contender = "other=asyncio:SelectorEventLoop"
    assert adapters.split(contender) == ("any", "asyncio:SelectorEventLoop")
    assert adapters.missing(contender) is None
    assert adapters.descriptors_max(contender) is None
    adapter, option = adapters.load(contender)
    loop = adapter.new_event_loop(option)
    try:
        assert type(loop) is asyncio.SelectorEventLoop
        assert adapter.facts(loop)["loop"].endswith("SelectorEventLoop")
    finally:
        loop.close()
    for absent in ("x=asyncio:no_such_factory", "x=no_such_module_at_all:loop"):
        adapter, option = adapters.load(absent)
        with pytest.raises(LabError, match="there is no"):
            adapter.new_event_loop(option)
    for word in ("any", "any:asyncio:SelectorEventLoop", "x=asyncio", "=asyncio:loop"):
        with pytest.raises(LabError, match="unknown contender"):
            adapters.split(word)


def test_unknown_and_absent_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="unknown contender 'twisted'; there are noria"):
        rows.run(rows.RowOptions(contenders=("twisted",)), SILENCE)
    with pytest.raises(LabError, match="no event loop"):
        micro.run(micro.MicroOptions(contenders=("c-epoll",)), SILENCE)
    with pytest.raises(LabError, match="unknown benchmark"):
        micro.run(micro.MicroOptions(benches=("x",)), SILENCE)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install uvloop" in str(adapters.missing("uvloop"))
    options = c10k.C10kOptions(
        clients=5, contenders=("c-epoll",), against=("uvloop",), seconds=0.05, idle_s=0.01
    )
    assert "uvloop left out" in c10k.run(options, SILENCE).notes[0]


def test_a_server_that_does_not_come_up_says_why() -> None:
    with pytest.raises(LabError, match="asyncio takes no option"):
        ServerProcess("asyncio:fast", "echo", CORES.server)


def test_a_server_that_dies_is_noticed() -> None:
    with Stage(CORES, SILENCE) as stage:
        server = stage.server("asyncio", "echo")
        contestant = stage.contestant("asyncio", server, stage.client(), 2)
        must_connect(contestant, 2)
        server.process.kill()
        server.process.wait()
        done = contestant.client.ask("echo", contestant.key, seconds=1.0, requests_max=1)
        assert done["alive"] == 0
        assert sum(done["failures"].values()) >= 1 or done["requests"] == 0
        assert connect(contestant, 1)["failures"] == {"ECONNREFUSED": 1}
        with pytest.raises(LabError, match="0 of 1 clients"):
            must_connect(contestant, 1)


def test_a_child_that_says_nothing_is_given_up_and_ended() -> None:
    with ClientProcess(CORES.client) as client:
        start = time.monotonic()
        with pytest.raises(LabError, match=r"still running\) said nothing for 0.1 s"):
            client.receive(0.1)
        assert time.monotonic() - start < 5


def test_wrong_commands_do_not_end_the_load_generator() -> None:
    with ClientProcess(CORES.client) as client:
        for operation in ("echo", "open", "dance"):
            with pytest.raises(LabError, match=f"could not {operation}"):
                client.ask(operation, "nobody")
        assert client.progress().alive == 0
