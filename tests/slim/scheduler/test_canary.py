"""Canary analysis: evidence that may be checked at any time, and what is decided on it."""

from datetime import UTC, datetime

import numpy as np
import pytest

from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import BOUNDS_S, bucket_name
from modelyard.services.ledger import Ledger
from modelyard.services.scheduler.canary_analysis import BY, analyse_canaries
from modelyard.services.scheduler.canary_evidence import (
    MIN_STABLE_ANSWERS,
    Decision,
    Experiment,
    Sums,
    decide,
    update_experiment,
)
from modelyard.services.scheduler.e_process import FEWER, MORE, Block, combine_evidence, update_evidence
from tests.support.fakes import HALF_PLUS

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CANARY = Canary(version=2, percent=10, since=NOW)


# --- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "steps"), [(1.0, MORE), (2.0, MORE), (1.25, FEWER)])
@pytest.mark.parametrize(("stable", "canary"), [(900, 100), (30, 30), (7, 900)])
@pytest.mark.parametrize("rate", [0.001, 0.03, 0.4])
def test_evidence_has_a_mean_of_one_at_most_where_the_null_is_true(
    ratio: float, steps: tuple[float, ...], stable: int, canary: int, rate: float
) -> None:
    """By the exact distribution at the border of the null: every alternative, any shares of traffic, rare or not."""
    for step in steps:
        other, null = (r * canary / (stable + r * canary) for r in (ratio * step, ratio))
        bad_of_canary, bad_of_stable = other / null, (1 - other) / (1 - null)
        mean = (1 + ratio * rate * (bad_of_canary - 1)) ** canary * (1 + rate * (bad_of_stable - 1)) ** stable
        assert mean <= 1 + 1e-9
        one_bad = update_evidence((0.0,), Block(stable, 0, canary, 1), ratio, (step,))
        assert one_bad == pytest.approx((np.log(bad_of_canary),))


def test_repeated_checks_rarely_give_a_false_positive() -> None:
    """Equal rates, a hundred checks: a weight of 20 is reached in less than one of twenty runs."""
    generator, runs, reached = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        logs: tuple[float, ...] = ()
        weights = []
        for _ in range(100):
            bad = generator.binomial(450, 0.05), generator.binomial(50, 0.05)
            logs = update_evidence(logs, Block(450, bad[0], 50, bad[1]), 1.0, MORE)
            weights.append(combine_evidence(logs))
        reached += max(weights) >= 20
    assert reached / runs < 0.05


def test_evidence_grows_where_the_canary_is_worse() -> None:
    """Three times as many bad outputs: found within a few hundred."""
    generator = np.random.default_rng(0)
    logs: tuple[float, ...] = ()
    for _ in range(20):
        bad = generator.binomial(450, 0.05), generator.binomial(50, 0.15)
        logs = update_evidence(logs, Block(450, bad[0], 50, bad[1]), 1.0, MORE)
    assert combine_evidence(logs) > 1000


@pytest.mark.parametrize("block", [Block(0, 0, 10, 10), Block(10, 10, 0, 0), Block(0, 0, 0, 0)])
def test_with_one_side_only_nothing_is_learned(block: Block) -> None:
    """A comparison needs two."""
    assert combine_evidence(update_evidence((), block, 1.0, MORE)) == 1.0


def test_overwhelming_evidence_is_a_number() -> None:
    """Not an overflow."""
    assert 1e290 < combine_evidence(update_evidence((), Block(10**6, 0, 10**6, 10**6), 1.0, MORE)) < float("inf")


# --- decisions --------------------------------------------------------------------------------------------------------


def sums(answers: int, *, errors: int = 0, slow: int = 0, labelled: int = 0, mistakes: int = 0) -> Sums:
    """Answers within 10 ms, but for the slow ones, which take half a second."""
    counts = {"answers": answers, "errors": errors, bucket_name(3): answers - errors - slow, bucket_name(8): slow}
    return Sums.of(counts, labelled, mistakes)


def watched(stable: Sums, canary: Sums, checks: int = 10) -> Experiment:
    """After so many checks, between which everything grew evenly."""
    experiment = Experiment()
    for number in range(1, checks + 1):
        experiment = update_experiment(experiment, *(scale(side, number / checks) for side in (stable, canary)))
    return experiment


def scale(side: Sums, share: float) -> Sums:
    return Sums(
        answers=round(side.answers * share),
        errors=round(side.errors * share),
        within=tuple(round(count * share) for count in side.within),
        labelled=round(side.labelled * share),
        mistakes=round(side.mistakes * share),
    )


@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        (sums(500, errors=20), "its answers fail more often"),
        (sums(500, slow=300), "its answers take longer"),
        (sums(500, labelled=400, mistakes=120), "feedback finds more mistakes"),
    ],
)
def test_a_canary_that_is_worse_is_rolled_back(canary: Sums, reason: str) -> None:
    """With the comparison that showed it, its evidence, and what was needed."""
    decision = decide(watched(sums(5000, errors=5, slow=50, labelled=4000, mistakes=200), canary), CANARY)
    assert decision
    assert decision.action == "end"
    assert reason in decision.reason
    assert "needed 100" in decision.reason


def test_a_canary_that_makes_fewer_mistakes_is_promoted() -> None:
    """On feedback, before it has made enough predictions."""
    decision = decide(watched(sums(5000, labelled=4000, mistakes=400), sums(900, labelled=800, mistakes=20)), CANARY)
    assert decision
    assert decision.action == "promote"
    assert "no more mistakes" in decision.reason


