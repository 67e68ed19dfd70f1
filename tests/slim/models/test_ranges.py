"""Ranges of a search: what is drawn from them, and that it can be drawn again."""

from collections import Counter
from random import Random

import pytest
from pydantic import TypeAdapter, ValidationError

from modelyard.models.ranges import Range, choice, linear_range, log_range, sample_values

RANGES = {
    "rate": log_range(1e-4, 1e-1),
    "dropout": linear_range(0, 0.5),
    "units": choice(32, 64),
    "layers": linear_range(1, 4, whole=True),
}


def test_a_seed_draws_the_same_values_and_more_trials_add_to_them() -> None:
    """Whatever order the ranges come in."""
    first = sample_values(RANGES, 12, seed=7)
    assert sample_values(dict(reversed(RANGES.items())), 12, seed=7) == first
    assert sample_values(RANGES, 30, seed=7)[:12] == first
    assert sample_values(RANGES, 12, seed=8) != first


def test_what_is_drawn_lies_in_its_range() -> None:
    """Whole numbers where they are required; four digits, which a person can read."""
    for values in sample_values(RANGES, 300, seed=0):
        assert 1e-4 <= values["rate"] <= 1e-1
        assert 0 <= values["dropout"] <= 0.5
        assert values["units"] in (32, 64)
        assert values["layers"] in (1, 2, 3, 4)
        assert float(f"{values['rate']:.4g}") == values["rate"]


def test_a_logarithmic_range_tries_each_size_alike() -> None:
    """A third of the draws in each of three powers of ten; a linear one leaves the small ones out."""
    random = Random(0)
    sizes = Counter(f"{log_range(1e-4, 1e-1).draw(random):.0e}"[-3:] for _ in range(3000))
    even = [log_range(1e-4, 1e-1).draw(random) < 1e-3 for _ in range(3000)]
    assert sum(even) / 3000 == pytest.approx(1 / 3, abs=0.05)
    assert len(sizes) >= 3
    assert sum(linear_range(1e-4, 1e-1).draw(random) < 1e-3 for _ in range(3000)) < 100


def test_a_range_travels_as_json() -> None:
    """As the catalogue carries it to the gateway."""
    adapter = TypeAdapter(dict[str, Range])
    assert adapter.validate_json(adapter.dump_json(RANGES)) == RANGES


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, 1), (-1, 1)])
def test_a_range_that_cannot_be_is_refused(low: float, high: float) -> None:
    """With both ends."""
    with pytest.raises(ValidationError, match=r"expected low < high, and 0 < low for log"):
        log_range(low, high)
