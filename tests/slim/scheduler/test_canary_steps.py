"""Canary analysis that is tamed: shares in steps, analysis that only ends, and missing data, which decides nothing."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from modelyard.models.registry.roles.canary import Canary, Judge, Step
from modelyard.models.registry.rollout import Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import bucket_name
from modelyard.services.ledger import Ledger
from modelyard.services.scheduler.canary_analysis import BY, analyse_canaries, apply_decision
from modelyard.services.scheduler.canary_evidence import Decision, Experiment, Sums, decide, update_experiment
from modelyard.services.scheduler.canary_report import MAX_POINTS, estimate_labels, extend_path
from tests.support.fakes import HALF_PLUS

NOW = datetime(2026, 11, 1, tzinfo=UTC)
STEPS = (Step(percent=5, enough=100), Step(percent=25, enough=200), Step(percent=50, enough=400))


def sums(answers: int, *, errors: int = 0, labelled: int = 0, mistakes: int = 0) -> Sums:
    """Answers within 10 ms."""
    return Sums.of({"answers": answers, "errors": errors, bucket_name(3): answers - errors}, labelled, mistakes)


def plan(**said: Any) -> Canary:
    return Canary(**{"version": 2, "percent": 5, "since": NOW, "enough": 100} | said)


def begin(store: Store, **said: Any) -> Canary:
    """Version 1 is stable, version 2 its canary."""
    canary = plan(**said)
    change_rollout(store, HALF_PLUS, lambda now: now.promote(1, by="t", reason="r"))
    change_rollout(store, HALF_PLUS, lambda now: now.start_canary(canary, by="t", reason="r"))
    return canary


def observe(store: Store, ledger: Ledger, stable: int, canary: int, errors: int = 0) -> Rollout:
    """The rollout after another look, with so many answers in all."""
    counted: tuple[tuple[Any, int, Sums], ...]
    counted = (("stable", 1, sums(stable)), ("canary", 2, sums(canary, errors=errors)))
    for role, version, side in counted:
        counts = {"answers": side.answers, "errors": side.errors, bucket_name(3): side.within[3]}
        ledger.observations.put_counts(HALF_PLUS, role, version, NOW, "one", counts)
    analyse_canaries(store, ledger)
    return read_rollout(store, HALF_PLUS)


# --- steps ------------------------------------------------------------------------------------------------------------


def test_the_share_grows_in_steps_each_with_answers_of_its_own(filled: Store, ledger: Ledger) -> None:
    """Every step is in the history with its evidence; after the last one the canary is promoted."""
    begin(filled, steps=STEPS)
    observe(filled, ledger, 500, 20)
    shares = [observe(filled, ledger, 2000, 110).canary, observe(filled, ledger, 2300, 150).canary]
    assert [canary and canary.percent for canary in shares] == [25, 25]
    looks = [(2500, 310), (2600, 340), (2900, 560), (3200, 760)]
    found = [observe(filled, ledger, *look).canary for look in looks]
    assert [canary and canary.percent for canary in found] == [25, 25, 50, 50]
    now = observe(filled, ledger, 3700, 1100)
    assert now.canary
    now = observe(filled, ledger, 3800, 1200)
    assert (now.stable, now.canary) == (2, None)
    assert [(c.action, c.detail.get("percent"), c.by) for c in now.history[-3:]] == [
        ("canary step", 25, BY),
        ("canary step", 50, BY),
        ("promote", None, BY),
    ]
    assert now.history[-3].reason == "nothing spoke against it in 110 answers at 5 %"
    assert now.history[-3].detail["evidence"]["errors"] <= 1
    assert now.history[-3].detail["canary"]["answers"] == 110


def test_a_step_is_taken_once_by_two_schedulers(filled: Store) -> None:
    """The second one's canary has another share by then."""
    canary = begin(filled, steps=STEPS)
    step = Decision("step", "nothing spoke against it")
    for _ in range(2):
        apply_decision(filled, HALF_PLUS, canary, step, Experiment())
    now = read_rollout(filled, HALF_PLUS)
    assert now.canary
    assert now.canary.percent == 25
    assert [change.action for change in now.history].count("canary step") == 1


def test_a_harmful_canary_ends_at_any_step(filled: Store, ledger: Ledger) -> None:
    """Its earlier answers count as evidence, too."""
    begin(filled, steps=STEPS)
    observe(filled, ledger, 500, 20)
    observe(filled, ledger, 2000, 110)
    now = observe(filled, ledger, 2400, 200, errors=40)
    assert (now.canary, now.history[-1].action) == (None, "end canary")


def test_good_feedback_skips_no_step() -> None:
    """It promotes after the last one, without waiting for enough answers there."""
    stable, canary = sums(5000, labelled=4000, mistakes=400), sums(900, labelled=800, mistakes=20)
    experiment = Experiment()
    for share in (0.5, 1.0):
        parts = (scale(side, share) for side in (stable, canary))
        experiment = update_experiment(experiment, *parts, percent=5)
    first = decide(experiment, plan(steps=STEPS, enough=10_000))
    assert first == Decision("step", "nothing spoke against it in 900 answers at 5 %")
    last = decide(experiment, plan(steps=STEPS, percent=50))
    assert last
    assert (last.action, "no more mistakes" in last.reason) == ("promote", True)


