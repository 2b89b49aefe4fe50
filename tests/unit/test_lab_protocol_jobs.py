"""The jobs udp, unix, tls, http, spawn and idle --tls run from start to end, small."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "linux":
    pytest.skip("the lab runs on Linux", allow_module_level=True)
pytest.importorskip("noria.lab._client", reason="not built")

from noria.lab import adapters, openssl, piper
from noria.lab.errors import LabError, UnableError
from noria.lab.jobs import http, idle_tls, pipes, spawn, tls, trains, udp, unix
from noria.lab.measure import choose_cores
from noria.lab.processes import ServerProcess
from noria.lab.scenarios import SCENARIOS
from noria.lab.settings import PROGRAM
from noria.lab.stage import Silence, Stage, must_connect
from noria.lab.tables import tables
from tests.children import children

if TYPE_CHECKING:
    from pathlib import Path

SILENCE = Silence()
CORES = choose_cores()
SMALL: dict[str, Any] = {"pairs": 1, "round_s": 0.03, "generations": 1}

POOR = '''
"""An asyncio loop that lacks what is measured, and one that cannot even be made."""

import asyncio


class Poor(asyncio.SelectorEventLoop):
    async def create_datagram_endpoint(self, *arguments, **keywords):
        raise NotImplementedError

    async def create_server(self, *arguments, **keywords):
        if keywords.get("ssl"):
            raise NotImplementedError("some day")
        return await super().create_server(*arguments, **keywords)

    async def subprocess_exec(self, *arguments, **keywords):
        raise NotImplementedError


def broken():
    raise ValueError("this loop is broken")
'''

needs_tls = pytest.mark.skipif(openssl.missing() is not None, reason=str(openssl.missing()))
needs_http = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("httptools", "uvicorn")),
    reason="needs uvicorn and httptools",
)


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    before, affinity = children(), os.sched_getaffinity(0)
    yield
    assert children() <= before, "child processes were left behind"
    assert os.sched_getaffinity(0) == affinity


@pytest.fixture
def poor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A contender that lacks everything measured here."""
    (tmp_path / "poor_loops.py").write_text(POOR, "utf-8")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return "poor=poor_loops:Poor"


def check(document: dict[str, Any], labels: list[str], key: str = "requests") -> None:
    """Every contender answered in every row, without a failure, and the tables can be made."""
    for row in document["rows"]:
        assert [one["contender"] for one in row["contenders"]] == labels
        for one in row["contenders"]:
            assert one[key] > 0
            assert one["failures"] == {}
            assert 0 < one["cpu_us"] < 100_000
    assert all(table.rows for table in tables(document))


def test_udp() -> None:
    options = udp.UdpOptions(
        sizes=(64, 1024),
        connections=(5,),
        contenders=("asyncio",),
        against=("c-epoll", "c-mmsg", "c-uring"),
        depth=2,
        **SMALL,
    )
    document = udp.run(options, SILENCE).as_json()
    check(document, ["asyncio", "asyncio (itself)", "c-epoll", "c-mmsg"])
    assert [row["size"] for row in document["rows"]] == [64, 1024]
    assert "c-uring left out: c-uring is a bare server of echo" in document["notes"][0]
    assert {one["lost"] for row in document["rows"] for one in row["contenders"]} == {0}


def test_trains_go_in_and_out() -> None:
    options = trains.TrainOptions(
        train=5,
        sizes=(1200,),
        connections=(3,),
        contenders=("noria+offload",),
        against=("noria", "asyncio", "asyncio+offload", "c-mmsg"),
        **SMALL,
    )
    if not trains.kernel_cuts():
        pytest.skip("this kernel does not cut datagrams")
    document = trains.run(options, SILENCE).as_json()
    check(document, ["noria+offload", "noria+offload (itself)", "noria", "asyncio"])
    assert [(row["direction"], row["train"]) for row in document["rows"]] == [("in", 5), ("out", 5)]
    for row in document["rows"]:
        assert all(one["requests"] % 5 == 0 for one in row["contenders"])
    words = "asyncio+offload left out: its loop or this kernel has no offload of datagrams"
    assert document["notes"].count(words) == 1
    (figures, *_) = tables(document)
    assert figures.rows[0][0] == "in, 5 x 1200 B, 3 clients"


