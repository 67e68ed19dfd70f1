"""Replicas and cost for so many predictions per second: ``python -m benchmarks.scaling_plan --node 8 32 0.40``.

Reads a run of ``benchmarks.replicas`` with its processor times per right answer, of two gateways and of two model
servers, at one load point, and computes how many of each a cluster needs, how many nodes they fill, and what those cost
at the price that is given. Prints a table, or JSON. A file of ``benchmarks.serving`` will do, too: ``--replicas 1``.

What it assumes: further replicas cost no more than the second one did, as each of them is loaded as those that were
measured; the network between them costs ``--network`` more; a core there is as fast as one here, unless ``--speed``
says else. Broker, ledger, scheduler, disks, load balancers and traffic are not in it.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "replicas.jsonl"
RATES = (1_000, 10_000, 100_000)
HOURS_PER_MONTH = 730
CONTENDER = "modelyard"
DEFAULTS: Mapping[str, Any] = {"gateways": 1, "servers": 1, "share": None}
"""Of rows that do not say: those of ``benchmarks.serving``."""
GATEWAY_CORES = 1.0
"""One event loop; `requests` in deploy/kubernetes/base/gateway.yaml."""
GATEWAY_GB, SERVING_GB = 0.5, 2.0
LEAST = 2
"""Of each, so that one may be taken away."""


class NoSuchPoint(Exception):
    """The file has no such measurement without an error or a wrong answer."""


@dataclass(frozen=True)
class Cost:
    """Processor time of one prediction, in milliseconds, where it was measured."""

    gateway_ms: float
    serving_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, and its price for an hour, in any currency."""

    cores: float
    memory_gb: float
    price: float


@dataclass(frozen=True)
class Assumptions:
    """What the file does not say."""

    utilisation: float = 0.65
    """Share of its cores that a replica may use on average; the autoscalers' goal in deploy/kubernetes."""
    serving_cores: float = 4.0
    network: float = 0.2
    """More processor time than on one machine, for packets between them; a share."""
    speed: float = 1.0
    """Of a core there, as a multiple of one here."""
    allocatable: float = 0.9
    """Share of a node that its own processes leave."""


@dataclass(frozen=True)
class Plan:
    """What a rate takes."""

    rate: float
    gateways: int
    model_servers: int
    cores: float
    memory_gb: float
    nodes: int
    per_hour: float
    per_month: float
    per_million: float
    """For a million predictions, at this rate around the clock."""


def read_cost(lines: Iterable[str], workload: str, connections: int, replicas: int = 1) -> Cost:
    """The cost of a prediction at one load point of so many gateways, and model servers, of ours; of several the last.

    Raises:
        NoSuchPoint: there is none, or it had errors.
    """
    rows = (DEFAULTS | json.loads(line) for line in lines)
    wanted = {"row": "load", "contender": CONTENDER, "workload": workload, "connections": connections, "rate": None}
    wanted |= {"gateways": replicas, "servers": replicas, "share": None}
    found = [row for row in rows if wanted.items() <= row.items()]
    if not found or found[-1]["errors"] or found[-1]["wrong"] or not found[-1]["right"]:
        many = f"{replicas} x {CONTENDER}"
        raise NoSuchPoint(f"no right answers of {many} to {workload} at {connections} connections")
    row: Mapping[str, Any] = found[-1]
    return Cost(row["gateway_cpu_ms"], row["cpu_ms"] - row["gateway_cpu_ms"], row["p99_ms"])


def plan(rate: float, cost: Cost, node: Node, given: Assumptions = Assumptions()) -> Plan:  # it is frozen
    """The least that carries a rate, in predictions per second."""
    more = (1 + given.network) / given.speed / 1000
    gateways = _count(rate * cost.gateway_ms * more, GATEWAY_CORES * given.utilisation)
    servers = _count(rate * cost.serving_ms * more, given.serving_cores * given.utilisation)
    cores = gateways * GATEWAY_CORES + servers * given.serving_cores
    memory_gb = gateways * GATEWAY_GB + servers * SERVING_GB
    nodes = max(
        LEAST,
        math.ceil(cores / (node.cores * given.allocatable)),
        math.ceil(memory_gb / (node.memory_gb * given.allocatable)),
    )
    per_hour = nodes * node.price
    return Plan(
        rate,
        gateways,
        servers,
        cores,
        memory_gb,
        nodes,
        per_hour,
        per_hour * HOURS_PER_MONTH,
        per_hour / (rate * 3600) * 1e6,
    )


def _count(work: float, capacity: float) -> int:
    """Replicas for so many cores of work."""
    return max(LEAST, math.ceil(work / capacity))


def render(plans: Sequence[Plan]) -> Iterator[str]:
    """A table in Markdown."""
    yield "| predictions/s | gateways | model servers | cores | memory | nodes | per hour | per month | per million |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for each in plans:
        yield (
            f"| {each.rate:,.0f} | {each.gateways} | {each.model_servers} | {each.cores:.0f} | {each.memory_gb:.0f} GB "
            f"| {each.nodes} | {each.per_hour:,.2f} | {each.per_month:,.0f} | {each.per_million:,.4f} |"
        )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    given = Assumptions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling_plan", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of benchmarks.replicas, or of serving")
    parser.add_argument("--replicas", type=int, default=2, help="gateways, and model servers, of the measurement")
    parser.add_argument("--workload", default="mnist_json")
    parser.add_argument("--connections", type=int, default=64, help="load point; its p99 is shown")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="predictions per second")
    parser.add_argument("--node", type=float, nargs=3, required=True, metavar=("CORES", "GB", "PRICE_PER_HOUR"))
    parser.add_argument("--utilisation", type=float, default=given.utilisation)
    parser.add_argument("--serving-cores", type=float, default=given.serving_cores, help="of one model server")
    parser.add_argument("--network", type=float, default=given.network)
    parser.add_argument("--speed", type=float, default=given.speed)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan."""
    options = parse(arguments)
    with options.results.open() as lines:
        try:
            cost = read_cost(lines, options.workload, options.connections, options.replicas)
        except NoSuchPoint as error:
            print(error)
            return 1
    given = Assumptions(options.utilisation, options.serving_cores, options.network, options.speed)
    plans = [plan(rate, cost, Node(*options.node), given) for rate in options.rates]
    if options.json:
        print(
            json.dumps({"cost": asdict(cost), "assumptions": asdict(given), "plans": [asdict(each) for each in plans]})
        )
        return 0
    print(
        f"{options.workload}, {options.replicas} x {options.replicas} at {options.connections} connections: "
        f"{cost.gateway_ms:.2f} ms of a gateway's core, "
        f"{cost.serving_ms:.2f} ms of model servers' for a prediction; p99 {cost.p99_ms:.0f} ms where that was measured"
    )
    print("\n".join(render(plans)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
