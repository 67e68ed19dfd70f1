"""The section "What bounds these figures" of ``docs/benchmarks.md``: a table for each part, and goals beside them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.bounds import starting
from benchmarks.bounds.servers import CONNECTIONS
from benchmarks.bounds.sums import GATEWAY, OVERLOADED, Parts, hold
from benchmarks.serving.goals import DEFAULT, ONE_PROCESS, OURS, Results, judge
from benchmarks.serving.report import conditions, format_value, table
from benchmarks.serving.workload import KINDS

MAX_IDLE_LOAD = 0.5
"""Load average up to which a machine counts as doing nothing else."""
SERVERS = {
    GATEWAY: "**our gateway, without a model**",
    "granian": "granian, no gateway",
    "granian-parsed": "granian, body parsed as we do",
    "uvicorn": "uvicorn, httptools",
    "bare": "uvloop and httptools, no server",
}
LOADED = ("mnist_json", "sentiment")
UNITS = {"rps": "/s", "p50_ms": " ms", "p99_ms": " ms", "pss_mb": " MB", "first_s": " s"}

Row = Mapping[str, Any]


BUSY = "**Measured while others used the machine: every figure is too dear, and only shows the form.**"
GRAPHS = """### The graphs alone

In a process of its own, loaded as they are served, answers checked. Each cell: rows per second; median of a call in ms;
CPU-ms a row. No server with these graphs is faster on these cores."""
HTTP = """### HTTP without a model

Each cell: right responses per second; median in ms; CPU-ms a response, without those of the load generator, which
shares the cores. Servers without a gateway answer with the same bytes."""
SUMS = """### Sums

*Ceiling*: the cores, divided by the processor time of graph, HTTP and load generator, as if nothing were ever idle or
lost between them; of our gateway no more than it does without a model. *Latency*: at one connection HTTP's median and
the graph's call; at more, the mean that follows from the ceiling (Little's law). Measured: {}."""
REFUSALS = """### Three times the load

A refusal by our gateway without a model whose places are all taken, with an overload's 1,500 connections; an answer as
above, with 64. *Goodput at most*: all cores, less what the generator takes for three times the peak, full of answers
and refusals. *With granian's refusals*: if one cost no more than a response of granian without a gateway. Peak and
measured: `benchmarks.overload`, its last run with one input in each request."""
START = """### Start and memory

Medians of {} starts. A version's step ends with its first answer. PSS counts memory that processes share by their
shares: whoever else has the library loaded makes it too small."""
BINARY = """### Sixty-four images in V2's binary form

HTTP's part, by our gateway without a model, beside a direct gRPC call to a model server of ours, which computes them.
At best: with one client the times of the parts add up; with more, nobody is faster than one part."""
GOALS = """### The goals that were missed, beside their bounds

