"""The gate: a floor, a champion, and reasons."""

from modelyard.models.spec import Gate
from modelyard.pipeline.stages.gate import judge

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


def test_a_value_that_is_no_number_is_rejected() -> None:
    """A diverged model has NaN for a metric, which is not above any floor."""
    assert not judge(GATE, "real", float("nan")).accepted


def test_the_sample_has_a_floor_of_its_own() -> None:
    """What is too low on real data may do on the sample."""
    assert judge(GATE, "sample", 0.95).accepted
    assert not judge(GATE, "sample", 0.89).accepted


def test_a_small_drop_below_the_champion_is_allowed_and_a_large_one_is_not() -> None:
    """The champion is measured on the same test data."""
    assert judge(GATE, "real", 0.986, champion=4, champion_value=0.99).accepted
    verdict = judge(GATE, "real", 0.984, champion=4, champion_value=0.99)
    assert not verdict.accepted
    assert "below the 0.9900 of version 4" in verdict.reasons[0]


def test_a_sample_version_never_replaces_one_trained_on_real_data() -> None:
    """A network failure must not put a toy into production, however well it does on its own toy test."""
    verdict = judge(GATE, "sample", 0.99, champion=1, champion_value=0.95, champion_source="real")
    assert not verdict.accepted
    assert "trained on the sample" in verdict.reasons[0]
