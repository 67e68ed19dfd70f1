"""Replicas and cost, from a result file."""

import json
from pathlib import Path

import pytest

from benchmarks.scaling_plan import (
    GATEWAY_CORES,
    GATEWAY_GB,
    SERVING_GB,
    Assumptions,
    Cost,
    Node,
    NoSuchPoint,
    main,
    plan,
    read_cost,
)
from tests.support.kubernetes import find, render_overlay

COST = Cost(gateway_ms=0.3, serving_ms=0.2, p99_ms=15)
NODE = Node(cores=8, memory_gb=32, price=0.4)
ROW = {
    "row": "load",
    "contender": "modelyard",
    "workload": "mnist_json",
    "connections": 32,
    "rate": None,
    "right": 100,
    "errors": 0,
    "wrong": 0,
    "cpu_ms": 0.5,
    "gateway_cpu_ms": 0.3,
    "p99_ms": 15.0,
}


def test_replicas_carry_the_rate_at_the_utilisation_that_is_wanted() -> None:
    """As few as do."""
    given = Assumptions(utilisation=0.5, serving_cores=4, network=0.0)
    found = plan(10_000, COST, NODE, given)
    assert (found.gateways, found.model_servers) == (6, 2)  # 3 cores of work at half; 2 cores of work
    assert (found.cores, found.nodes) == (14, 2)
    assert (found.per_hour, found.per_month) == (pytest.approx(0.8), pytest.approx(584))
    assert found.per_million == pytest.approx(0.8 / 36)


def test_costs_grow_with_the_rate_and_never_below_two_of_each() -> None:
    """So that one may be taken away."""
    rates = (1, 1_000, 10_000, 100_000)
    plans = [plan(rate, COST, NODE) for rate in rates]
    assert [each.gateways for each in plans] == sorted(each.gateways for each in plans)
    assert (plans[0].gateways, plans[0].model_servers, plans[0].nodes) == (2, 2, 2)
    for rate, each in zip(rates, plans, strict=True):
        assert rate * COST.gateway_ms / 1000 < 0.65 * each.gateways
        assert each.cores <= each.nodes * NODE.cores


def test_a_faster_core_and_a_cheaper_network_take_fewer() -> None:
    """In proportion."""
    slow, fast = (plan(100_000, COST, NODE, Assumptions(network=0.0, speed=speed)) for speed in (1.0, 2.0))
    assert fast.gateways == pytest.approx(slow.gateways / 2, abs=1)


def test_the_last_point_without_errors_is_read() -> None:
    """What the gateway did not use is the model server's."""
    lines = [json.dumps(ROW | {"gateway_cpu_ms": 0.4}), json.dumps({"row": "run"}), json.dumps(ROW)]
    assert read_cost(lines, "mnist_json", 32) == COST
    doubled = {"gateways": 2, "servers": 2, "share": None}
    assert read_cost([json.dumps(ROW | doubled), *lines[:1]], "mnist_json", 32, replicas=2) == COST
    for wrong in (doubled, {"share": 0.3}, {"errors": 1}, {"wrong": 1}, {"connections": 8}, {"right": 0}):
        with pytest.raises(NoSuchPoint):
            read_cost([json.dumps(ROW | wrong)], "mnist_json", 32)


def test_it_prints_what_docs_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A table, or JSON; the price is the caller's."""
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(ROW | {"gateways": 2, "servers": 2, "connections": 64}))
    assert main(["--results", str(path), "--node", "8", "32", "0.4"]) == 0
    assert "| 100,000 |" in capsys.readouterr().out
    assert main(["--results", str(path), "--node", "8", "32", "0.4", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["plans"]) == 3
    assert main(["--results", str(path), "--node", "8", "32", "0.4", "--workload", "none"]) == 1


def test_what_it_counts_is_what_the_manifests_ask_for() -> None:
    """Cores and memory of each pod, and the goal of the autoscaler."""
    resources = render_overlay("gke")
    for name, cores, memory_gb in (("gateway", GATEWAY_CORES, GATEWAY_GB), ("modelserver", 4.0, SERVING_GB)):
        (container,) = find(resources, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        asked = container["resources"]["requests"]
        memory = float(asked["memory"][:-2]) / {"Gi": 1, "Mi": 1024}[asked["memory"][-2:]]
        assert (float(asked["cpu"]), memory) == (cores, memory_gb)
    metrics = find(resources, "HorizontalPodAutoscaler", "modelserver")["spec"]["metrics"]
    (cpu,) = (each["resource"]["target"]["averageUtilization"] for each in metrics if each["type"] == "Resource")
    assert cpu / 100 == Assumptions().utilisation