def test_a_canary_without_evidence_against_it_is_promoted_after_enough_predictions() -> None:
    """Not before."""
    experiment = watched(sums(90_000, errors=90, slow=900), sums(9_999, errors=10, slow=100))
    assert decide(experiment, CANARY) is None
    assert decide(watched(sums(90_000, errors=90), sums(10_000, errors=10)), CANARY) == Decision(
        "promote", "nothing spoke against it in 10000 answers"
    )


def test_what_comes_from_one_side_only_waits_for_the_other() -> None:
    """However often one checks: predictions that come one by one count as much as those that come together."""
    experiment, stable, canary = Experiment(), sums(0), sums(0)
    for number in range(1, 201):
        if number % 2:
            stable = sums(number, labelled=number, mistakes=0)
        else:
            canary = sums(number, labelled=number, mistakes=number)
        experiment = update_experiment(experiment, stable, canary)
    assert experiment.weights()["mistakes"] > 1e6
    together = update_experiment(update_experiment(Experiment(), sums(1), sums(1)), stable, canary)
    assert together.weights()["mistakes"] > 1e6


def test_slow_is_what_takes_longer_than_the_stable_versions_first_predictions() -> None:
    """Fixed once there are enough, and then no more: it is not chosen by what it is held against."""
    assert update_experiment(Experiment(), sums(MIN_STABLE_ANSWERS - 1), sums(10)).slow is None
    first = update_experiment(Experiment(), sums(1000, slow=200), sums(10))
    assert first.slow is not None
    assert BOUNDS_S[first.slow] == 0.5
    assert update_experiment(first, sums(9000, slow=200), sums(500)).slow == first.slow


# --- carried out ------------------------------------------------------------------------------------------------------


@pytest.fixture
def canary(filled: Store) -> Canary:
    """Version 1 is stable, version 2 its canary."""
    found = Canary(version=2, percent=10, since=NOW)
    change_rollout(filled, HALF_PLUS, lambda now: now.promote(1, by="t", reason="r"))
    change_rollout(filled, HALF_PLUS, lambda now: now.start_canary(found, by="t", reason="r"))
    return found


def observe(ledger: Ledger, canary: Canary, gateway: str, stable: Sums, tried: Sums) -> None:
    for role, version, side in (("stable", 1, stable), ("canary", 2, tried)):
        counts = {"answers": side.answers, "errors": side.errors}
        counts |= {bucket_name(index): count for index, count in enumerate(side.within)}
        ledger.observations.put_counts(HALF_PLUS, role, version, canary.since, gateway, counts)  # type: ignore[arg-type]  # a role


def test_what_two_gateways_saw_rolls_a_failing_canary_back(filled: Store, ledger: Ledger, canary: Canary) -> None:
    """The history has the reason, the numbers and who decided; nothing is decided twice."""
    for gateway in ("one", "two"):
        observe(ledger, canary, gateway, sums(50), sums(5))
        analyse_canaries(filled, ledger)
    assert read_rollout(filled, HALF_PLUS).canary == canary
    for gateway in ("one", "two"):
        observe(ledger, canary, gateway, sums(300), sums(30, errors=10))
    analyse_canaries(filled, ledger)
    now = read_rollout(filled, HALF_PLUS)
    assert (now.stable, now.canary) == (1, None)
    last = now.history[-1]
    assert (last.action, last.version, last.by) == ("end canary", 2, BY)
    assert last.detail["canary"] == {"answers": 60, "errors": 20, "labelled": 0, "mistakes": 0, "slow": 0}
    assert last.detail["evidence"]["errors"] >= 100
    analyse_canaries(filled, ledger)
    assert read_rollout(filled, HALF_PLUS) == now


def test_a_canary_with_enough_predictions_becomes_stable(filled: Store, ledger: Ledger, canary: Canary) -> None:
    """The version before stays loaded."""
    for share in (0.1, 1.0):
        observe(ledger, canary, "one", scale(sums(90_000), share), scale(sums(10_000), share))
        analyse_canaries(filled, ledger)
    now = read_rollout(filled, HALF_PLUS)
    assert (now.stable, now.canary, now.keep) == (2, None, (1,))
    assert now.history[-1].reason == "nothing spoke against it in 10000 answers"


def test_a_canary_that_a_person_judges_is_left_alone(filled: Store, ledger: Ledger, canary: Canary) -> None:
    """However it fares."""
    ours = canary.model_copy(update={"judge": "off"})
    change_rollout(filled, HALF_PLUS, lambda now: now.start_canary(ours, by="t", reason="mine"))
    observe(ledger, canary, "one", sums(1000), sums(1000, errors=1000))
    analyse_canaries(filled, ledger)
    assert read_rollout(filled, HALF_PLUS).canary == ours


def test_of_two_judges_at_once_one_adds_to_the_evidence(ledger: Ledger) -> None:
    """The other one's check has no effect."""
    assert ledger.observations.save_analysis(HALF_PLUS, NOW, 0, {"experiment": {}})
    revision = ledger.observations.read_analysis(HALF_PLUS, NOW).revision
    assert ledger.observations.save_analysis(HALF_PLUS, NOW, revision, {"by": "first"})
    assert not ledger.observations.save_analysis(HALF_PLUS, NOW, revision, {"by": "second"})
    found = ledger.observations.read_analysis(HALF_PLUS, NOW)
    assert (found.revision, found.state) == (revision + 1, {"by": "first"})
