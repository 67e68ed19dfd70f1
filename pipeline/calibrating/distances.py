"""What tells an input from those of training: distances, each a few small matrices that training examples give.

``ClassDistance``: relative Mahalanobis distance (Ren et al. 2021, arXiv:2106.09022): how far features are from the
nearest class, less how far they are from all examples. ``SubspaceDistance``: what is left of features beside the main
directions of their class (Watanabe 1967; of all classes at once, Wang et al. 2022, arXiv:2203.10807).
``SummaryDistance``: Mahalanobis distance of what sums up an input. ``WordOrder``: how well a word tells the next one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from modelyard.models.types import Array

SHRINKAGE = 1e-3
"""Share of the mean variance that is added to each: what never varied in training may vary a little."""
MAX_GROUPS = 20
"""Up to so many classes have a subspace each; more share one."""
MAX_DIRECTIONS = 64
COMMON_DIRECTIONS = 48
"""Directions that those of all classes are made of."""
PER_CLASS = 20
"""Directions of a class's subspace at most."""
EXAMPLES_PER_DIRECTION = 5
FEW_FEATURES = 8
"""Features below which a subspace leaves nothing."""
PRIOR = 20
SMALLEST_DEVIATION = 0.1
"""Of a number of a summary that never varied: so much of what the others vary by."""


@dataclass(frozen=True)
class ClassDistance:
    """``min_c |z - means[c]|^2 - sum(z^2 * shares)`` of ``z = (x - centre) @ directions``.

    Inside the space of the classes' means alone (linear discriminants): outside of it both distances are the same.
    """

    centre: Array
    """``[F]``"""
    directions: Array
    """``[F,R]``"""
    means: Array
    """``[C,R]``"""
    shares: Array
    """``[R]``"""


@dataclass(frozen=True)
class SubspaceDistance:
    """``min_g |u|^2 - |u @ directions[g]|^2`` of ``u = x / |x| - centres[g]``."""

    centres: Array
    """``[G,F]``"""
    directions: Array
    """``[G,F,D]``"""


@dataclass(frozen=True)
class SummaryDistance:
    """``|(x - centre) @ directions|^2``."""

    centre: Array
    """``[S]``"""
    directions: Array
    """``[S,R]``"""


@dataclass(frozen=True)
class WordOrder:
    """By how much a word makes the next one likelier: ``gains[first, second]``, natural logarithms."""

    gains: Array
    """``float16 [W,W]``"""
    mean: float
    """Of training texts, over all pairs of words."""


def learn_class_distance(features: Array, y: Array) -> ClassDistance | None:
    """From features ``[n,F]`` and classes ``[n]``; None of fewer than two classes."""
    classes, places, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(classes) < 2 or len(y) <= 2 * len(classes):  # noqa: PLR2004  # two classes, two examples each
        return None
    x = features.astype(np.float64)
    means = np.stack([x[places == place].mean(axis=0) for place in range(len(classes))])
    centre = counts @ means / len(y)
    whiten = _whiten((x - means[places]).T @ (x - means[places]) / len(y))
    if not whiten.shape[1]:
        return None
    between = (means - centre) @ whiten
    values, vectors = np.linalg.eigh((between * counts[:, None]).T @ between / len(y))
    kept = np.argsort(-values)[: min(len(classes) - 1, MAX_DIRECTIONS)]
    directions = whiten @ vectors[:, kept]
    return ClassDistance(centre, directions, (means - centre) @ directions, 1 / (1 + np.maximum(values[kept], 0)))


def learn_subspace_distance(features: Array, y: Array | None) -> SubspaceDistance | None:
    """From features ``[n,F]``, and classes ``[n]`` if there are some; None if a subspace would leave nothing.

    Where there are more features than ``COMMON_DIRECTIONS``, centres and directions of all classes lie in the space of
    the examples' main directions: products with so many are enough.
    """
    x = features.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    size = x.shape[1]
    groups = [x]
    if y is not None:
        classes = np.unique(y)
        own = [x[y == each] for each in classes]
        if len(classes) <= MAX_GROUPS and min(map(len, own)) >= EXAMPLES_PER_DIRECTION:
            groups = own
    limit = MAX_DIRECTIONS if len(groups) == 1 else PER_CLASS
    dimensions = min(limit, size // 2, min(map(len, groups)) // EXAMPLES_PER_DIRECTION)
    if size < FEW_FEATURES or dimensions < 1:
        return None
    is_shared = len(groups) > 1 and size > COMMON_DIRECTIONS
    common = _main_directions(x, COMMON_DIRECTIONS) if is_shared else np.eye(size)
    inside = [group @ common for group in groups]
    centres = np.stack([group.mean(axis=0) for group in inside])
    directions = [_main_directions(group - mean, dimensions) for group, mean in zip(inside, centres, strict=True)]
    return SubspaceDistance(centres @ common.T, np.stack([common @ each for each in directions]))


def learn_summary_distance(summary: Array) -> SummaryDistance | None:
    """From summaries ``[n,S]``; None if they never vary."""
    x = summary.astype(np.float64)
    deviation = x.std(axis=0)
    if not deviation.any():
        return None
    scale = np.maximum(deviation, SMALLEST_DEVIATION * np.median(deviation[deviation > 0]))
    centred = (x - x.mean(axis=0)) / scale
    whiten = _whiten(centred.T @ centred / len(x))
    return SummaryDistance(x.mean(axis=0), whiten / scale[:, None])


def learn_word_order(common: Array) -> WordOrder | None:
    """From ids of common words ``uint8 [n,L]``, 0 where a text has ended; None of texts of a word each.

    A ratio of counts is drawn to 1 as if ``PRIOR`` more words had followed by chance.
    """
    first, second = (part.astype(np.int32) for part in (common[:, :-1], common[:, 1:]))
    is_pair, size = second > 0, int(common.max(initial=0)) + 1
    if not is_pair.any():
        return None
    pairs = np.bincount(first[is_pair] * size + second[is_pair], minlength=size * size).reshape(size, size)
    share = (pairs.sum(axis=0) + 1) / (pairs.sum() + size)
    gains = np.log((pairs / share + PRIOR) / (pairs.sum(axis=1, keepdims=True) + PRIOR))
    return WordOrder(gains.astype(np.float16), float((gains * pairs).sum() / pairs.sum()))


def _whiten(covariance: Array) -> Array:
    """``[F,F]``: what makes numbers of this covariance vary alike; none of its columns if they do not vary."""
    values, vectors = np.linalg.eigh(covariance)
    mean = max(float(values.mean()), 0.0)
    if not mean:
        return vectors[:, :0]
    found: Array = vectors / np.sqrt(np.maximum(values, 0) + SHRINKAGE * mean)
    return found


def _main_directions(x: Array, dimensions: int) -> Array:
    """``[F,D]``: orthonormal directions of the largest squares; of centred examples, of the largest variance."""
    size = x.shape[1]
    _, vectors = eigh(x.T @ x, subset_by_index=[size - dimensions, size - 1])
    found: Array = vectors
    return found