@needs_tls
def test_buffered_protocols_over_tls() -> None:
    options = tls.TlsOptions(
        connections=(3,),
        contenders=("noria+buffered", "noria+lent"),
        against=("noria", "noria+wrong", "c-openssl+buffered"),
        **SMALL,
    )
    document = tls.run(options, SILENCE).as_json()
    twins = [f"noria+{word} (itself)" for word in ("buffered", "lent")]
    check(document, ["noria+buffered", "noria+lent", *twins, "noria"])
    assert [row["size"] for row in document["rows"]] == [1024, 102_400]
    assert "noria+wrong left out: noria+wrong: there is no variant" in document["notes"][0]
    assert "c-openssl+buffered left out" in document["notes"][1]


def test_a_variant_is_one_of_the_scenario() -> None:
    assert adapters.split("noria:epoll+buffered") == ("noria", "epoll")
    assert adapters.variant("own=some_loops:make+lent") == "lent"
    assert adapters.missing("noria+buffered", "echo") is None
    for word, scenario in (
        ("noria+buffered", "streams"),
        ("noria+buffered", "spawn"),
        ("noria+buffered", ""),
        ("c-epoll+buffered", "echo"),
    ):
        assert "there is no variant 'buffered'" in str(adapters.missing(word, scenario))
    with pytest.raises(LabError, match="there is no variant 'offload'"):
        ServerProcess("asyncio+offload", "echo", CORES.server)


def test_unix() -> None:
    options = unix.UnixOptions(
        connections=(5,), contenders=("asyncio",), against=("c-epoll",), **SMALL
    )
    document = unix.run(options, SILENCE).as_json()
    check(document, ["asyncio", "asyncio (itself)", "c-epoll"])
    assert (document["job"], document["options"]["unix"]) == ("unix", True)
    assert [row["size"] for row in document["rows"]] == [1024, 102_400]


@needs_tls
def test_tls() -> None:
    options = tls.TlsOptions(
        connections=(5,), contenders=("asyncio",), against=("c-openssl",), **SMALL
    )
    document = tls.run(options, SILENCE).as_json()
    check(document, ["asyncio", "asyncio (itself)", "c-openssl"])
    assert [row["size"] for row in document["rows"]] == [1024, 102_400]
    assert document["notes"][-1].startswith("TLS 1.3, TLS_AES_128_GCM_SHA256, no resumption")


@needs_http
def test_http() -> None:
    options = http.HttpOptions(
        connections=(5,), contenders=("asyncio",), against=("c-epoll",), **SMALL
    )
    document = http.run(options, SILENCE).as_json()
    check(document, ["asyncio", "asyncio (itself)"])
    assert "c-epoll left out" in document["notes"][0]
    assert document["notes"][-1].startswith("uvicorn ")


@needs_http
def test_the_response_is_hello() -> None:
    from noria.lab.exchange import learn

    with Stage(CORES, SILENCE) as stage:
        server = stage.server("asyncio", "http")
        head, _, body = learn(tuple(server.addresses[0])).partition(b"\r\n\r\n")
    assert body == b"Hello, world"
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\ndate:" not in head


def test_spawn() -> None:
    options = spawn.SpawnOptions(
        parallel=(1, 3),
        contenders=("asyncio",),
        against=("c-spawn", "c-epoll"),
        pairs=2,
        round_s=0.05,
        generations=2,
    )
    document = spawn.run(options, SILENCE).as_json()
    check(document, ["asyncio", "asyncio (itself)", "c-spawn"], "spawned")
    assert [row["parallel"] for row in document["rows"]] == [1, 3]
    for row in document["rows"]:
        assert all(one["rounds"] == 2 for one in row["contenders"])
        assert all(one["children_cpu_us"] > 0 for one in row["contenders"])
        assert [one["pairs"] for one in row["rate_comparisons"]] == [2, 2]
    assert "c-epoll left out" in document["notes"][0]


