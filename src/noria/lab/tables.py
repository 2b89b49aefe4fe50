"""Turns a job's document into tables of text, whether for the terminal or for Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from noria.lab.compare import TWIN
from noria.lab.settings import BUSY_SHARE_MIN, DISTURBED_SHARE_MAX

Cell = Callable[[dict[str, Any]], str]


@dataclass(slots=True)
class Table:
    """A title, a header, rows of as many cells, and remarks below."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def microseconds(value_ns: float | None) -> str:
    """Write nanoseconds as µs, ms or s with three digits."""
    if value_ns is None:
        return "-"
    for limit, divisor, unit in ((1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if abs(value_ns) < limit:
            return f"{value_ns / divisor:.3g} {unit}"
    return f"{value_ns / 1e9:.3g} s"


def number(value: float) -> str:
    """Write a count or a rate: three digits, in thousands where it is large."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:,.1f} k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def failures(found: dict[str, int]) -> str:
    """Write failures with their counts; 0 where there are none."""
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "0"


def size(count: int) -> str:
    """Write a number of bytes."""
    return f"{count // 1024} KiB" if count >= 1024 and count % 1024 == 0 else f"{count} B"


def verdict(comparison: dict[str, Any]) -> str:
    """Write who won a comparison."""
    if comparison["winner"] == "equal":
        return "equal"
    if comparison["winner"] == comparison["base"]:
        return f"{comparison['base']} wins"
    return f"**{comparison['base']} loses** to {comparison['winner']}"


def ratio(comparison: dict[str, Any]) -> str:
    """Write median and quartiles of a comparison's ratios."""
    text = "{ratio:.3f} ({ratio_q1:.3f}..{ratio_q3:.3f})"
    return text.format(**comparison)


def comparison_table(title: str, entries: list[tuple[str, dict[str, Any]]]) -> Table:
    """List comparisons, the contender against itself among them; `entries` begin with their row."""
    table = Table(title, ["row", "base / other", "ratio (quartiles)", "pairs", "noise", "verdict"])
    for row, comparison in entries:
        floor = comparison["noise_floor"]
        twin = comparison["other"].endswith(TWIN)
        table.rows.append(
            [
                row,
                f"{comparison['base']} / {comparison['other'] if not twin else 'itself'}",
                ratio(comparison),
                str(comparison["pairs"]),
                "-" if floor is None else f"±{floor * 100:.1f} %",
                "(noise floor)" if twin else verdict(comparison),
            ]
        )
    return table


def remarks_on(row: str, summary: dict[str, Any]) -> list[str]:
    """Say what makes a figure doubtful: failures, a server that waited, a disturbed machine."""
    who = f"{row}: {summary['contender']}" if row else summary["contender"]
    remarks = []
    if summary["failures"]:
        remarks.append(f"{who} FAILED: {failures(summary['failures'])}")
    if summary["disturbed_share"] > DISTURBED_SHARE_MAX:
        share = summary["disturbed_share"] * 100
        remarks.append(f"{who}: others had the server's CPU {share:.0f} % of the time")
    elif summary["busy_share"] < BUSY_SHARE_MIN:
        share = summary["busy_share"] * 100
        remarks.append(
            f"{who}: the server used {share:.0f} % of its CPU; its rate is limited by the clients"
        )
    if summary.get("lost"):
        share = summary["lost"] * 100 / max(1, summary["lost"] + summary["requests"])
        remarks.append(
            f"{who}: {summary['lost']} datagrams were lost and sent again ({share:.2g} %)"
        )
    if summary["client_sleeps"]:
        remarks.append(f"{who}: the load generator slept {summary['client_sleeps']} times")
    return remarks


def network_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab echo|streams|sock|unix|tls|http`."""
    return _network_tables(document, "request", "connections")


def udp_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab udp`."""
    tables = _network_tables(document, "datagram", "clients")
    _add_columns(tables[0], document, {"lost": "lost", "twice": "duplicates"})
    return tables


def trains_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab trains`."""
    tables = _network_tables(document, "datagram", "clients")
    _add_columns(tables[0], document, {"lost": "lost"})
    return tables


def _add_columns(table: Table, document: dict[str, Any], keys: dict[str, str]) -> None:
    """Add columns to a table that has one line per contender of each row."""
    table.header += keys
    contenders = [one for row in document["rows"] for one in row["contenders"]]
    for cells, one in zip(table.rows, contenders, strict=True):
        cells += [str(one[key]) for key in keys.values()]


def churn_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab churn`."""
    tables = _network_tables(document, "connection", "at a time")
    _add_columns(tables[0], document, {"left open": "descriptors_left"})
    return tables


def spawn_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab spawn`."""
    figures = Table(
        "spawn: processes spawned and awaited",
        ["row", "contender", "processes/s", "CPU µs each", "children's CPU µs each", "errors"],
    )
    cpu, rates = [], []
    for row in document["rows"]:
        title = f"{row['parallel']} at a time"
        for one in row["contenders"]:
            figures.rows.append([title, *_spawn_cells(one)])
            if one["failures"]:
                who = f"{title}: {one['contender']}"
                figures.remarks.append(f"{who} FAILED: {failures(one['failures'])}")
        cpu += [(title, comparison) for comparison in row["comparisons"]]
        rates += [(title, comparison) for comparison in row["rate_comparisons"]]
    if not rates:
        return [figures]
    title = "CPU time of the spawning process for each, pair by pair (below 1: base wins)"
    return [
        figures,
        comparison_table("processes/s, pair by pair (above 1: base wins)", rates),
        comparison_table(title, cpu),
    ]


def pipes_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab pipes`."""
    header = ["row", "contender", "CPU µs", "messages/s", "errors"]
    figures = Table("pipes: CPU time of the parent per message through a child", header)
    cpu, rates = [], []
    for row in document["rows"]:
        title = f"{size(row['size'])}, {row['children']} at a time"
        for one in row["contenders"]:
            cells = f"{one['cpu_us']:.2f}", number(one["rate_per_s"]), failures(one["failures"])
            figures.rows.append([title, one["contender"], *cells])
            if one["failures"]:
                who = f"{title}: {one['contender']}"
                figures.remarks.append(f"{who} FAILED: {failures(one['failures'])}")
        cpu += [(title, comparison) for comparison in row["comparisons"]]
        rates += [(title, comparison) for comparison in row["rate_comparisons"]]
    if not cpu:
        return [figures]
    return [
        figures,
        comparison_table("CPU time per message, pair by pair (below 1: base wins)", cpu),
        comparison_table("messages/s, pair by pair (above 1: base wins)", rates),
    ]


def files_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab files`."""
    figures = Table("files: one operation of each row", ["row", "contender", "µs", "per second"])
    figures.header += ["CPU µs", "user", "kernel", "errors"]
    goals = Table("goals", ["row", "contender", "against", "goal", "figure (quartiles)", ""])
    meanings = Table("rows", ["row", "what one operation is"])
    late = Table("longest operations, and the loop's lateness (p99)", ["row", "contender"])
    late.header += ["longest", "of which", "lateness", "before they hung"]
    ways = Table("which way noria's operations went", ["row", "contender", *WAYS.values()])
    times, costs = [], []
    for row in document["rows"]:
        title = row["row"]
        meanings.rows.append([title, row["what"]])
        for one in row["contenders"]:
            figures.rows.append([title, *_files_cells(one)])
            if one["failures"]:
                who = f"{title}: {one['contender']}"
                figures.remarks.append(f"{who} FAILED: {failures(one['failures'])}")
            if "worst_ns" in one.get("details", {}):
                late.rows.append([title, one["contender"], *_late_file_cells(one["details"])])
            if "native" in one.get("details", {}):
                ways.rows.append([title, one["contender"], *_way_cells(one["details"])])
        figures.remarks += [f"{title}: {who} left out: {why}" for who, why in row["absent"].items()]
        goals.rows += [[title, *_goal_cells(goal)] for goal in row["goals"]]
        times += [(title, comparison) for comparison in row["comparisons"]]
        costs += [(title, comparison) for comparison in row["cpu_comparisons"]]
    tables = [meanings, goals, figures]
    tables += [table for table in (ways, late) if table.rows]
    if times:
        tables.append(comparison_table("time, pair by pair (below 1: base wins)", times))
    if costs:
        tables.append(comparison_table("CPU time, pair by pair (below 1: base wins)", costs))
    return tables


GOAL_WORDS: Final = {
    "time": "time <= {limit:g} x",
    "rate": "rate >= {limit:g} x",
    "worst": "longest <= {limit:g} ms",
    "lateness": "lateness <= {limit:g} ms",
}
"""How goals are written, by what they measure."""


WAYS: Final = {"hits": "page cache", "native": "ring", "backend": "disk backend"}
"""Columns, by what File.statistics() calls them."""


def _way_cells(details: dict[str, Any]) -> list[str]:
    total = max(1, sum(details[key] for key in WAYS))
    return [f"{details[key] * 100 / total:.1f} %" for key in WAYS]


def _goal_cells(goal: dict[str, Any]) -> list[str]:
    if goal["figure"] is None:
        figure, state = "-", "not measured"
    else:
        figure = "{figure:.3f} ({figure_q1:.3f}..{figure_q3:.3f})".format(**goal)
        state = "reached" if goal["reached"] else "**not reached**"
    what = GOAL_WORDS[goal["measure"]].format(**goal)
    return [goal["base"], goal["other"] or "-", what, figure, state]


def _files_cells(one: dict[str, Any]) -> list[str]:
    if not one["rounds"]:
        return [one["contender"], *["-"] * 5, failures(one["failures"])]
    costs = [
        "-" if one[key] is None else f"{one[key]:.2f}" for key in ("cpu_us", "user_us", "kernel_us")
    ]
    return [
        one["contender"],
        f"{one['time_us']:.2f}",
        number(one["rate_per_s"]),
        *costs,
        failures(one["failures"]),
    ]


def _late_file_cells(details: dict[str, Any]) -> list[str]:
    kinds = details["worst_of_ns"]
    slowest = max(kinds, key=lambda kind: kinds[kind], default="-")
    times = (microseconds(details[key]) for key in ("late_p99_ns", "calm_p99_ns"))
    return [microseconds(details["worst_ns"]), slowest, *times]


def _spawn_cells(one: dict[str, Any]) -> list[str]:
    return [
        one["contender"],
        number(one["rate_per_s"]),
        f"{one['cpu_us']:.1f}",
        f"{one['children_cpu_us']:.1f}",
        failures(one["failures"]),
    ]


def _network_tables(document: dict[str, Any], unit: str, amount: str) -> list[Table]:
    """Figures per `unit`, and what they say pair by pair; a row has so many of the `amount`."""
    header = ["row", "contender", "CPU µs", "user", "kernel", f"{unit}s/s"]
    figures = Table(f"{document['job']}: CPU time of the server process per {unit}", header)
    figures.header += ["p50", "p99", "p99.9", "errors"]
    cpu, rates = [], []
    for row in document["rows"]:
        title = f"{size(row['size'])}, {row['connections']} {amount}"
        if "train" in row:
            title = f"{row['direction']}, {row['train']} x {title}"
        for one in row["contenders"]:
            figures.rows.append([title, *_network_cells(one)])
            figures.remarks += remarks_on(title, one)
        cpu += [(title, comparison) for comparison in row["comparisons"]]
        rates += [(title, comparison) for comparison in row.get("rate_comparisons", ())]
    tables = [figures]
    if cpu:  # there is none where nobody was left to be compared
        title = f"CPU time per {unit}, pair by pair (below 1: base wins)"
        tables.append(comparison_table(title, cpu))
    if rates:  # documents saved by older versions have none
        tables.append(comparison_table(f"{unit}s/s, pair by pair (above 1: base wins)", rates))
    return tables


def _network_cells(one: dict[str, Any]) -> list[str]:
    return [
        one["contender"],
        f"{one['cpu_us']:.2f}",
        f"{one['user_us']:.2f}",
        f"{one['kernel_us']:.2f}",
        number(one["requests_per_s"]),
        microseconds(one["p50_ns"]),
        microseconds(one["p99_ns"]),
        microseconds(one["p999_ns"]),
        failures(one["failures"]),
    ]


def _cpu(one: dict[str, Any]) -> str:
    return f"{one['cpu_us']:.2f} ({one['user_us']:.2f} + {one['kernel_us']:.2f})"


C10K_ROWS: Final[tuple[tuple[str, Cell], ...]] = (
    ("connections held", lambda one: f"{one['held']:,}"),
    ("time to first answer, worst", lambda one: microseconds(one["first_answer_worst_ns"])),
    ("connects/s", lambda one: number(one["connects_per_s"])),
    ("requests/s", lambda one: number(one["requests_per_s"])),
    ("latency p50", lambda one: microseconds(one["p50_ns"])),
    ("latency p99", lambda one: microseconds(one["p99_ns"])),
    ("latency p99.9", lambda one: microseconds(one["p999_ns"])),
    ("CPU µs/request (user + kernel)", _cpu),
    ("resident bytes per idle connection", lambda one: f"{one['resident_bytes']:,.0f}"),
    ("wake-ups/s while all are idle", lambda one: number(one["idle_wakeups_per_s"])),
    ("descriptors left open", lambda one: str(one["descriptors_left"])),
    ("errors", lambda one: failures(one["failures"])),
    ("good runs", lambda one: f"{one['good_runs']} of {len(one['runs'])}"),
)


def _turned(
    title: str, contenders: list[dict[str, Any]], rows: tuple[tuple[str, Cell], ...]
) -> Table:
    """Make a table with one column per contender."""
    table = Table(title, ["", *(one["contender"] for one in contenders)])
    table.rows = [[name, *(cell(one) for one in contenders)] for name, cell in rows]
    return table


def c10k_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab c10k`."""
    tables = []
    for row in document["rows"]:
        title = (
            f"{row['clients']:,} clients on one thread, {row['active']:,} speak, {row['size']} B"
        )
        table = _turned(title, row["contenders"], C10K_ROWS)
        for one in row["contenders"]:
            table.remarks += remarks_on("", one)
        tables.append(table)
        if row["comparisons"]:
            entries = [("steady echo", comparison) for comparison in row["comparisons"]]
            tables.append(
                comparison_table("CPU time per request, pair by pair (below 1: base wins)", entries)
            )
    return tables


def _bytes_at(key: str) -> Cell:
    """Make the cell of an amount that not every contender, nor every older document, has."""

    def cell(one: dict[str, Any]) -> str:
        value = one.get(key)
        return "-" if value is None else f"{value:,.0f}"

    return cell


def _beside(one: dict[str, Any]) -> str:
    return "{idle_ratio:.3f} ({idle_ratio_q1:.3f}..{idle_ratio_q3:.3f})".format(**one)


IDLE_ROWS: Final[tuple[tuple[str, Cell], ...]] = (
    ("wake-ups/s, no connection", lambda one: number(one["wakeups_per_s"])),
    ("wake-ups/s, all idle", lambda one: number(one["wakeups_full_per_s"])),
    ("resident bytes per idle connection, Protocol", _bytes_at("resident_bytes")),
    ("the same, all since the start counted", _bytes_at("resident_bytes_from_start")),
    ("resident bytes per idle connection, streams", _bytes_at("resident_bytes_streams")),
    ("the same, all since the start counted", _bytes_at("resident_bytes_streams_from_start")),
    ("active alone, CPU µs/request", lambda one: f"{one['alone']['cpu_us']:.2f}"),
    ("active among idle, CPU µs/request", lambda one: f"{one['among_idle']['cpu_us']:.2f}"),
    ("among idle / alone: median (quartiles)", _beside),
    ("all at once: answered", lambda one: f"{one['burst_answered']:,}"),
    ("all at once: until the last answer", lambda one: microseconds(one["burst_ns"])),
    ("all at once: worst latency", lambda one: microseconds(one["burst_worst_ns"])),
    ("errors", lambda one: failures(one["failures"])),
)


def idle_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab idle`."""
    tables = []
    for row in document["rows"]:
        title = f"{row['clients']:,} idle clients, {row['active']} active ones"
        table = _turned(title, row["contenders"], IDLE_ROWS)
        for one in row["contenders"]:
            for key in ("alone", "among_idle"):
                table.remarks += remarks_on(key.replace("_", " "), one[key])
        tables.append(table)
    return tables


def idle_tls_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab idle --tls`."""
    tables = []
    for row in document["rows"]:
        weights = Table(
            f"{row['clients']:,} idle TLS connections: resident bytes for each",
            ["after an echo of", "contender", "connections", "resident bytes", "all since start"],
        )
        weights.rows = [
            [size(amount), one["contender"], *_weight_cells(one["weights"][str(amount)])]
            for amount in row["sizes"]
            for one in row["contenders"]
        ]
        weights.remarks = [
            f"{one['contender']} FAILED: {failures(one['failures'])}"
            for one in row["contenders"]
            if one["failures"]
        ]
        tables.append(weights)
        if row["comparisons"]:
            ratios = Table("weighed once each (below 1: base wins)", ["row", "base / other"])
            ratios.header.append("ratio")
            ratios.rows = [_weight_ratio(one) for one in row["comparisons"]]
            tables.append(ratios)
    return tables


def _weight_cells(weight: dict[str, Any]) -> list[str]:
    figures = weight["held"], weight["resident_bytes"], weight["resident_bytes_from_start"]
    return [f"{figure:,.0f}" for figure in figures]


def _weight_ratio(one: dict[str, Any]) -> list[str]:
    lost = one["ratio"] is not None and one["ratio"] > 1
    figure = "-" if one["ratio"] is None else f"{one['ratio']:.3f}"
    return [
        size(one["size"]),
        f"{one['base']} / {one['other']}",
        f"**{figure}**" if lost else figure,
    ]


def micro_tables(document: dict[str, Any]) -> list[Table]:
    """Tables of `noria lab micro`."""
    rates = Table("the loop's own work, per second", ["benchmark"])
    late = Table(
        "timers of an idle loop", ["contender", "late, median", "late, p99", "early", "timers"]
    )
    faster, sooner = [], []
    for row in document["rows"]:
        if row["bench"] == "timer_lateness":
            late.rows = [_late_cells(one) for one in row["contenders"]]
            sooner = [(row["bench"], comparison) for comparison in row["comparisons"]]
            continue
        rates.header[1:] = [one["contender"] for one in row["contenders"]]
        rates.rows.append([row["bench"], *(number(one["rate_per_s"]) for one in row["contenders"])])
        faster += [(row["bench"], comparison) for comparison in row["comparisons"]]
    tables = []
    if rates.rows:
        tables += [rates, comparison_table("rate, pair by pair (above 1: base wins)", faster)]
    if late.rows:
        tables += [late, comparison_table("lateness, pair by pair (below 1: base wins)", sooner)]
    return tables


def _late_cells(one: dict[str, Any]) -> list[str]:
    return [
        one["contender"],
        microseconds(one["late_p50_ns"]),
        microseconds(one["late_p99_ns"]),
        str(one["early"]),
        str(one["timers"]),
    ]


MAKERS: Final[dict[str, Callable[[dict[str, Any]], list[Table]]]] = {
    "echo": network_tables,
    "streams": network_tables,
    "sock": network_tables,
    "unix": network_tables,
    "tls": network_tables,
    "http": network_tables,
    "udp": udp_tables,
    "trains": trains_tables,
    "spawn": spawn_tables,
    "pipes": pipes_tables,
    "files": files_tables,
    "idle-tls": idle_tls_tables,
    "churn": churn_tables,
    "c10k": c10k_tables,
    "idle": idle_tables,
    "micro": micro_tables,
}


def tables(document: dict[str, Any]) -> list[Table]:
    """Make the tables of any job's document. Raises KeyError for one of another kind."""
    return MAKERS[document["job"]](document)
