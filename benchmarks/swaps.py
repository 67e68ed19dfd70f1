"""Version swaps under load: ``python -m benchmarks.swaps [--requests 50000] [--swaps 20] [--rate 400] [--by rollout]``.

Version N computes x/2 + N. Requests come at a fixed rate, half for whatever version answers and half pinned to one,
while versions are published, retired and, every fourth time, rolled back: as in TensorFlow Serving by what lies in the
model's folder, or by the rollout file of a store of ours. Every answer must equal x/2 + the version in its
``X-Model-Version``, which must be the pinned one, and between changes the one that was last made to answer. Prints
counts, and p99 while nothing changes and while a version comes or goes; appends one JSON line to
``benchmarks/results/swaps.jsonl``.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.generator import Answer, Generator
from benchmarks.served import make_versions, served
from benchmarks.serving.answers import instances_body, request
from benchmarks.serving.machine import machine
from benchmarks.serving.tally import percentile
from benchmarks.version_memory.ways import WAYS, Versions
from modelyard.client import Client, ModelyardClientError

MODEL = "half_plus"
RESULTS = Path(__file__).parent / "results" / "swaps.jsonl"
NUMBERS = 100
ROLLBACK_EVERY = 4
REST_S = 0.75
"""Before and after each change: what steady latency is measured in."""
AFTER_S = 0.5
"""A change lasts so long after the model server reported its end: the first requests belong to it."""
CHANGE_S = 30.0
HEADER = b"\r\nx-model-version:"


@dataclass
class Traffic:
    """Requests, and what came of them."""

    port: int
    pinned: int
    wrong: int = 0
    mismatched: int = 0
    """The header names another version than the pinned one."""
    answered: int = 0
    asked: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, float]] = field(default_factory=list)
    """When each right answer's request was due, and its latency in s."""
    latest: list[tuple[float, int]] = field(default_factory=list)
    """When each right answer to a request without a version was due, and which version gave it."""
    versions: Counter[int] = field(default_factory=Counter)
    _built: dict[tuple[int | None, int], bytes] = field(default_factory=dict)

    def next(self) -> tuple[tuple[int | None, int], bytes]:
        """By turns the latest version and the pinned one."""
        self.asked += 1
        key = (self.pinned if self.asked % 2 else None, self.asked % NUMBERS)
        if key not in self._built:
            self._built[key] = build_request(self.port, *key)
        return key, self._built[key]

    def judge(self, answer: Answer) -> None:
        self.answered += 1
        pinned, number = answer.key
        if answer.status != 200:
            self.failed[f"{answer.status} {answer.body[:100].decode(errors='replace')}"] += 1
            return
        said = int(answer.head.partition(HEADER)[2].partition(b"\r\n")[0] or 0)
        self.mismatched += pinned not in (None, said)
        if json.loads(answer.body) != {"predictions": [number / 2 + said]}:
            self.wrong += 1
            return
        self.versions[said] += 1
        self.times.append((answer.due, answer.latency_s))
        if pinned is None:
            self.latest.append((answer.due, said))


def build_request(port: int, version: int | None, number: int) -> bytes:
    path = f"/v1/models/{MODEL}" + (f"/versions/{version}" if version else "")
    return request(port, f"{path}:predict", "application/json", instances_body(float(number)))


