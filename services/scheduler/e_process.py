"""Sequential evidence about two rates: valid however often it is checked.

Two versions answer, a and b, and some answers are bad. Null hypothesis: b's rate of bad answers is at most ``ratio``
times a's (or, to show the opposite, at least). For a block of n_a and n_b answers with x_a and x_b bad ones, and an
alternative in which b's rate is ``step`` times the null's, let q0 = ratio n_b / (n_a + ratio n_b), q1 the same with
ratio x step. Then

    E = (q1 / q0)^x_b  ((1 - q1) / (1 - q0))^x_a

is an e-variable: with rates t_a and t_b, its mean is (1 + t_b (q1/q0 - 1))^n_b (1 + t_a ((1-q1)/(1-q0) - 1))^n_a, which
is at most exp(n_b t_b (q1/q0 - 1) + n_a t_a ((1-q1)/(1-q0) - 1)); where t_b = ratio t_a the exponent is
t_a (n_a + ratio n_b) (q1 - q0 + (1-q1) - (1-q0)) = 0, and elsewhere in the null it is smaller. Products over blocks and
means over alternatives are e-processes again, so the chance that one ever reaches 1/alpha under the null is at most
alpha, however long one checks (Ville's inequality; Ramdas, Gruenwald, Vovk, Shafer, Game-theoretic statistics and safe
anytime-valid inference, Statistical Science 2023, arXiv:2210.01948). It holds for any shares of traffic, rare or not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

MORE = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Alternatives in which b's rate is higher than the null's by so much."""
FEWER = tuple(1 / step for step in MORE)
"""And lower."""


class Block(NamedTuple):
    """Answers between two analyses."""

    stable: int
    stable_bad: int
    canary: int
    canary_bad: int


def update_evidence(logs: Sequence[float], block: Block, ratio: float, steps: Sequence[float]) -> tuple[float, ...]:
    """Logarithms of the evidence for each alternative, after another block.

    Args:
        logs: those before it; empty at the beginning.
        ratio: of the null hypothesis, canary's rate to stable's.
        steps: ``MORE`` to show that the canary's rate is higher than that, ``FEWER`` that it is lower.
    """
    before = logs or (0.0,) * len(steps)
    if not (block.stable and block.canary):
        return tuple(before)  # nothing to compare
    null = _share(block.stable, block.canary, ratio)
    found = []
    for log_e, step in zip(before, steps, strict=True):
        other = _share(block.stable, block.canary, ratio * step)
        gain = block.canary_bad * math.log(other / null) + block.stable_bad * math.log((1 - other) / (1 - null))
        found.append(log_e + gain)
    return tuple(found)


def combine_evidence(logs: Sequence[float]) -> float:
    """The evidence against the null hypothesis: the mean over alternatives; 1 says nothing. At most 1e300."""
    if not logs:
        return 1.0
    top = max(logs)
    total = math.log(sum(math.exp(log_e - top) for log_e in logs) / len(logs)) + top
    return math.exp(min(total, 690.0))


def expect_gains(
    stable_rate: float, canary_rate: float, canary_share: float, ratio: float, steps: Sequence[float]
) -> tuple[float, ...]:
    """By how much the logarithm of each alternative's evidence grows with one more answer, on average.

    Args:
        stable_rate: of bad answers.
        canary_share: of answers that are the canary's, between 0 and 1.
    """
    if not 0 < canary_share < 1:
        return (0.0,) * len(steps)
    bad = canary_share * canary_rate, (1 - canary_share) * stable_rate
    null, *others = (_share(1 - canary_share, canary_share, ratio * step) for step in (1.0, *steps))
    return tuple(bad[0] * math.log(other / null) + bad[1] * math.log((1 - other) / (1 - null)) for other in others)


def _share(stable: float, canary: float, ratio: float) -> float:
    """Of bad answers, the canary's, if its rate is ``ratio`` times stable's; of so many answers of both."""
    return ratio * canary / (stable + ratio * canary)
