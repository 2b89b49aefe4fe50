"""Tables tell the truth: losses, noise and failures are in them."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from noria.cli import lab
from noria.lab import report
from noria.lab.compare import TWIN
from noria.lab.errors import LabError
from noria.lab.tables import failures, microseconds, number, ratio, size, tables

if TYPE_CHECKING:
    from pathlib import Path

HOST = {
    "processor": "P",
    "cpus": 2,
    "kernel": "6",
    "python": "3.13",
    "server_core": 1,
    "client_core": 0,
    "server_core_siblings": "0-1",
}


def summary(contender: str, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "contender": contender,
        "facts": {"version": "1"},
        "cpu_us": 4.0,
        "user_us": 1.0,
        "kernel_us": 3.0,
        "requests_per_s": 250_000.0,
        "p50_ns": 200_000,
        "p99_ns": 300_000,
        "p999_ns": None,
        "failures": {},
        "busy_share": 1.0,
        "disturbed_share": 0.0,
        "client_sleeps": 0,
    }
    return made | changes


def comparison(base: str, other: str, winner: str, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "base": base,
        "other": other,
        "pairs": 15,
        "ratio": 0.9,
        "ratio_q1": 0.89,
        "ratio_q3": 0.91,
        "noise_floor": 0.02,
        "winner": winner,
    }
    return made | changes


def document(job: str, **row: Any) -> dict[str, Any]:
    options = {"contenders": ["noria"]}
    return {"job": job, "host": HOST, "options": options, "notes": ["a note"], "rows": [row]}


def echo_document(**changes: Any) -> dict[str, Any]:
    return document(
        "echo",
        size=1024,
        connections=50,
        contenders=[summary("noria", **changes), summary("uvloop")],
        comparisons=[
            comparison("noria", "noria" + TWIN, "equal"),
            comparison("noria", "uvloop", "uvloop"),
            comparison("noria", "asyncio", "noria"),
            comparison("noria", "c-epoll", "equal"),
        ],
    )


def test_who_lost_is_said_aloud() -> None:
    verdicts = [row[-1] for row in tables(echo_document())[1].rows]
    assert verdicts == ["(noise floor)", "**noria loses** to uvloop", "noria wins", "equal"]


def test_doubts_are_listed() -> None:
    table = tables(echo_document(failures={"ECONNRESET": 2}, disturbed_share=0.3, client_sleeps=4))[
        0
    ]
    assert len(table.remarks) == 3
    assert "FAILED: 2 ECONNRESET" in table.remarks[0]
    assert "30 %" in table.remarks[1]
    assert "slept 4 times" in table.remarks[2]
    waited = tables(echo_document(busy_share=0.4))[0].remarks
    assert "limited by the clients" in waited[0]
    assert tables(echo_document())[0].remarks == []


def c10k_document(good: int = 1) -> dict[str, Any]:
    one = summary(
        "noria",
        held=10_000,
        first_answer_worst_ns=25_000_000,
        connects_per_s=40_000.0,
        resident_bytes=812.3,
        idle_wakeups_per_s=0.0,
        descriptors_left=0,
        runs=[{}] * 2,
        good_runs=good,
    )
    return document(
        "c10k", clients=10_000, active=10_000, size=64, contenders=[one], comparisons=[]
    )


def test_the_main_job_is_one_table() -> None:
    (table,) = tables(c10k_document())
    cells = dict(table.rows)
    assert cells["connections held"] == "10,000"
    assert cells["time to first answer, worst"] == "25 ms"
    assert cells["resident bytes per idle connection"] == "812"
    assert cells["good runs"] == "1 of 2"
    assert cells["CPU µs/request (user + kernel)"] == "4.00 (1.00 + 3.00)"


def test_failures_decide_the_exit_code_but_not_those_of_rivals() -> None:
    assert not report.failed(echo_document())
    assert report.failed(echo_document(failures={"x": 1}))
    assert report.failed(c10k_document(good=1))
    assert not report.failed(c10k_document(good=2))
    rival = echo_document()
    rival["rows"][0]["contenders"][1]["failures"] = {"x": 1}
    assert not report.failed(rival)


def test_the_request_rate_is_compared_too() -> None:
    made = echo_document()
    assert len(tables(made)) == 2, "documents saved by older versions have no such comparison"
    made["rows"][0]["rate_comparisons"] = [
        comparison("noria", "noria" + TWIN, "equal", ratio=1.0),
        comparison("noria", "uvloop", "noria", ratio=1.17, ratio_q1=1.16, ratio_q3=1.18),
    ]
    figures, cpu, rates = tables(made)
    assert figures.header[2:6] == ["CPU µs", "user", "kernel", "requests/s"]
    assert figures.rows[0][2:6] == ["4.00", "1.00", "3.00", "250.0 k"]
    assert cpu.title == "CPU time per request, pair by pair (below 1: base wins)"
    assert rates.title == "requests/s, pair by pair (above 1: base wins)"
    assert rates.rows[1][1:3] == ["noria / uvloop", "1.170 (1.160..1.180)"]
    assert [row[-1] for row in rates.rows] == ["(noise floor)", "noria wins"]


def test_a_churn_counts_connections() -> None:
    found = [
        summary("noria", descriptors_left=3, failures={"EADDRNOTAVAIL": 7}),
        summary("uvloop", descriptors_left=0),
    ]
    compared = [comparison("noria", "uvloop", "noria")]
    made = document(
        "churn",
        size=64,
        connections=50,
        contenders=found,
        comparisons=compared,
        rate_comparisons=compared,
    )
    figures, cpu, rates = tables(made)
    assert figures.title == "churn: CPU time of the server process per connection"
    assert figures.rows[0][0] == "64 B, 50 at a time"
    assert dict(zip(figures.header, figures.rows[0], strict=True))["connections/s"] == "250.0 k"
    assert [row[-2:] for row in figures.rows] == [["7 EADDRNOTAVAIL", "3"], ["0", "0"]]
    assert "FAILED: 7 EADDRNOTAVAIL" in figures.remarks[0]
    assert cpu.title.startswith("CPU time per connection")
    assert rates.title.startswith("connections/s")
    assert "a connection is opened when the last one was closed" in report.markdown(made)
    assert "sends its next request" in report.markdown(echo_document())


def test_datagrams_are_told_with_those_lost() -> None:
    made = document(
        "udp",
        size=64,
        connections=50,
        contenders=[
            summary("noria", requests=950, lost=50, duplicates=2),
            summary("uvloop", requests=950, lost=0, duplicates=0),
        ],
        comparisons=[comparison("noria", "uvloop", "noria")],
    )
    figures, cpu = tables(made)
    assert figures.rows[0][0] == "64 B, 50 clients"
    assert [row[-2:] for row in figures.rows] == [["50", "2"], ["0", "0"]]
    assert figures.header[-2:] == ["lost", "twice"]
    assert figures.remarks == [
        "64 B, 50 clients: noria: 50 datagrams were lost and sent again (5 %)"
    ]
    assert cpu.title.startswith("CPU time per datagram")


def spawn_document(**changes: Any) -> dict[str, Any]:
    one = {"facts": {}, "cpu_us": 150.0, "children_cpu_us": 500.0, "failures": {}}
    made = document(
        "spawn",
        parallel=8,
        contenders=[
            one | {"contender": "noria", "rate_per_s": 1500.0} | changes,
            one | {"contender": "uvloop", "rate_per_s": 500.0},
        ],
        comparisons=[comparison("noria", "uvloop", "uvloop", ratio=1.1)],
    )
    made["rows"][0]["rate_comparisons"] = [comparison("noria", "uvloop", "noria", ratio=3.0)]
    return made


def test_spawns_are_told_by_rate_and_by_cpu() -> None:
    figures, rates, cpu = tables(spawn_document(failures={"exit codes other than 0": 2}))
    assert figures.rows[0] == [
        *("8 at a time", "noria", "1,500", "150.0", "500.0", "2 exit codes other than 0")
    ]
    assert figures.remarks == ["8 at a time: noria FAILED: 2 exit codes other than 0"]
    assert (rates.rows[0][2][:5], rates.rows[0][-1]) == ("3.000", "noria wins")
    assert (cpu.rows[0][2][:5], cpu.rows[0][-1]) == ("1.100", "**noria loses** to uvloop")
    assert report.failed(spawn_document(failures={"exit codes other than 0": 2}))
    assert not report.failed(spawn_document())
    assert "A process is spawned when the last one was awaited" in report.markdown(spawn_document())


def test_tls_connections_are_told_by_weight_and_a_heavier_base_stands_out() -> None:
    def weighed(contender: str, bytes_each: float) -> dict[str, Any]:
        weight = {
            "held": 1000,
            "resident_bytes": bytes_each,
            "resident_bytes_from_start": bytes_each + 1000,
        }
        return {"contender": contender, "facts": {}, "failures": {}, "weights": {"1024": weight}}

    def divided(base: str, other: str, ratio: float | None) -> dict[str, Any]:
        return {"base": base, "other": other, "size": 1024, "ratio": ratio}

    made = document(
        "idle-tls",
        clients=1000,
        sizes=[1024],
        contenders=[weighed("noria", 24_000), weighed("uvloop", 26_000)],
        comparisons=[
            divided("noria", "uvloop", 0.923),
            divided("noria", "c-openssl", 1.8),
            divided("noria", "odd", None),
        ],
    )
    weights, ratios = tables(made)
    assert weights.title == "1,000 idle TLS connections: resident bytes for each"
    assert weights.rows[0] == ["1 KiB", "noria", "1,000", "24,000", "25,000"]
    assert [row[1:] for row in ratios.rows] == [
        ["noria / uvloop", "0.923"],
        ["noria / c-openssl", "**1.800**"],
        ["noria / odd", "-"],
    ]
    assert "is silent" in report.markdown(made)
    made["rows"][0]["contenders"][0]["failures"] = {"ECONNRESET": 1}
    assert tables(made)[0].remarks == ["noria FAILED: 1 ECONNRESET"]


def test_nobody_left_to_compare_means_no_table_of_comparisons() -> None:
    made = echo_document()
    made["rows"][0]["comparisons"] = []
    assert len(tables(made)) == 1
    spawned = spawn_document()
    spawned["rows"][0]["comparisons"] = spawned["rows"][0]["rate_comparisons"] = []
    assert len(tables(spawned)) == 1


def test_idle_memory_is_told_with_and_without_what_is_made_once() -> None:
    one = summary(
        "noria",
        wakeups_per_s=0.0,
        wakeups_full_per_s=0.0,
        resident_bytes=602.4,
        resident_bytes_from_start=1165.4,
        alone=summary("noria"),
        among_idle=summary("noria"),
        idle_ratio=1.0,
        idle_ratio_q1=0.99,
        idle_ratio_q3=1.01,
        burst_answered=2000,
        burst_ns=10**7,
        burst_worst_ns=10**7,
    )
    (table,) = tables(document("idle", clients=2000, active=100, contenders=[one]))
    cells = [row[1] for row in table.rows if "resident" in row[0] or "the same" in row[0]]
    assert cells == ["602", "1,165", "-", "-"]


def micro_document() -> dict[str, Any]:
    made = document(
        "micro",
        bench="call_soon",
        contenders=[{"contender": "noria", "facts": {}, "rate_per_s": 2.5e6}],
        comparisons=[comparison("noria", "uvloop", "noria", ratio=1.7)],
    )
    late = {"late_p50_ns": 60_000.0, "late_p99_ns": 90_000.0, "early": 0, "timers": 300}
    made["rows"].append(
        {
            "bench": "timer_lateness",
            "contenders": [{"contender": "noria", "facts": {}} | late],
            "comparisons": [],
        }
    )
    return made


def test_markdown_has_all_tables() -> None:
    text = report.markdown(micro_document())
    assert "| call_soon | 2.50 M |" in text
    assert "| noria | 60 µs | 90 µs | 0 | 300 |" in text
    assert "- note: a note" in text
    assert "both are threads of one physical core" in text
    assert "**noria loses** to uvloop" in report.markdown(echo_document())


def test_results_are_saved(tmp_path: Path) -> None:
    json_path, markdown_path = tmp_path / "r.json", tmp_path / "r.md"
    report.save(echo_document(), json_path, markdown_path)
    assert json.loads(json_path.read_text("utf-8")) == echo_document()
    assert markdown_path.read_text("utf-8") == report.markdown(echo_document())


def test_numbers_as_people_read_them() -> None:
    assert [microseconds(one) for one in (None, 950.0, 12_345, 12e6, 2.5e9)] == [
        "-",
        "0.95 µs",
        "12.3 µs",
        "12 ms",
        "2.5 s",
    ]
    assert [number(one) for one in (0, 3.14159, 812, 9999, 25_300, 2.5e6)] == [
        "0",
        "3.14",
        "812",
        "9,999",
        "25.3 k",
        "2.50 M",
    ]
    assert [size(one) for one in (64, 1000, 1024, 102_400)] == [
        "64 B",
        "1000 B",
        "1 KiB",
        "100 KiB",
    ]
    assert failures({}) == "0"
    assert ratio(comparison("a", "b", "a")) == "0.900 (0.890..0.910)"


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    lab.register(parser.add_subparsers(required=True))
    return parser.parse_args(["lab", *arguments])


@pytest.mark.parametrize(
    "job",
    [
        *("c10k", "echo", "streams", "sock", "unix", "udp", "tls", "http"),
        *("churn", "spawn", "micro", "idle"),
    ],
)
def test_every_job_has_options_and_defaults(job: str) -> None:
    namespace = parse(job, "--against", "asyncio", "--server-core", "1")
    module = importlib.import_module(lab.JOBS[namespace.job])
    options = lab._options(module, namespace)
    assert options.against == ("asyncio",)
    assert options.contenders == ("noria",)
    assert options == type(options)(
        **{
            "against": ("asyncio",),
            "server_core": 1,
            **({"scenario": job} if namespace.job == "rows" else {}),
        }
    )


def test_rounds_may_be_long_enough_to_tell_user_from_kernel_time() -> None:
    options = lab._options(
        importlib.import_module(lab.JOBS["rows"]),
        parse("echo", "--round-s", "20", "--pairs", "1", "--generations", "1"),
    )
    assert (options.round_s, options.pairs, options.generations) == (20.0, 1, 1)


def test_a_churn_has_rows_of_its_own() -> None:
    namespace = parse("churn", "--scenario", "streams", "--half-close", "--connections", "5,9")
    options = lab._options(importlib.import_module(lab.JOBS["churn"]), namespace)
    assert (options.scenario, options.half_close) == ("streams", True)
    assert (options.sizes, options.connections) == ((64, 1024), (5, 9))


def test_idle_weighs_tls_connections_where_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[argparse.Namespace] = []

    def run(namespace: argparse.Namespace) -> int:
        asked.append(namespace)
        return 0

    monkeypatch.setattr(lab, "_run", run)
    for arguments in (("idle",), ("idle", "--tls", "--sizes", "1,2"), ("idle", "--clients", "7")):
        namespace = parse(*arguments)
        assert namespace.run(namespace) == 0
    plain, tls, few = (
        lab._options(importlib.import_module(lab.JOBS[one.job]), one) for one in asked
    )
    assert (type(plain).__name__, plain.clients) == ("IdleOptions", 10_000)
    assert (type(tls).__name__, tls.clients, tls.sizes) == ("IdleTlsOptions", 1000, (1, 2))
    assert few.clients == 7


def test_spawns_have_rows_of_their_own_and_http_has_one_size() -> None:
    options = lab._options(
        importlib.import_module(lab.JOBS["spawn"]), parse("spawn", "--parallel", "1,4")
    )
    assert options.parallel == (1, 4)
    options = lab._options(importlib.import_module(lab.JOBS["http"]), parse("http"))
    assert (options.sizes, options.connections) == ((12,), (50,))
    with pytest.raises(SystemExit, match="2"):
        parse("http", "--sizes", "64")


def test_engines_are_short_for_contenders() -> None:
    module = importlib.import_module(lab.JOBS["c10k"])
    options = lab._options(module, parse("c10k", "--engine", "epoll,poll", "--clients", "5"))
    assert options.contenders == ("noria:epoll", "noria:poll")
    assert options.clients == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("c10k", "--clients", "0"),
        ("echo", "--sizes", "64,x"),
        ("echo", "--round-s", "-1"),
        ("idle", "--seconds", "nan"),
        ("unknown",),
        (),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(*arguments)
    assert "usage" in capsys.readouterr().err


def test_a_saved_result_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(echo_document()), "utf-8")
    namespace = parse("show", str(path), "--markdown")
    assert namespace.run(namespace) == 0
    assert "1 KiB, 50 connections" in capsys.readouterr().out
    path.write_text("{}")
    assert namespace.run(namespace) == 2
    assert "is not a saved result" in capsys.readouterr().err


def test_no_table_is_printed_twice() -> None:
    made = echo_document()
    made["rows"].append({**made["rows"][0], "connections": 1000})
    for row in made["rows"]:
        row["rate_comparisons"] = [comparison("noria", "uvloop", "noria", ratio=1.17)]
    lines = report.markdown(made).splitlines()
    assert [line for line in lines if line.startswith("### ")] == [
        "### echo: CPU time of the server process per request",
        "### CPU time per request, pair by pair (below 1: base wins)",
        "### requests/s, pair by pair (above 1: base wins)",
    ]
    rows = [line for line in lines if line.startswith("| 1 KiB")]
    assert len(rows) == len(set(rows)) == 2 * 2 + 2 * 4 + 2 * 1
    for place, line in enumerate(lines):
        if line.startswith("| row"):
            assert lines[place - 1] == "", "else Markdown takes it for a row of the table before"


def test_several_results_make_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "3.json"
    first.write_text(json.dumps(echo_document()), "utf-8")
    second.write_text(json.dumps({**echo_document(), "job": "unix"}), "utf-8")
    third.write_text(json.dumps(spawn_document()), "utf-8")
    namespace = parse("report", str(first), str(second), str(third))
    assert namespace.run(namespace) == 0
    shown = capsys.readouterr().out
    headings = [line for line in shown.splitlines() if line.startswith("## ")]
    assert headings == ["## echo", "## unix", "## spawn"]
    assert shown.count("P, 2 CPUs, Linux 6") == 2, "once for those that agree in it"
    assert shown.count("noria loses** to uvloop") == 3
    for path in (first, second, third):
        for line in report.markdown(json.loads(path.read_text("utf-8"))).splitlines():
            if line.startswith("|"):
                assert line in shown
    second.write_text('{"job": "echo"}')
    assert namespace.run(namespace) == 2
    assert f"{second} is not a saved result" in capsys.readouterr().err


def pipes_document(**changes: Any) -> dict[str, Any]:
    one = {"facts": {}, "cpu_us": 5.5, "rate_per_s": 50_000.0, "failures": {}}
    compared = [comparison("noria", "uvloop", "uvloop", ratio=1.1)]
    return document(
        "pipes",
        size=1024,
        children=8,
        contenders=[one | {"contender": "noria"} | changes, one | {"contender": "uvloop"}],
        comparisons=compared,
        rate_comparisons=compared,
    )


def test_pipes_are_told_by_cpu_and_by_rate() -> None:
    figures, cpu, rates = tables(pipes_document(failures={"wrong bytes": 2}))
    row = ["1 KiB, 8 at a time", "noria", "5.50", "50.0 k", "2 wrong bytes"]
    assert figures.rows[0] == row
    assert figures.remarks == ["1 KiB, 8 at a time: noria FAILED: 2 wrong bytes"]
    assert cpu.rows[0][-1] == rates.rows[0][-1] == "**noria loses** to uvloop"
    assert report.failed(pipes_document(failures={"wrong bytes": 2}))
    assert "when an earlier one has come back" in report.markdown(pipes_document())


def test_trains_are_told_with_their_direction() -> None:
    made = document(
        "trains",
        size=1200,
        connections=4,
        train=32,
        direction="in",
        contenders=[summary("noria+offload", requests=64, lost=3, duplicates=0)],
        comparisons=[],
    )
    (figures,) = tables(made)
    assert figures.rows[0][0] == "in, 32 x 1200 B, 4 clients"
    assert (figures.header[-1], figures.rows[0][-1]) == ("lost", "3")
    assert "its next train when the last one was whole" in report.markdown(made)


def test_a_result_is_shown_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "r.json"
    path.write_text(json.dumps(c10k_document(2)), "utf-8")
    namespace = parse("show", str(path))
    assert namespace.run(namespace) == 0
    shown = capsys.readouterr().out
    assert "10,000 clients on one thread" in shown
    assert "25 ms" in shown


def test_without_rich_the_lab_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(LabError, match=r"pip install noria\[lab\]"):
        report.print_document(echo_document())
