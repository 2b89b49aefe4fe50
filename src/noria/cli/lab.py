"""`noria lab`: the benchmark lab's commands."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.lab import report
from noria.lab.errors import IMPOSSIBLE, LabError
from noria.lab.settings import (
    CHURN_CONNECTIONS,
    CHURN_SIZES_BYTES,
    CLIENTS,
    CONNECTIONS,
    FEW_CONNECTIONS,
    FILES_LARGE_MIB,
    FILES_SMALL,
    GENERATIONS,
    PAIRS_MIN,
    PARALLEL_CONNECTS,
    PARALLEL_SPAWNS,
    PIPE_CHILDREN,
    PIPE_SIZES_BYTES,
    ROUND_S,
    SIZES_BYTES,
    TLS_IDLE_CLIENTS,
    TLS_IDLE_SIZES_BYTES,
    TLS_SIZES_BYTES,
    TRAIN_CONNECTIONS,
    TRAIN_DATAGRAMS,
    TRAIN_SIZES_BYTES,
    UDP_SIZES_BYTES,
    UNIX_SIZES_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

JOBS = {
    "c10k": "noria.lab.jobs.c10k",
    "churn": "noria.lab.jobs.churn",
    "files": "noria.lab.jobs.files",
    "http": "noria.lab.jobs.http",
    "idle": "noria.lab.jobs.idle",
    "idle_tls": "noria.lab.jobs.idle_tls",
    "micro": "noria.lab.jobs.micro",
    "pipes": "noria.lab.jobs.pipes",
    "rows": "noria.lab.jobs.rows",
    "spawn": "noria.lab.jobs.spawn",
    "tls": "noria.lab.jobs.tls",
    "trains": "noria.lab.jobs.trains",
    "udp": "noria.lab.jobs.udp",
    "unix": "noria.lab.jobs.unix",
}
"""Imported when they are run: the command line is needed where the lab is not."""

FAILED = 1
INTERRUPTED = 130


def words(text: str) -> tuple[str, ...]:
    """Split a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Split a list of positive numbers with commas. Raises ArgumentTypeError."""
    return tuple(positive(word) for word in words(text))


def positive(text: str) -> int:
    """Read a positive whole number. Raises ArgumentTypeError."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def seconds(text: str) -> float:
    """Read a time above 0 and up to one hour. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to 3600")
    return value


def register(subparsers: Subparsers) -> None:
    """Add `lab` and its subcommands; each sets `run`, a function of the namespace to exit code."""
    lab = subparsers.add_parser(
        "lab", help="measure noria and other event loops on this machine", description=__doc__
    )
    jobs = lab.add_subparsers(title="jobs", metavar="JOB", required=True)
    _add_c10k(jobs)
    for scenario, what in (
        ("echo", "a plain asyncio.Protocol"),
        ("streams", "asyncio's streams"),
        ("sock", "the loop's sock_* methods"),
    ):
        _add_rows(jobs, scenario, what)
    _add_unix(jobs)
    _add_udp(jobs)
    _add_trains(jobs)
    _add_tls(jobs)
    _add_http(jobs)
    _add_churn(jobs)
    _add_spawn(jobs)
    _add_pipes(jobs)
    _add_files(jobs)
    _add_micro(jobs)
    _add_idle(jobs)
    show = jobs.add_parser("show", help="print a result saved with --json")
    show.add_argument("file", type=Path)
    show.add_argument("--markdown", action="store_true", help="as Markdown")
    show.set_defaults(run=_show)
    what = "print several saved results as one Markdown"
    combined = jobs.add_parser("report", help=what, description=what)
    combined.add_argument("files", type=Path, nargs="+", metavar="FILE")
    combined.set_defaults(run=_report)


CONTENDERS = (
    "who is measured: noria, noria:<engine>, asyncio, uvloop, any other loop as "
    "name=module:factory, or a bare server in C: c-epoll, c-uring, c-mmsg (udp), c-openssl "
    "(tls), c-spawn (spawn); behind a plus a variant of the server: +buffered or "
    "+lent (a BufferedProtocol: echo, unix, tls, churn), +offload (trains)"
)
FILES_CONTENDERS = (
    "who is measured: noria, noria:<engine>/<disk>, noria@asyncio or noria@uvloop (a guest there), "
    "os (the synchronous calls), fio:<engine>, or a library: turbofile, urio, aiofile, "
    "caio, pyaio, asyncfiles, aiofiles, anyio"
)
"""Help texts."""


def _job(
    jobs: Subparsers,
    name: str,
    what: str,
    *,
    against: str,
    contenders: str = "noria",
    who: str = CONTENDERS,
) -> argparse.ArgumentParser:
    """Add a job's parser with what all jobs share."""
    nobody = "nobody" if contenders else "those of each row"
    parser = jobs.add_parser(name, help=what, description=what)
    parser.add_argument(
        "--contenders",
        type=words,
        default=words(contenders),
        metavar="A,B",
        help=f"{who} (default: {contenders or 'those of each row'})",
    )
    parser.add_argument(
        "--against",
        type=words,
        default=words(against),
        metavar="A,B",
        help=f"whom they are compared with (default: {against or nobody})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the result")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="save the tables")
    parser.add_argument("--server-core", type=int, metavar="CPU", help="where servers run")
    parser.add_argument("--client-core", type=int, metavar="CPU", help="where the load comes from")
    return parser


