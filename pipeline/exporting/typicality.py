"""Whether an input is like those of training: a few matrices inside the exported graph. TensorFlow code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.linalg import block_diag

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


MakeScore = Callable[[float, float], Score]
"""A score times a factor, less an offset."""


@dataclass(frozen=True)
class Part:
    """One score, a squared distance or the like, and what it is on calibration examples."""

    method: str
    make: MakeScore
    weight: float = 1.0
    least: float = 0.0
    """Smallest limit."""
    middle: float = 0.0
    limit: float = 1.0

    def scale(self, share: float) -> Score:
        """The score such that it is 0 at the middle, and at the limit its weight times a share."""
        factor = share * self.weight / (self.limit - self.middle)
        return self.make(factor, self.middle * factor)


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
            is_plain = tf.cast(observed["plain"], tf.float32)
            found += NOTHING * is_plain  # a choice takes several times as long
        else:
            is_plain = tf.zeros_like(found)
        # What is no number is not below it. A choice that may broadcast would take ten times as long.
        return tf.raw_ops.Select(condition=found < LARGEST, x=found, y=is_plain + LARGEST)

    def add_parts(self, observed: Observed) -> Any:
        """``3 s``, ``float64 [N]``, by what was observed alone."""
        if not self.parts:
            return tf.zeros(tf.shape(next(iter(observed.values())))[:1], tf.float64)
        scaled = [tf.maximum(part.scale(AT_LIMIT / self.limit)(observed), 0.0) for part in self.parts]
        return scaled[0] if len(scaled) == 1 else tf.add_n(scaled)


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
        distances = [from_classes(nearest)] if nearest else []
        distances += [from_subspaces(subspace)] if subspace else []
        found += [join_distances(distances, typical)] if distances else []
    if (summary := train.get("summary")) is not None and (whole := learn_summary_distance(summary)):
        found.append(Part("Mahalanobis distance of the input's summary", partial(score_summary, whole), weight=0.5))
    if (words := train.get("words")) is not None:
        unknown = make_scaled(score_words(words))
        found.append(Part("more unknown words than in training", unknown, least=LEAST_SURPRISE**2))
    if (common := train.get("common")) is not None and (order := learn_word_order(common)):
        found.append(Part("words in an order unlike training's", make_scaled(score_order(order))))
    return found


def make_scaled(score: Score) -> MakeScore:
    return lambda factor, offset: lambda observed: score(observed) * factor - offset


def calibrate_parts(parts: Sequence[Part], typical: Observed) -> tuple[Part, ...]:
    return tuple(calibrate_part(part, part.make(1.0, 0.0)(typical).numpy()) for part in parts)


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


# --- distances of features --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distances:
    """Squared distances of features ``x`` from each class, or from all examples at once: a polynomial of second degree.

    ``(t @ inner)^2 @ squares + t @ linear + length`` of ``t = x @ columns``, each column of ``x`` or of ``x / |x|``.
    """

    columns: Array
    """``[F,K]``"""
    is_unit: Array
    """``bool [K]``: of features of length 1."""
    inner: Array
    """``[K,M]``"""
    squares: Array
    """``[M,C]``, or ``[M,1]`` where it is of all examples."""
    linear: Array
    """``[K,C]``, or ``[K,1]``."""
    length: Array
    """``[C]``, or ``[1]``."""

    def scale(self, factor: float, offset: float) -> "Distances":
        """Times a factor above 0, less an offset."""
        scaled = {name: getattr(self, name) * factor for name in ("squares", "linear")}
        return replace(self, **scaled, length=self.length * factor - offset)

    def measure(self, observed: Observed) -> Any:
        """``float64 [N,C]`` or ``[N,1]``."""
        x = in_double(observed["features"])
        t = tf.matmul(
            x, np.ascontiguousarray(self.columns.T), transpose_b=True
        )  # of one row, a quarter of the time less
        if self.is_unit.any():
            squared = tf.maximum(tf.reduce_sum(tf.square(x), axis=1, keepdims=True), SMALLEST_NORM**2)
            unit = self.is_unit.astype(np.float64)
            t *= tf.math.rsqrt(squared) * unit + (1.0 - unit)
        both = tf.concat([tf.square(tf.matmul(t, self.inner)), t], axis=1)
        return tf.matmul(both, np.concatenate([self.squares, self.linear])) + self.length


def join_distances(distances: Sequence[Distances], typical: Observed) -> Part:
    """The smallest sum of all, over the classes: each distance alone may be small for another class.

    Each is 0 at the median of the calibration examples' smallest ones, and 1 at their limit.
    """
    scaled = []
    for each in distances:
        middle, width = find_width(tf.reduce_min(each.measure(typical), axis=1).numpy())
        scaled.append(each.scale(1 / width, middle / width))
    whole = add_distances(scaled)

    def make(factor: float, offset: float) -> Score:
        last = whole.scale(factor, offset)
        return lambda observed: tf.reduce_min(last.measure(observed), axis=1)

    return Part(
        "distance of the features from the nearest class, and what lies outside its main directions", make, weight=3.0
    )


def add_distances(distances: Sequence[Distances]) -> Distances:
    """Their sum, class by class, as one: an answer waits for each product."""
    classes = max(len(each.length) for each in distances)

    def join(name: str) -> Array:
        found: Array = np.concatenate([spread(getattr(each, name), classes) for each in distances])
        return found

    return Distances(
        columns=np.concatenate([each.columns for each in distances], axis=1),
        is_unit=np.concatenate([each.is_unit for each in distances]),
        inner=block_diag(*(each.inner for each in distances)),
        squares=join("squares"),
        linear=join("linear"),
        length=np.sum([spread(each.length, classes) for each in distances], axis=0),
    )


def spread(values: Array, classes: int) -> Array:
    """``[...,C]`` of ``[...,C]`` or ``[...,1]``."""
    return np.broadcast_to(values, (*values.shape[:-1], classes))


def from_classes(learned: ClassDistance) -> Distances:
    # What all classes share may be added before the least is found: one product has both.
    size, classes = len(learned.shares), len(learned.means)
    centre, weights = learned.centre @ learned.directions, 1 - learned.shares
    moved = learned.means + weights * centre
    return Distances(
        columns=learned.directions,
        is_unit=np.zeros(size, bool),
        inner=np.eye(size),
        squares=np.repeat(weights[:, None], classes, axis=1),
        linear=-2 * moved.T,
        length=(learned.means**2).sum(axis=1) + (moved + learned.means) @ centre,
    )


def from_subspaces(learned: SubspaceDistance) -> Distances:
    """The squared length of ``u = x / |x| - c`` without that along the directions ``D``, which are orthonormal.

    Multiplied out, with ``c`` less what lies along ``D``: ``1 - |uD|^2 - 2uc + |c|^2`` of ``u = x / |x|``.
    """
    groups, size, dimensions = learned.directions.shape
    directions = learned.directions.transpose(1, 0, 2).reshape(size, groups * dimensions)
    along = np.einsum("gf,gfd->gd", learned.centres, learned.directions)
    beside = learned.centres - np.einsum("gd,gfd->gf", along, learned.directions)
    common, (inner, linear) = factorise([directions, -2 * beside.T])
    return Distances(
        columns=common,
        is_unit=np.ones(common.shape[1], bool),
        inner=inner,
        squares=-np.repeat(np.eye(groups), dimensions, axis=0),
        linear=linear,
        length=1 + (beside**2).sum(axis=1),
    )


def factorise(columns: Sequence[Array]) -> tuple[Array, list[Array]]:
    """Matrices ``[F,K]`` as products of one that all share, ``[F,R]``, and one for each, ``[R,K]``.

    Memory is what a product with one row waits for, and all of them may lie in few dimensions.
    """
    left, sizes, right = np.linalg.svd(np.concatenate(columns, axis=1), full_matrices=False)
    rank = int((sizes > RANK_TOLERANCE * sizes[0]).sum())
    ends = np.cumsum([each.shape[1] for each in columns])[:-1]
    return left[:, :rank], np.split(sizes[:rank, None] * right[:rank], ends, axis=1)
