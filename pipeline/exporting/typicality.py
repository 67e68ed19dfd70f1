"""Whether an input is like those of training: a few matrices inside the exported graph. TensorFlow code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.types import Array
from modelyard.pipeline.calibrating.conformal import count_allowed
from modelyard.pipeline.calibrating.distances import (
    ClassDistance,
    SubspaceDistance,
    learn_class_distance,
    learn_subspace_distance,
    learn_summary_distance,
    learn_word_order,
)
from modelyard.pipeline.exporting.scores import Observed, Score, in_double, score_order, score_summary, score_words

TYPICAL_PERCENT = 99
"""Of the calibration examples, so many are typical."""
FEW_MARGIN = 1.5
"""Where calibration examples are too few for that, the limit is so many times the largest of them."""
LARGEST = 1e6
"""Of ``atypicality``; also what is no number."""
AT_LIMIT = 3.0
"""Of which the root, with 1 added, is 2."""
NOTHING = 2.0
"""The least ``atypicality`` of a text without a known word, and of a picture of one colour."""
RARE = 0.01
"""Share of calibration examples from which on pictures of one colour are typical."""
SMALLEST_NORM = 1e-9
RANK_TOLERANCE = 1e-10
"""Of the largest: a direction that weighs less is a rounding error."""
LEAST_SURPRISE = 3.0
"""Log likelihood ratio up to which unknown words are no news, though calibration examples had fewer."""


@dataclass(frozen=True)
class Part:
    """One score, a squared distance or the like, and what it is on calibration examples."""

    method: str
    score: Score
    weight: float = 1.0
    least: float = 0.0
    """Smallest limit."""
    middle: float = 0.0
    limit: float = 1.0


@dataclass(frozen=True)
class Typicality:
    """The weighed sum ``s`` of all parts, as a share of the calibration examples' limit; large ones drawn together.

    A part is 0 at the median of calibration examples or below it, 1 at their limit. They are squared distances, of
    which ``sqrt(1 + 3 s) - 1`` grows as a distance does; it is 1 where ``s`` is, and as steady at 0 as anywhere.
    """

    parts: tuple[Part, ...] = ()
    limit: float = 1.0
    plain_is_odd: bool = False
    """Whether pictures of one colour are none of those that are typical."""

    def measure(self, observed: Observed) -> Any:
        """``float32 [N]``: above 1, an input is not typical."""
        found = tf.cast(tf.sqrt(self.add_parts(observed) + 1.0) - 1.0, tf.float32)
        if "words" in observed:
            known = observed["words"][:, 0]
            found = tf.where(known > 0, found, tf.maximum(found, NOTHING))
        if self.plain_is_odd:
            found += NOTHING * tf.cast(observed["plain"], tf.float32)  # a choice takes several times as long
        # What is no number is not below it. A choice that may broadcast would take ten times as long.
        return tf.raw_ops.Select(condition=found < LARGEST, x=found, y=tf.zeros_like(found) + LARGEST)

    def add_parts(self, observed: Observed) -> Any:
        """``3 s``, ``float64 [N]``, by what was observed alone."""
        if not self.parts:
            return tf.zeros(tf.shape(next(iter(observed.values())))[:1], tf.float64)
        middles, limits, weights = (
            np.array([getattr(part, name) for part in self.parts]) for name in ("middle", "limit", "weight")
        )
        factors = weights / (limits - middles) * (AT_LIMIT / self.limit)
        scaled = tf.maximum(score_parts(self.parts, observed) * factors - middles * factors, 0.0)
        return tf.reduce_sum(scaled, axis=1)


def learn_typicality(train: Mapping[str, Array], y: Array | None, calibration: Mapping[str, Array]) -> Typicality:
    """From what was observed of training and of calibration examples.

    Args:
        y: classes of the training examples ``[n]``; None where they have none.
    """
    typical = as_tensors(calibration)
    parts = calibrate_parts(list_parts(train, y, typical), typical)
    total = Typicality(parts, AT_LIMIT).add_parts(typical).numpy()
    plain = calibration.get("plain")
    return Typicality(parts, find_limit(total) or 1.0, plain is not None and bool(plain.mean() < RARE))


def as_tensors(observed: Mapping[str, Array]) -> Observed:
    return {name: tf.constant(values) for name, values in observed.items()}


def list_parts(train: Mapping[str, Array], y: Array | None, typical: Observed) -> list[Part]:
    found: list[Part] = []
    if (features := train.get("features")) is not None:
        nearest = learn_class_distance(features, y) if y is not None else None
        subspace = learn_subspace_distance(features, y)
        distances = [partial(measure_classes, nearest)] if nearest else []
        distances += [partial(measure_subspaces, subspace)] if subspace else []
        found += [join_distances(distances, typical)] if distances else []
    if (summary := train.get("summary")) is not None and (whole := learn_summary_distance(summary)):
        found.append(Part("Mahalanobis distance of the input's summary", score_summary(whole), weight=0.5))
    if (words := train.get("words")) is not None:
        found.append(Part("more unknown words than in training", score_words(words), least=LEAST_SURPRISE**2))
    if (common := train.get("common")) is not None and (order := learn_word_order(common)):
        found.append(Part("words in an order unlike training's", score_order(order)))
    return found


def calibrate_parts(parts: Sequence[Part], typical: Observed) -> tuple[Part, ...]:
    scores = score_parts(parts, typical).numpy() if parts else np.zeros((0, 0))
    return tuple(calibrate_part(part, scores[:, place]) for place, part in enumerate(parts))


def calibrate_part(part: Part, scores: Array) -> Part:
    middle, width = find_width(scores)
    return replace(part, middle=middle, limit=middle + max(width, part.least))


def find_width(scores: Array) -> tuple[float, float]:
    """The median, and how far the limit is above it."""
    middle = float(np.median(scores))
    return middle, find_limit(scores - middle) or max(abs(middle), 1.0)


def find_limit(scores: Array) -> float:
    """What ``TYPICAL_PERCENT`` of such scores do not exceed; more where they are too few to tell."""
    allowed = count_allowed(len(scores), TYPICAL_PERCENT)
    ordered = np.sort(scores)
    return float(ordered[-allowed] if allowed else ordered[-1] * FEW_MARGIN)


# --- scores -----------------------------------------------------------------------------------------------------------


def score_parts(parts: Sequence[Part], observed: Observed) -> Any:
    """``float64 [N,P]``."""
    return tf.stack([part.score(observed) for part in parts], axis=1)


@dataclass(frozen=True)
class Distances:
    """Squared distances from each class, or from all examples at once."""

    measure: Callable[[Observed, Sequence[Any]], Any]
    """By what is observed, and features times each of ``columns``: ``float64 [N,C]`` or ``[N,1]``."""
    columns: tuple[Array, ...]
    """``[F,K]`` each."""


MakeDistances = Callable[[float, float], Distances]
"""Distances times a factor, less an offset."""


def join_distances(distances: Sequence[MakeDistances], typical: Observed) -> Part:
    """The smallest sum of both, over the classes: each distance alone may be small for another class.

    Both are 0 at the median of the calibration examples' smallest ones, and 1 at their limit.
    """
    scaled = []
    for make in distances:
        plain = make(1.0, 0.0)
        least = tf.reduce_min(plain.measure(typical, multiply(typical, *factorise(plain.columns))), axis=1).numpy()
        middle, width = find_width(least)
        scaled.append(make(1 / width, middle / width))
    common, last = factorise([columns for each in scaled for columns in each.columns])

    def score(observed: Observed) -> Any:
        products = iter(multiply(observed, common, last))
        found = [each.measure(observed, [next(products) for _ in each.columns]) for each in scaled]
        return tf.reduce_min(found[0] + found[1] if len(found) > 1 else found[0], axis=1)

    return Part(
        "distance of the features from the nearest class, and what lies outside its main directions",
        score,
        weight=3.0,
    )


def multiply(observed: Observed, common: Array | None, last: Sequence[Array]) -> list[Any]:
    """Features times a matrix that all share, if there is one, and times each of the others, ``float64 [N,K]`` each."""
    x = in_double(observed["features"])
    shared = x if common is None else tf.matmul(x, common)
    return [tf.matmul(shared, each) for each in last]


def factorise(columns: Sequence[Array]) -> tuple[Array | None, list[Array]]:
    """Matrices ``[F,K]`` as products of one that all share and one for each; None where that is no less to multiply by.

    Memory is what a product with one row waits for.
    """
    whole = np.concatenate(columns, axis=1)
    left, sizes, right = np.linalg.svd(whole, full_matrices=False)
    rank = int((sizes > RANK_TOLERANCE * sizes[0]).sum())
    if 2 * rank * sum(whole.shape) > whole.size:
        return None, list(columns)
    ends = np.cumsum([each.shape[1] for each in columns])[:-1]
    return left[:, :rank], [
        np.ascontiguousarray(each) for each in np.split(sizes[:rank, None] * right[:rank], ends, axis=1)
    ]


def measure_classes(learned: ClassDistance, factor: float, offset: float) -> Distances:
    # What all classes share may be added before the least is found: one product has both.
    sizes = np.repeat((1 - learned.shares)[:, None], len(learned.means), axis=1)
    weights = np.concatenate([-2 * learned.means.T, sizes]) * factor
    length = (learned.means**2).sum(axis=1) * factor - offset
    centre = learned.centre @ learned.directions

    def measure(_: Observed, products: Sequence[Any]) -> Any:
        z = products[0] - centre
        return tf.matmul(tf.concat([z, tf.square(z)], axis=1), weights) + length

    return Distances(measure, (learned.directions,))


def measure_subspaces(learned: SubspaceDistance, factor: float, offset: float) -> Distances:
    """The squared length of ``u = x / |x| - c`` without that along the directions ``D``, which are orthonormal.

    Multiplied out, with ``c`` less what lies along ``D``: ``1 - |uD|^2 - 2uc + |c|^2`` of ``u = x / |x|``. The factor
    is in the columns.
    """
    groups, size, dimensions = learned.directions.shape
    directions = learned.directions.transpose(1, 0, 2).reshape(size, groups * dimensions)
    moved = np.einsum("gf,gfd->gd", learned.centres, learned.directions)
    beside = learned.centres - np.einsum("gd,gfd->gf", moved, learned.directions)
    length = (1 + (beside**2).sum(axis=1)) * factor - offset

    def measure(observed: Observed, products: Sequence[Any]) -> Any:
        square = tf.reduce_sum(tf.square(in_double(observed["features"])), axis=1, keepdims=True)
        shrink = tf.math.rsqrt(tf.maximum(square, SMALLEST_NORM**2))
        along, across = (product * shrink for product in products)
        inside = tf.reduce_sum(tf.reshape(tf.square(along), [-1, groups, dimensions]), axis=2)
        return across - inside + length

    return Distances(measure, (directions * np.sqrt(factor), -2 * factor * beside.T))
