"""Word vectors from co-occurrence counts: positive pointwise mutual information and a truncated SVD.

Levy, Goldberg and Dagan 2015 (https://aclanthology.org/Q15-1016/): with the same window and smoothing, factorising PPMI
does about as well as word2vec; on a corpus of this size it takes seconds. The factorisation is randomised (Halko,
Martinsson and Tropp 2011, arXiv:0909.4061).
"""

import numpy as np
import scipy.linalg
import scipy.sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from modelyard.models.text.statements import rate_words
from modelyard.models.text.vocabulary import FIRST_WORD, TokenIds
from modelyard.models.types import Array

_CONTEXT_SMOOTHING = 0.75
_OVERSAMPLING = 10
_POWER_ITERATIONS = 2
_FOLDS = 10
_FURTHEST = 4.0
_MILD = 0.6
"""The rating of a word up to which other words learn nothing from it."""
KINDS_OF_POLARITY = 3


def learn_word_vectors(
    ids: TokenIds, *, vocabulary_size: int, dimensions: int, window: int, contexts: int, seed: int
) -> Array:
    """One vector of unit length per id; zeros for padding, unknown and words without any neighbour.

    Args:
        ids: the texts; pairs never cross from one to the next.
        vocabulary_size: rows of the result, padding and unknown included.
        window: words to either side that count as neighbours.
        contexts: only this many most frequent words count as neighbours.
        seed: of the random projection; the result is the same for the same arguments.

    Returns:
        ``float32 [vocabulary_size, dimensions]``
    """
    scores = _ppmi(_count_pairs(ids, vocabulary_size, window, min(contexts, vocabulary_size)))
    found = _factorise(scores, min(dimensions, *scores.shape), seed)
    vectors = np.zeros((vocabulary_size, dimensions), np.float32)
    vectors[:, : found.shape[1]] = found
    vectors[np.diff(scores.indptr) == 0] = 0
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return unit


def tell_polarity(vectors: Array, labelled: TokenIds, labels: Array, vocabulary: Array) -> Array:
    """How far each id praises: by the labels of texts that have it, by people, by ids like it. ``float32 [V,3]``.

    Args:
        vectors: ``float [V,D]``, which tell what is like an id.
        labels: 0 or 1, ``[N]``, of the texts ``labelled``.
        vocabulary: the words, ``str [V - FIRST_WORD]``.
    """
    sentiment = measure_polarity(labelled, labels, len(vectors))
    rated = np.concatenate([np.zeros(FIRST_WORD, np.float32), rate_words(list(vocabulary))])
    positive, negative = (np.flatnonzero(side * rated > _MILD) for side in (1, -1))
    spread = spread_polarity(np.column_stack([vectors, sentiment]), positive, negative)
    return np.column_stack([sentiment, rated / 2, spread])


def measure_polarity(ids: TokenIds, labels: Array, vocabulary_size: int) -> Array:
    """How much more often a word occurs in texts of class 1: the log-count ratio of naive Bayes, ``float32 [V]``.

    Counts start at 1. Padding and unknown get 0. ``labels`` are 0 or 1, ``[N]``.
    """
    positive = np.repeat(labels == 1, ids.lengths)
    counts = (1 + np.bincount(ids.flat[chosen], minlength=vocabulary_size) for chosen in (positive, ~positive))
    ratio: Array = np.subtract(*(np.log(count / count.sum()) for count in counts)).astype(np.float32)
    ratio[:FIRST_WORD] = 0
    return ratio


def spread_polarity(vectors: Array, positive: Array, negative: Array) -> Array:
    """Log-odds that each word praises, learned from ids of words that do and of words that blame: ``float32 [V]``.

    A linear model on ``vectors`` ``[V,D]`` says it of every word; of the given ones, by models that were not told of
    them, so that what is learned of these holds of others. Padding and unknown get 0, and all if few are given.
    """
    polarity = np.zeros(len(vectors), np.float32)
    given, labels = np.concatenate([positive, negative]), np.repeat([1, 0], [len(positive), len(negative)])
    if min(len(positive), len(negative)) < _FOLDS:
        return polarity
    model = LogisticRegression(max_iter=1000)
    polarity[:] = model.fit(vectors[given], labels).decision_function(vectors)
    polarity[given] = cross_val_predict(model, vectors[given], labels, cv=_FOLDS, method="decision_function")
    polarity[:FIRST_WORD] = 0
    return np.clip(polarity, -_FURTHEST, _FURTHEST)


def _count_pairs(ids: TokenIds, vocabulary_size: int, window: int, contexts: int) -> scipy.sparse.csr_matrix:
    """How often word ``i`` has word ``j < contexts`` within ``window`` places, before or after."""
    shape = (vocabulary_size, contexts)
    total = scipy.sparse.csr_matrix(shape, dtype=np.float32)
    row = ids.rows.astype(np.int32)
    for distance in range(1, window + 1):
        left, right = ids.flat[:-distance], ids.flat[distance:]
        known = (row[:-distance] == row[distance:]) & (left >= FIRST_WORD) & (right >= FIRST_WORD)
        left, right = left[known], right[known]
        for word, context in ((left, right), (right, left)):
            near = context < contexts
            ones = np.ones(np.count_nonzero(near), np.float32)
            total = total + scipy.sparse.coo_matrix((ones, (word[near], context[near])), shape).tocsr()
    return total


def _ppmi(counts: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """``max(0, log(p(word, context) / (p(word) p(context)^0.75)))`` of every pair counted at least twice."""
    word_counts = np.asarray(counts.sum(axis=1)).ravel()
    context_counts = np.asarray(counts.sum(axis=0)).ravel() ** _CONTEXT_SMOOTHING
    pairs = counts.tocoo()
    expected = word_counts[pairs.row] * context_counts[pairs.col] / context_counts.sum()
    scores = np.log(pairs.data / np.maximum(expected, 1e-9)).astype(np.float32)
    keep = (scores > 0) & (pairs.data > 1)
    return scipy.sparse.csr_matrix((scores[keep], (pairs.row[keep], pairs.col[keep])), counts.shape)


def _factorise(matrix: scipy.sparse.csr_matrix, dimensions: int, seed: int) -> Array:
    """The left singular vectors, each weighted by the root of its singular value: ``[rows, dimensions]``."""
    generator = np.random.default_rng(seed)
    columns = min(dimensions + _OVERSAMPLING, *matrix.shape)
    basis = generator.standard_normal((matrix.shape[1], columns), np.float32)
    basis = matrix @ basis
    for _ in range(_POWER_ITERATIONS):
        basis, _ = scipy.linalg.qr(basis, mode="economic", overwrite_a=True, check_finite=False)
        basis = matrix @ (matrix.T @ basis)
    basis, _ = scipy.linalg.qr(basis, mode="economic", overwrite_a=True, check_finite=False)
    left, values, _ = scipy.linalg.svd((matrix.T @ basis).T, full_matrices=False, check_finite=False)
    return np.asarray((basis @ left)[:, :dimensions] * np.sqrt(values[:dimensions]))
