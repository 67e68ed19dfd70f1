"""The gate: a floor, a champion, and reasons."""

from typing import get_args

import pytest

from modelyard.models.spec import Gate
from modelyard.models.types import Direction
from modelyard.pipeline.stages.gate import Champion, judge

GATE = Gate(metric="accuracy", floor=0.98, sample_floor=0.9, max_drop=0.005)


def test_a_good_first_version_is_accepted_with_its_grounds() -> None:
    """Above the floor and nothing to compare with: accepted."""
    verdict = judge(GATE, "real", 0.99)
    assert verdict.accepted
    assert verdict.reasons == ("accuracy 0.9900 reaches the floor 0.9800",)


def test_below_the_floor_is_rejected() -> None:
    """The reason has both numbers."""
    verdict = judge(GATE, "real", 0.97)
    assert not verdict.accepted
    assert verdict.reasons == ("accuracy 0.9700 is below the floor 0.9800",)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
@pytest.mark.parametrize("gate", [GATE, Gate("accuracy"), Gate("accuracy", max_ece=0.02)], ids=str)
def test_a_value_that_is_no_number_is_rejected(gate: Gate, value: float | None) -> None:
    """A diverged model has NaN for a metric; infinity is above any floor, and better than any champion."""
    for direction in get_args(Direction):
        verdict = judge(gate, "real", value, Champion(4, 0.5, "real"), direction=direction, simplest=0.5, ece=0.01)
        assert not verdict.accepted
        assert verdict.reasons == ("accuracy is no finite number",)
        assert (verdict.value, verdict.champion, verdict.champion_value) == (None, 4, 0.5)


def test_the_sample_has_a_floor_of_its_own() -> None:
    """What is too low on real data may do on the sample."""
    assert judge(GATE, "sample", 0.95).accepted
    assert not judge(GATE, "sample", 0.89).accepted


def test_a_small_drop_below_the_champion_is_allowed_and_a_large_one_is_not() -> None:
    """The champion is measured on the same test data."""
    assert judge(GATE, "real", 0.986, Champion(4, 0.99, "real")).accepted
    verdict = judge(GATE, "real", 0.984, Champion(4, 0.99, "real"))
    assert not verdict.accepted
    assert "below the 0.9900 of version 4" in verdict.reasons[0]


def test_a_sample_version_never_replaces_one_trained_on_real_data() -> None:
    """A network failure must not put a toy into production, however well it does on its own toy test."""
    verdict = judge(GATE, "sample", 0.99, Champion(1, 0.95, "real"))
    assert not verdict.accepted
    assert "trained on the sample" in verdict.reasons[0]


def test_a_metric_of_which_less_is_better_has_a_ceiling() -> None:
    """Above it is too much, and a champion may be missed by a little only."""
    gate = Gate(metric="mae", ceiling=3.0, sample_ceiling=5.0, max_drop=0.1)
    assert judge(gate, "real", 2.9, direction="lower").accepted
    assert judge(gate, "sample", 4.9, direction="lower").accepted
    assert judge(gate, "real", 3.1, direction="lower").reasons == ("mae 3.1000 is above the ceiling 3.0000",)
    assert judge(gate, "real", 2.05, Champion(2, 2.0, "real"), direction="lower").accepted
    assert not judge(gate, "real", 2.2, Champion(2, 2.0, "real"), direction="lower").accepted
    assert not judge(gate, "real", float("nan"), direction="lower").accepted


def test_without_a_limit_the_simplest_answer_must_be_beaten() -> None:
    """A model that always names the commonest class is no model."""
    gate = Gate(metric="accuracy")
    assert judge(gate, "real", 0.71, simplest=0.7).accepted
    verdict = judge(gate, "real", 0.7, simplest=0.7)
    assert verdict.reasons == ("accuracy 0.7000 is no better than the 0.7000 of the simplest answer",)
    assert not judge(gate, "real", float("nan"), simplest=0.7).accepted
    assert not judge(Gate(metric="mae"), "real", 2.0, direction="lower", simplest=1.5).accepted


def test_a_champion_that_cannot_be_measured_is_passed_over_but_for_its_data() -> None:
    """Other inputs or labels: nothing to compare with; still no sample replaces the real data."""
    assert judge(GATE, "real", 0.99, Champion(3, None, "real")).accepted
    verdict = judge(GATE, "sample", 0.99, Champion(3, None, "real"))
    assert verdict.reasons == ("trained on the sample, while version 3 was trained on the real data",)
    assert (verdict.champion, verdict.champion_value) == (3, None)


def test_a_gate_may_limit_how_wrong_probabilities_are() -> None:
    """On real data, whatever the metric is; the reason says it either way."""
    gate = Gate(metric="accuracy", floor=0.9, max_ece=0.02)
    assert "ece 0.0100 is within 0.0200" in judge(gate, "real", 0.95, ece=0.01).reasons
    verdict = judge(gate, "real", 0.95, ece=0.05)
    assert not verdict.accepted
    assert verdict.reasons == ("ece 0.0500 is above the maximum 0.0200: probabilities are not as sure as they say",)
    assert judge(gate, "sample", 0.95, ece=0.05).accepted
    assert judge(gate, "real", 0.95).accepted
