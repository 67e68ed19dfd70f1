"""What canary analysis tells of itself: each comparison with its evidence and bound, its path, and what it needs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.models.registry.roles.canary import Canary
from modelyard.services.experiment_counts import BOUNDS_S
from modelyard.services.scheduler.canary_evidence import (
    BOUNDS,
    MIN_STABLE_ANSWERS,
    NOTHING,
    RATIOS,
    Comparison,
    Experiment,
    Sums,
    find_decision,
    round_evidence,
)
from modelyard.services.scheduler.e_process import expect_gains

MAX_POINTS = 300
"""Of a path; beyond that the one is left out that its neighbours tell best."""
USUAL_MISTAKES, USUAL_WEIGHT = 0.05, 2.0
"""Share of mistakes to expect before there is feedback, and how many labels that expectation is worth."""
MAX_LABELS = 1_000_000

Point = dict[str, float]


def report_state(experiment: Experiment, canary: Canary) -> dict[str, Any]:
    """The state of an analysis, as the API shows it."""
    supported = find_decision(experiment, canary)
    labels = estimate_labels(experiment, canary)
    return {
        "comparisons": [describe_comparison(experiment, name) for name in RATIOS],
        "stable": experiment.stable.model_dump(mode="json"),
        "canary": experiment.canary.model_dump(mode="json"),
        "slow_above_s": BOUNDS_S[experiment.slow]
        if experiment.slow is not None and experiment.slow < len(BOUNDS_S)
        else None,
        "needed": canary.needed,
        "compared": experiment.count_compared("errors", canary),
        "timed": experiment.count_compared("slow", canary),
        "stable_needed": MIN_STABLE_ANSWERS,
        "stable_compared": experiment.compared.get("errors", NOTHING).stable,
        "supports": {"action": supported.action, "reason": supported.reason} if supported else None,
        "labels": {"needed": labels[0], "comparison": labels[1]} if labels else None,
    }


def describe_comparison(experiment: Experiment, name: Comparison) -> dict[str, Any]:
    """One comparison: what it has compared, how strong the evidence is, and what it takes to decide."""
    block, (ratio, _) = experiment.compared.get(name, NOTHING), RATIOS[name]
    return {
        "name": name,
        "evidence": round_evidence(experiment.weights()[name]),
        "bound": round(BOUNDS[name]),
        "decides": "promote" if name == "fit" else "end",
        "ratio": ratio,
        "stable": {"answers": block.stable, "bad": block.stable_bad},
        "canary": {"answers": block.canary, "bad": block.canary_bad},
    }


def make_point(experiment: Experiment, at_s: float) -> Point:
    """The evidence now, for the path.

    Args:
        at_s: seconds since 1970.
    """
    found: Point = {"at_s": round(at_s, 1), "answers": experiment.canary.answers}
    found["labelled"] = experiment.stable.labelled + experiment.canary.labelled
    return found | {str(name): round_evidence(value) for name, value in experiment.weights().items()}


def extend_path(path: Sequence[Mapping[str, float]], point: Point) -> list[Mapping[str, float]]:
    """The path with another point; of too many, the one is left out whose neighbours are closest in time."""
    found: list[Mapping[str, float]] = [*path, point]
    if len(found) > MAX_POINTS:
        gaps = [after["at_s"] - before["at_s"] for before, after in zip(found, found[2:], strict=False)]
        del found[1 + gaps.index(min(gaps))]
    return found


def estimate_labels(experiment: Experiment, canary: Canary) -> tuple[int, Comparison] | None:
    """About how many more labels it takes until feedback decides, and what; None where it will not.

    If both versions go on to be wrong as often as until now, and labels come in the present shares.
    """
    stable, tried = experiment.stable, experiment.canary
    share = (tried.labelled + USUAL_WEIGHT * canary.percent / 100) / (stable.labelled + tried.labelled + USUAL_WEIGHT)
    found: list[tuple[int, Comparison]] = []
    names: tuple[Comparison, ...] = ("mistakes", "fit")
    for name in names:
        ratio, steps = RATIOS[name]
        gains = expect_gains(expect_rate(stable), expect_rate(tried), share, ratio, steps)
        logs = experiment.logs.get(name, (0.0,) * len(steps))
        needed = math.log(BOUNDS[name] * len(steps))
        waits = [max(0.0, needed - log_e) / gain for log_e, gain in zip(logs, gains, strict=True) if gain > 0]
        found += [(math.ceil(min(waits)), name)] if waits else []
    best = min(found, default=None)
    return best if best and best[0] <= MAX_LABELS else None


def expect_rate(sums: Sums) -> float:
    """Share of mistakes among the labels to come."""
    return (sums.mistakes + USUAL_WEIGHT * USUAL_MISTAKES) / (sums.labelled + USUAL_WEIGHT)