def _add_c10k(jobs: Subparsers) -> None:
    parser = _job(
        jobs, "c10k", "ten thousand clients on one thread, every byte checked", against=""
    )
    parser.add_argument("--clients", type=positive, default=CLIENTS)
    parser.add_argument(
        "--active",
        type=positive,
        default=0,
        help="how many speak in the steady echo (default: all)",
    )
    parser.add_argument(
        "--engine",
        type=words,
        default=(),
        metavar="A,B",
        help="noria's engines to measure (default: the one it chooses); short for --contenders",
    )
    parser.add_argument("--seconds", type=seconds, default=10.0, help="steady echo for each")
    parser.add_argument("--idle-s", type=seconds, default=2.0, help="idle phase for each")
    parser.add_argument("--runs", type=positive, default=1)
    parser.add_argument("--size", type=positive, default=64, help="bytes per request")
    parser.add_argument("--scenario", choices=["echo", "streams", "sock"], default="echo")
    parser.add_argument(
        "--parallel", type=positive, default=PARALLEL_CONNECTS, help="connects outstanding"
    )
    parser.set_defaults(run=_run, job="c10k", options="C10kOptions")


def _add_rows(jobs: Subparsers, scenario: str, what: str) -> None:
    parser = _job(jobs, scenario, f"CPU per request of {what}", against="uvloop,asyncio")
    _add_row_arguments(parser, SIZES_BYTES, CONNECTIONS, "connections")
    _add_depth(parser)
    _add_unix_switch(parser)
    parser.set_defaults(run=_run, job="rows", options="RowOptions", scenario=scenario)


def _add_row_arguments(
    parser: argparse.ArgumentParser,
    sizes: tuple[int, ...],
    connections: tuple[int, ...],
    what: str,
) -> None:
    """Add what jobs with rows share; `what` the connections of a row are."""
    parser.add_argument(
        "--sizes", type=numbers, default=sizes, metavar="BYTES,...", help="bytes per request"
    )
    _add_connections(parser, connections, what)
    _add_rounds(parser)


def _add_connections(
    parser: argparse.ArgumentParser, connections: tuple[int, ...], what: str
) -> None:
    parser.add_argument(
        "--connections", type=numbers, default=connections, metavar="N,...", help=what
    )


def _add_depth(parser: argparse.ArgumentParser, what: str = "requests") -> None:
    parser.add_argument("--depth", type=positive, default=1, help=f"{what} outstanding at a time")


def _add_unix_switch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--unix", action="store_true", help="over Unix sockets")


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    """Add what a comparison by pairs of rounds takes."""
    parser.add_argument("--pairs", "--rounds", type=positive, default=PAIRS_MIN)
    parser.add_argument("--round-s", type=seconds, default=ROUND_S, help="length of a round")
    parser.add_argument(
        "--generations", type=positive, default=GENERATIONS, help="restarts of all servers"
    )


def _add_unix(jobs: Subparsers) -> None:
    parser = _job(jobs, "unix", "CPU per request over Unix sockets", against="uvloop,asyncio")
    _add_row_arguments(parser, UNIX_SIZES_BYTES, FEW_CONNECTIONS, "connections")
    _add_depth(parser)
    parser.add_argument("--scenario", choices=["echo", "streams", "sock"], default="echo")
    parser.set_defaults(run=_run, job="unix", options="UnixOptions", unix=True)


