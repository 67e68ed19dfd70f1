"""What tells an input from those of training beside its features: scores inside the exported graph. TensorFlow code."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.types import Array
from modelyard.pipeline.calibrating.distances import SummaryDistance, WordOrder

Observed = Mapping[str, Any]
"""What is known of some inputs, each if there is some: ``features [N,F]``, ``summary [N,S]``, ``plain [N]``,
``words [N,2]`` and ``common [N,L]``, as ``Forward`` names them."""
Score = Callable[[Observed], Any]
"""How far inputs are from those of training, squared or the like, ``float64 [N]``."""
RAREST_UNKNOWN = 0.01
"""Share of unknown words that is reckoned with, though training had fewer."""
OWN_WORDS = 40.0
"""Words of a text at which its subject matters as much as chance for the share of its words that are unknown."""
FEW_PAIRS = 20.0
"""The same for the order of its words."""


def score_summary(learned: SummaryDistance, factor: float, offset: float) -> Score:
    """Times a factor, less an offset."""
    directions = learned.directions * np.sqrt(factor)
    centre = learned.centre @ directions

    def score(observed: Observed) -> Any:
        away = tf.matmul(in_double(observed["summary"]), directions) - centre
        return tf.reduce_sum(tf.square(away), axis=1) - offset

    return score


def in_double(x: Any) -> Any:
    """In 64 bits: small differences of large numbers would differ with the rest of a batch, in the sixth digit."""
    return tf.cast(x, tf.float64)


def score_words(words: Array) -> Score:
    """Log likelihood ratio of a share of unknown words above training's, squared; long texts tell more, to a limit."""
    share = max(float(words[:, 1].sum() / max(1.0, words.sum())), RAREST_UNKNOWN)

    def score(observed: Observed) -> Any:
        count = in_double(tf.reduce_sum(observed["words"], axis=1))
        own = tf.maximum(in_double(observed["words"][:, 1]) / tf.maximum(count, 1.0), share)  # at it, the ratio is 0
        gain = tf.math.xlogy(own, own / share) + tf.math.xlogy(1.0 - own, (1.0 - own) / (1.0 - share))
        return tf.square(gain * (count * OWN_WORDS / (count + OWN_WORDS)))

    return score


def score_order(learned: WordOrder) -> Score:
    """How much less each word tells the next than in training, squared; below 0 where it tells more."""
    size = len(learned.gains)

    def score(observed: Observed) -> Any:
        common = tf.minimum(tf.cast(observed["common"], tf.int32), size - 1)
        gains = tf.gather(learned.gains.reshape(-1), common[:, :-1] * size + common[:, 1:])
        is_pair = tf.cast(common[:, 1:] > 0, tf.float64)
        pairs = tf.reduce_sum(is_pair, axis=1)
        mean = tf.reduce_sum(in_double(gains) * is_pair, axis=1) / tf.maximum(pairs, 1.0)
        less = learned.mean - mean
        return less * tf.abs(less) * (pairs / (pairs + FEW_PAIRS))

    return score
