"""Three times as much as can be done: ``python -m benchmarks.overload [--store FOLDER --rows 16]``.

Closed loops find the most right answers per second. Then as many requests as that, three times over, are offered in an
open loop; then half as many, to see how soon all is well again. Prints goodput as a share of the peak, how long a
refusal takes, how long a served request takes beside one at capacity, and the time of recovery; appends one JSON line
to ``benchmarks/results/overload.jsonl``. The generator shares the processors with the servers: what it takes of them
is printed too, and lowers the goodput.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.generator import Answer, Generator, for_seconds
from benchmarks.served import make_versions, served
from benchmarks.serving.answers import Checker, instances_body, request
from benchmarks.serving.machine import machine
from benchmarks.serving.tally import percentile
from benchmarks.serving.workload import KINDS, load_all

RESULTS = Path(__file__).parent / "results" / "overload.jsonl"
TINY = "half_plus"
MODELS = {kind.name: kind.model for kind in KINDS if kind.content_type == "application/json"}
CONNECTIONS = (16, 32, 64, 128)
MAX_CONNECTIONS = 1500
OVERLOAD = 3.0
AFTERWARDS = 0.5
"""Share of the peak that is offered after the overload."""
AFTERWARDS_S = 10.0
LEAD_S = 1.0
"""The first second of a phase does not count."""
SLICE_S = 0.5
RECOVERED_LATENCY_FACTOR = 2.0
"""Recovered: all is served, and p99 is at most so many times that at capacity."""
RETRY_LATER = (429, 503)


@dataclass(frozen=True)
class Target:
    """Requests, and which bodies answer them."""

    requests: tuple[bytes, ...]
    right: Callable[[int, bytes], bool]


@dataclass
class Seen:
    """What came of one phase. Times are (due, latency) in s."""

    target: Target
    served: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    def next(self) -> tuple[int, bytes]:
        self.asked += 1
        index = self.asked % len(self.target.requests)
        return index, self.target.requests[index]

    def judge(self, answer: Answer) -> None:
        if answer.status in RETRY_LATER and b"\r\nretry-after:" in answer.head:
            self.refused.append((answer.due, answer.latency_s))
        elif answer.status != 200:
            self.failed[f"{answer.status} {answer.body[:100].decode(errors='replace')}"] += 1
        elif self.target.right(answer.key, answer.body):
            self.served.append((answer.due, answer.latency_s))
        else:
            self.wrong += 1


@dataclass(frozen=True)
class Phase:
    """One phase in numbers."""

    seen: Seen
    started: float
    ended: float
    own_cpu: float
    """Processors that the generator took."""

    @property
    def goodput(self) -> float:
        """Right answers per second after the first."""
        end = self.ended
        counted = sum(self.started + LEAD_S <= due + latency <= end for due, latency in self.seen.served)
        return counted / (end - self.started - LEAD_S)

    @property
    def offered(self) -> float:
        return self.seen.asked / (self.ended - self.started)

    def served_ms(self, share: float) -> float | None:
        return percentile_ms([latency for due, latency in self.seen.served if due >= self.started + LEAD_S], share)

    def refused_ms(self, share: float) -> float | None:
        return percentile_ms([latency for due, latency in self.seen.refused if due >= self.started + LEAD_S], share)


def percentile_ms(latencies_s: list[float], share: float) -> float | None:
    value = percentile(sorted(latencies_s), share)
    return None if value is None else round(value * 1000, 2)


def run(port: int, target: Target, seconds: float, connections: int, rate: float | None = None) -> Phase:
    seen = Seen(target)
    generator = Generator(port, connections, seen.next, seen.judge)
    cpu, started = time.process_time(), time.perf_counter()
    took = generator.run(for_seconds(seconds), rate)
    own_cpu = (time.process_time() - cpu) / (time.perf_counter() - started)
    seen.failed.update(generator.failures)
    if generator.unconnected:
        seen.failed["connections that were not taken"] = generator.unconnected
    return Phase(seen, started, started + took, own_cpu)


def measure_peak(port: int, target: Target, seconds: float) -> tuple[int, Phase]:
    """The number of connections with the most right answers, and that run."""
    run(port, target, LEAD_S, CONNECTIONS[0])
    phases = {count: run(port, target, LEAD_S + seconds, count) for count in CONNECTIONS}
    return max(phases.items(), key=lambda entry: entry[1].goodput)


def measure_recovery_s(phase: Phase, at_capacity_ms: float) -> float | None:
    """From the end of the overload to the first moment after which all is well; None if it never was."""
    limit_s = RECOVERED_LATENCY_FACTOR * at_capacity_ms / 1000
    bad = [due for due, _ in phase.seen.refused] + [due for due, late in phase.seen.served if late > limit_s]
    slices = Counter(int((due - phase.started) / SLICE_S) for due in bad)
    all_in = Counter(int((due - phase.started) / SLICE_S) for due, _ in (*phase.seen.served, *phase.seen.refused))
    unwell = [number for number, count in slices.items() if count > 0.01 * all_in[number]]
    last = max(unwell, default=-1)
    return None if (last + 1) * SLICE_S >= phase.ended - phase.started else (last + 1) * SLICE_S


def measure(port: int, target: Target, options: argparse.Namespace) -> dict[str, Any]:
    connections, peak = measure_peak(port, target, options.peak_seconds)
    over = run(port, target, LEAD_S + options.seconds, MAX_CONNECTIONS, OVERLOAD * peak.goodput)
    after = run(port, target, AFTERWARDS_S, MAX_CONNECTIONS, AFTERWARDS * peak.goodput)
    at_capacity = peak.served_ms(0.99) or 0.0
    phases = {"peak": peak, "overload": over, "after": after}
    return {
        "connections_at_peak": connections,
        "peak_rps": round(peak.goodput, 1),
        "peak_p99_ms": at_capacity,
        "offered_rps": round(over.offered, 1),
        "offered_over_peak": round(over.offered / peak.goodput, 2),
        "goodput_rps": round(over.goodput, 1),
        "goodput_over_peak": round(over.goodput / peak.goodput, 3),
        "refused": len(over.seen.refused),
        "refused_p99_ms": over.refused_ms(0.99),
        "served_p50_ms": over.served_ms(0.5),
        "served_p99_ms": over.served_ms(0.99),
        "recovery_s": measure_recovery_s(after, at_capacity),
        "wrong": {name: phase.seen.wrong for name, phase in phases.items()},
        "failed": {name: dict(phase.seen.failed.most_common(3)) for name, phase in phases.items()},
        "generator_cpu": {name: round(phase.own_cpu, 2) for name, phase in phases.items()},
    }


# --- the requests -----------------------------------------------------------------------------------------------------


def make_tiny_target(port: int) -> Target:
    body = request(port, f"/v1/models/{TINY}:predict", "application/json", instances_body(3.0))
    return Target((body,), lambda _, answer: answer == b'{"predictions":[2.5]}')


def make_store_target(port: int, store: Path, name: str, rows: int) -> Target:
    """So many images or reviews in each request, as JSON rows, with what the SavedModel itself answers to each."""
    workload = load_all(store)[name]
    path = f"/v1/models/{workload.kind.model}:predict"
    count = len(workload.inputs)
    groups = [[(first + place) % count for place in range(rows)] for first in range(0, count, rows)]
    bodies = (
        request(port, path, "application/json", instances_body(*(workload.inputs[index] for index in group)))
        for group in groups
    )
    checker = Checker("predictions", list(workload.expected))

    def right(number: int, body: bytes) -> bool:
        if rows == 1:
            return checker.right(number, body)
        found, group = orjson.loads(body)["predictions"], groups[number]
        lone = (orjson.dumps({"predictions": [row]}) for row in found)
        return len(found) == rows and all(map(checker.right, group, lone))

    return Target(tuple(bodies), right)


def print_result(result: dict[str, Any]) -> None:
    print("| | measured | promised |")
    print("|---|---|---|")
    print(f"| peak, {result['connections_at_peak']} connections | {result['peak_rps']:.0f}/s | |")
    print(f"| offered | {result['offered_rps']:.0f}/s, {result['offered_over_peak']} x the peak | 3 x |")
    print(f"| goodput | {result['goodput_rps']:.0f}/s, {result['goodput_over_peak']:.0%} | >= 90 % |")
    print(f"| refused p99 | {result['refused_p99_ms']} ms ({result['refused']} refusals) | <= 50 ms |")
    print(f"| served p99 | {result['served_p99_ms']} ms, at capacity {result['peak_p99_ms']} ms | <= 2 x |")
    print(f"| recovery | {result['recovery_s']} s | <= 5 s |")
    for name in ("wrong", "failed", "generator_cpu"):
        print(f"| {name} | {result[name]} | |")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="length of the overload")
    parser.add_argument("--peak-seconds", type=float, default=4, help="length of each closed loop")
    parser.add_argument("--store", type=Path, help="a store with both models; without it, a tiny model is asked")
    parser.add_argument("--workload", choices=MODELS, default="mnist_json", help="which of the store's to ask")
    parser.add_argument("--rows", type=int, default=1, help="inputs in each request to the store's model")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        if not options.store:
            make_versions(Path(name) / "models" / TINY, 1)
        models = options.store or Path(name) / "models"
        model = MODELS[options.workload] if options.store else TINY
        with served(Path(name), model, f"--models-dir={models}") as port:
            target = (
                make_store_target(port, options.store, options.workload, options.rows)
                if options.store
                else make_tiny_target(port)
            )
            result = measure(port, target, options)
    print_result(result)
    with RESULTS.open("a") as results:
        results.write(json.dumps({"machine": machine(), "model": model, "rows": options.rows, **result}) + "\n")


if __name__ == "__main__":
    main()