Of {}. Latencies at several connections are held against the mean that follows from the ceiling: where that is beyond
the goal, so is the 99th percentile. The bound of a start is that of a bare process too: what comes after a kill has to
take as long again."""


def section(rows: Sequence[Row], judged: Sequence[Row], overloads: Sequence[Row]) -> str:
    """Everything between the two marks.

    Args:
        rows: of this benchmark.
        judged: of a run of ``benchmarks.serving``, whose goals are held against these bounds.
        overloads: of ``benchmarks.overload``, the last ones last.
    """
    parts = Parts(rows)
    run = parts.of("run")[0]
    return "\n\n".join(
        [
            *([BUSY] if run["load_before"] > MAX_IDLE_LOAD else []),
            conditions(run),
            GRAPHS,
            *(graph_table(parts, kind.name) for kind in KINDS),
            HTTP,
            *(http_table(parts, kind.name) for kind in KINDS),
            SUMS.format(source(judged)),
            sums_table(parts, Results(judged)),
            REFUSALS,
            refusals_table(parts, overloads),
            START.format(starting.STARTS),
            start_table(parts),
            BINARY,
            binary_table(parts),
            GOALS.format(source(judged)),
            goals_table(parts, judged),
        ]
    )


def source(judged: Sequence[Row]) -> str:
    run = judged[0]
    return f"commit {run['commit']}, {run['at'][:16].replace('T', ' ')} UTC, load average before {run['load_before']}"


def graph_table(parts: Parts, workload: str) -> str:
    points = [row for row in parts.of("graph") if row["workload"] == workload]
    columns = sorted({row["rows"] for row in points})
    return table(
        [f"`{workload}`; rows in a call:", *map(str, columns)],
        (
            [f"{calls} at once", *(graph_cell(parts.graph(workload, rows, calls)) for rows in columns)]
            for calls in sorted({row["calls"] for row in points})
        ),
    )


def graph_cell(row: Row) -> str:
    return f"{row['per_s']:,.0f}; {format_value(row['call_ms'])}; {row['cpu_ms']:.2f}"


def http_table(parts: Parts, workload: str) -> str:
    servers = [name for name in (GATEWAY, *parts.servers()) if parts.http(name, workload, 1)]
    return table(
        [f"`{workload}`; connections:", *map(str, CONNECTIONS)],
        ([SERVERS[name], *(http_cell(parts.http(name, workload, count)) for count in CONNECTIONS)] for name in servers),
    )


def http_cell(row: Row | None) -> str:
    return f"{row['rps']:,.0f}; {row['p50_ms']:.2f}; {row['cpu_ms']:.2f}" if row else "-"


def sums_table(parts: Parts, results: Results) -> str:
    heads = (
        *("", "connections", "graph, CPU-ms a row", "our gateway's", "generator's", "**ceiling of our gateway, /s**"),
        *(
            "best of the other HTTP servers, /s",
            "measured: two processes, one process, /s",
            "latency, ms: floor, other HTTP, measured",
        ),
    )
    return table(heads, (sums_line(parts, results, name, count) for name in names(parts) for count in CONNECTIONS))


def names(parts: Parts) -> list[str]:
    return [kind.name for kind in KINDS if parts.http(GATEWAY, kind.name, 1)]


def sums_line(parts: Parts, results: Results, workload: str, connections: int) -> list[str]:
    own, best = parts.http(GATEWAY, workload, connections), parts.best_bound(workload, connections)
    bound = parts.bound(GATEWAY, workload, connections)
    assert own
    assert bound
    loads = [results.load(name, workload, connections) for name in (OURS, ONE_PROCESS)]
    least = parts.least_ms(workload, connections)
    costs = (parts.cheapest_row_ms(workload, connections), own["cpu_ms"], own["load_cpu_ms"])
    medians = " / ".join(format_value(row["p50_ms"]) if row else "-" for row in loads)
    return [
        workload,
        str(connections),
        *(f"{cost:.2f}" for cost in costs),
        f"**{bound.rps:,.0f}**",
        f"{best[1].rps:,.0f} ({best[0]})" if best else "-",
        " / ".join(f"{row['rps']:,.0f}" if row else "-" for row in loads),
        f"{bound.mean_ms:.2f}; {'-' if least is None else f'{least:.2f}'}; {medians}",
    ]


def refusals_table(parts: Parts, overloads: Sequence[Row]) -> str:
    costs = ("", "peak, /s", "refusal, CPU-ms", "generator's")
    heads = (*costs, "**goodput at most, of the peak**", "with granian's refusals", "measured")
    found = (refusals_line(parts, name, overloads) for name in LOADED)
    return table(heads, (line for line in found if line))


def refusals_line(parts: Parts, workload: str, overloads: Sequence[Row]) -> list[str] | None:
    """None where one of them was not measured."""
    model = next(kind.model for kind in KINDS if kind.name == workload)
    last = next((row for row in reversed(overloads) if (row["model"], row["rows"]) == (model, 1)), None)
    refused, plain = parts.refusal(workload), parts.http("granian", workload, OVERLOADED)
    if last is None or refused is None or plain is None:
        return None
    bounds = [parts.goodput(workload, last["peak_rps"], cost) for cost in (refused["cpu_ms"], plain["cpu_ms"])]
    own, other = ("-" if bound is None else f"{bound / last['peak_rps']:.0%}" for bound in bounds)
    costs = (f"{refused['cpu_ms']:.3f}", f"{refused['load_cpu_ms']:.3f}")
    return [workload, f"{last['peak_rps']:,.0f}", *costs, f"**{own}**", other, f"{last['goodput_over_peak']:.0%}"]


def start_table(parts: Parts) -> str:
    return table(
        ("", "steps, s", "first answers after, s", "CPU-s", "PSS MB"),
        (
            [
                row["way"],
                ", ".join(f"{step} {took:.2f}" for step, took in row["steps_s"].items()),
                *(f"{row['whole_s']:.2f}", f"{row['cpu_s']:.2f}", f"{row['pss_mb']:.0f}"),
            ]
            for row in parts.of("start")
        ),
    )


def binary_table(parts: Parts) -> str:
    heads = (
        *("clients", "HTTP's part, ms a call", "direct gRPC, ms", "HTTP's part, calls/s", "direct gRPC, calls/s"),
        *("two processes, at best", "one process, at best"),
    )
    return table(heads, (binary_line(parts, row) for row in parts.of("binary")))


def binary_line(parts: Parts, row: Row) -> list[str]:
    """Shares of direct gRPC's rate: with one client the times add up; with more, no part's own rate is exceeded."""
    http_ms, grpc_ms = row["call_ms"]["http"], row["call_ms"]["grpc"]
    graph_ms = parts.graph("mnist_json", 64)["call_ms"]
    if row["clients"] == 1:
        shares = [grpc_ms / (http_ms + grpc_ms), grpc_ms / (http_ms + graph_ms)]
    else:
        shares = [row["per_s"]["http"] / row["per_s"]["grpc"]] * 2
    rates = [f"{row['per_s'][name]:,.0f}" for name in ("http", "grpc")]
    return [
        str(row["clients"]),
        f"{http_ms:.2f}",
        f"{grpc_ms:.2f}",
        *rates,
        *(f"{share:.0%}" if share < 1 else "no bound" for share in shares),
    ]


def goals_table(parts: Parts, judged: Sequence[Row]) -> str:
    return table(
        ("goal", "needed", "measured", "our gateway's bound", "best other HTTP server's, or a bare process'", ""),
        goal_lines(parts, judged),
    )


def goal_lines(parts: Parts, judged: Sequence[Row]) -> Iterator[list[str]]:
    floors, results = start_floors(parts), Results(judged)
    for missed in judge(judged):
        if missed.met is False and missed.needed:
            held, unit = hold(missed, parts, results, DEFAULT, floors), UNITS[missed.needed.key]
            values = (held.needed, held.measured, held.gateway, held.plain)
            cells = ("-" if value is None else f"{show(value)}{unit}" for value in values)
            yield [held.goal, *cells, held.verdict]


def show(value: float) -> str:
    return f"{value:.2f}" if value < 10 else format_value(value)


def start_floors(parts: Parts) -> dict[str, tuple[float, float]]:
    """Memory, and seconds to one model's first answer: with the gateway's imports (on another core), and without."""
    python, bare, gateway = (parts.start(way) for way in (starting.ONLY_PYTHON, starting.BARE, starting.ONLY_GATEWAY))
    first_s = bare["whole_s"] - list(bare["steps_s"].values())[-1]
    imports_mb = gateway["pss_mb"] - python["pss_mb"]
    return {
        "pss_mb": (bare["pss_mb"] + imports_mb, bare["pss_mb"]),
        "first_s": (max(first_s, gateway["whole_s"]), first_s),
    }
