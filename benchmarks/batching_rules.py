"""When a batch should leave, simulated: ``python -m benchmarks.batching_rules``.

Two cores are shared by the gateway's loop, which does one thing at a time, and the calls in flight. Rules are compared
with not waiting at all (``NOBODY``) in closed loops of 1 to 512 callers and with Poisson arrivals, for quick and slow
models: throughput and mean latency of each, and in how many cases it is worse (decision 0053).
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from modelyard.services.gateway.serving.batching.waiting import ReturningCallers

CORES, MAX_ROWS = 2, 64
CLIENTS = (1, 2, 8, 32, 64, 512)
RATES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.85)
"""Shares of the most that could be answered."""
SEEDS, RUNS, WARM = 2, 3000, 500
"""Per case: how many simulations; answers of each, and how many of them do not count."""
MOST_LATENCY, LEAST_THROUGHPUT = 1.05, 0.985
SPREAD = 0.3
"""Costs vary evenly by so much."""


@dataclass(frozen=True)
class Model:
    """Seconds of one core."""

    run: float
    row: float
    request: float
    """The gateway's, half of it before and half after the call."""


MODELS = {
    "LSTM": Model(3.4e-3, 0.35e-3, 0.25e-3),
    "digits": Model(0.5e-3, 0.05e-3, 0.2e-3),
    "quick": Model(0.2e-3, 0.01e-3, 0.2e-3),
    "slow": Model(20e-3, 2e-3, 0.25e-3),
    "rows cost most": Model(2e-3, 2.5e-3, 0.2e-3),
}


class Rule(Protocol):
    """When the next batch leaves."""

    calls: int
    """In flight at most."""

    def find_time(self, waiting: "deque[tuple[float, float]]", now: float) -> float:
        """When it leaves, if nothing more arrives: now, or later."""

    def note_answer(self, size: int, took_s: float, now: float) -> None:
        """A call was answered."""


@dataclass
class Window:
    """A batch leaves when it is full, or when the oldest has waited so long."""

    seconds: float = 0.0
    calls: int = 2

    def find_time(self, waiting: "deque[tuple[float, float]]", now: float) -> float:
        return now if len(waiting) >= MAX_ROWS else max(now, waiting[0][0] + self.seconds)

    def note_answer(self, size: int, took_s: float, now: float) -> None:
        """It learns nothing."""


@dataclass
class Share:
    """Waits for a share of the requests just answered, for a share of that call's time."""

    requests: float
    wait: float
    calls: int = 2
    expected: int = 0
    until: float = 0.0

    def find_time(self, waiting: "deque[tuple[float, float]]", now: float) -> float:
        return self.until if len(waiting) < self.expected and now < self.until else now

    def note_answer(self, size: int, took_s: float, now: float) -> None:
        self.expected = math.ceil(self.requests * size) if size > 1 else 0
        self.until = now + self.wait * took_s


@dataclass
class Ours:
    """The gateway's own rule."""

    callers: ReturningCallers = field(default_factory=ReturningCallers)
    calls: int = 2

    def find_time(self, waiting: "deque[tuple[float, float]]", now: float) -> float:
        return self.callers.until if self.callers.is_waited_for(len(waiting), now) else now

    def note_answer(self, size: int, took_s: float, now: float) -> None:
        self.callers.note_answer(size, size, took_s, now)


NOBODY = "nobody waits"
OURS = "waits for 0.9, up to half of what one call less saves"
RULES: dict[str, Callable[[], Rule]] = {
    NOBODY: Window,
    "window of 1 ms": lambda: Window(1e-3),
    "window of 5 ms": lambda: Window(5e-3),
    "one call in flight, waits for all": lambda: Share(1.0, 0.3, calls=1),
    "waits for 0.75, up to 0.3 of the call": lambda: Share(0.75, 0.3),
    "waits for 0.9, up to 0.6 of the call": lambda: Share(0.9, 0.6),
    OURS: Ours,
}


@dataclass
class Work:
    """What a core does: seconds that remain, when it began, and since when its requests have waited."""

    left: float
    began: float
    since: list[float]
    answers: bool = False


