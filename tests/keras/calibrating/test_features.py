"""Distances of a model's features from the classes: what they see, and that they are computed in few operations."""

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.registry.uncertainty.record import CoverageRecord, UncertaintyRecord
from modelyard.models.types import Array
from modelyard.pipeline.calibrating import conformal
from modelyard.pipeline.calibrating.distances import COMMON_DIRECTIONS, learn_subspace_distance
from modelyard.pipeline.exporting.typicality import as_tensors, factorise, learn_typicality, measure_subspaces, multiply
from modelyard.pipeline.exporting.uncertainty import list_levels

CLASSES, FEATURES = 3, 100


def draw(count: int, seed: int) -> tuple[Array, Array]:
    """Each class has ten directions of its own around a centre of its own; a little noise everywhere."""
    shape = np.random.default_rng(7)
    centres, directions = shape.normal(0, 3, (CLASSES, FEATURES)), shape.normal(0, 1, (CLASSES, 10, FEATURES))
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, count)
    along = np.einsum("nd,ndf->nf", random.normal(0, 1, (count, 10)), directions[y])
    return (centres[y] + along + random.normal(0, 0.1, (count, FEATURES))).astype(np.float32), y


def test_features_of_no_class_are_not_typical() -> None:
    """Halfway between two classes, along another class's directions, of another length, and noise."""
    (train, y), (calibration, _), (usual, classes) = (draw(count, seed) for seed, count in enumerate((3000, 1000, 500)))
    learned = learn_typicality({"features": train}, y, {"features": calibration})
    assert len(learned.parts) == 1

    def measure(x: Array) -> Array:
        found: Array = learned.measure(as_tensors({"features": x.astype(np.float32)})).numpy()
        return found

    assert (measure(usual) > 1).mean() <= 0.03
    first, second = (usual[classes == each][:50] for each in (0, 1))
    noise = np.random.default_rng(5).normal(0, 3, (50, FEATURES))
    for odd in ((first + second) / 2, first - second + train.mean(axis=0), noise):
        assert (measure(odd) > 1).mean() >= 0.98
    together = measure(usual)
    alone = np.concatenate([measure(usual[at : at + 1]) for at in range(40)])
    np.testing.assert_allclose(alone, together[:40], atol=1e-6)


def test_a_distance_from_subspaces_is_what_is_left_outside_of_them() -> None:
    """As the directions say it, one by one; of more features than common directions, inside of those and beside."""
    train, y = draw(2000, 0)
    learned = learn_subspace_distance(train, y)
    assert learned
    space = np.linalg.matrix_rank(np.concatenate([*learned.directions.transpose(0, 2, 1), learned.centres]), tol=1e-6)
    assert space <= COMMON_DIRECTIONS < FEATURES
    unit = train[:20].astype(np.float64) / np.linalg.norm(train[:20], axis=1, keepdims=True)
    away = unit[:, None] - learned.centres
    inside = np.einsum("ngf,gfd->ngd", away, learned.directions)
    expected = (away**2).sum(axis=2) - (inside**2).sum(axis=2)
    made, observed = measure_subspaces(learned, 2.0, 0.5), {"features": tf.constant(train[:20])}
    found = made.measure(observed, multiply(observed, *factorise(made.columns))).numpy()
    np.testing.assert_allclose(found, 2 * expected - 0.5, atol=1e-6)


def test_a_product_of_few_dimensions_is_taken_in_two_steps() -> None:
    """Which is less to multiply by, and the same."""
    random = np.random.default_rng(0)
    columns = random.normal(0, 1, (300, 6)) @ random.normal(0, 1, (6, 200))
    common, last = factorise([columns[:, :150], columns[:, 150:]])
    assert common is not None
    assert [each.shape for each in (common, *last)] == [(300, 6), (6, 150), (6, 50)]
    np.testing.assert_allclose(common @ np.concatenate(last, axis=1), columns, atol=1e-10)
    assert factorise([columns[:20, :8]])[0] is None  # so few are less work as they are


@pytest.mark.parametrize("thresholds", [(0.5, 0.05), (0.05, 0.05), (0.0, 0.0)])
def test_a_graph_lists_the_levels_of_sets(thresholds: tuple[float, float]) -> None:
    """As the sets were found, at the thresholds as well."""
    probabilities = np.array([[0.9, 0.06, 0.04], [0.5, 0.45, 0.05], [1.0, 0.0, 0.0]], np.float32)
    both = zip(conformal.PERCENTS, thresholds, strict=True)
    coverage = tuple(CoverageRecord(percent=percent, threshold=value) for percent, value in both)
    found = list_levels(tf.constant(probabilities), UncertaintyRecord(examples=9, coverage=coverage)).numpy()
    np.testing.assert_array_equal(found, conformal.list_levels(probabilities, thresholds))
    assert found.dtype == np.int32