def scale(side: Sums, share: float) -> Sums:
    parts = {name: round(getattr(side, name) * share) for name in ("answers", "errors", "labelled", "mistakes")}
    return Sums(**parts, within=tuple(round(count * share) for count in side.within))


# --- who decides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "good", "bad"), [("full", "promote", "end"), ("abort-only", None, "end"), ("off", None, None)]
)
def test_the_judge_does_what_it_may(judge: Judge, good: str | None, bad: str | None) -> None:
    """Abort-only ends a canary, and never promotes one; off does neither, and has the evidence."""
    for errors, wanted in ((0, good), (60, bad)):
        experiment = Experiment()
        for share in (0.2, 1.0):
            parts = (scale(side, share) for side in (sums(5000), sums(500, errors=errors)))
            experiment = update_experiment(experiment, *parts)
        decision = decide(experiment, plan(judge=judge))
        assert (decision.action if decision else None) == wanted
        assert (experiment.weights()["errors"] >= 100) == bool(errors)


# --- missing data -----------------------------------------------------------------------------------------------------


def test_answers_of_one_version_alone_decide_nothing(filled: Store, ledger: Ledger) -> None:
    """At 100 %, say, or while the gateway that serves the other one reports nothing."""
    begin(filled)
    for canary in (500, 5000, 50_000):
        now = observe(filled, ledger, 0, canary, errors=canary // 2)
        assert now.canary
    assert now.canary.percent == 5


def test_too_few_answers_of_the_stable_version_decide_nothing(filled: Store, ledger: Ledger) -> None:
    """Times are not compared yet."""
    begin(filled)
    for number in (1, 2, 3):
        assert observe(filled, ledger, 30 * number, 200 * number).canary


def test_what_happened_while_the_scheduler_was_away_is_looked_at_first(filled: Store, ledger: Ledger) -> None:
    """Enough answers are there at its first look, and no time was compared: the next look decides."""
    begin(filled)
    assert observe(filled, ledger, 90_000, 10_000).canary
    assert observe(filled, ledger, 91_000, 10_100).canary is None


def test_answers_that_all_fail_on_both_sides_promote_nothing(filled: Store, ledger: Ledger) -> None:
    """The model server was down: no time was compared."""
    begin(filled)
    for number in (1, 2, 3):
        for role, version in (("stable", 1), ("canary", 2)):
            counts = {"answers": 400 * number, "errors": 400 * number}
            ledger.observations.put_counts(HALF_PLUS, role, version, NOW, "one", counts)  # type: ignore[arg-type]  # a role
        analyse_canaries(filled, ledger)
        assert read_rollout(filled, HALF_PLUS).canary


def test_counts_that_fall_are_no_evidence() -> None:
    """Old feedback is deleted with its prediction; what remains is compared from there on."""
    before = update_experiment(Experiment(), sums(900, labelled=800, mistakes=40), sums(100, labelled=90, mistakes=5))
    after = update_experiment(before, sums(950, labelled=300, mistakes=10), sums(110, labelled=95, mistakes=30))
    assert after.weights()["mistakes"] == before.weights()["mistakes"]
    later = update_experiment(after, sums(990, labelled=330, mistakes=11), sums(120, labelled=125, mistakes=60))
    assert later.weights()["mistakes"] > 10 * after.weights()["mistakes"]


def test_a_decision_that_was_not_written_is_made_at_the_next_look(filled: Store, ledger: Ledger) -> None:
    """Though nothing new was counted: a person lets the analysis promote, too."""
    canary = begin(filled, judge="abort-only")
    for number in (1, 2):
        assert observe(filled, ledger, 1000 * number, 100 * number).canary
    full = canary.model_copy(update={"judge": "full"})
    change_rollout(filled, HALF_PLUS, lambda now: now.start_canary(full, by="t", reason="r"))
    analyse_canaries(filled, ledger)
    assert read_rollout(filled, HALF_PLUS).stable == 2


# --- what it tells ----------------------------------------------------------------------------------------------------


def test_a_path_is_thinned_evenly_and_keeps_both_ends() -> None:
    """However long it runs."""
    path: Any = []
    for number in range(2000):
        path = extend_path(path, {"at_s": 2.0 * number})
    assert len(path) == MAX_POINTS
    assert (path[0]["at_s"], path[-1]["at_s"]) == (0, 3998)
    gaps = [after["at_s"] - before["at_s"] for before, after in itertools.pairwise(path)]
    assert max(gaps) <= 4 * 3998 / MAX_POINTS


def test_labels_until_a_decision_are_estimated() -> None:
    """Few where the versions differ much, many where they do not; and about so many it takes."""
    worse, same = (
        update_experiment(Experiment(), sums(500, labelled=100, mistakes=5), sums(500, labelled=100, mistakes=wrong))
        for wrong in (20, 5)
    )
    canary = plan(percent=50)
    soon, later = estimate_labels(worse, canary), estimate_labels(same, canary)
    assert soon
    assert later
    assert soon[1] == "mistakes"
    assert soon[0] < 200
    assert later[0] > 1000
    half = (100 + soon[0] // 2) / 100
    then = update_experiment(
        worse,
        sums(900, labelled=round(100 * half), mistakes=round(5 * half)),
        sums(900, labelled=round(100 * half), mistakes=round(20 * half)),
    )
    assert 30 < then.weights()["mistakes"] < 1000
