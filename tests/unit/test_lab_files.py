"""`noria lab files`: its files, its subjects, its arithmetic, and small runs from start to end."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "linux":
    pytest.skip("the lab runs on Linux", allow_module_level=True)
pytest.importorskip("noria.lab._client", reason="not built")

import noria
from noria.cli.main import main
from noria.files import File, open_file
from noria.lab import report
from noria.lab.compare import TWIN
from noria.lab.errors import LabError, UnableError
from noria.lab.files import fio, ground, rows, subjects, sync_os
from noria.lab.files.ground import BLOCK_BYTES, Checker, Ground
from noria.lab.files.hung import hung
from noria.lab.files.noria_files import Noria
from noria.lab.files.rows import ROWS, Goal
from noria.lab.files.subject import Subject
from noria.lab.files.sync_work import SYNC_WORKS
from noria.lab.files.work import WORKS
from noria.lab.jobs import files as job
from noria.lab.jobs.files import FilesOptions, FilesRound
from noria.lab.stage import Silence
from noria.lab.tables import tables
from tests.children import children

if TYPE_CHECKING:
    from collections.abc import Callable

SILENCE = Silence()
MIB = 1 << 20
ARGUMENTS: dict[str, dict[str, Any]] = {
    "blocks": {"depth": 4, "direct": False},
    "lines": {"binary": False},
    "small": {"depth": 3, "sync": True},
    "sequence": {"write": False},
}
"""Of works that take some."""


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    before = children()
    yield
    assert children() <= before, "child processes were left behind"


@pytest.fixture
def field(tmp_path: Path) -> Ground:
    """A small ground with all files."""
    made = Ground(tmp_path, large_bytes=2 * MIB, small_files=7)
    for name in ("hot", "large", "scratch", "lines", "small"):
        made.make(name)
    return made


# -- the files -------------------------------------------------------------------------------


def test_blocks_are_numbered_and_have_no_holes(field: Ground) -> None:
    data = field.large.read_bytes()
    checker = Checker()
    assert len(data) == 2 * MIB
    assert field.large.stat().st_blocks * 512 >= len(data)
    assert checker.is_right(data, 0)
    block = data[MIB + BLOCK_BYTES : MIB + 2 * BLOCK_BYTES]
    assert checker.is_right(block, MIB + BLOCK_BYTES)
    assert not checker.is_right(block, BLOCK_BYTES), "the same filler, another number"
    assert not checker.is_right(block[:-1] + bytes([block[-1] ^ 1]), MIB + BLOCK_BYTES)
    assert not checker.is_right(block[:-1], MIB + BLOCK_BYTES)
    assert not checker.is_right(b"", 0)


def test_every_block_comes_once() -> None:
    offsets = ground.shuffled(MIB, 1)
    assert sorted(offsets) == list(range(0, MIB, BLOCK_BYTES))
    assert offsets != sorted(offsets)
    assert offsets != ground.shuffled(MIB, 2)


def test_files_that_are_there_stay(field: Ground) -> None:
    before = field.hot.stat().st_mtime_ns
    field.make("hot")
    assert field.hot.stat().st_mtime_ns == before
    with pytest.raises(LabError, match="whole MiB"):
        ground.make_blocks(field.folder / "x", MIB + 1)
    assert ground.filesystem(field.folder)


# -- the subjects ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("noria", ("noria", "")),
        ("noria:epoll", ("noria", ":epoll")),
        ("noria:epoll-et/threads", ("noria", ":epoll-et/threads")),
        ("noria/linux_aio", ("noria", "/linux_aio")),
        ("noria@uvloop", ("noria", "@uvloop")),
        ("os", ("os", "")),
        ("fio:psync", ("fio", "psync")),
        ("caio:linux_aio", ("caio", "linux_aio")),
        ("anyio", ("anyio", "")),
    ],
)
def test_words_of_subjects(word: str, found: tuple[str, str]) -> None:
    assert subjects.split(word) == found


@pytest.mark.parametrize("word", ["", "fio", "fio:mmap", "os:x", "noria/epoll@asyncio", "noriax"])
def test_words_of_nobody(word: str) -> None:
    with pytest.raises(LabError, match=r"unknown contender|is not noria"):
        subjects.split(word)


def test_a_peer_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert subjects.missing("asyncfiles") == (
        "asyncfiles is not installed: pip install py-asyncfiles"
    )
    with pytest.raises(LabError, match="pip install turbofile"):
        subjects.load("turbofile")
    assert subjects.missing("os") is None


def test_what_has_no_loop_is_not_loaded_as_if_it_had() -> None:
    with pytest.raises(LabError, match="no event loop"):
        subjects.load("os")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_rows_are_made_of_what_there_is(row: rows.Row) -> None:
    for word in (*row.bases, *row.oracles, *row.peers):
        subjects.split(word)
    assert row.work in {*WORKS, "hung"}
    assert set(row.files) <= {"hot", "large", "scratch", "lines", "small"}
    for goal in row.goals:
        assert goal.other in {"", rows.PEERS_WORD, *row.oracles, *row.peers}
        assert goal.base in {"", *row.bases}
    if "os" in row.oracles:
        assert row.work in SYNC_WORKS
    assert any(word.startswith("fio") for word in row.oracles) <= bool(row.fio)


# -- the work --------------------------------------------------------------------------------


class Opening:
    """noria.open, as far as the lab needs it."""

    def __init__(self, path: Any, mode: str = "r", **more: Any) -> None:
        self.path, self.mode, self.direct = path, mode, more.get("direct", False)
        self.file: Any = None

    async def _open(self) -> Any:
        flags = {"r": os.O_RDONLY, "b": os.O_RDONLY, "+": os.O_RDWR}
        made = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        kind = made if "w" in self.mode else flags[self.mode[1:2] or "r"]
        self.file = await open_file(File, self.path, kind, direct=self.direct)
        return self.file

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> Any:
        return Stream(await self)

    async def __aexit__(self, *_: object) -> None:
        await self.file.close()


class Stream:
    """Lines, and writes at the beginning."""

    def __init__(self, file: File) -> None:
        self.file = file

    async def __aiter__(self) -> Any:
        for line in (await self.file.read_at(4 * MIB, 0)).splitlines():
            yield line

    async def write(self, data: bytes) -> int:
        return await self.file.write_at(data, 0)

    async def flush(self) -> None:
        pass

    async def sync(self) -> None:
        await self.file.sync()


def call(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of names asynchronous."""

    async def run(*arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    return run


@pytest.fixture
def subject() -> Noria:
    """noria's subject on the files below the public names."""
    made = Noria()
    made.noria = SimpleNamespace(  # type: ignore[assignment]
        open=Opening,
        fs=SimpleNamespace(
            stat=call(os.stat),
            unlink=call(os.unlink),
            write_bytes=call(lambda name, data: Path(name).write_bytes(data)),
            read_bytes=call(lambda name: Path(name).read_bytes()),
        ),
    )
    return made


@pytest.mark.parametrize("name", WORKS)
def test_work_on_a_loop(field: Ground, subject: Noria, name: str) -> None:
    async def play() -> dict[str, Any]:
        work = WORKS[name](subject, field, 0.02, 3, **ARGUMENTS.get(name, {}))
        return (await work).result()

    result = noria.run(play())
    assert result["failures"] == {}
    assert result["operations"] > 0
    assert result["elapsed_ns"] > 0
    assert result["user_ns"] + result["kernel_ns"] >= 0
    assert json.loads(json.dumps(result)) == result
    if name == "small":
        assert result["operations"] == 7
    if name in ("hot", "blocks", "sequence"):
        assert sum(result["details"].values()) >= result["operations"]


def test_blocks_are_read_once_unless_they_are_read_from_the_disk(
    field: Ground, subject: Noria
) -> None:
    play = WORKS["blocks"](subject, field, 5.0, 3, depth=8, direct=False)
    meter = noria.run(play)
    assert meter.operations == 2 * MIB // BLOCK_BYTES
    assert meter.elapsed_ns < 5e9


def test_wrong_blocks_are_found(field: Ground, subject: Noria) -> None:
    with field.large.open("r+b") as file:
        file.write(bytes(2 * MIB))
    play = WORKS["blocks"](subject, field, 5.0, 3, depth=8, direct=False)
    assert noria.run(play).failures == {"wrong blocks": 8}


@pytest.mark.parametrize("name", SYNC_WORKS)
@pytest.mark.parametrize("other", [False, True])
def test_work_without_a_loop(field: Ground, name: str, other: bool) -> None:
    arguments = dict(ARGUMENTS.get(name, {}))
    for key in ("binary", "sync", "write"):
        if key in arguments:
            arguments[key] = other
    result = SYNC_WORKS[name](field, 0.01, 3, **arguments).result()
    assert result["failures"] == {}
    assert result["operations"] > 0
    if name == "small":
        assert result["operations"] == 7
        assert not list(field.small.iterdir())
    if name in ("hot", "durable", "sequence"):
        assert Checker().is_right(field.hot.read_bytes(), 0)


def test_hung_opens_come_back(
    field: Ground, subject: Noria, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noria.lab.files.hung.FIFOS", 12)
    meter = noria.run(hung(subject, field, 0.05, 3))
    assert meter.failures == {}
    assert meter.operations >= 5
    details = meter.details
    assert set(details["worst_of_ns"]) == {"stat", "open", "read", "write", "close"}
    assert details["worst_ns"] == max(details["worst_of_ns"].values())
    assert Checker().is_right(field.hot.read_bytes(), 0), "what was written is what was there"


def test_operations_that_hang_are_told(
    field: Ground, subject: Noria, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noria.lab.files.hung.FIFOS", 2)
    monkeypatch.setattr("noria.lab.files.hung.GIVE_UP_S", 0.05)

    async def never(_: str) -> Any:
        await asyncio.sleep(3600)

    subject.noria.fs.stat = never
    meter = noria.run(hung(subject, field, 5.0, 3))
    assert meter.failures == {"operations hung": 1}
    assert meter.details["worst_ns"] == 5e7


# -- fio -------------------------------------------------------------------------------------

RECORDED = {
    "fio version": "fio-3.33",
    "jobs": [
        {
            "jobname": "lab",
            "error": 0,
            "job options": {"ioengine": "io_uring", "iodepth": "32"},
            "read": {"iops": 50000.0, "total_ios": 20000, "runtime": 400},
            "write": {"iops": 0.0, "total_ios": 0, "runtime": 0},
            "job_runtime": 400,
            "usr_cpu": 5.0,
            "sys_cpu": 35.0,
        }
    ],
}
"""What fio 3.33 prints, without what is not read."""


def test_fio_is_understood() -> None:
    found = fio.parse("fio: a warning\n" + json.dumps(RECORDED))
    one = FilesRound(**found)
    assert (one.operations, one.elapsed_ns) == (20000, 400_000_000)
    assert (one.user_ns, one.kernel_ns) == (20_000_000, 140_000_000)
    assert one.rate_per_s == pytest.approx(50_000)
    assert one.time_us == pytest.approx(20)
    assert one.cpu_us == pytest.approx(8)
    assert one.cpu_known


def test_fio_that_writes_and_fio_whose_cpu_time_is_not_known() -> None:
    document = json.loads(json.dumps(RECORDED))
    (recorded,) = document["jobs"]
    recorded["read"], recorded["write"] = recorded["write"], recorded["read"]
    recorded["job options"]["ioengine"] = "posixaio"
    found = fio.parse(json.dumps(document))
    assert found["operations"] == 20000
    assert not found["cpu_known"]


def test_fio_that_failed() -> None:
    document = json.loads(json.dumps(RECORDED))
    document["jobs"][0]["error"] = 5
    with pytest.raises(LabError, match="error 5"):
        fio.parse(json.dumps(document))
    for said in ("", "no such thing", "{}", '{"jobs": []}'):
        with pytest.raises(LabError, match="something else"):
            fio.parse(said)


def test_what_fio_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("x")
    cold = fio.command("io_uring", path, MIB, seconds=0.4, depth=32, direct=False, once=True)
    assert {"--iodepth=32", "--direct=0", "--invalidate=1", "--runtime=400ms"} <= set(cold)
    assert "--time_based" not in cold
    threads = fio.command("psync", path, MIB, seconds=1, depth=1000, direct=True)
    assert {"--numjobs=256", "--iodepth=1", "--direct=1", "--time_based"} <= set(threads)
    durable = fio.command("psync", path, MIB, seconds=1, **ROWS["durable"].fio)
    assert {"--rw=randwrite", "--fdatasync=1", "--numjobs=1"} <= set(durable)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "not installed" in str(subjects.missing("fio:psync"))


def test_fio_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(returncode=code, stdout=json.dumps(RECORDED).encode(), stderr=b"no")

    monkeypatch.setattr(subprocess, "run", answer)
    code = 0
    assert fio.run(["fio"], 0.1)["operations"] == 20000
    code = 1
    with pytest.raises(LabError, match="fio ended with 1: no"):
        fio.run(["fio"], 0.1)


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


def test_goals_that_were_not_reached_are_shown(tmp_path: Path) -> None:
    chosen = options(tmp_path, rows=("hot",), contenders=("os",), against=("os",))
    document = job.run(chosen, SILENCE).as_json()
    lost = job.verdict(Goal("time", 1.5, "os"), "noria", "os", [2.0])
    unknown = job.verdict(Goal("rate", 0.9, "fio:psync"), "noria", "fio:psync", None)
    document["rows"][0]["goals"] = [lost, unknown]
    goals = next(table for table in tables(document) if table.title == "goals")
    assert goals.rows == [
        ["hot", "noria", "os", "time <= 1.5 x", "2.000 (2.000..2.000)", "**not reached**"],
        ["hot", "noria", "fio:psync", "rate >= 0.9 x", "-", "not measured"],
    ]


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


def test_what_a_subject_does_not_override_it_cannot_do(tmp_path: Path) -> None:
    plain = Subject()
    with pytest.raises(UnableError, match="no stat"):
        plain.stat(tmp_path)
    with pytest.raises(UnableError, match="takes no option"):
        Subject("fast")
    assert sync_os.stat(tmp_path).arguments(0) == (str(tmp_path),)
