"""Rows to text: a line while measuring, ``docs/benchmarks.md`` with its plot, the rows themselves, and a trend."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import replace_section
from benchmarks.serving import goals, plot
from benchmarks.serving.roster import CONTENDERS, ROOT
from benchmarks.serving.workload import KINDS

RESULTS = ROOT / "benchmarks" / "results" / "serving.jsonl"
TREND = ROOT / "benchmarks" / "results" / "serving_trend.jsonl"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
MARKS = {True: "met", False: "**not met**", None: "not measured"}
TITLES = {contender.name: contender.title for contender in CONTENDERS}

CELLS = "Each cell: right answers per second; p50/p95/p99 in ms; CPU-ms per right answer."

Row = Mapping[str, Any]


def line(name: str, row: Row) -> str:
    """One row while the run goes on."""
    cells = (f"{key}={format_value(value)}" for key, value in row.items() if key != "row" and value not in (None, {}))
    return f"{name}: {' '.join(cells)}"


def write(rows: Sequence[Row]) -> None:
    """Replaces results, page and plot by those of this run; adds ours to the trend."""
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with TREND.open("a") as trend:
        trend.writelines(json.dumps(entry) + "\n" for entry in trend_rows(rows))
    plot.draw(rows, PLOT)
    replace_section(PAGE, "serving", page_section(rows))


def read(path: Path = RESULTS) -> list[Row]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def trend_rows(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """What ours costs, one short row per point and run."""
    run = rows[0]
    keys = ("workload", "connections", "rate", "rps", "p50_ms", "p99_ms", "cpu_ms", "gateway_cpu_ms")
    for row in rows:
        if row.get("contender") == goals.OURS and row["row"] == "load":
            yield {"at": run["at"], "commit": run["commit"]} | {key: row.get(key) for key in keys}


# --- page -------------------------------------------------------------------------------------------------------------


def page_section(rows: Sequence[Row]) -> str:
    """Everything between the two marks."""
    kinds = {row["workload"] for row in rows if row["row"] == "load"}
    parts = [conditions(rows[0]), goals_table(rows), "![Throughput and p99 by connections](benchmarks.svg)"]
    for kind in KINDS:
        if kind.name in kinds:
            parts += [
                f"### {kind.title} (`{kind.name}`)",
                CELLS,
                closed_table(rows, kind.name),
                open_table(rows, kind.name),
            ]
    return "\n\n".join(
        filter(None, [*parts, "### Start and memory", memory_table(rows), gateway_line(rows), who_table(rows)])
    )


def conditions(run: Row) -> str:
    ours = ", ".join(f"{name} {version}" for name, version in run["ours"].items())
    return (
        f"Measured {run['at'][:16].replace('T', ' ')} UTC on {run['cores']} cores of {run['processor']}, "
        f"{run['memory_gb']} GB, {run['system']}, Python {run['python']}; commit {run['commit']}; load average before: "
        f"{run['load_before']}. Ours: {ours}. Command:\n\n```\n{run['command']}\n```"
    )


def goals_table(rows: Sequence[Row]) -> str:
    return table(
        ("goal", "this run: ours / other", ""),
        ((each.goal, each.found, MARKS[each.met]) for each in goals.judge(rows)),
    )


def closed_table(rows: Sequence[Row], workload: str) -> str:
    """One line per contender: the throughput and latency of each number of connections."""
    points = [row for row in loads(rows, workload) if row["rate"] is None]
    columns = sorted({row["connections"] for row in points})
    heads = ["closed loop; connections:", *map(str, columns), "bad"]
    return table(heads, (cells(name, rows_of(points, name), "connections", columns) for name in names(rows, workload)))


def open_table(rows: Sequence[Row], workload: str) -> str:
    points = [row for row in loads(rows, workload) if row["rate"] is not None]
    columns = sorted({row["rate"] for row in points})
    if not columns:
        return ""
    heads = ["open loop; rate:", *(f"{rate}/s" for rate in columns), "bad"]
    return table(heads, (cells(name, rows_of(points, name), "rate", columns) for name in names(rows, workload)))


def cells(name: str, points: Sequence[Row], key: str, columns: Sequence[int]) -> Iterator[str]:
    """A contender's line. Errors and wrong answers are those of all columns."""
    yield TITLES[name]
    by_column = {row[key]: row for row in points}
    for column in columns:
        row = by_column.get(column)
        yield f"{row['rps']:,.0f}; {milliseconds(row)}; {row['cpu_ms']:.2f}" if row and row["right"] else "-"
    errors, wrong = (sum(row[what] for row in points) for what in ("errors", "wrong"))
    yield f"{errors} errors, {wrong} wrong" if errors or wrong else "0"


def milliseconds(row: Row) -> str:
    return "/".join("-" if row[key] is None else format_value(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms"))


def memory_table(rows: Sequence[Row]) -> str:
    """Cold start is the median of the starts."""
    lines: list[tuple[str, ...]] = []
    for name in goals.Results(rows).names():
        mine = [row for row in rows if row.get("contender") == name]
        starts = sorted((row["first_s"], row["both_s"]) for row in mine if row["row"] == "start")
        memory = {row["when"]: row for row in mine if row["row"] == "memory"}
        failed = next((row["reason"] for row in mine if row["row"] == "failed"), None)
        if failed:
            lines.append((TITLES[name], f"**not measured**: {failed.replace('|', '/')}", "", "", ""))
            continue
        first, both = starts[len(starts) // 2]
        pss = [f"{memory[when]['pss_mb']:.0f}" for when in ("loaded", "after load")]
        lines.append((TITLES[name], f"{first:.1f} / {both:.1f}", *pss, str(memory["after load"]["processes"])))
    heads = ("", "cold start, s: first / both models answer right", "PSS MB, loaded", "after load", "processes")
    return table(heads, lines)


def gateway_line(rows: Sequence[Row]) -> str:
    """What the gateway alone takes, of what both our processes take together where they are two."""
    two = [row for row in rows if row.get("contender") == goals.OURS]
    points = [row for row in two if "gateway_cpu_ms" in row and row["rate"] is None]
    each = [
        f"{row['gateway_cpu_ms']:.2f} of {row['cpu_ms']:.2f} ({row['workload']}, {row['connections']})"
        for row in points
    ]
    size = goals.Results(rows).memory(goals.OURS, "gateway_pss_mb")
    return f"Our gateway alone: {size:.0f} MB; CPU-ms per request {', '.join(each)}." if size and each else ""


def who_table(rows: Sequence[Row]) -> str:
    pinned = {row["contender"]: row["versions"] for row in rows if "versions" in row}
    known = [contender for contender in CONTENDERS if contender.name in goals.Results(rows).names()]
    return table(
        ("", "how it runs", "versions"),
        ((each.title, each.how, versions_text(pinned.get(each.name, {}))) for each in known),
    )


def versions_text(pinned: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in pinned.items()) or "this commit"


def loads(rows: Sequence[Row], workload: str) -> list[Row]:
    return [row for row in rows if row["row"] == "load" and row["workload"] == workload]


def names(rows: Sequence[Row], workload: str) -> list[str]:
    return list(dict.fromkeys(row["contender"] for row in loads(rows, workload)))


def rows_of(points: Sequence[Row], name: str) -> list[Row]:
    return [row for row in points if row["contender"] == name]


def table(heads: Sequence[str], lines: Iterator[Any] | Sequence[Any]) -> str:
    body = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *body])


def format_value(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
