"""`noria doctor`."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria import lowlevel
from noria.cli import doctor
from noria.lab.settings import DESCRIPTORS_SPARE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lowlevel.ENGINE_VARIABLE, raising=False)


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.register(parser.add_subparsers(required=True))
    namespace = parser.parse_args(["doctor", *arguments])
    run: Callable[[argparse.Namespace], int] = namespace.run
    return run(namespace)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert call(*arguments) == 0
    return capsys.readouterr().out


def report(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(printed(capsys, "--json"))


def test_json_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys)
    assert found["noria"]["version"] == noria.__version__
    assert found["noria"]["compiled"] is lowlevel.COMPILED
    assert (found["noria"]["reason"] is None) is lowlevel.COMPILED
    assert found["python"] == {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
    }
    assert found["platform"] == {
        "system": platform.system(),
        "machine": platform.machine(),
        "kernel": platform.release(),
    }
    engine = found["chosen"]["name"]
    disks = found["disks"]
    assert [(each["name"], each["available"], each["reason"]) for each in disks["backends"]] == [
        (name, *probe) for name, probe in lowlevel.explain_disks(engine)
    ]
    assert tuple(disks["chosen"].values()) == lowlevel.choose_disk(engine)[:2]
    assert [each["error"] for each in found["filesystems"]] == [None] * len(found["filesystems"])
    assert [
        (
            engine["name"],
            engine["available"],
            engine["reason"],
            tuple(engine["features"]),
            engine["descriptors_max"],
        )
        for engine in found["engines"]
    ] == [(name, *probe) for name, probe in lowlevel.explain()]
    assert {engine["name"] for engine in found["engines"] if engine["automatic"]} == set(
        lowlevel.AUTOMATIC_ENGINE_NAMES
    )
    choice = lowlevel.choose()
    assert found["chosen"] == {"name": choice.name, "reason": choice.reason}


def test_text_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys)
    text = printed(capsys)
    lines = text.splitlines()
    upper = lines[: lines.index("disks")]
    for engine in found["engines"]:
        (line,) = [line for line in upper if line[2:].split()[:1] == [engine["name"]]]
        assert line.startswith("*") is (engine["name"] == found["chosen"]["name"])
        assert line[2:].split()[1] == ("yes" if engine["available"] else "no")
        assert engine["reason"] in line
        for feature in engine["features"]:
            assert feature in line
    for word in (
        noria.__version__,
        "compiled" if lowlevel.COMPILED else "interpreted",
        platform.python_version(),
        platform.release(),
        found["chosen"]["reason"],
        "threads",
    ):
        assert word in " ".join(text.split()), "but for being wrapped"
    assert max(map(len, lines)) <= 100


@posix
@pytest.mark.parametrize(
    ("soft", "hard", "clients", "lines"),
    [
        (1024, 4096, (960, 4032), ["1,024", "4,096", "960 at the same time", "4,032 with"]),
        (20000, 20000, (19936, 19936), ["20,000 descriptors\n", "19,936 at the same time\n"]),
        (10, 10, (0, 0), ["10 descriptors", "0 at the same time"]),
        (1024, None, (960, None), ["1,024", "can be raised to unlimited", "unlimited with"]),
        (None, None, (None, None), ["unlimited descriptors", "unlimited at the same time"]),
    ],
)
def test_limits_and_the_clients_they_allow(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    soft: int | None,
    hard: int | None,
    clients: tuple[int | None, int | None],
    lines: list[str],
) -> None:
    resource: Any = importlib.import_module("resource")
    values = tuple(resource.RLIM_INFINITY if value is None else value for value in (soft, hard))
    monkeypatch.setattr(resource, "getrlimit", lambda which: values)
    assert DESCRIPTORS_SPARE == 64
    assert report(capsys)["descriptors"] == {
        "soft": soft,
        "hard": hard,
        "watched": None,
        "clients_soft": clients[0],
        "clients_hard": clients[1],
    }
    text = printed(capsys)
    for line in lines:
        assert line in text


def watching(monkeypatch: pytest.MonkeyPatch, most: int | None) -> None:
    """Make the first engine one that watches so many descriptors, and have it chosen."""
    name = lowlevel.ENGINE_NAMES[0]
    probe = lowlevel.Probe(True, "it is warm", (), most)
    choice = lowlevel.Choice(name, "best available", lowlevel.Engine)
    monkeypatch.setattr(lowlevel, "explain", lambda: iter([(name, probe)]))
    monkeypatch.setattr(lowlevel, "choose", lambda: choice)


@pytest.mark.parametrize(
    ("most", "clients", "lines"),
    [
        (None, None, ["unlimited descriptors\n", "unlimited at the same time"]),
        (512, 448, ["unlimited descriptors; the engine watches 512\n", "448 at the same time\n"]),
        (10, 0, ["the engine watches 10", "0 at the same time"]),
    ],
)
def test_a_system_without_limits_may_have_an_engine_with_one(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    most: int | None,
    clients: int | None,
    lines: list[str],
) -> None:
    watching(monkeypatch, most)
    monkeypatch.setattr(sys, "platform", "win32")
    assert report(capsys)["descriptors"] == {
        "soft": None,
        "hard": None,
        "watched": most,
        "clients_soft": clients,
        "clients_hard": clients,
    }
    text = printed(capsys)
    for line in lines:
        assert line in text


@posix
def test_the_engine_may_allow_fewer_clients_than_the_system(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resource: Any = importlib.import_module("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20000, 40000))
    watching(monkeypatch, 1024)
    found = report(capsys)["descriptors"]
    assert (found["clients_soft"], found["clients_hard"]) == (960, 960)
    text = printed(capsys)
    assert "can be raised to 40,000 (ulimit -n); the engine watches 1,024\n" in text
    assert "960 at the same time\n" in text


def test_a_directory_is_measured_by_every_way(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = printed(capsys, "--measure", str(tmp_path), "--measure", str(tmp_path / "none"))
    assert "No such file or directory" in text
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    (found, missing) = json.loads(
        printed(capsys, "--json", "--measure", str(tmp_path), "--measure", str(tmp_path / "none"))
    )["filesystems"]
    assert missing["path"] == str(tmp_path / "none")
    assert found["error"] is None
    assert found["path"] == str(tmp_path)
    if sys.platform == "linux":
        assert found["type"]
    assert found["direct"].startswith(("no: ", f"{found['direct'].split()[0]} bytes"))
    if lowlevel.choose_disk(lowlevel.choose().name).name == "uring":
        measured = {(way["kind"], way["way"]) for way in found["ways"]}
        assert {("forcing alone", "engine"), ("forcing alone", "thread")} <= measured
        assert set(found["chosen"]) >= {"writing alone", "forcing alone"}


def test_disks_with_an_engine_that_has_no_ring(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_ENGINE", "select")
    assert "  uring      no   the engine select has no ring\n" in printed(capsys)
    monkeypatch.setenv("NORIA_DISK", "threads")
    assert "* threads    yes" in printed(capsys)
    monkeypatch.setenv("NORIA_DISK", "tape")
    chosen = report(capsys)["disks"]["chosen"]
    assert chosen["name"] is None
    assert chosen["reason"].startswith("unknown disk backend 'tape' (asked for by NORIA_DISK)")
    assert report(capsys)["filesystems"] == []


def test_select_says_how_many_it_watches() -> None:
    probe = dict(lowlevel.explain())["select"]
    assert probe.descriptors_max == (512 if sys.platform == "win32" else 1024)


def none_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose() -> lowlevel.Choice:
        raise noria.EngineUnavailableError("no engine can run here: it is too cold")

    refused = [(name, lowlevel.Probe(False, "too cold")) for name in lowlevel.ENGINE_NAMES]
    monkeypatch.setattr(lowlevel, "explain", lambda: iter(refused))
    monkeypatch.setattr(lowlevel, "choose", choose)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_engine_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    none_available(monkeypatch)
    assert call(*form) == 0
    assert "no engine can run here: it is too cold" in capsys.readouterr().out
    assert call(*form, "--check") == 1
    assert "too cold" in capsys.readouterr().out


def test_check_is_content_with_one_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--check") == 0
    assert capsys.readouterr().out == printed(capsys)


def test_check_minds_the_engine_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_ENGINE", "warp")
    assert call("--check") == 1
    assert "unknown engine 'warp'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "run from source"),
        ("{", "run from source"),
        ('{"compiled": false}', "run from source"),
        ("[]", "run from source"),
        ('{"reason": "no C compiler"}', "no C compiler"),
        ('{"compiled": true, "reason": ""}', "its compiled modules are for another Python"),
    ],
)
def test_an_interpreted_build_says_why(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    record: str | None,
    reason: str,
) -> None:
    if record is not None:
        (tmp_path / "build.json").write_text(record, "utf-8")
    monkeypatch.setattr(noria, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(lowlevel, "COMPILED", False)
    assert report(capsys)["noria"]["reason"] == reason
    assert f"interpreted ({reason})" in printed(capsys)


def test_a_compiled_build_needs_no_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lowlevel, "COMPILED", True)
    assert report(capsys)["noria"]["reason"] is None
    assert f"{noria.__version__}, compiled\n" in printed(capsys)


def test_it_runs_from_the_command_line_without_other_packages(
    run_python: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    program = """
import sys
sys.modules["rich"] = None
from noria.cli.main import main
status = main(["doctor", "--json", "--check"])
sys.exit(status)
"""
    result = run_python(program)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["noria"]["version"] == noria.__version__
