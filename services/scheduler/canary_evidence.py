"""Decides about a canary from what gateways counted: pure functions from sums to a decision.

Three comparisons with the stable version are made at every analysis, each an e-process (``e_process.py``): answers that
failed, slow answers, and answers that feedback called wrong. If one of them shows that the canary is worse, it is
rolled back. It is promoted when feedback shows that it makes no more mistakes than allowed, or after enough answers
without evidence against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from modelyard.models.registry.rollout import Canary
from modelyard.services.experiment_counts import BOUNDS_S, bucket_name
from modelyard.services.scheduler.e_process import FEWER, MORE, Block, combine_evidence, update_evidence

HARM = 0.01
"""Chance that one comparison rolls back a canary that is no worse than it allows, however long it runs."""
LEAVE = 0.05
"""Chance that feedback promotes a canary that makes more mistakes than allowed."""
MORE_ERRORS = 2.0
MORE_SLOW = 2.0
"""How many times as many failed and slow answers as stable's a canary may have."""
MORE_MISTAKES = 1.25
"""How many times as many mistakes are still no reason against it; more than stable's own are evidence of harm."""
SLOW_SHARE = 0.1
"""Slow is what takes longer than all but at most this share of the stable version's first answers."""
MIN_STABLE_ANSWERS = 100
"""Answers of the stable version after which that is fixed."""

NOTHING = Block(0, 0, 0, 0)
Comparison = Literal["errors", "slow", "mistakes", "fit"]
RATIOS: Mapping[Comparison, tuple[float, tuple[float, ...]]] = {
    "errors": (MORE_ERRORS, MORE),
    "slow": (MORE_SLOW, MORE),
    "mistakes": (1.0, MORE),
    "fit": (MORE_MISTAKES, FEWER),
}
"""The null hypothesis of each, and what would speak against it."""
REASONS: Mapping[Comparison, str] = {
    "errors": "its answers fail more often",
    "slow": "its answers take longer",
    "mistakes": "feedback finds more mistakes in its answers",
    "fit": "feedback finds no more mistakes in its answers than allowed",
}


class Sums(BaseModel):
    """Counts of one version since the experiment began."""

    model_config = ConfigDict(frozen=True)

    answers: int = 0
    errors: int = 0
    within: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    """Answers by how long they took, in ``BOUNDS_S``."""
    labelled: int = 0
    mistakes: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, float], labelled: int = 0, mistakes: int = 0) -> "Sums":
        """Sums from the gateways' counts and from feedback."""
        within = tuple(int(counts.get(bucket_name(index), 0)) for index in range(len(BOUNDS_S) + 1))
        answers, errors = int(counts.get("answers", 0)), int(counts.get("errors", 0))
        return cls(answers=answers, errors=errors, within=within, labelled=labelled, mistakes=mistakes)

    def slower_than(self, limit: int) -> tuple[int, int]:
        """Answers, and those that took longer than the bound of this number."""
        return sum(self.within), sum(self.within[limit + 1 :])


class Experiment(BaseModel):
    """State of a canary's analysis."""

    model_config = ConfigDict(frozen=True)

    stable: Sums = Sums()
    canary: Sums = Sums()
    slow: int | None = None
    """The bound that slow answers exceed, by number; None until it is fixed."""
    seen: Mapping[Comparison, Block] = {}
    """What each comparison has counted so far."""
    logs: Mapping[Comparison, tuple[float, ...]] = {}

    def weights(self) -> dict[str, float]:
        """The evidence of each comparison."""
        return {name: combine_evidence(self.logs.get(name, ())) for name in RATIOS}


@dataclass(frozen=True)
class Decision:
    """Whether the canary is promoted or rolled back, and why."""

    promote: bool
    reason: str


def update_experiment(experiment: Experiment, stable: Sums, canary: Sums) -> Experiment:
    """The experiment after further counts; those of one version alone wait for the other's."""
    seen, logs = dict(experiment.seen), dict(experiment.logs)
    for name, total in count_blocks(stable, canary, experiment.slow).items():
        block = Block(*(now - before for now, before in zip(total, seen.get(name, NOTHING), strict=True)))
        if block.stable and block.canary:
            seen[name], logs[name] = total, update_evidence(logs.get(name, ()), block, *RATIOS[name])
    slow = experiment.slow
    if slow is None and sum(stable.within) >= MIN_STABLE_ANSWERS:
        # For later counts: a bound may not be chosen by the data that it is applied to.
        slow = choose_slow_bound(stable)
        seen["slow"] = count_blocks(stable, canary, slow)["slow"]
    return Experiment(stable=stable, canary=canary, slow=slow, seen=seen, logs=logs)


def count_blocks(stable: Sums, canary: Sums, slow: int | None) -> dict[Comparison, Block]:
    """What each comparison counts as answers and as bad ones, since the experiment began."""
    feedback = Block(stable.labelled, stable.mistakes, canary.labelled, canary.mistakes)
    found: dict[Comparison, Block] = {
        "errors": Block(stable.answers, stable.errors, canary.answers, canary.errors),
        "mistakes": feedback,
        "fit": feedback,
    }
    if slow is not None:
        found["slow"] = Block(*stable.slower_than(slow), *canary.slower_than(slow))
    return found


def choose_slow_bound(stable: Sums) -> int:
    """The first bound that no more than ``SLOW_SHARE`` of the stable version's answers exceed."""
    max_slow = SLOW_SHARE * sum(stable.within)
    return next(index for index in range(len(stable.within)) if sum(stable.within[index + 1 :]) <= max_slow)


def decide(experiment: Experiment, canary: Canary) -> Decision | None:
    """The decision that the evidence supports; None while there is too little."""
    weights = experiment.weights()
    harm: Comparison
    for harm in ("errors", "slow", "mistakes"):
        if weights[harm] >= 1 / HARM:
            return Decision(False, f"{REASONS[harm]} (evidence {weights[harm]:.0f}, needed {1 / HARM:.0f})")
    if weights["fit"] >= 1 / LEAVE:
        return Decision(True, f"{REASONS['fit']} (evidence {weights['fit']:.0f}, needed {1 / LEAVE:.0f})")
    if experiment.canary.answers >= canary.enough:
        return Decision(True, f"nothing spoke against it in {experiment.canary.answers} answers")
    return None


def describe_evidence(experiment: Experiment) -> dict[str, Any]:
    """The evidence of a decision, for the history."""
    found: dict[str, Any] = {"evidence": {name: float(f"{value:.4g}") for name, value in experiment.weights().items()}}
    for role, sums in (("stable", experiment.stable), ("canary", experiment.canary)):
        counted = {name: getattr(sums, name) for name in ("answers", "errors", "labelled", "mistakes")}
        if experiment.slow is not None:
            counted["slow"] = sums.slower_than(experiment.slow)[1]
        found[role] = counted
    if experiment.slow is not None and experiment.slow < len(BOUNDS_S):
        found["slow_above_s"] = BOUNDS_S[experiment.slow]
    return found
