"""Linear models on tf-idf: where the default network for texts starts, and its baseline."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.models.data import Schema, Splits
from modelyard.models.defaults.linear import measure_linear
from modelyard.models.inputs import State
from modelyard.models.spec import Baseline
from modelyard.models.types import Array

C = 10.0
"""Inverse strength of regularisation: rows of unit length need less than scikit-learn's default gives."""
RIDGE = 1.0


@dataclass(frozen=True)
class LinearTexts:
    """Log-odds, or standardised numbers, are ``features @ weights + bias``."""

    weights: Array
    """``float32 [F,K]``"""
    bias: Array
    """``float32 [K]``"""


def fit_linear_texts(schema: Schema, features: Any, idf: Array, y: Array, targets: State) -> LinearTexts:
    """A linear model on binary features ``[N,F]`` weighted by ``idf`` ``[F]``, rows brought to unit length."""
    import scipy.sparse
    from sklearn.preprocessing import normalize

    rows = normalize(features @ scipy.sparse.diags(idf)).astype(np.float32)
    if schema.task == "regression":
        from sklearn.linear_model import Ridge

        values = (y.reshape(len(y), -1) - targets["target/mean"]) / targets["target/deviation"]
        ridge = Ridge(alpha=RIDGE).fit(rows, values)
        return _pack(ridge.coef_.reshape(values.shape[1], -1), ridge.intercept_)
    if schema.task == "multilabel":
        parts = [_fit_classes(rows, y[:, label], 2) for label in range(y.shape[1])]
        return _pack(np.concatenate([part.weights.T for part in parts]), np.concatenate([part.bias for part in parts]))
    return _fit_classes(rows, y, len(schema.labels))


def _fit_classes(rows: Any, y: Array, classes: int) -> LinearTexts:
    """Of two classes the log-odds of the second; of more, those of each. A class without a text is unlikely."""
    from sklearn.linear_model import LogisticRegression

    outputs, present = (1 if classes == len(("no", "yes")) else classes), np.unique(y).astype(int)
    weights, bias = np.zeros((outputs, rows.shape[1])), np.full(outputs, -np.log(1.0 + len(y)))
    if len(present) == 1:
        bias[0 if outputs == 1 else present[0]] *= -1 if outputs > 1 or present[0] else 1
        return _pack(weights, bias)
    fitted = LogisticRegression(C=C, max_iter=300, tol=1e-3).fit(rows, y)
    if outputs == 1:
        return _pack(fitted.coef_, fitted.intercept_)
    if len(present) == len(("no", "yes")):  # two of more classes: log-odds of the one against the other
        weights[present], bias[present] = [-fitted.coef_[0] / 2, fitted.coef_[0] / 2], [0, fitted.intercept_[0]]
    else:
        weights[present], bias[present] = fitted.coef_, fitted.intercept_
    return _pack(weights, bias)


def _pack(weights: Array, bias: Any) -> LinearTexts:
    return LinearTexts(np.ascontiguousarray(weights.T, np.float32), np.atleast_1d(bias).astype(np.float32))


def measure_linear_texts(schema: Schema, splits: Splits) -> Baseline:
    """Logistic or ridge regression on tf-idf of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorise = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+")  # noqa: S106  # no password
    train, test = vectorise.fit_transform(splits.train.x), vectorise.transform(splits.test.x)
    found = measure_linear(schema, splits, train, test)
    return Baseline(found.method.replace("the same features", "tf-idf of words and pairs of words"), found.value)
