"""A linear classifier over words and runs of words: the baseline on reviews, a teacher, and a part of an ensemble.

Wang and Manning 2012 (https://aclanthology.org/P12-2018/): a linear support vector machine on binary n-grams, weighted
by their naive Bayes log-count ratio; with longer runs of words as in Mesnil et al. 2014 (arXiv:1412.5335).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from modelyard.models.inputs import State
from modelyard.models.text.hashed_ngrams import UP_TO_THREE, HashedIndex, index_hashed
from modelyard.models.text.vocabulary import FIRST_WORD, TokenIds
from modelyard.models.types import Array

_COST = 3.0
"""Of a margin's violation, against the weights' length; chosen by cross-validation on the reviews."""
_TOLERANCE = 0.02
"""Where the solver stops. On validation, 0.0001, 0.01 and 0.1 were right alike; the first takes twice as long."""


@dataclass(frozen=True)
class NgramIndex:
    """The words and pairs of words that have a column."""

    codes: Array
    """``int64 [F]``, ascending: ``id`` of a word, ``first * vocabulary_size + second`` of a pair."""
    vocabulary_size: int

    def features(self, ids: TokenIds) -> scipy.sparse.csr_matrix:
        """``float32 [N, F]``: 1 where a text has the n-gram. Unknown words are in none."""
        rows, codes = _ngrams(ids, self.vocabulary_size)
        order = np.argsort(codes, kind="stable")
        rows, codes = rows[order], codes[order]
        columns = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        known = self.codes[columns] == codes
        return _binary(rows[known], columns[known], (len(ids), len(self.codes)))


def index_ngrams(ids: TokenIds, vocabulary_size: int, min_texts: int = 2) -> tuple[NgramIndex, scipy.sparse.csr_matrix]:
    """The n-grams that at least ``min_texts`` of the texts have, and the features of these texts."""
    rows, codes = _ngrams(ids, vocabulary_size)
    distinct, columns = np.unique(codes, return_inverse=True)
    features = _binary(rows, columns, (len(ids), len(distinct)))
    keep = np.bincount(features.indices, minlength=len(distinct)) >= min_texts
    return NgramIndex(distinct[keep], vocabulary_size), features[:, keep]


@dataclass(frozen=True)
class LinearModel:
    """A margin: the row of ``features * scale``, brought to unit length, times ``weights``, plus ``bias``."""

    scale: Array
    """``float32 [F]``"""
    weights: Array
    """``float32 [F]``"""
    bias: float

    def margins(self, features: scipy.sparse.csr_matrix) -> Array:
        """``float32 [N]``; above 0 means class 1."""
        return np.asarray(_unit_rows(features, self.scale) @ self.weights + self.bias, np.float32)


def fit_linear(features: scipy.sparse.csr_matrix, labels: Array) -> LinearModel:
    """A support vector machine on weighted binary features ``[N, F]`` and classes ``[N]`` of 0 and 1."""
    scale = _log_count_ratio(features, labels).astype(np.float32)
    machine = LinearSVC(C=_COST, dual=True, random_state=0, tol=_TOLERANCE)
    machine.fit(_unit_rows(features, scale), labels)
    return LinearModel(scale, machine.coef_[0].astype(np.float32), float(machine.intercept_[0]))


@dataclass(frozen=True)
class NgramModel:
    """A linear model on words and runs of words whose answers are log-odds (Platt 1999)."""

    index: HashedIndex
    table: Array
    """``float32 [F, 2]``: what each n-gram adds to the log-odds before the text is brought to unit length, and to the
    squared length."""
    bias: float

    def log_odds(self, ids: TokenIds) -> Array:
        """``float32 [N]``; above 0 means class 1."""
        votes, squares = (self.index.features(ids) @ self.table).T
        return np.asarray(votes / np.sqrt(np.maximum(squares, 1e-12)) + self.bias, np.float32)

    def to_state(self) -> State:
        """Arrays for ``from_state``."""
        return {
            "ngram_codes": self.index.codes,
            "ngram_orders": np.array(self.index.orders, np.int32),
            "ngram_table": self.table,
            "ngram_bias": np.array(self.bias, np.float32),
        }

    @classmethod
    def from_state(cls, state: State) -> "NgramModel":
        """The model of a version; one that does not say its orders is of a release whose runs had up to three words."""
        orders = tuple(int(order) for order in state.get("ngram_orders", np.array(UP_TO_THREE)))
        index = HashedIndex(state["ngram_codes"], orders)
        return cls(index, state["ngram_table"], float(state["ngram_bias"]))


def fit_ngrams(
    ids: TokenIds, labels: Array, *, orders: tuple[int, ...], folds: int, seed: int
) -> tuple[NgramModel, Array]:
    """The model, and the log-odds of its own training texts by models that did not see them.

    Args:
        labels: classes 0 and 1, ``[N]``.
        orders: of the n-grams: their numbers of words.
        folds: each text is answered for by models fitted to the other folds; these answers calibrate the margins.

    Returns:
        ``(model, held_out)``: ``held_out`` is ``float32 [N]``.
    """
    index, features = index_hashed(ids, orders)
    fold = np.random.default_rng(seed).permutation(len(labels)) % folds
    held_out = np.zeros(len(labels), np.float32)
    for number in range(folds):
        inside, outside = fold == number, fold != number
        held_out[inside] = fit_linear(features[outside], labels[outside]).margins(features[inside])
    calibration = LogisticRegression(C=10).fit(held_out[:, None], labels)
    slope, bias = float(calibration.coef_[0, 0]), float(calibration.intercept_[0])
    whole = fit_linear(features, labels)
    table = np.stack([slope * whole.scale * whole.weights, np.square(whole.scale)], axis=1).astype(np.float32)
    model = NgramModel(index, table, bias + slope * whole.bias)
    return model, held_out * np.float32(slope) + np.float32(bias)


def _ngrams(ids: TokenIds, vocabulary_size: int) -> tuple[Array, Array]:
    """``(text, code)`` of every word and pair of words, with repetitions; ``int64`` each."""
    flat, rows, known = ids.flat.astype(np.int64), ids.rows, ids.flat >= FIRST_WORD
    pairs = flat[:-1] * vocabulary_size + flat[1:]
    whole = known[:-1] & known[1:] & (rows[:-1] == rows[1:])
    return np.concatenate([rows[known], rows[:-1][whole]]), np.concatenate([flat[known], pairs[whole]])


def _binary(rows: Array, columns: Array, shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    width = max(1, shape[1])
    cells = np.unique(rows * width + columns)
    return scipy.sparse.csr_matrix((np.ones(len(cells), np.float32), (cells // width, cells % width)), shape)


def _unit_rows(features: scipy.sparse.csr_matrix, scale: Array) -> scipy.sparse.csr_matrix:
    scaled = features.copy()
    scaled.data = scale[features.indices]
    norms = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    scaled.data = scaled.data / np.repeat(np.maximum(norms, 1e-6), np.diff(scaled.indptr)).astype(np.float32)
    return scaled


def _log_count_ratio(features: scipy.sparse.csr_matrix, labels: Array) -> Array:
    positive, negative = (1 + np.asarray(features[labels == label].sum(axis=0)).ravel() for label in (1, 0))
    ratio: Array = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    return ratio
