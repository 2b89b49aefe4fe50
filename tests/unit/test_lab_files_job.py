"""`noria lab files`: its arithmetic, and small runs from start to end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "linux":
    pytest.skip("the lab runs on Linux", allow_module_level=True)
pytest.importorskip("noria.lab._client", reason="not built")

from noria.cli.main import main
from noria.lab import report
from noria.lab.compare import TWIN
from noria.lab.errors import LabError
from noria.lab.files import fio, rows, subjects
from noria.lab.files.rows import ROWS, Goal
from noria.lab.jobs import files as job
from noria.lab.jobs.files import FilesOptions, FilesRound
from noria.lab.stage import Silence
from noria.lab.tables import tables
from tests.children import children

if TYPE_CHECKING:
    from pathlib import Path

SILENCE = Silence()


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    before = children()
    yield
    assert children() <= before, "child processes were left behind"


# -- the arithmetic --------------------------------------------------------------------------


def one_round(time_us: float, **more: Any) -> FilesRound:
    """A round of 1000 operations, half of whose time is CPU time."""
    elapsed_ns = int(time_us * 1_000_000)
    return FilesRound(elapsed_ns, 1000, elapsed_ns // 4, elapsed_ns // 4, **more)


def test_a_time_goal_is_a_ratio_taken_round_by_round() -> None:
    played = {
        "noria": [one_round(3.0), one_round(6.0), one_round(12.0)],
        "os": [one_round(2.0), one_round(4.0), one_round(4.0)],
    }
    goal = job.judge(Goal("time", 1.5, "os"), "noria", played, ())
    assert goal["figure"] == pytest.approx(1.5)
    assert goal["figure_q3"] == pytest.approx(2.25)
    assert goal["reached"] is True
    assert job.judge(Goal("time", 1.4, "os"), "noria", played, ())["reached"] is False


def test_a_rate_goal_is_the_other_way_round() -> None:
    played = {"noria": [one_round(10.0)] * 3, "fio:libaio": [one_round(8.0)] * 3}
    goal = job.judge(Goal("rate", 0.9, "fio:libaio"), "noria", played, ())
    assert goal["figure"] == pytest.approx(0.8)
    assert goal["reached"] is False


def test_the_best_peer_is_found() -> None:
    played = {
        "noria": [one_round(4.0)] * 3,
        "aiofiles": [one_round(50.0)] * 3,
        "urio": [one_round(2.0)] * 3,
        "os": [one_round(1.0)] * 3,
    }
    goal = job.judge(rows.NOT_BEHIND, "noria", played, ("aiofiles", "urio", "anyio"))
    assert (goal["other"], goal["reached"]) == ("urio", False)
    assert goal["figure"] == pytest.approx(0.5)
    absent = job.judge(rows.NOT_BEHIND, "noria", played, ("anyio",))
    assert (absent["figure"], absent["reached"]) == (None, None)


def test_goals_beside_those_who_were_not_asked_for_are_left_out() -> None:
    played = {"noria": [one_round(2.0)], "os": [one_round(1.0)]}
    row = ROWS["hot"]
    asked = job.judge_all(row, ["noria"], played, {}, ["noria", "os"])
    assert [goal["other"] for goal in asked] == ["os"]
    absent = {"turbofile": "not installed"}
    everybody = job.judge_all(row, ["noria"], played, absent, ["noria", "os", "turbofile"])
    assert [(goal["other"], goal["reached"]) for goal in everybody] == [
        ("os", False),
        ("turbofile", None),
        ("peers", None),
    ]
    assert job.judge_all(row, ["os"], played, {}, ["os", "os"]) == []


def test_the_longest_operation_is_that_of_all_rounds() -> None:
    played = {
        "noria": [
            one_round(1.0, details={"worst_ns": worst, "late_p99_ns": late})
            for worst, late in ((1e6, 2e6), (30e6, 0.5e6), (2e6, 0.5e6))
        ]
    }
    worst = job.judge(Goal("worst", 20.0), "noria", played, ())
    assert (worst["figure"], worst["reached"]) == (30.0, False)
    late = job.judge(Goal("lateness", 1.0), "noria", played, ())
    assert (late["figure"], late["reached"]) == (0.5, True)


def test_sums_over_rounds() -> None:
    found = job.summary(
        "noria",
        [
            one_round(1.0, failures={"wrong": 2}, details={"hits": 3, "worst_ns": 5}),
            one_round(3.0, failures={"wrong": 1}, details={"hits": 4, "worst_ns": 9}),
            FilesRound(1000, 0, 0, 0, details={"worst_of_ns": {"stat": 4}}),
        ],
        {"version": "1"},
    )
    assert found["operations"] == 2000
    assert found["user_us"] == pytest.approx(0.5)
    assert found["failures"] == {"wrong": 3, "rounds without an operation": 1}
    assert found["details"] == {"hits": 7, "worst_ns": 9, "worst_of_ns": {"stat": 4}}
    unknown = job.summary("fio:posixaio", [one_round(1.0, cpu_known=False)], {})
    assert (unknown["cpu_us"], unknown["time_us"]) == (None, pytest.approx(1.0))


def test_one_noise_floor_serves_a_row() -> None:
    figures = {
        "a": [1.0, 1.0, 1.0],
        "a" + TWIN: [1.0, 1.1, 1.2],
        "b": [2.0, 2.0, 2.0],
        "os": [1.0, 1.0, 1.0],
    }
    found = job.compare(figures, ["a", "b"], ["os", "nobody"])
    assert [(one["base"], one["other"]) for one in found] == [
        ("a", "a" + TWIN),
        ("a", "os"),
        ("b", "os"),
    ]
    assert len({one["noise_floor"] for one in found}) == 1
    assert [one["winner"] for one in found[1:]] == ["equal", "os"]


# -- from start to end -----------------------------------------------------------------------


def options(tmp_path: Path, **more: Any) -> FilesOptions:
    """A run that is over soon."""
    return FilesOptions(
        pairs=1,
        round_s=0.01,
        generations=1,
        directory=str(tmp_path),
        large_mib=1,
        small_files=3,
        **more,
    )


def test_unknown_rows_and_contenders_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="unknown row 'tepid'; there are hot, stat"):
        job.run(options(tmp_path, rows=("hot", "tepid")), SILENCE)
    with pytest.raises(LabError, match="unknown contender 'libuv'"):
        job.run(options(tmp_path, contenders=("libuv",)), SILENCE)
    assert not list(tmp_path.iterdir())


def test_a_run_from_start_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects.PEERS["pyaio"], "modules", ("no_such_module_at_all",))
    chosen = options(tmp_path, rows=("hot", "small-1"), contenders=("os",), against=("pyaio",))
    document = job.run(chosen, SILENCE).as_json()
    assert not list(tmp_path.iterdir()), "the files are removed"
    assert [row["row"] for row in document["rows"]] == ["hot", "small-1"]
    for row in document["rows"]:
        assert row["absent"] == {"pyaio": "pyaio is not installed: pip install pyaio"}
        labels = [one["contender"] for one in row["contenders"]]
        assert labels == ["os", "os" + TWIN]
        assert all(one["failures"] == {} for one in row["contenders"])
        assert all(one["time_us"] > 0 for one in row["contenders"])
        assert [one["other"] for one in row["comparisons"]] == ["os" + TWIN]
    assert document["rows"][1]["contenders"][0]["operations"] == 3
    assert not report.failed(document)
    assert json.loads(json.dumps(document))["rows"] == document["rows"]
    text = report.markdown(document)
    assert "pyaio left out" in text
    assert "subjects on CPU" in text


def test_a_contender_that_cannot_run_is_a_failure(tmp_path: Path) -> None:
    chosen = options(tmp_path, rows=("durable",), contenders=("noria/floppy",), against=("os",))
    document = job.run(chosen, SILENCE).as_json()
    (row,) = document["rows"]
    assert "floppy" in row["absent"]["noria/floppy"]
    assert row["contenders"][0]["failures"] == {"could not run": 1}
    assert report.failed(document)
    assert "noria/floppy FAILED" in report.markdown(document)


def test_a_default_contender_that_is_not_there_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(ROWS["durable"], bases=("noria/floppy", "os"), oracles=(), peers=())
    monkeypatch.setitem(ROWS, "durable", row)
    document = job.run(options(tmp_path, rows=("durable",)), SILENCE).as_json()
    (found,) = document["rows"]
    assert "floppy" in found["absent"]["noria/floppy"]
    assert [one["contender"] for one in found["contenders"]] == ["os", "os" + TWIN]
    assert not report.failed(document)


def test_without_direct_io_nobody_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "has_direct", lambda _: False)
    document = job.run(options(tmp_path, rows=("direct-32",)), SILENCE).as_json()
    (row,) = document["rows"]
    assert row["absent"] == {"everybody": "the filesystem has no direct I/O"}
    assert not report.failed(document)
    assert "everybody left out" in report.markdown(document)


def test_a_subject_that_has_nothing_for_a_row_is_left_out(tmp_path: Path) -> None:
    chosen = options(tmp_path, rows=("stat",), contenders=("os",), against=("fio:psync",))
    if fio.missing():
        pytest.skip("fio is not installed")
    (row,) = job.run(chosen, SILENCE).rows
    assert row["absent"] == {"fio:psync": "fio has nothing for this row"}


def test_goals_that_were_not_reached_are_shown() -> None:
    lost = job.verdict(Goal("time", 1.5, "os"), "noria", "os", [2.0])
    unknown = job.verdict(Goal("rate", 0.9, "fio:psync"), "noria", "fio:psync", None)
    nothing: dict[str, Any] = {"contenders": [], "comparisons": [], "cpu_comparisons": []}
    row = nothing | {"row": "hot", "what": "x", "absent": {}, "goals": [lost, unknown]}
    shown = tables({"job": "files", "rows": [row]})
    assert [table.title for table in shown][1:] == ["goals", "files: one operation of each row"]
    goals = shown[1]
    assert goals.rows == [
        ["hot", "noria", "os", "time <= 1.5 x", "2.000 (2.000..2.000)", "**not reached**"],
        ["hot", "noria", "fio:psync", "rate >= 0.9 x", "-", "not measured"],
    ]


def test_which_way_operations_went_is_shown() -> None:
    details = {"hits": 1, "native": 6, "backend": 1}
    one = job.summary("noria", [one_round(1.0, details=details)] * 2, {})
    row = {"row": "cold-32", "what": "x", "absent": {}, "goals": [], "contenders": [one]}
    row |= {"comparisons": [], "cpu_comparisons": []}
    ways = tables({"job": "files", "rows": [row]})[-1]
    assert ways.header == ["row", "contender", "page cache", "ring", "disk backend"]
    assert ways.rows == [["cold-32", "noria", "12.5 %", "75.0 %", "12.5 %"]]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich", reason="not installed")
    saved = tmp_path / "files.json"
    words = ["lab", "files", "--rows", "stat", "--contenders", "os", "--against", "os"]
    words += ["--rounds", "1", "--round-s", "0.01", "--generations", "1", "--json", str(saved)]
    assert main([*words, "--directory", str(tmp_path)]) == 0
    assert "stat of a cached name" in capsys.readouterr().out
    assert json.loads(saved.read_text())["job"] == "files"
    assert main(["lab", "files", "--rows", "tepid"]) == 2
    assert "unknown row 'tepid'" in capsys.readouterr().err
