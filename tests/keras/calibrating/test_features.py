"""Distances of a model's features from the classes: what they see, and that they are computed in few operations."""

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.registry.uncertainty.record import CoverageRecord, UncertaintyRecord
from modelyard.models.types import Array
from modelyard.pipeline.calibrating import conformal
from modelyard.pipeline.calibrating.distances import (
    COMMON_DIRECTIONS,
    learn_class_distance,
    learn_subspace_distance,
)
from modelyard.pipeline.exporting.typicality import (
    add_distances,
    as_tensors,
    factorise,
    from_classes,
    from_subspaces,
    learn_typicality,
)
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
    made = from_subspaces(learned)
    assert made.columns.shape[1] <= COMMON_DIRECTIONS
    found = made.scale(2.0, 0.5).measure({"features": tf.constant(train[:20])}).numpy()
    np.testing.assert_allclose(found, 2 * expected - 0.5, atol=1e-6)


def test_distances_are_added_class_by_class() -> None:
    """Relative distances from the classes' means as the means say it; what is of all examples counts for each class."""
    train, y = draw(2000, 0)
    x, seen = train[:20].astype(np.float64), {"features": tf.constant(train[:20])}
    learned = learn_class_distance(train, y)
    assert learned
    z = (x - learned.centre) @ learned.directions
    expected = ((z[:, None] - learned.means) ** 2).sum(axis=2) - (z**2 * learned.shares).sum(axis=1)[:, None]
    classes = from_classes(learned)
    np.testing.assert_allclose(classes.measure(seen).numpy(), expected, atol=1e-6)
    for targets in (y, None):
        subspace = learn_subspace_distance(train, targets)
        assert subspace
        others = from_subspaces(subspace)
        both = add_distances([classes.scale(3.0, 1.0), others]).measure(seen).numpy()
        np.testing.assert_allclose(both, 3 * expected - 1 + others.measure(seen).numpy(), atol=1e-6)


def test_products_of_few_dimensions_share_one() -> None:
    """Which is less to multiply by, and the same."""
    random = np.random.default_rng(0)
    columns = random.normal(0, 1, (300, 6)) @ random.normal(0, 1, (6, 200))
    common, last = factorise([columns[:, :150], columns[:, 150:]])
    assert [each.shape for each in (common, *last)] == [(300, 6), (6, 150), (6, 50)]
    np.testing.assert_allclose(common @ np.concatenate(last, axis=1), columns, atol=1e-10)


@pytest.mark.parametrize("thresholds", [(0.5, 0.05), (0.05, 0.05), (0.0, 0.0)])
def test_a_graph_lists_the_levels_of_sets(thresholds: tuple[float, float]) -> None:
    """As the sets were found, at the thresholds as well."""
    probabilities = np.array([[0.9, 0.06, 0.04], [0.5, 0.45, 0.05], [1.0, 0.0, 0.0]], np.float32)
    both = zip(conformal.PERCENTS, thresholds, strict=True)
    coverage = tuple(CoverageRecord(percent=percent, threshold=value) for percent, value in both)
    found = list_levels(tf.constant(probabilities), UncertaintyRecord(examples=9, coverage=coverage)).numpy()
    np.testing.assert_array_equal(found, conformal.list_levels(probabilities, thresholds))
    assert found.dtype == np.int32
