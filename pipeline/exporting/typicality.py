"""Whether an input is like those of training: a few matrices inside the exported graph. TensorFlow code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.types import Array
from modelyard.pipeline.calibrating.conformal import count_allowed
from modelyard.pipeline.calibrating.distances import (
    ClassDistance,
    SubspaceDistance,
    SummaryDistance,
    WordOrder,
    learn_class_distance,
    learn_subspace_distance,
    learn_summary_distance,
    learn_word_order,
)

Observed = Mapping[str, Any]
"""What is known of some inputs, each if there is some: ``features [N,F]``, ``summary [N,S]``, ``plain [N]``,
``words [N,2]`` and ``common [N,L]``, as ``Forward`` names them."""
Score = Callable[[Observed, Any], Any]
"""How far inputs are from those of training, ``float64 [N]``; by what is observed, and features times ``columns``."""
TYPICAL_PERCENT = 99
"""Of the calibration examples, so many are typical."""
FEW_MARGIN = 1.5
"""Where calibration examples are too few for that, the limit is so many times the largest of them."""
LARGEST = 1e6
"""Of ``atypicality``; also what is no number."""
NOTHING = 2.0
"""The least ``atypicality`` of a text without a known word, and of a picture of one colour."""
RARE = 0.01
"""Share of calibration examples from which on pictures of one colour are typical."""
SMALLEST_NORM = 1e-9
RAREST_UNKNOWN = 0.01
"""Share of unknown words that is reckoned with, though training had fewer."""
OWN_WORDS = 40.0
"""Words of a text at which its subject matters as much as chance for the share of its words that are unknown."""
FEW_PAIRS = 20.0
"""The same for the order of its words."""
LEAST_SURPRISE = 3.0
"""Log likelihood ratio up to which unknown words are no news, though calibration examples had fewer."""


@dataclass(frozen=True)
class Part:
    """One score, and what it is on calibration examples."""

    method: str
    score: Score
    columns: Array | None = None
    """``[F,K]``: what the score takes features times."""
    weight: float = 1.0
    """Of its square."""
    least: float = 0.0
    """Smallest limit."""
    middle: float = 0.0
    limit: float = 1.0


@dataclass(frozen=True)
class Typicality:
    """The root of the summed squares of all parts, as a share of the calibration examples' limit.

    A part is 0 at the median of calibration examples or below it, 1 at their limit.
    """

    parts: tuple[Part, ...] = ()
    limit: float = 1.0
    plain_is_odd: bool = False
    """Whether pictures of one colour are none of those that are typical."""

    def measure(self, observed: Observed) -> Any:
        """``float32 [N]``: above 1, an input is not typical."""
        found = tf.cast(self.combine(observed), tf.float32)
        if "words" in observed:
            known = observed["words"][:, 0]
            found = tf.where(known > 0, found, tf.maximum(found, NOTHING))
        if self.plain_is_odd:
            found = tf.where(observed["plain"], tf.maximum(found, NOTHING), found)
        # What is no number is not below it. A choice between tensors of one shape takes a tenth of one that broadcasts.
        return tf.where(found < LARGEST, found, tf.zeros_like(found) + LARGEST)

    def combine(self, observed: Observed) -> Any:
        """The same in 64 bits, of what was observed alone."""
        if not self.parts:
            return tf.zeros(tf.shape(next(iter(observed.values())))[:1], tf.float64)
        middles, limits = (np.array([getattr(part, name) for part in self.parts]) for name in ("middle", "limit"))
        factors = np.sqrt([part.weight for part in self.parts]) / (limits - middles) / self.limit
        scaled = tf.maximum(score_parts(self.parts, observed) * factors - middles * factors, 0.0)
        return tf.sqrt(tf.reduce_sum(tf.square(scaled), axis=1))


def learn_typicality(train: Mapping[str, Array], y: Array | None, calibration: Mapping[str, Array]) -> Typicality:
    """From what was observed of training and of calibration examples.

    Args:
        y: classes of the training examples ``[n]``; None where they have none.
    """
    typical = as_tensors(calibration)
    parts = calibrate_parts(list_parts(train, y), typical)
    combined = Typicality(parts).combine(typical).numpy()
    plain = calibration.get("plain")
    return Typicality(parts, find_limit(combined) or 1.0, plain is not None and bool(plain.mean() < RARE))


def as_tensors(observed: Mapping[str, Array]) -> Observed:
    return {name: tf.constant(values) for name, values in observed.items()}


def list_parts(train: Mapping[str, Array], y: Array | None) -> list[Part]:
    found: list[Part] = []
    if (features := train.get("features")) is not None:
        if y is not None and (nearest := learn_class_distance(features, y)):
            found.append(Part("relative Mahalanobis distance of the features", *score_classes(nearest)))
        if subspace := learn_subspace_distance(features, y):
            method = "features outside the main directions of their class"
            found.append(Part(method, *score_subspaces(subspace), weight=2.0))
    if (summary := train.get("summary")) is not None and (whole := learn_summary_distance(summary)):
        found.append(Part("Mahalanobis distance of the input's summary", score_summary(whole), weight=0.5))
    if (words := train.get("words")) is not None:
        found.append(Part("more unknown words than in training", score_words(words), least=LEAST_SURPRISE))
    if (common := train.get("common")) is not None and (order := learn_word_order(common)):
        found.append(Part("words in an order unlike training's", score_order(order)))
    return found


def calibrate_parts(parts: Sequence[Part], typical: Observed) -> tuple[Part, ...]:
    scores = score_parts(parts, typical).numpy() if parts else np.zeros((0, 0))
    return tuple(calibrate_part(part, scores[:, place]) for place, part in enumerate(parts))


def calibrate_part(part: Part, scores: Array) -> Part:
    middle = float(np.median(scores))
    limit = find_limit(scores - middle) or max(abs(middle), 1.0)
    return replace(part, middle=middle, limit=middle + max(limit, part.least))


def find_limit(scores: Array) -> float:
    """What ``TYPICAL_PERCENT`` of such scores do not exceed; more where they are too few to tell."""
    allowed = count_allowed(len(scores), TYPICAL_PERCENT)
    ordered = np.sort(scores)
    return float(ordered[-allowed] if allowed else ordered[-1] * FEW_MARGIN)


# --- scores -----------------------------------------------------------------------------------------------------------


def score_parts(parts: Sequence[Part], observed: Observed) -> Any:
    """``float64 [N,P]``. Features are multiplied once, for all parts together."""
    columns = [part.columns for part in parts if part.columns is not None]
    products: Iterator[Any] = iter(())
    if columns:
        whole = tf.matmul(in_double(observed["features"]), np.concatenate(columns, axis=1))
        products = iter(tf.split(whole, [each.shape[1] for each in columns], axis=1))
    scores = [part.score(observed, None if part.columns is None else next(products)) for part in parts]
    return tf.stack(scores, axis=1)


def score_classes(learned: ClassDistance) -> tuple[Score, Array]:
    # What all classes share may be added before the least is found: one product has both.
    sizes = np.repeat((1 - learned.shares)[:, None], len(learned.means), axis=1)
    weights, length = np.concatenate([-2 * learned.means.T, sizes]), (learned.means**2).sum(axis=1)
    centre = learned.centre @ learned.directions

    def score(_: Observed, products: Any) -> Any:
        z = products - centre
        return tf.reduce_min(tf.matmul(tf.concat([z, tf.square(z)], axis=1), weights) + length, axis=1)

    return score, learned.directions


def score_subspaces(learned: SubspaceDistance) -> tuple[Score, Array]:
    """The squared length of ``u = x / |x| - c`` without that along the directions ``D``, which are orthonormal.

    Multiplied out, with ``c`` less what lies along ``D``: ``(|x|^2 - |xD|^2) / |x|^2 - 2xc / |x| + |c|^2``.
    """
    groups, size, dimensions = learned.directions.shape
    directions = learned.directions.transpose(1, 0, 2).reshape(size, groups * dimensions)
    moved = np.einsum("gf,gfd->gd", learned.centres, learned.directions)
    beside = learned.centres - np.einsum("gd,gfd->gf", moved, learned.directions)
    length = (beside**2).sum(axis=1)

    def score(observed: Observed, products: Any) -> Any:
        square = tf.reduce_sum(tf.square(in_double(observed["features"])), axis=1, keepdims=True)
        shrink = tf.math.rsqrt(tf.maximum(square, SMALLEST_NORM**2))
        along, across = tf.split(products, [groups * dimensions, groups], axis=1)
        inside = tf.reduce_sum(tf.reshape(tf.square(along), [-1, groups, dimensions]), axis=2)
        left = ((square - inside) * shrink + across) * shrink + length
        return tf.sqrt(tf.maximum(tf.reduce_min(left, axis=1), 0))

    return score, np.concatenate([directions, -2 * beside.T], axis=1)


def score_summary(learned: SummaryDistance) -> Score:
    def score(observed: Observed, _: Any) -> Any:
        away = tf.matmul(in_double(observed["summary"]) - learned.centre, learned.directions)
        return tf.sqrt(tf.reduce_sum(tf.square(away), axis=1))

    return score


def in_double(x: Any) -> Any:
    """In 64 bits: small differences of large numbers would differ with the rest of a batch, in the sixth digit."""
    return tf.cast(x, tf.float64)


def score_words(words: Array) -> Score:
    """Log likelihood ratio of a share of unknown words above training's; long texts tell more, up to a limit."""
    share = max(float(words[:, 1].sum() / max(1.0, words.sum())), RAREST_UNKNOWN)

    def score(observed: Observed, _: Any) -> Any:
        count = in_double(tf.reduce_sum(observed["words"], axis=1))
        own = tf.maximum(in_double(observed["words"][:, 1]) / tf.maximum(count, 1.0), share)  # at it, the ratio is 0
        gain = tf.math.xlogy(own, own / share) + tf.math.xlogy(1.0 - own, (1.0 - own) / (1.0 - share))
        return gain * (count * OWN_WORDS / (count + OWN_WORDS))

    return score


def score_order(learned: WordOrder) -> Score:
    """How much less each word tells the next than in training."""
    size = len(learned.gains)

    def score(observed: Observed, _: Any) -> Any:
        common = tf.minimum(tf.cast(observed["common"], tf.int32), size - 1)
        gains = tf.gather(learned.gains.reshape(-1), common[:, :-1] * size + common[:, 1:])
        is_pair = tf.cast(common[:, 1:] > 0, tf.float64)
        pairs = tf.reduce_sum(is_pair, axis=1)
        mean = tf.reduce_sum(in_double(gains) * is_pair, axis=1) / tf.maximum(pairs, 1.0)
        return (learned.mean - mean) * tf.sqrt(pairs / (pairs + FEW_PAIRS))

    return score
