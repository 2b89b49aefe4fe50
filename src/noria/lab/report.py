"""Shows what a job found: on the terminal with rich, as Markdown, as JSON; and its progress."""

from __future__ import annotations

import importlib
import json
import time
from typing import TYPE_CHECKING, Any, Final, Self

from noria.lab.errors import LabError
from noria.lab.tables import tables

if TYPE_CHECKING:
    from pathlib import Path

    from noria.lab.tables import Table

STEP_S: Final = 0.2
"""Progress is drawn no oftener than this: drawing takes time on the load generator's CPU."""


def load_rich(part: str) -> Any:
    """Import a module of rich. Raises LabError that says how to install it."""
    try:
        return importlib.import_module(f"rich.{part}")
    except ImportError:
        raise LabError("the lab needs rich: pip install noria[lab]") from None


class TerminalScreen:
    """Shows the progress of a job while it runs, for the length of a `with` block."""

    __slots__ = ("_drawn_s", "_progress", "_task")

    def __init__(self) -> None:
        """Take the terminal. Raises LabError where rich is missing."""
        module = load_rich("progress")
        console = load_rich("console").Console(stderr=True)
        self._progress = module.Progress(
            module.TextColumn("{task.description}"),
            module.BarColumn(bar_width=24),
            module.TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0)
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, what: str, done: float, total: float) -> None:
        """Show that `done` of `total` is through."""
        now_s = time.monotonic()
        if now_s - self._drawn_s < STEP_S:
            return
        self._drawn_s = now_s
        self._progress.update(self._task, description=what, completed=done, total=total)
        self._progress.refresh()


def host_line(host: dict[str, Any]) -> str:
    """Say in one line where a document's numbers come from."""
    line = (
        f"{host['processor']}, {host['cpus']} CPUs, Linux {host['kernel']}, "
        f"Python {host['python']}; "
    )
    if "place" in host:  # a job without a load generator says itself where things are
        return line + str(host["place"])
    line += f"server on CPU {host['server_core']}, load generator on CPU {host['client_core']}"
    if str(host["client_core"]) in _cores(host["server_core_siblings"]):
        line += " (both are threads of one physical core)"
    return line


def _cores(text: str) -> list[str]:
    """Expand the kernel's list of CPUs (`0,2-3`)."""
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found += [str(core) for core in range(int(first), int(last or first) + 1)]
    return found


def versions(document: dict[str, Any]) -> str:
    """Say which contenders' versions a document is about."""
    seen: dict[str, str] = {}
    for row in document["rows"]:
        for one in row["contenders"]:
            facts = one.get("facts") or {}
            text = str(facts.get("version", ""))
            if facts.get("engine"):
                text += f", engine {facts['engine']}"
            if facts.get("disk"):
                text += f", disk {facts['disk']}"
            if "compiled" in facts:
                text += ", compiled" if facts["compiled"] else ", interpreted"
            seen.setdefault(one["contender"], text)
    return "; ".join(
        f"{name} {text}" for name, text in seen.items() if text and "(itself)" not in name
    )


def print_document(document: dict[str, Any]) -> None:
    """Print a document's tables. Raises LabError where rich is missing."""
    console = load_rich("console").Console(highlight=False)
    for table in tables(document):
        console.width = max(console.width, _columns(table))
        console.print(_rich_table(table))
        for remark in table.remarks:
            console.print(f"  ! {remark}", markup=False, soft_wrap=True)
    for note in document["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for line in (host_line(document["host"]), versions(document)):
        console.print(line, style="dim", markup=False, soft_wrap=True)


def _columns(table: Table) -> int:
    """How wide a table must be for every digit to be seen."""
    columns = zip(*[table.header, *table.rows], strict=True)
    return 1 + sum(3 + max(len(cell) for cell in column) for column in columns)


def _rich_table(table: Table) -> Any:
    shown = load_rich("table").Table(title=table.title, title_justify="left")
    for number, name in enumerate(table.header):
        shown.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    plain = load_rich("text").Text
    for row in table.rows:
        shown.add_row(
            *(
                plain(cell.replace("**", ""), style="bold red" if "**" in cell else "")
                for cell in row
            )
        )
    return shown


def markdown(document: dict[str, Any]) -> str:
    """Write a document as Markdown for docs/performance.md, losses in bold."""
    return "\n".join([*_markdown_tables(document), *_origin(document)])


def combined_markdown(documents: list[dict[str, Any]]) -> str:
    """Write several documents as one Markdown, a section each.

    Where they come from is told once, behind the last of those in a row that agree in it.
    """
    lines: list[str] = []
    for number, document in enumerate(documents):
        following = documents[number + 1 : number + 2]
        origin = _origin(document)
        lines += [f"## {document['job']}", "", *_markdown_tables(document)]
        if not following or _origin(following[0]) != origin:
            lines += origin
    return "\n".join(lines)


def _markdown_tables(document: dict[str, Any]) -> list[str]:
    """Give the lines of a document's tables, remarks and notes, an empty one last."""
    lines: list[str] = []
    for table in tables(document):
        lines += [f"### {table.title}", ""]
        lines.append("| " + " | ".join(table.header) + " |")
        lines.append("|" + "|".join(["---"] + ["---:"] * (len(table.header) - 1)) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        lines.append("")
        lines += [f"- {remark}" for remark in table.remarks]
        if table.remarks:
            lines.append("")
    lines += [f"- note: {note}" for note in document["notes"]]
    if document["notes"]:
        lines.append("")
    return lines


def _origin(document: dict[str, Any]) -> list[str]:
    """Give the lines that tell where a document's numbers come from, an empty one last."""
    return [
        f"{host_line(document['host'])}. {_closed_loop(document)}",
        f"Versions: {versions(document)}.",
        "",
    ]


def _closed_loop(document: dict[str, Any]) -> str:
    """Say what the clients waited for: it decides what the latencies mean."""
    if document["job"] == "churn":
        return "The load is a closed loop: a connection is opened when the last one was closed."
    if document["job"] == "trains":
        return (
            "The load is a closed loop: a client sends, or asks for, its next train when the last "
            "one was whole. Latencies are those of trains."
        )
    if document["job"] == "spawn":
        return "A process is spawned when the last one was awaited."
    if document["job"] == "pipes":
        return "The load is a closed loop: a message is sent when an earlier one has come back."
    if document["job"] == "files":
        return "An operation begins when an earlier one has ended."
    if document["job"] == "idle-tls":
        return "Each connection had one echo and is silent."
    return (
        "The load is a closed loop: a connection sends its next request when the last one was "
        "answered."
    )


def save(document: dict[str, Any], json_path: Path | None, markdown_path: Path | None) -> None:
    """Write a document to the files asked for. Raises OSError."""
    if json_path is not None:
        json_path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if markdown_path is not None:
        markdown_path.write_text(markdown(document), encoding="utf-8")


def failed(document: dict[str, Any]) -> bool:
    """Tell whether a contender (not a rival) had errors, or a run of the main job was not good."""
    measured = set(document["options"]["contenders"])
    for row in document["rows"]:
        for one in row["contenders"]:
            if one["contender"] not in measured:
                continue
            if one.get("failures") or one.get("good_runs", 0) < len(one.get("runs", ())):
                return True
    return False
