"""Whether an input is like those of training: a few matrices inside the exported graph. TensorFlow code."""

from collections.abc import Callable, Mapping
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
Score = Callable[[Observed], Any]
"""How far inputs are from those of training, ``float64 [N]``."""
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
    weight: float = 1.0
    """Of its square."""
    least: float = 0.0
    """Smallest limit."""
    middle: float = 0.0
    limit: float = 1.0

    def scaled(self, observed: Observed) -> Any:
        """0 at the median of calibration examples or below it, 1 at their limit."""
        return tf.maximum((self.score(observed) - self.middle) / (self.limit - self.middle), 0.0)


@dataclass(frozen=True)
class Typicality:
    """The root of the summed squares of all parts, as a share of the calibration examples' limit."""

    parts: tuple[Part, ...] = ()
    limit: float = 1.0
    plain_is_odd: bool = False
    """Whether pictures of one colour are none of those that are typical."""

    def measure(self, observed: Observed) -> Any:
        """``float32 [N]``: above 1, an input is not typical."""
        found = tf.cast(self._combine(observed) / self.limit, tf.float32)
        if "words" in observed:
            known = observed["words"][:, 0]
            found = tf.where(known > 0, found, tf.maximum(found, NOTHING))
        if self.plain_is_odd:
            found = tf.where(observed["plain"], tf.maximum(found, NOTHING), found)
        return tf.where(tf.math.is_finite(found), tf.minimum(found, LARGEST), LARGEST)

    def _combine(self, observed: Observed) -> Any:
        if not self.parts:
            return tf.zeros(tf.shape(next(iter(observed.values())))[:1], tf.float64)
        return tf.sqrt(tf.add_n([part.weight * tf.square(part.scaled(observed)) for part in self.parts]))


def learn_typicality(train: Mapping[str, Array], y: Array | None, calibration: Mapping[str, Array]) -> Typicality:
    """From what was observed of training and of calibration examples.

    Args:
        y: classes of the training examples ``[n]``; None where they have none.
    """
    typical = as_tensors(calibration)
    parts = tuple(calibrate_part(part, typical) for part in list_parts(train, y))
    combined = Typicality(parts)._combine(typical).numpy()  # noqa: SLF001  # of the same class
    plain = calibration.get("plain")
    return Typicality(parts, find_limit(combined) or 1.0, plain is not None and bool(plain.mean() < RARE))


def as_tensors(observed: Mapping[str, Array]) -> Observed:
    return {name: tf.constant(values) for name, values in observed.items()}


def list_parts(train: Mapping[str, Array], y: Array | None) -> list[Part]:
    found: list[Part] = []
    if (features := train.get("features")) is not None:
        if y is not None and (nearest := learn_class_distance(features, y)):
            found.append(Part("relative Mahalanobis distance of the features", score_classes(nearest)))
        if subspace := learn_subspace_distance(features, y):
            found.append(Part("features outside the main directions of their class", score_subspaces(subspace), 2.0))
    if (summary := train.get("summary")) is not None and (whole := learn_summary_distance(summary)):
        found.append(Part("Mahalanobis distance of the input's summary", score_summary(whole), 0.5))
    if (words := train.get("words")) is not None:
        found.append(Part("more unknown words than in training", score_words(words), least=LEAST_SURPRISE))
    if (common := train.get("common")) is not None and (order := learn_word_order(common)):
        found.append(Part("words in an order unlike training's", score_order(order)))
    return found


def calibrate_part(part: Part, typical: Observed) -> Part:
    scores = part.score(typical).numpy().astype(np.float64)
    middle = float(np.median(scores))
    limit = find_limit(scores - middle) or max(abs(middle), 1.0)
    return replace(part, middle=middle, limit=middle + max(limit, part.least))


def find_limit(scores: Array) -> float:
    """What ``TYPICAL_PERCENT`` of such scores do not exceed; more where they are too few to tell."""
    allowed = count_allowed(len(scores), TYPICAL_PERCENT)
    ordered = np.sort(scores)
    return float(ordered[-allowed] if allowed else ordered[-1] * FEW_MARGIN)


# --- scores -----------------------------------------------------------------------------------------------------------


def score_classes(learned: ClassDistance) -> Score:
    means, length = learned.means.T, (learned.means**2).sum(axis=1)
    centre = learned.centre @ learned.directions

    def score(observed: Observed) -> Any:
        z = tf.matmul(in_double(observed["features"]), learned.directions) - centre
        nearest = tf.reduce_min(length - 2 * tf.matmul(z, means), axis=1)
        return nearest + tf.linalg.matvec(tf.square(z), 1 - learned.shares)

    return score


def score_subspaces(learned: SubspaceDistance) -> Score:
    groups, size, dimensions = learned.directions.shape
    directions = learned.directions.transpose(1, 0, 2).reshape(size, groups * dimensions)
    both = np.concatenate([directions, learned.centres.T], axis=1)
    moved = np.einsum("gf,gfd->gd", learned.centres, learned.directions).reshape(-1)
    length = (learned.centres**2).sum(axis=1)

    def score(observed: Observed) -> Any:
        x = in_double(observed["features"])
        norm = tf.maximum(tf.norm(x, axis=1, keepdims=True), SMALLEST_NORM)
        along, beside = tf.split(tf.matmul(x, both) / norm, [groups * dimensions, groups], axis=1)
        inside = tf.reduce_sum(tf.reshape(tf.square(along - moved), [-1, groups, dimensions]), axis=2)
        whole = tf.square(tf.norm(x, axis=1, keepdims=True) / norm) - 2 * beside + length
        return tf.sqrt(tf.maximum(tf.reduce_min(whole - inside, axis=1), 0))

    return score


def score_summary(learned: SummaryDistance) -> Score:
    def score(observed: Observed) -> Any:
        return tf.norm(tf.matmul(in_double(observed["summary"]) - learned.centre, learned.directions), axis=1)

    return score


def in_double(x: Any) -> Any:
    """In 64 bits: small differences of large numbers would differ with the rest of a batch, in the sixth digit."""
    return tf.cast(x, tf.float64)


def score_words(words: Array) -> Score:
    """Log likelihood ratio of a share of unknown words above training's; long texts tell more, up to a limit."""
    share = max(float(words[:, 1].sum() / max(1.0, words.sum())), RAREST_UNKNOWN)

    def score(observed: Observed) -> Any:
        known, unknown = tf.unstack(in_double(observed["words"]), axis=1)
        own = unknown / tf.maximum(known + unknown, 1.0)
        gain = tf.math.xlogy(unknown, own / share) + tf.math.xlogy(known, (1.0 - own) / (1.0 - share))
        gain = gain / (1.0 + (known + unknown) / OWN_WORDS)
        return tf.where(own > share, gain, tf.zeros_like(gain))

    return score


def score_order(learned: WordOrder) -> Score:
    """How much less each word tells the next than in training."""
    size = len(learned.gains)

    def score(observed: Observed) -> Any:
        common = tf.minimum(tf.cast(observed["common"], tf.int32), size - 1)
        gains = tf.gather(learned.gains.reshape(-1), common[:, :-1] * size + common[:, 1:])
        is_pair = tf.cast(common[:, 1:] > 0, tf.float64)
        pairs = tf.reduce_sum(is_pair, axis=1)
        mean = tf.reduce_sum(in_double(gains) * is_pair, axis=1) / tf.maximum(pairs, 1.0)
        return (learned.mean - mean) * tf.sqrt(pairs / (pairs + FEW_PAIRS))

    return score
