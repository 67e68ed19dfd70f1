"""From what the parts cost to what the whole can reach at best. Pure.

A ceiling supposes that all cores are busy with what is needed all the time, and that nothing is lost between the parts:
so many cores, divided by the processor time of the graph, of HTTP and of the load generator, which shares the cores. A
floor of the median at one connection is the time of HTTP without a model, and of the graph's call for one row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.overload import OVERLOAD
from benchmarks.serving.goals import Judged, Needed, Results

Row = Mapping[str, Any]

GATEWAY = "gateway"
OVERLOADED = 64
"""Connections at which an answer costs what it does under overload."""


class Bound(NamedTuple):
    """The most throughput, and the least latency, with one way to speak HTTP."""

    rps: float
    """Responses per second, at most."""
    mean_ms: float
    """Nobody's mean latency can be less at that many connections (Little's law); at one, HTTP's and the graph's."""


class Parts:
    """Costs of the parts, found by what they are of."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.cores: int = next((row["cores"] for row in rows if row["row"] == "run"), 1)

    def graph(self, workload: str, rows: int, calls: int = 1) -> Row:
        """One point of a graph alone."""
        return next(
            row for row in self.of("graph") if (row["workload"], row["rows"], row["calls"]) == (workload, rows, calls)
        )

    def cheapest_row_ms(self, workload: str, connections: int) -> float:
        """The least processor time of a row, in batches of no more rows than there are connections."""
        points = [row for row in self.of("graph") if row["workload"] == workload and row["rows"] <= connections]
        return float(min(row["cpu_ms"] for row in points))

    def http(self, server: str, workload: str, connections: int) -> Row | None:
        """One point of a server without a model; None if it was not measured."""
        wanted = (server, workload, connections)
        rows = self.of("http")
        return next((row for row in rows if (row["server"], row["workload"], row["connections"]) == wanted), None)

    def servers(self) -> list[str]:
        """Those without a gateway."""
        return [name for name in dict.fromkeys(row["server"] for row in self.of("http")) if name != GATEWAY]

    def bound(self, server: str, workload: str, connections: int) -> Bound | None:
        """With one server before the graph; None if it was not measured."""
        row = self.http(server, workload, connections)
        if row is None:
            return None
        if connections == 1:
            alone_ms = row["p50_ms"] + self.graph(workload, 1)["call_ms"]
            return Bound(1000 / alone_ms, alone_ms)
        costs = (row["cpu_ms"], row["load_cpu_ms"], self.cheapest_row_ms(workload, connections))
        rps = min(row["rps"], ceiling(self.cores, *costs)) if server == GATEWAY else ceiling(self.cores, *costs)
        return Bound(rps, connections / rps * 1000)

    def best_bound(self, workload: str, connections: int) -> tuple[str, Bound] | None:
        """The highest ceiling of all servers without a gateway."""
        found = {name: bound for name in self.servers() if (bound := self.bound(name, workload, connections))}
        return max(found.items(), key=lambda entry: entry[1].rps, default=None)

    def least_ms(self, workload: str, connections: int) -> float | None:
        """The least latency with any server without a gateway."""
        bounds = [self.bound(name, workload, connections) for name in self.servers()]
        return min((bound.mean_ms for bound in bounds if bound), default=None)

    def refusal(self, workload: str) -> Row | None:
        """What a refusal costs; None if it was not measured."""
        return next((row for row in self.of("refusal") if row["workload"] == workload), None)

    def goodput(self, workload: str, peak: float, refusal_ms: float) -> float | None:
        """Right answers per second under so many times the peak, at most, if a refusal costs so much of a core.

        Every request costs the generator something, and either an answer's time or a refusal's; the cores are full.
        """
        answered, refused = self.http(GATEWAY, workload, OVERLOADED), self.refusal(workload)
        if answered is None or refused is None:
            return None
        answer_ms = answered["cpu_ms"] + self.cheapest_row_ms(workload, OVERLOADED)
        offered = OVERLOAD * peak
        left_ms = self.cores * 1000 - offered * (refusal_ms + refused["load_cpu_ms"])
        return float(min(peak, max(0.0, left_ms / (answer_ms - refusal_ms))))

    def start(self, way: str) -> Row:
        return next(row for row in self.of("start") if row["way"] == way)

    def of(self, kind: str) -> list[Row]:
        return [row for row in self._rows if row["row"] == kind]


def ceiling(cores: int, *cpu_ms: float) -> float:
    """Responses per second of so many cores, if each response costs so many milliseconds of a core in its parts."""
    return cores * 1000 / sum(cpu_ms)


class Held(NamedTuple):
    """A goal beside what bounds it."""

    goal: str
    needed: float
    measured: float | None
    gateway: float | None
    """The best that our gateway can do; None: does not apply, or was not measured."""
    plain: float | None
    """The best with any of the HTTP servers in its place, or of a bare process."""
    verdict: str


def hold(missed: Judged, parts: Parts, results: Results, ours: str, floors: Mapping[str, tuple[float, float]]) -> Held:
    """A missed goal against its bounds.

    Args:
        floors: by ``pss_mb`` and ``first_s``, the least with the gateway's imports and without.
    """
    needed = missed.needed
    assert needed
    gateway, plain = floors.get(needed.key) or bound_load(needed, parts)
    found = measured(needed, results, ours)
    return Held(missed.goal, needed.value, found, gateway, plain, judge_bounds(needed, found, gateway, plain))


def bound_load(needed: Needed, parts: Parts) -> tuple[float | None, float | None]:
    """The bounds of our gateway and of any server at a point of the load."""
    own = parts.bound(GATEWAY, needed.workload, needed.connections)
    if needed.key == "rps":
        best = parts.best_bound(needed.workload, needed.connections)
        return own and own.rps, best and best[1].rps
    return own and own.mean_ms, parts.least_ms(needed.workload, needed.connections)


def judge_bounds(needed: Needed, found: float | None, gateway: float | None, plain: float | None) -> str:
    """Whether a value lies beyond what can be; a bound that was passed already is none."""

    def beyond(value: float | None, bound: float | None) -> bool:
        if value is None or bound is None:
            return False
        return value > bound if needed.key == "rps" else value < bound

    if gateway is None and plain is None:
        return "no bound was measured"
    if beyond(found, gateway) or beyond(found, plain):
        return "no bound: what was measured passes it, so the parts were slower than that run"
    if beyond(needed.value, plain):
        return f"out of reach of {'every HTTP server tried' if needed.connections else 'a bare process'}"
    if beyond(needed.value, gateway):
        return "out of reach of this gateway"
    share = f": {needed.value / gateway * 100:.0f} % of our ceiling" if needed.key == "rps" and gateway else ""
    return f"not bounded by these parts{share}"


def measured(needed: Needed, results: Results, ours: str) -> float | None:
    """What ours had in the run that was judged."""
    if needed.key == "pss_mb":
        return results.memory(ours)
    if needed.key == "first_s":
        return results.start(ours)
    row = results.load(ours, needed.workload, needed.connections)
    return None if row is None else float(row[needed.key])