def test_pipes() -> None:
    options = pipes.PipeOptions(
        sizes=(100, 102_400),
        children=(1, 2),
        depth=3,
        contenders=("noria",),
        against=("asyncio", "c-spawn"),
        pairs=2,
        round_s=0.05,
        generations=2,
    )
    document = pipes.run(options, SILENCE).as_json()
    check(document, ["noria", "noria (itself)", "asyncio"], "messages")
    rows = [(row["size"], row["children"]) for row in document["rows"]]
    assert rows == [(100, 1), (100, 2), (102_400, 1), (102_400, 2)]
    for row in document["rows"]:
        assert all(one["rounds"] == 2 for one in row["contenders"])
        assert [one["pairs"] for one in row["rate_comparisons"]] == [2, 2]
    assert "c-spawn left out" in document["notes"][0]


def test_wrong_messages_and_dead_children_are_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "liar"
    monkeypatch.setattr(piper, "CAT", str(program))

    def played(script: str) -> dict[str, int]:
        program.write_text(f"#!{sys.executable}\n{script}\n", "utf-8")
        program.chmod(0o700)

        async def main() -> dict[str, int]:
            echoes = await piper.start(1, -1)
            try:
                return await piper.play(echoes, 0.01, 10, 1)
            finally:
                await piper.stop(echoes)

        return asyncio.run(main())

    liar = "import os\nwhile data := os.read(0, 100): os.write(1, bytes(len(data)))"
    result = played(liar)
    assert result["messages"] == result["wrong"] > 0
    with pytest.raises(LabError, match="ended in the middle of a round"):
        played("import os; os.read(0, 100)")
    rounds = [pipes.PipeRound(10**9, 10**6, 10, 3), pipes.PipeRound(10**9, 10**6, 0, 0)]
    failures = {"wrong bytes": 3, "rounds without a message": 1}
    assert pipes._summary("a", rounds, {})["failures"] == failures
    monkeypatch.setattr(pipes, "CAT", "/no/such/cat")
    with pytest.raises(LabError, match="no /no/such/cat to talk to"):
        pipes.run(pipes.PipeOptions(contenders=("asyncio",)), SILENCE)


def test_processes_that_fail_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [spawn.SpawnRound(10**9, 10**6, 10**6, 10, 3), spawn.SpawnRound(10**9, 10**6, 0, 0, 0)]
    summary = spawn._summary("a", rounds, {})
    assert summary["failures"] == {"exit codes other than 0": 3, "rounds without a process": 1}
    monkeypatch.setattr(spawn, "PROGRAM", "/no/such/program")
    with pytest.raises(LabError, match="no /no/such/program to spawn"):
        spawn.run(spawn.SpawnOptions(contenders=("c-spawn",)), SILENCE)


def test_the_bare_spawner_spawns_and_waits_in_parallel() -> None:
    """In a process of its own, because it reaps every child it finds."""
    program = """
import json, sys
from noria.lab import _client
done = [_client.spawn(path, 0.2, 4) for path in ("/bin/true", "/bin/false")]
try:
    _client.spawn("/no/such/program", 0.05, 1)
except OSError as error:
    done.append(str(error))
print(json.dumps(done))
"""
    output = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=30)
    good, bad, absent = json.loads(output)
    assert good["spawned"] >= 4
    assert good["failed"] == 0
    assert good["elapsed_ns"] >= 200_000_000
    assert min(good["cpu_ns"], good["children_cpu_ns"]) > 0
    assert bad["failed"] == bad["spawned"] >= 4
    assert "No such file" in absent


@needs_tls
def test_idle_tls() -> None:
    options = idle_tls.IdleTlsOptions(
        clients=20, sizes=(1024, 102_400), contenders=("asyncio",), against=("c-openssl",)
    )
    document = idle_tls.run(options, SILENCE).as_json()
    (row,) = document["rows"]
    for one in row["contenders"]:
        assert one["failures"] == {}
        assert [weight["held"] for weight in one["weights"].values()] == [20, 20]
        assert one["weights"]["102400"]["resident_bytes_from_start"] > 0
    assert [one["size"] for one in row["comparisons"]] == [1024, 102_400]
    assert all(table.rows for table in tables(document))


@needs_tls
def test_idle_tls_connections_are_weighed_after_one_echo_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = iter([1_000_000, 1_300_000, 1_340_000])
    monkeypatch.setattr(idle_tls, "resident_bytes", lambda _: next(weights))
    options = idle_tls.IdleTlsOptions(
        clients=40, sizes=(2048,), contenders=("c-openssl",), against=()
    )
    (row,) = idle_tls.run(options, SILENCE).rows
    (one,) = row["contenders"]
    weight = one["weights"]["2048"]
    assert weight["resident_bytes"] == 40_000 / 40
    assert weight["resident_bytes_from_start"] == 340_000 / 40