def _add_udp(jobs: Subparsers) -> None:
    parser = _job(
        jobs, "udp", "CPU per datagram that a server sends back", against="uvloop,asyncio,c-epoll"
    )
    _add_row_arguments(parser, UDP_SIZES_BYTES, FEW_CONNECTIONS, "clients")
    _add_depth(parser, "datagrams of a client")
    parser.set_defaults(run=_run, job="udp", options="UdpOptions", scenario="udp", unix=False)


def _add_trains(jobs: Subparsers) -> None:
    parser = _job(
        jobs,
        "trains",
        "CPU per datagram of long trains, to the server and from it",
        contenders="noria+offload",
        against="noria,uvloop,asyncio",
    )
    parser.add_argument(
        "--train", type=positive, default=TRAIN_DATAGRAMS, help="datagrams of a train"
    )
    _add_row_arguments(parser, TRAIN_SIZES_BYTES, TRAIN_CONNECTIONS, "clients")
    parser.set_defaults(run=_run, job="trains", options="TrainOptions", scenario=None, unix=False)
    parser.set_defaults(depth=None)  # a client has one train outstanding


def _add_tls(jobs: Subparsers) -> None:
    parser = _job(jobs, "tls", "CPU per request over TLS 1.3", against="uvloop,asyncio,c-openssl")
    _add_row_arguments(parser, TLS_SIZES_BYTES, FEW_CONNECTIONS, "connections")
    _add_depth(parser)
    _add_unix_switch(parser)
    parser.set_defaults(run=_run, job="tls", options="TlsOptions", scenario="tls")


def _add_http(jobs: Subparsers) -> None:
    what = "CPU per request of uvicorn (httptools) that says hello"
    parser = _job(jobs, "http", what, against="uvloop,asyncio")
    _add_connections(parser, FEW_CONNECTIONS, "connections")
    _add_rounds(parser)
    _add_depth(parser)
    parser.set_defaults(run=_run, job="http", options="HttpOptions", scenario="http", unix=False)
    parser.set_defaults(sizes=None)  # there is one response, whose size its options know


def _add_spawn(jobs: Subparsers) -> None:
    parser = _job(jobs, "spawn", "processes spawned and awaited", against="uvloop,asyncio,c-spawn")
    parser.add_argument(
        "--parallel",
        type=numbers,
        default=PARALLEL_SPAWNS,
        metavar="N,...",
        help="processes at a time",
    )
    _add_rounds(parser)
    parser.set_defaults(run=_run, job="spawn", options="SpawnOptions")


def _add_pipes(jobs: Subparsers) -> None:
    parser = _job(
        jobs, "pipes", "CPU per message through a child's pipes", against="uvloop,asyncio"
    )
    parser.add_argument(
        "--sizes", type=numbers, default=PIPE_SIZES_BYTES, metavar="BYTES,...", help="of a message"
    )
    parser.add_argument(
        "--children", type=numbers, default=PIPE_CHILDREN, metavar="N,...", help="at a time"
    )
    _add_depth(parser, "messages of a child")
    _add_rounds(parser)
    parser.set_defaults(run=_run, job="pipes", options="PipeOptions")


def _add_files(jobs: Subparsers) -> None:
    what = "files: reads, writes, names and lines, beside os, fio and other libraries"
    parser = _job(jobs, "files", what, against="", contenders="", who=FILES_CONTENDERS)
    parser.add_argument("--rows", type=words, default=(), metavar="A,B", help="(default: all)")
    parser.add_argument("--directory", metavar="DIR", help="where the files are made")
    parser.add_argument(
        "--large-mib", type=positive, default=FILES_LARGE_MIB, help="file that is read from disk"
    )
    parser.add_argument("--small-files", type=positive, default=FILES_SMALL)
    _add_rounds(parser)
    parser.set_defaults(run=_run, job="files", options="FilesOptions")


