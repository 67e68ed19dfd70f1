"""How often the judge of canaries is wrong, by simulation.

    python -m benchmarks.canary [--runs 1000] [--write]

Each run is one canary with a tenth of the traffic, looked at after every 500 answers, with feedback on one answer in
five, until it is decided on. Rates of the stable version: 5 % mistakes, 0.1 % failed, 5 % slow answers.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.page import replace_section
from modelyard.models.registry.roles.canary import Canary
from modelyard.services.experiment_counts import bucket_name
from modelyard.services.scheduler.canary_evidence import Experiment, Sums, decide, update_experiment

PAGE = Path(__file__).parents[1] / "docs" / "rollouts.md"
CANARY = Canary(version=2, percent=10, since=datetime(2026, 1, 1, tzinfo=UTC))
STABLE_ANSWERS, CANARY_ANSWERS = 450, 50
LABELLED = 0.2
MISTAKES, ERRORS, SLOW = 0.05, 0.001, 0.05
QUICK, LONG = 3, 8
"""Latency buckets of usual and of slow answers."""


@dataclass(frozen=True)
class Case:
    """What a canary is like: how many times stable's rates it has."""

    name: str
    mistakes: float = 1.0
    errors: float = 1.0
    slow: float = 1.0
    labelled: float = LABELLED


CASES = (
    Case("as good as stable, with feedback"),
    Case("as good as stable, without feedback", labelled=0.0),
    Case("half the mistakes", mistakes=0.5),
    Case("1.25 times the mistakes", mistakes=1.25),
    Case("1.5 times the mistakes", mistakes=1.5),
    Case("twice the mistakes", mistakes=2.0),
    Case("3 times the mistakes", mistakes=3.0),
    Case("twice the failures, without feedback", errors=2.0, labelled=0.0),
    Case("10 times the failures, without feedback", errors=10.0, labelled=0.0),
    Case("twice the slow answers, without feedback", slow=2.0, labelled=0.0),
    Case("4 times the slow answers, without feedback", slow=4.0, labelled=0.0),
)


@dataclass
class Side:
    """One version's sums."""

    generator: np.random.Generator
    answers: int
    mistakes: float
    errors: float
    slow: float
    labelled: float
    counts: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    wrong: int = 0

    def grow(self) -> Sums:
        """After the predictions of another check."""
        failed, seen = (self.generator.binomial(self.answers, rate) for rate in (self.errors, self.labelled))
        slow = self.generator.binomial(self.answers - failed, self.slow)
        added = {
            "answers": self.answers,
            "errors": failed,
            bucket_name(QUICK): self.answers - failed - slow,
            bucket_name(LONG): slow,
        }
        self.counts = {name: self.counts.get(name, 0) + amount for name, amount in added.items()}
        self.seen, self.wrong = self.seen + seen, self.wrong + self.generator.binomial(seen, self.mistakes)
        return Sums.of(self.counts, self.seen, self.wrong)


def run(case: Case, generator: np.random.Generator) -> tuple[str, int]:
    """How one canary ended, and after how many of its answers."""
    stable = Side(generator, STABLE_ANSWERS, MISTAKES, ERRORS, SLOW, case.labelled)
    rates = (MISTAKES * case.mistakes, ERRORS * case.errors, SLOW * case.slow)
    canary = Side(generator, CANARY_ANSWERS, *rates, case.labelled)
    experiment = Experiment()
    while True:
        experiment = update_experiment(experiment, stable.grow(), canary.grow())
        if decision := decide(experiment, CANARY):
            how = "rolled back" if decision.action == "end" else "promoted on feedback"
            how = "promoted after enough" if "nothing spoke" in decision.reason else how
            return how, experiment.canary.answers


ENDS = ("rolled back", "promoted on feedback", "promoted after enough")


def rows(runs: int) -> Iterator[str]:
    """A table's lines."""
    yield "| the canary has | " + " | ".join(ENDS) + " | its answers until then (median) |"
    yield "|---" * (len(ENDS) + 2) + "|"
    for case in CASES:
        generator = np.random.default_rng(0)
        ended = [run(case, generator) for _ in range(runs)]
        shares = [sum(how == end for how, _ in ended) / runs for end in ENDS]
        median = int(np.median([answers for _, answers in ended]))
        yield f"| {case.name} | " + " | ".join(f"{share:.1%}" for share in shares) + f" | {median:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="into docs/rollouts.md")
    asked = parser.parse_args()
    lines = []
    for line in rows(asked.runs):
        print(line, flush=True)
        lines.append(line)
    if asked.write:
        replace_section(PAGE, "simulated", "\n".join(lines))


if __name__ == "__main__":
    main()
