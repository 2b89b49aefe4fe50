"""`noria lab files`: its files, its subjects, and the work they do."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("the lab runs on Linux", allow_module_level=True)
pytest.importorskip("noria.lab._client", reason="not built")

import noria
from noria.lab.errors import LabError, UnableError
from noria.lab.files import fio, ground, rows, subjects, sync_os
from noria.lab.files.ground import BLOCK_BYTES, Checker, Ground
from noria.lab.files.hung import hung, stuck
from noria.lab.files.noria_files import Noria
from noria.lab.files.rows import ROWS
from noria.lab.files.subject import Subject
from noria.lab.files.sync_work import SYNC_WORKS
from noria.lab.files.work import WORKS
from noria.lab.jobs.files import FilesRound
from noria.lab.stage import Silence
from tests.children import children

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
    assert row.work in {*WORKS, "hung", "stuck"}
    assert set(row.files) <= {"hot", "large", "scratch", "lines", "small"}
    for goal in row.goals:
        assert goal.other in {"", rows.PEERS_WORD, *row.oracles, *row.peers}
        assert goal.base in {"", *row.bases}
    if "os" in row.oracles:
        assert row.work in SYNC_WORKS
    assert any(word.startswith("fio") for word in row.oracles) <= bool(row.fio)


# -- the work --------------------------------------------------------------------------------


@pytest.fixture
def subject() -> Noria:
    return Noria()


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


@pytest.mark.parametrize("row", [hung, stuck])
def test_what_hung_comes_back(
    field: Ground, subject: Noria, monkeypatch: pytest.MonkeyPatch, row: Any
) -> None:
    monkeypatch.setattr("noria.lab.files.hung.HANGING", 12)
    try:
        meter = noria.run(row(subject, field, 0.1, 3))
    except UnableError as exc:
        pytest.skip(str(exc))
    assert meter.failures == {}
    assert meter.operations >= 5
    assert {"late_p99_ns", "calm_p99_ns"} <= set(meter.details)
    details = meter.details
    assert set(details["worst_of_ns"]) == {"stat", "open", "read", "write", "close"}
    assert details["worst_ns"] == max(details["worst_of_ns"].values())
    assert Checker().is_right(field.hot.read_bytes(), 0), "what was written is what was there"


def test_operations_that_hang_are_told(
    field: Ground, subject: Noria, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noria.lab.files.hung.HANGING", 2)
    monkeypatch.setattr("noria.lab.files.hung.GIVE_UP_S", 0.4)

    opens: list[Path] = []

    async def never(name: str) -> Any:
        await asyncio.sleep(3600 if opens else 0)
        return Path(name).stat()  # noqa: ASYNC240 - quick enough

    async def open_fifo(path: Path) -> Any:
        opens.append(path)
        return await noria.open(path, "rb", buffering=0)

    monkeypatch.setattr(noria.fs, "stat", never)
    monkeypatch.setattr(subject, "open_fifo", open_fifo)
    meter = noria.run(hung(subject, field, 0.2, 3))
    assert meter.failures == {"operations hung": 1}
    assert meter.details["worst_ns"] == 4e8


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


def test_what_a_subject_does_not_override_it_cannot_do(tmp_path: Path) -> None:
    plain = Subject()
    with pytest.raises(UnableError, match="no stat"):
        plain.stat(tmp_path)
    with pytest.raises(UnableError, match="takes no option"):
        Subject("fast")
    assert sync_os.stat(tmp_path).arguments(0) == (str(tmp_path),)
