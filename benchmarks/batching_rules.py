"""When a batch should leave, simulated: ``python -m benchmarks.batching_rules``.

Two cores are shared by the gateway's loop, which does one thing at a time, and the calls in flight. Rules are compared
with the one that is in use (``NOW``) in closed loops of 1 to 512 callers and with Poisson arrivals, for quick and slow
models: throughput and mean latency of each, and in how many cases it is worse (decision 0053).
"""

import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import fmean

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


@dataclass
class Rule:
    """A batch leaves as soon as so many wait, or a time has passed."""

    calls: int = 2
    """In flight at most."""
    window_s: float = 0.0
    """The oldest waits so long for others."""
    wait_for: float = 0.0
    """Share of the requests just answered that are waited for, for ``wait_share`` of that call's time at most."""
    wait_share: float = 0.3
    least_filled: float = 0.0
    """Share of the waits that must have been filled lately."""
    expected: int = 0
    until: float = 0.0
    waits: bool = False
    filled: float = 1.0
    skipped: int = 0

    def find_time(self, waiting: "deque[tuple[float, float]]", now: float) -> float:
        """When the next batch leaves, if nothing more arrives: now, or later."""
        if self.window_s:
            return now if len(waiting) >= MAX_ROWS else max(now, waiting[0][0] + self.window_s)
        is_filled = len(waiting) >= self.expected
        if not is_filled and now < self.until:
            self.waits = True
            return self.until
        if self.waits:
            self.filled += 0.2 * (is_filled - self.filled)
        self.waits, self.expected = False, 0
        return now

    def note_answer(self, size: int, took_s: float, now: float) -> None:
        if self.waits or not self.wait_for or size == 1:
            return
        self.skipped = 0 if self.filled >= self.least_filled or self.skipped >= MAX_ROWS else self.skipped + 1
        if not self.skipped:
            self.expected, self.until = math.ceil(self.wait_for * size), now + self.wait_share * took_s


NOW = "two calls in flight, nobody waits"
RULES = {
    NOW: Rule(),
    "window of 1 ms": Rule(window_s=1e-3),
    "window of 5 ms": Rule(window_s=5e-3),
    "one call in flight, waits for all": Rule(calls=1, wait_for=1.0),
    "two in flight, waits for 0.75": Rule(wait_for=0.75),
    "the same, while seven in ten waits are filled": Rule(wait_for=0.75, least_filled=0.7),
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


def list_loads(model: Model) -> Iterator[tuple[int, float]]:
    """Callers of closed loops, or arrivals per second."""
    most = 0.8 * CORES / (model.request + model.row + model.run / MAX_ROWS)
    yield from ((clients, 0.0) for clients in CLIENTS)
    yield from ((0, share * most) for share in RATES)


def measure(name: str, model: Model, clients: int, rate: float) -> tuple[float, float]:
    """Throughput and latency of a rule, means over the seeds."""
    found = [Simulation(replace(RULES[name]), model, random.Random(seed), clients, rate).run() for seed in range(SEEDS)]
    return fmean(rps for rps, _ in found), fmean(latency for _, latency in found)


def main() -> None:
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for title, model in MODELS.items():
        for clients, rate in list_loads(model):
            base_rps, base_latency = measure(NOW, model, clients, rate)
            load = f"{clients} callers" if clients else f"{rate:.0f}/s"
            line = [f"{title}, {load}: {base_rps:.0f}/s, {base_latency * 1000:.2f} ms"]
            for name in [name for name in RULES if name != NOW]:
                rps, latency = measure(name, model, clients, rate)
                ratios[name].append((rps / base_rps, latency / base_latency))
                line.append(f"{rps / base_rps:.2f} {latency / base_latency:.2f}")
            print(" | ".join(line), flush=True)
    print("\n| rule | cases | worse | throughput, best | least | mean latency, worst |\n|---|---|---|---|---|---|")
    for name, found in ratios.items():
        if found:
            worse = sum(latency > MOST_LATENCY or rps < LEAST_THROUGHPUT for rps, latency in found)
            best, least = max(rps for rps, _ in found), min(rps for rps, _ in found)
            worst = max(latency for _, latency in found)
            print(f"| {name} | {len(found)} | {worse} | {best:.2f} | {least:.2f} | {worst:.2f} |")


if __name__ == "__main__":
    main()
