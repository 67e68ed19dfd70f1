"""Decides about a canary from what gateways counted: pure functions from sums to a decision.

Three comparisons with the stable version are made at every analysis, each an e-process (``e_process.py``): answers that
failed, slow answers, and answers that feedback called wrong. If one of them shows that the canary is worse, it is
rolled back. It is promoted when feedback shows that it makes no more mistakes than allowed, or after enough answers
without evidence against it; where its share grows in steps, enough answers lead to the next one first.

Missing data never decides: only what was counted of both versions is compared, and only what was compared counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from modelyard.models.registry.roles.canary import Canary, Judge
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
BOUNDS: Mapping[Comparison, float] = {"errors": 1 / HARM, "slow": 1 / HARM, "mistakes": 1 / HARM, "fit": 1 / LEAVE}
"""The evidence that decides."""
MIN_TIMED = 0.5
"""Of the answers that are enough, the share whose times must have been compared too."""


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
    """What was counted when each comparison was last made."""
    compared: Mapping[Comparison, Block] = {}
    """What each comparison has compared: without what was counted of one version alone, or before there was a bound."""
    logs: Mapping[Comparison, tuple[float, ...]] = {}
    percent: float | None = None
    """The canary's share when this was last updated."""
    begun: Mapping[Comparison, int] = {}
    """Of its answers, those that were compared before it had this share."""

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, given: Any) -> Any:
        """States of before 0.4 do not say what was compared: it was what they had seen."""
        if isinstance(given, dict) and "seen" in given and "compared" not in given:
            return {**given, "compared": given["seen"]}
        return given

    def weights(self) -> dict[Comparison, float]:
        """The evidence of each comparison."""
        return {name: combine_evidence(self.logs.get(name, ())) for name in RATIOS}

    def count_compared(self, name: Comparison, canary: Canary) -> int:
        """Answers of the canary that were compared; where it has steps, at its present share."""
        total = self.compared.get(name, NOTHING).canary
        return total - (self.begun.get(name, 0) if canary.steps else 0)

    def has_enough(self, canary: Canary) -> bool:
        """Whether enough answers of the canary were compared with those of the stable version, by time too."""
        timed, stable = self.count_compared("slow", canary), self.compared.get("errors", NOTHING).stable
        enough = self.count_compared("errors", canary) >= canary.needed
        return enough and timed >= MIN_TIMED * canary.needed and stable >= MIN_STABLE_ANSWERS


Action = Literal["promote", "step", "end"]


@dataclass(frozen=True)
class Decision:
    """What becomes of the canary, and why."""

    action: Action
    reason: str


def update_experiment(experiment: Experiment, stable: Sums, canary: Sums, percent: float | None = None) -> Experiment:
    """The experiment after further counts; those of one version alone wait for the other's.

    Args:
        percent: the canary's share. What was counted until it is first seen counts for the share before.
    """
    seen, logs, compared = dict(experiment.seen), dict(experiment.logs), dict(experiment.compared)
    for name, total in count_blocks(stable, canary, experiment.slow).items():
        block = subtract(total, seen.get(name, NOTHING))
        if min(block) < 0:  # counts were lost, or old feedback was deleted: what is left says nothing new
            seen[name] = total
        elif block.stable and block.canary:
            seen[name], logs[name] = total, update_evidence(logs.get(name, ()), block, *RATIOS[name])
            compared[name] = add(compared.get(name, NOTHING), block)
    slow = experiment.slow
    if slow is None and sum(stable.within) >= MIN_STABLE_ANSWERS:
        # For later counts: a bound may not be chosen by the data that it is applied to.
        slow = choose_slow_bound(stable)
        seen["slow"] = count_blocks(stable, canary, slow)["slow"]
    begun = experiment.begun
    if experiment.percent not in (None, percent):
        begun = {name: block.canary for name, block in compared.items()}
    return Experiment(
        stable=stable, canary=canary, slow=slow, seen=seen, compared=compared, logs=logs, percent=percent, begun=begun
    )


def add(one: Block, other: Block) -> Block:
    return Block(*(left + right for left, right in zip(one, other, strict=True)))


def subtract(total: Block, before: Block) -> Block:
    return Block(*(now - then for now, then in zip(total, before, strict=True)))


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
    """The decision that the evidence supports, and the canary's judge may make; None while there is none."""
    found = find_decision(experiment, canary)
    allowed: Mapping[Judge, tuple[Action, ...]] = {
        "full": ("promote", "step", "end"),
        "abort-only": ("step", "end"),
        "off": (),
    }
    return found if found and found.action in allowed[canary.judge] else None


def find_decision(experiment: Experiment, canary: Canary) -> Decision | None:
    """The decision that the evidence supports, whoever may make it; None while there is too little."""
    weights = experiment.weights()
    harm: Comparison
    for harm in ("errors", "slow", "mistakes"):
        if weights[harm] >= BOUNDS[harm]:
            return Decision("end", f"{REASONS[harm]} (evidence {weights[harm]:.0f}, needed {BOUNDS[harm]:.0f})")
    following = canary.next_step
    if weights["fit"] >= BOUNDS["fit"] and following is None and experiment.compared.get("errors"):
        return Decision("promote", f"{REASONS['fit']} (evidence {weights['fit']:.0f}, needed {BOUNDS['fit']:.0f})")
    if not experiment.has_enough(canary):
        return None
    why = f"nothing spoke against it in {experiment.count_compared('errors', canary)} answers"
    if following is None:
        return Decision("promote", why)
    return Decision("step", f"{why} at {canary.percent:g} %")


def round_evidence(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def describe_evidence(experiment: Experiment) -> dict[str, Any]:
    """The evidence of a decision, for the history."""
    found: dict[str, Any] = {"evidence": {name: round_evidence(value) for name, value in experiment.weights().items()}}
    for role, sums in (("stable", experiment.stable), ("canary", experiment.canary)):
        counted = {name: getattr(sums, name) for name in ("answers", "errors", "labelled", "mistakes")}
        if experiment.slow is not None:
            counted["slow"] = sums.slower_than(experiment.slow)[1]
        found[role] = counted
    if experiment.slow is not None and experiment.slow < len(BOUNDS_S):
        found["slow_above_s"] = BOUNDS_S[experiment.slow]
    return found
