"""What we set out to reach against the best peer of the same run, and whether this run does. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Row = Mapping[str, Any]
OURS = "modelyard"
ONE_PROCESS = "modelyard-one"
DEFAULT = ONE_PROCESS
"""What ``modelyard serve`` is, unless asked for more: it is judged."""
FROZEN = ("mosec-frozen",)
LEANEST_SHARE = 0.87
START_S = 1.0


class Needed(NamedTuple):
    """What ours had to have, in the units of the run's rows: of throughput at least, of all else at most so much."""

    key: str
    """``rps``, ``p50_ms``, ``p99_ms``, ``pss_mb`` or ``first_s``."""
    value: float
    workload: str = ""
    connections: int = 0


@dataclass(frozen=True)
class Judged:
    """One goal."""

    goal: str
    found: str
    met: bool | None
    """None: this run did not measure it."""
    needed: Needed | None = None
    """None: not measured, or the goal is not one of the whole."""


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

    def start(self, contender: str) -> float | None:
        """Seconds to the first right answer: the median of the starts."""
        found = sorted(row["first_s"] for row in self._of(contender, "start"))
        return found[len(found) // 2] if found else None

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
        *judge_against(results, "mnist_json", (32, 64), peers, "best documented peer", Least(3.5, p99=1)),
        *judge_against(results, "mnist_json", (32, 64), frozen, "best peer frozen by hand", Least(1.4, p99=1)),
        one_connection(results, "mnist_json", 0.6),
        *png(results),
        *judge_against(results, "sentiment", (8, 32, 64), peers, "best documented peer", Least(1.2, p99=1.1)),
        one_connection(results, "sentiment", 0.95),
        *memory(results),
        start(results),
        judge_many_connections(results),
    ]


class Least(NamedTuple):
    """Of us beside another: throughput at least so many times as high, p99 at most so many times."""

    throughput: float
    p99: float


def judge_against(
    results: Results, workload: str, connections: Sequence[int], names: Sequence[str], whom: str, least: Least
) -> Iterator[Judged]:
    """Beside the one of some that has the most throughput."""
    for number in connections:
        where = f"{workload} at {number} connections"
        ours, other = results.load(DEFAULT, workload, number), results.best(names, workload, number)
        goal = f"{where}: throughput ≥ {least.throughput:g} x {whom}"
        yield ratio(goal, ours, other, "rps", at_least(least.throughput))
        yield ratio(f"{where}: p99 ≤ {least.p99:g} x that of the {whom}", ours, other, "p99_ms", at_most(least.p99))


class Limit(NamedTuple):
    """Of ours as a share of another's."""

    share: float
    is_least: bool

    def is_met(self, found: float) -> bool:
        return found >= self.share if self.is_least else found <= self.share


def at_least(share: float) -> Limit:
    return Limit(share, is_least=True)


def at_most(share: float) -> Limit:
    return Limit(share, is_least=False)


def ratio(goal: str, ours: Row | None, other: Row | None, key: str, limit: Limit) -> Judged:
    """Ours over the other's; nothing to say where one is missing."""
    if ours is None or other is None:
        return Judged(goal, "not measured", None)
    found = ours[key] / other[key]
    values = f"{format_value(ours[key])} / {format_value(other[key])} ({other['contender']})"
    needed = Needed(key, limit.share * other[key], ours["workload"], ours["connections"])
    return Judged(goal, f"{found:.2f} = {values}", limit.is_met(found), needed)


def one_connection(results: Results, workload: str, most: float) -> Judged:
    goal = f"{workload} at 1 connection: p50 ≤ {most:g} x the quickest documented peer's"
    return ratio(goal, results.load(DEFAULT, workload, 1), results.quickest(workload, 1), "p50_ms", at_most(most))


def png(results: Results) -> Iterator[Judged]:
    for number in (32, 64):
        ours, other = (results.load(DEFAULT, workload, number) for workload in ("mnist_png", "mnist_json"))
        yield ratio(f"PNG body at {number} connections: at least as fast as JSON", ours, other, "rps", at_least(1))


def memory(results: Results) -> Iterator[Judged]:
    ours = results.memory(DEFAULT)
    others = {name: found for name in results.peers() if (found := results.memory(name))}
    leanest = min(others, key=lambda name: others[name], default=None)
    goal = f"PSS with both models ≤ {LEANEST_SHARE:g} x the leanest documented peer's"
    if ours is None or leanest is None:
        yield Judged(goal, "not measured", None)
    else:
        share = ours / others[leanest]
        text = f"{share:.2f} = {ours:.0f} MB / {others[leanest]:.0f} MB ({leanest})"
        yield Judged(goal, text, share <= LEANEST_SHARE, Needed("pss_mb", LEANEST_SHARE * others[leanest]))
    gateway = results.memory(OURS, "gateway_pss_mb")
    size = "not measured" if gateway is None else f"{gateway:.0f} MB"
    yield Judged("PSS of the gateway ≤ 120 MB", size, None if gateway is None else gateway <= 120)


def start(results: Results) -> Judged:
    found = results.start(DEFAULT)
    text = "not measured" if found is None else f"{found:.1f} s"
    met = None if found is None else found <= START_S
    return Judged(f"first right answer ≤ {START_S:g} s after the start", text, met, Needed("first_s", START_S))


def judge_many_connections(results: Results) -> Judged:
    goal = "mnist_json: from 64 to 512 connections at most 10 % of the throughput is lost"
    many, few = (results.load(DEFAULT, "mnist_json", number) for number in (512, 64))
    return ratio(goal, many, few, "rps", at_least(0.9))


def format_value(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