@needs_tls
@pytest.mark.parametrize("unix_socket", [False, True], ids=["tcp", "unix"])
def test_tls_echoes_and_ends(unix_socket: bool) -> None:
    with Stage(CORES, SILENCE) as stage:
        server = stage.server("asyncio", "tls", unix=unix_socket)
        client = stage.client()
        contestant = stage.contestant(
            "asyncio", server, client, 5, size_max=300_000, transport="tls"
        )
        must_connect(contestant, 5)
        for size in (1, 64, 300_000):
            done = client.ask("echo", contestant.key, seconds=5.0, size=size, requests_max=3)
            assert (done["requests"], done["failures"]) == (15, {})
        ended = client.ask("disconnect", contestant.key)
        assert (ended["connections"], ended["failures"]) == (5, {})


@pytest.mark.parametrize("job", ["udp", "tls", "spawn", "pipes"])
def test_a_loop_that_lacks_something_is_left_out(job: str, poor: str) -> None:
    if job == "tls" and openssl.missing():
        pytest.skip(str(openssl.missing()))
    runs: dict[str, Any] = {
        "udp": (udp.run, udp.UdpOptions, {"sizes": (64,), "connections": (2,)}),
        "tls": (tls.run, tls.TlsOptions, {"sizes": (64,), "connections": (2,)}),
        "spawn": (spawn.run, spawn.SpawnOptions, {"parallel": (1,)}),
        "pipes": (pipes.run, pipes.PipeOptions, {"sizes": (64,), "children": (1,)}),
    }
    run, kind, few = runs[job]
    document = run(kind(contenders=(poor,), against=("asyncio",), **few, **SMALL), SILENCE)
    (row,) = document.rows
    assert [one["contender"] for one in row["contenders"]] == ["asyncio"]
    assert row["comparisons"] == []
    assert document.notes[0].startswith(f"{poor} left out: its loop does not implement")
    assert tables(document.as_json())
    with pytest.raises(LabError, match=r"nobody is left to be measured: poor=.* left out"):
        run(kind(contenders=(poor,), against=(), **few, **SMALL), SILENCE)


def test_a_rival_that_fails_is_left_out_and_a_contender_ends_the_job(poor: str) -> None:
    broken = poor.replace("Poor", "broken")
    few: dict[str, Any] = {"sizes": (64,), "connections": (2,), **SMALL}
    document = udp.run(udp.UdpOptions(contenders=("asyncio",), against=(broken,), **few), SILENCE)
    assert f"{broken} left out: ValueError: this loop is broken" in document.notes
    with pytest.raises(LabError, match="this loop is broken"):
        udp.run(udp.UdpOptions(contenders=(broken,), against=("asyncio",), **few), SILENCE)


def test_a_server_that_is_not_able_says_so(poor: str) -> None:
    with pytest.raises(UnableError, match=r"^its loop does not implement udp"):
        ServerProcess(poor, "udp", CORES.server)
    with pytest.raises(UnableError, match="UDP only"):
        ServerProcess("asyncio", "udp", CORES.server, path="/tmp/never")


def test_what_bare_servers_do_is_what_is_asked_of_them() -> None:
    for word in adapters.BARE:
        module = importlib.import_module(adapters.BARE[word])
        assert {*SCENARIOS, "spawn"} >= module.SCENARIOS
        for scenario in {*SCENARIOS, "spawn"} - module.SCENARIOS:
            assert f"not of {scenario}" in str(adapters.missing(word, scenario))
    assert adapters.missing("asyncio", "udp") is None
    assert PROGRAM.startswith("/")


@needs_tls
def test_transports_of_the_load_generator() -> None:
    with Stage(CORES, SILENCE) as stage:
        server = stage.server("c-epoll", "echo")
        client = stage.client()
        with pytest.raises(LabError, match="unknown transport 'smoke'"):
            stage.contestant("c-epoll", server, client, 1, transport="smoke")
        with pytest.raises(LabError, match="the server answered"):
            stage.contestant("c-epoll", server, client, 1, transport="http")
