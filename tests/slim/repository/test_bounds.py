"""How the parts' costs are added up, and a missed goal is held against the sum."""

from typing import Any

import pytest

from benchmarks.bounds.sums import GATEWAY, Parts, ceiling, hold
from benchmarks.serving.goals import DEFAULT, Judged, Needed, Results, judge


def graph(rows: int, call_ms: float, cpu_ms: float, calls: int = 1) -> dict[str, Any]:
    point = {"row": "graph", "workload": "mnist_json", "rows": rows, "calls": calls}
    return point | {"call_ms": call_ms, "cpu_ms": cpu_ms, "per_s": rows / call_ms * 1000}


def http(server: str, connections: int, rps: float, p50_ms: float, cpu_ms: float) -> dict[str, Any]:
    point = {"row": "http", "server": server, "workload": "mnist_json", "connections": connections}
    return point | {"rps": rps, "p50_ms": p50_ms, "cpu_ms": cpu_ms, "load_cpu_ms": 0.1}


ROWS = (
    {"row": "run", "cores": 2},
    graph(1, call_ms=0.5, cpu_ms=0.5),
    graph(8, call_ms=2.4, cpu_ms=0.3),
    graph(8, call_ms=2.8, cpu_ms=0.35, calls=2),
    graph(64, call_ms=12.8, cpu_ms=0.2),
    http(GATEWAY, 1, rps=1500, p50_ms=0.6, cpu_ms=0.6),
    http(GATEWAY, 32, rps=4000, p50_ms=8, cpu_ms=0.3),
    http(GATEWAY, 64, rps=2000, p50_ms=30, cpu_ms=0.3),
    http("granian", 1, rps=9000, p50_ms=0.1, cpu_ms=0.1),
    http("granian", 32, rps=9000, p50_ms=3, cpu_ms=0.1),
    http("bare", 32, rps=12_000, p50_ms=2, cpu_ms=0.05),
)
PARTS = Parts(ROWS)


def test_a_ceiling_is_all_cores_over_all_costs() -> None:
    """Two cores, and 0.3 + 0.1 + 0.4 ms of a core for each response."""
    assert ceiling(2, 0.3, 0.1, 0.4) == pytest.approx(2500)


def test_a_row_costs_what_it_does_in_the_best_batch_that_the_connections_fill() -> None:
    assert [PARTS.cheapest_row_ms("mnist_json", count) for count in (1, 8, 32, 64)] == [0.5, 0.3, 0.3, 0.2]


def test_our_gateway_is_bounded_by_its_own_rate_too() -> None:
    """At 32 by the cores: 2000 / (0.3 + 0.1 + 0.3); at 64 by what it does without a model."""
    many, more = (PARTS.bound(GATEWAY, "mnist_json", count) for count in (32, 64))
    assert many
    assert more
    assert many.rps == pytest.approx(2000 / 0.7)
    assert many.mean_ms == pytest.approx(32 * 0.7 / 2)
    assert more.rps == 2000


def test_at_one_connection_the_floor_is_http_and_one_call() -> None:
    bound = PARTS.bound(GATEWAY, "mnist_json", 1)
    assert bound == (pytest.approx(1000 / 1.1), pytest.approx(1.1))
    assert PARTS.least_ms("mnist_json", 1) == pytest.approx(0.6)


def test_the_best_of_the_other_servers_has_the_highest_ceiling() -> None:
    found = PARTS.best_bound("mnist_json", 32)
    assert found
    assert (found[0], found[1].rps) == ("bare", pytest.approx(2000 / 0.45))
    assert PARTS.best_bound("sentiment", 32) is None


@pytest.mark.parametrize(("peak", "goodput"), [(2000, 2000), (3000, 1100 / 0.45), (9000, 0)])
def test_what_refusals_and_the_generator_leave_bounds_the_goodput(peak: float, goodput: float) -> None:
    """Two cores; 0.05 ms for each refusal and each request sent, 0.3 + 0.2 ms for each answer. Never above the peak."""
    refusal = {"row": "refusal", "workload": "mnist_json", "cpu_ms": 0.05, "load_cpu_ms": 0.05}
    assert Parts([*ROWS, refusal]).goodput("mnist_json", peak, 0.05) == pytest.approx(goodput)


def test_a_goodput_without_its_parts_is_not_bounded() -> None:
    assert PARTS.refusal("mnist_json") is None
    assert PARTS.goodput("mnist_json", 2000, 0.05) is None


@pytest.mark.parametrize(
    ("key", "connections", "value", "verdict"),
    [
        ("rps", 32, 2000, "not bounded by these parts: 70 % of our ceiling"),
        ("rps", 32, 3000, "out of reach of this gateway"),
        ("rps", 32, 5000, "out of reach of every HTTP server tried"),
        ("p50_ms", 1, 1.2, "not bounded by these parts"),
        ("p50_ms", 1, 1.0, "out of reach of this gateway"),
        ("p50_ms", 1, 0.5, "out of reach of every HTTP server tried"),
        ("p99_ms", 32, 10, "out of reach of this gateway"),
        ("rps", 8, 1000, "no bound was measured"),
        ("pss_mb", 0, 500, "out of reach of this gateway"),
        ("first_s", 0, 0.5, "out of reach of a bare process"),
    ],
)
def test_a_missed_goal_is_held_against_its_bounds(key: str, connections: int, value: float, verdict: str) -> None:
    """Throughput against ceilings, all else against floors."""
    missed = Judged("goal", "found", met=False, needed=Needed(key, value, "mnist_json", connections))
    floors = {"pss_mb": (550.0, 450.0), "first_s": (0.9, 0.7)}
    assert hold(missed, PARTS, Results([]), "modelyard", floors).verdict == verdict


def test_a_bound_that_was_passed_is_none() -> None:
    """At 32 connections ours had more than its parts allow: they were measured on a slower machine."""
    missed = Judged("goal", "found", met=False, needed=Needed("rps", 3500, "mnist_json", 32))
    asked = {"row": "load", "contender": "modelyard", "workload": "mnist_json", "connections": 32, "rate": None}
    held = hold(missed, PARTS, Results([asked | {"right": 1, "rps": 3000.0}]), "modelyard", {})
    assert (held.measured, held.verdict[:9]) == (3000.0, "no bound:")


def test_goals_say_what_was_needed() -> None:
    """3.5 times the best peer's throughput, and no more than its 99th percentile."""
    asked = {"row": "load", "workload": "mnist_json", "connections": 32, "rate": None, "right": 1}
    rows = [
        asked | {"contender": name, "rps": rps, "p99_ms": 1.0, "p50_ms": 1.0}
        for name, rps in ((DEFAULT, 1000.0), ("flask", 400.0))
    ]
    needed = {each.needed for each in judge(rows) if each.met is not None}
    assert needed == {Needed("rps", 1400.0, "mnist_json", 32), Needed("p99_ms", 1.0, "mnist_json", 32)}