def _add_churn(jobs: Subparsers) -> None:
    parser = _job(
        jobs,
        "churn",
        "CPU per connection that asks one thing and is closed by its client",
        against="uvloop,asyncio",
    )
    _add_row_arguments(parser, CHURN_SIZES_BYTES, CHURN_CONNECTIONS, "open at a time")
    _add_unix_switch(parser)
    parser.add_argument("--scenario", choices=["echo", "streams", "sock"], default="echo")
    parser.add_argument(
        "--half-close", action="store_true", help="await the server's end before closing"
    )
    parser.set_defaults(run=_run, job="churn", options="ChurnOptions")


def _add_micro(jobs: Subparsers) -> None:
    parser = _job(jobs, "micro", "rates of the loop's own work", against="uvloop,asyncio")
    parser.add_argument("--benches", type=words, default=(), metavar="A,B", help="(default: all)")
    parser.add_argument("--pairs", type=positive, default=PAIRS_MIN)
    parser.set_defaults(run=_run, job="micro", options="MicroOptions")


def _add_idle(jobs: Subparsers) -> None:
    parser = _job(jobs, "idle", "what idle connections cost", against="uvloop,asyncio")
    parser.add_argument(
        "--clients",
        type=positive,
        help=f"(default: {CLIENTS:,}; with --tls {TLS_IDLE_CLIENTS:,})",
    )
    parser.add_argument("--seconds", type=seconds, default=3.0, help="while wake-ups are counted")
    parser.add_argument("--pairs", type=positive, default=PAIRS_MIN)
    parser.add_argument("--round-s", type=seconds, default=0.3, help="length of a round")
    parser.add_argument("--bursts", type=positive, default=3, help="times that all speak at once")
    parser.add_argument(
        "--tls",
        action="store_true",
        help="weigh TLS connections instead, and nothing else, after an echo of each of --sizes",
    )
    parser.add_argument(
        "--sizes",
        type=numbers,
        default=TLS_IDLE_SIZES_BYTES,
        metavar="BYTES,...",
        help="of the echo that a TLS connection had",
    )
    parser.set_defaults(run=_run_idle, job="idle", options="IdleOptions")


def _run_idle(namespace: argparse.Namespace) -> int:
    """Run the one job or the other."""
    if namespace.tls:
        namespace.job, namespace.options = "idle_tls", "IdleTlsOptions"
    return _run(namespace)


def _options(module: Any, namespace: argparse.Namespace) -> Any:
    """Build a job's options from the namespace; what is None there keeps the job's default."""
    kind = getattr(module, namespace.options)
    given = {
        field.name: value
        for field in dataclasses.fields(kind)
        if (value := getattr(namespace, field.name)) is not None
    }
    engines = getattr(namespace, "engine", ())
    if engines:
        given["contenders"] = tuple(f"noria:{engine}" for engine in engines)
    return kind(**given)


def _run(namespace: argparse.Namespace) -> int:
    """Run a job, print its tables, save what was asked for."""
    module = importlib.import_module(JOBS[namespace.job])

    def work() -> dict[str, Any]:
        with report.TerminalScreen() as screen:
            document: dict[str, Any] = module.run(_options(module, namespace), screen).as_json()
        report.save(document, namespace.json, namespace.markdown)
        return document

    return _finish(work)


def _show(namespace: argparse.Namespace) -> int:
    """Print a saved document."""
    if namespace.markdown:
        try:
            print(report.markdown(json.loads(namespace.file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError) as error:
            return _complain(f"{namespace.file} is not a saved result: {error!r}")
        return 0
    return _finish(lambda: json.loads(namespace.file.read_text(encoding="utf-8")))


def _report(namespace: argparse.Namespace) -> int:
    """Print saved documents as one Markdown."""
    documents = []
    for path in namespace.files:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            report.markdown(document)  # so that it is this file that is complained about
        except (OSError, ValueError, KeyError, TypeError) as error:
            return _complain(f"{path} is not a saved result: {error!r}")
        documents.append(document)
    print(report.combined_markdown(documents))
    return 0


def _finish(work: Callable[[], dict[str, Any]]) -> int:
    """Print the document that `work` makes; turn its errors into messages and exit codes."""
    try:
        document = work()
        report.print_document(document)
    except LabError as error:
        return _complain(str(error))
    except (OSError, ValueError, KeyError) as error:
        return _complain(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILED if report.failed(document) else 0


def _complain(message: str) -> int:
    print(f"noria lab: {message}", file=sys.stderr)
    return IMPOSSIBLE