class Publisher:
    """Changes versions one after another, in a thread of its own."""

    def __init__(self, versions: Versions, traffic: Traffic) -> None:
        self._versions, self._traffic = versions, traffic
        self._client = Client(f"http://127.0.0.1:{traffic.port}")
        self._newest = 1
        self.changes: list[tuple[float, float, int]] = []
        """From when to when a version came or went, and which one answers from then on."""
        self.swaps = 0
        self.rollbacks = 0
        self.ended = threading.Event()
        self.trouble: Exception | None = None

    def run(self, swaps: int) -> None:
        try:
            while self.swaps + self.rollbacks < swaps:
                self._swap()
                if self.swaps % ROLLBACK_EVERY == 0:
                    self._roll_back()
        except Exception as error:  # noqa: BLE001  # whoever waits for the end must see it
            self.trouble = error
        finally:
            self.ended.set()

    def _swap(self) -> None:
        """The next version comes; who is pinned moves to it; the one before the last goes."""
        version, old = self._newest + 1, self._newest - 1
        with self._change(answers=version):
            self._versions.publish(version)
            self._wait(lambda: self._state(version) == "AVAILABLE", f"version {version} is loaded")
            self._versions.promote(version)
        self._newest = version
        self._pin(version)
        self.swaps += 1
        if self._state(old) == "AVAILABLE":
            with self._change(answers=version):
                self._versions.retire(old)
                self._wait(lambda: self._state(old) in ("END", None), f"version {old} is gone")

    def _roll_back(self) -> None:
        """The newest version goes: the one before answers again."""
        newest, self._newest = self._newest, self._newest - 1
        self._pin(self._newest)
        with self._change(answers=self._newest):
            self._versions.promote(self._newest)
            self._versions.retire(newest)
            self._wait(lambda: self._state(newest) in ("END", None), f"version {newest} is gone")
        self.rollbacks += 1

    @contextmanager
    def _change(self, answers: int) -> Iterator[None]:
        """Notes when it happened, between two rests."""
        time.sleep(REST_S)
        began = time.perf_counter()
        yield
        self.changes.append((began, time.perf_counter() + AFTER_S, answers))
        time.sleep(AFTER_S)

    def _pin(self, version: int) -> None:
        """Returns when no request names another version any more."""
        self._traffic.pinned = version
        already = self._traffic.asked
        self._wait(lambda: self._traffic.answered >= already, "requests pinned to the old version are answered")

    def _state(self, version: int) -> str | None:
        try:
            entries = self._client.call("GET", f"/v1/models/{MODEL}")["model_version_status"]
        except ModelyardClientError:
            return ""
        return next((entry["state"] for entry in entries if entry["version"] == str(version)), None)

    @staticmethod
    def _wait(done: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + CHANGE_S
        while not done():
            if time.monotonic() > give_up:
                raise TimeoutError(what)
            time.sleep(0.05)


def measure(saved: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run over a fresh folder of versions."""
    versions = WAYS[options.by](MODEL, saved, work)
    with served(work, MODEL, *versions.arguments) as port:
        traffic = Traffic(port, pinned=1)
        publisher = Publisher(versions, traffic)
        generator = Generator(port, options.connections, traffic.next, traffic.judge)
        thread = threading.Thread(target=publisher.run, args=(options.swaps,), daemon=True)
        thread.start()
        took = generator.run(
            lambda: publisher.ended.is_set() and (traffic.asked >= options.requests or publisher.trouble is not None),
            options.rate or None,
        )
        thread.join()
    if publisher.trouble:
        print(f"the versions could not be changed: {publisher.trouble!r}")
    traffic.failed.update(generator.failures)
    return summarize(traffic, publisher, took)


def summarize(traffic: Traffic, publisher: Publisher, took_s: float) -> dict[str, Any]:
    def changing(moment: float) -> bool:
        return any(began <= moment <= ended for began, ended, _ in publisher.changes)

    def latest(moment: float) -> int:
        return next((version for _, ended, version in reversed(publisher.changes) if ended < moment), 1)

    steady = sorted(latency for due, latency in traffic.times if not changing(due))
    during = sorted(latency for due, latency in traffic.times if changing(due))
    return {
        "requests": traffic.asked,
        "rps": traffic.asked / took_s,
        "swaps": publisher.swaps,
        "rollbacks": publisher.rollbacks,
        "versions_seen": len(traffic.versions),
        "wrong": traffic.wrong,
        "header_mismatches": traffic.mismatched,
        "stale": sum(not changing(due) and version != latest(due) for due, version in traffic.latest),
        "failed": sum(traffic.failed.values()),
        "failures": dict(traffic.failed.most_common(5)),
        **{f"{name}_steady_ms": in_ms(steady, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        **{f"{name}_during_ms": in_ms(during, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
    }


def in_ms(ordered: list[float], share: float) -> float | None:
    value = percentile(ordered, share)
    return None if value is None else round(value * 1000, 2)


def show(result: dict[str, Any]) -> None:
    columns = "requests | per s | swaps | rollbacks | wrong | not the pinned one | not the latest | failed"
    print(f"| {columns} | p99 steady ms | p99 changing ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    names = ("requests", "rps", "swaps", "rollbacks", "wrong", "header_mismatches", "stale", "failed")
    print("|", " | ".join(f"{result[name]:.0f}" for name in names), end=" | ")
    print(result["p99_steady_ms"], "|", result["p99_during_ms"], "|")
    for text, count in result["failures"].items():
        print(f"{count} x {text}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.swaps", description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000, help="at least so many")
    parser.add_argument("--swaps", type=int, default=20, help="at least so many swaps and rollbacks")
    parser.add_argument("--rate", type=float, default=400, help="requests per second; 0 is a closed loop")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--by", choices=tuple(WAYS), default="folder", help="how versions come and go")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        make_versions(Path(name) / "saved", options.swaps + 1)
        result = measure(Path(name) / "saved", Path(name), options)
    show(result)
    with RESULTS.open("a") as results:
        results.write(json.dumps({"machine": machine(), "asked": vars(options), **result}) + "\n")


if __name__ == "__main__":
    main()