@dataclass
class Simulation:
    """One run of one rule."""

    rule: Rule
    model: Model
    draw: random.Random
    clients: int = 0
    rate: float = 0.0
    now: float = 0.0
    waiting: "deque[tuple[float, float]]" = field(default_factory=deque)
    """When each could leave, and when it was sent."""
    loop: "deque[Work]" = field(default_factory=deque)
    calls: list[Work] = field(default_factory=list)
    done: list[tuple[float, float]] = field(default_factory=list)
    """When each was answered, and its latency."""

    def run(self) -> tuple[float, float]:
        """Answers per second, and the mean latency in seconds."""
        for _ in range(self.clients):
            self._arrive()
        arrival = self.draw.expovariate(self.rate) if self.rate else math.inf
        while len(self.done) < RUNS:
            leaves = self._send()
            busy = [*self.calls, *([self.loop[0]] if self.loop else [])]
            speed = min(1.0, CORES / len(busy)) if busy else 1.0
            step = min([arrival - self.now, leaves - self.now, *(work.left / speed for work in busy)])
            self.now += max(step, 1e-9)
            for work in busy:
                work.left -= max(step, 1e-9) * speed
            self._finish()
            if arrival <= self.now:
                self._arrive()
                arrival = self.now + self.draw.expovariate(self.rate)
        counted = self.done[WARM:]
        return len(counted) / (counted[-1][0] - counted[0][0]), fmean(latency for _, latency in counted)

    def _arrive(self) -> None:
        self.loop.append(Work(self._vary(self.model.request / 2), self.now, [self.now]))

    def _vary(self, seconds: float) -> float:
        return seconds * self.draw.uniform(1 - SPREAD, 1 + SPREAD)

    def _send(self) -> float:
        """Starts what may leave; when the next may."""
        while self.waiting and len(self.calls) < self.rule.calls:
            leaves = self.rule.find_time(self.waiting, self.now)
            if leaves > self.now:
                return leaves
            batch = [self.waiting.popleft()[1] for _ in range(min(len(self.waiting), MAX_ROWS))]
            self.calls.append(Work(self._vary(self.model.run + self.model.row * len(batch)), self.now, batch))
        return math.inf

    def _finish(self) -> None:
        for call in [call for call in self.calls if call.left <= 0]:
            self.calls.remove(call)
            self.rule.note_answer(len(call.since), self.now - call.began, self.now)
            self.loop += [Work(self._vary(self.model.request / 2), self.now, [sent], True) for sent in call.since]
        if self.loop and self.loop[0].left <= 0:
            work = self.loop.popleft()
            (sent,) = work.since
            if not work.answers:
                self.waiting.append((self.now, sent))
                return
            self.done.append((self.now, self.now - sent))
            if self.clients:
                self._arrive()


def find_most(model: Model) -> float:
    """Answers per second that the cores, and the loop on one of them, can give at full batches; and a fifth left."""
    return 0.8 * min(1 / model.request, CORES / (model.request + model.row + model.run / MAX_ROWS))


def list_loads(model: Model) -> Iterator[tuple[int, float]]:
    """Callers of closed loops, or arrivals per second."""
    yield from ((clients, 0.0) for clients in CLIENTS)
    yield from ((0, share * find_most(model)) for share in RATES)


def measure(
    rule: Callable[[], Rule], model: Model, clients: int, rate: float, seeds: int = SEEDS
) -> tuple[float, float]:
    """Throughput and latency of a rule, means over the seeds."""
    found = [Simulation(rule(), model, random.Random(seed), clients, rate).run() for seed in range(seeds)]
    return fmean(rps for rps, _ in found), fmean(latency for _, latency in found)


def compare(name: str, model: Model, clients: int, rate: float, seeds: int = SEEDS) -> tuple[float, float]:
    """Throughput and mean latency of a rule, as ratios to those of nobody's waiting."""
    base_rps, base_latency = measure(RULES[NOBODY], model, clients, rate, seeds)
    rps, latency = measure(RULES[name], model, clients, rate, seeds)
    return rps / base_rps, latency / base_latency


def main() -> None:
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES if name != NOBODY}
    for title, model in MODELS.items():
        for clients, rate in list_loads(model):
            line = [f"{title}, {f'{clients} callers' if clients else f'{rate:.0f}/s'}"]
            for name, found in ratios.items():
                found.append(compare(name, model, clients, rate))
                line.append(f"{found[-1][0]:.2f} {found[-1][1]:.2f}")
            print(" | ".join(line), flush=True)
    print("\n| rule | cases | worse | throughput, best | least | mean latency, worst |\n|---|---|---|---|---|---|")
    for name, found in ratios.items():
        worse = sum(latency > MOST_LATENCY or rps < LEAST_THROUGHPUT for rps, latency in found)
        best, least = max(rps for rps, _ in found), min(rps for rps, _ in found)
        worst = max(latency for _, latency in found)
        print(f"| {name} | {len(found)} | {worse} | {best:.2f} | {least:.2f} | {worst:.2f} |")


if __name__ == "__main__":
    main()
