"""What we set out to reach against the best peer of the same run, and whether this run does. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
OURS = "modelyard"
ONE_PROCESS = "modelyard-one"
FROZEN = ("mosec-frozen",)


@dataclass(frozen=True)
class Judged:
    """One goal."""

    goal: str
    found: str
    met: bool | None
    """None: this run did not measure it."""


@dataclass(frozen=True)
class Results:
    """The rows of one run, found by what they measure."""

    rows: Sequence[Row]

    def load(self, contender: str, workload: str, connections: int) -> Row | None:
        """A point of a closed loop with at least one response."""
        for row in self._of(contender, "load"):
            asked = (row["workload"], row["connections"], row["rate"])
            if asked == (workload, connections, None) and row["right"]:
                return row
        return None

    def memory(self, contender: str, key: str = "pss_mb") -> float | None:
        """The most of what was seen."""
        return max((row[key] for row in self._of(contender, "memory") if key in row), default=None)

    def names(self) -> list[str]:
        """Contenders in the order of the run."""
        return list(dict.fromkeys(row["contender"] for row in self.rows if "contender" in row))

    def peers(self) -> list[str]:
        """Those that run as their own documentation advises."""
        return [name for name in self.names() if name not in (OURS, ONE_PROCESS, *FROZEN)]

    def best(self, names: Sequence[str], workload: str, connections: int) -> Row | None:
        """The point of the contender with the most right answers per second."""
        found = [row for name in names if (row := self.load(name, workload, connections))]
        return max(found, key=lambda row: float(row["rps"]), default=None)

    def quickest(self, workload: str, connections: int) -> Row | None:
        """The point of the documented peer with the lowest median latency."""
        found = [row for name in self.peers() if (row := self.load(name, workload, connections))]
        return min(found, key=lambda row: float(row["p50_ms"]), default=None)

    def _of(self, contender: str, kind: str) -> Iterator[Row]:
        return (row for row in self.rows if row.get("contender") == contender and row["row"] == kind)


def judge(rows: Sequence[Row]) -> list[Judged]:
    """Every goal, met or not."""
    results = Results(rows)
    peers, frozen = results.peers(), [name for name in results.names() if name in FROZEN]
    return [
        *judge_against(results, "mnist_json", (32, 64), peers, "best documented peer", 2.5),
        *judge_against(results, "mnist_json", (32, 64), frozen, "best peer frozen by hand", 1.25),
        one_connection(results),
        *png(results),
        *judge_against(results, "sentiment", (32,), peers, "best documented peer", 1.5),
        *memory(results),
        judge_many_connections(results),
    ]


def judge_against(
    results: Results, workload: str, connections: Sequence[int], names: Sequence[str], whom: str, least: float
) -> Iterator[Judged]:
    """Throughput at least ``least`` times that of the best of some, and p99 no higher than that one's."""
    for number in connections:
        where = f"{workload} at {number} connections"
        ours, other = results.load(OURS, workload, number), results.best(names, workload, number)
        yield ratio(f"{where}: throughput ≥ {least} x {whom}", ours, other, "rps", at_least(least))
        yield ratio(f"{where}: p99 no higher than that of the {whom}", ours, other, "p99_ms", at_most(1))


def at_least(limit: float) -> Callable[[float], bool]:
    return lambda found: found >= limit


def at_most(limit: float) -> Callable[[float], bool]:
    return lambda found: found <= limit


def ratio(goal: str, ours: Row | None, other: Row | None, key: str, meets: Callable[[float], bool]) -> Judged:
    """Ours over the other's; nothing to say where one is missing."""
    if ours is None or other is None:
        return Judged(goal, "not measured", None)
    found = ours[key] / other[key]
    values = f"{format_value(ours[key])} / {format_value(other[key])} ({other['contender']})"
    return Judged(goal, f"{found:.2f} = {values}", meets(found))


def one_connection(results: Results) -> Judged:
    goal = "mnist_json at 1 connection: p50 ≤ 1.2 x the quickest documented peer's"
    ours, other = results.load(OURS, "mnist_json", 1), results.quickest("mnist_json", 1)
    return ratio(goal, ours, other, "p50_ms", at_most(1.2))


def png(results: Results) -> Iterator[Judged]:
    for number in (32, 64):
        ours, other = (results.load(OURS, workload, number) for workload in ("mnist_png", "mnist_json"))
        yield ratio(f"PNG body at {number} connections: at least as fast as JSON", ours, other, "rps", at_least(1))


def memory(results: Results) -> Iterator[Judged]:
    ours = results.memory(OURS)
    others = {name: found for name in results.peers() if (found := results.memory(name))}
    leanest = min(others, key=lambda name: others[name], default=None)
    goal = "PSS with both models ≤ the leanest documented peer's"
    if ours is None or leanest is None:
        yield Judged(goal, "not measured", None)
    else:
        yield Judged(goal, f"{ours:.0f} MB / {others[leanest]:.0f} MB ({leanest})", ours <= others[leanest])
    gateway = results.memory(OURS, "gateway_pss_mb")
    size = "not measured" if gateway is None else f"{gateway:.0f} MB"
    yield Judged("PSS of the gateway ≤ 120 MB", size, None if gateway is None else gateway <= 120)


def judge_many_connections(results: Results) -> Judged:
    goal = "mnist_json: from 64 to 512 connections at most 10 % of the throughput is lost"
    many, few = (results.load(OURS, "mnist_json", number) for number in (512, 64))
    return ratio(goal, many, few, "rps", at_least(0.9))


def format_value(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
