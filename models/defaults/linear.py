"""The default baseline for features: scikit-learn's linear models."""

from typing import Any

import numpy as np

from modelyard.models.data import Schema, Splits
from modelyard.models.spec import Baseline
from modelyard.models.types import Array

ALPHAS = (0.1, 1.0, 10.0, 100.0)
"""Strengths of regularisation that ridge regression chooses from, by the training split alone."""


def measure_linear(schema: Schema, splits: Splits, train: Array, test: Array) -> Baseline:
    """A linear model's accuracy, F1 or R2 on the test split, fitted to features ``[N,F]`` of the training split."""
    y, truth = splits.train.y, splits.test.y
    if schema.task == "regression":
        from sklearn.linear_model import RidgeCV
        from sklearn.metrics import r2_score

        predicted = RidgeCV(ALPHAS).fit(train, y).predict(test)
        return Baseline("ridge regression on the same features", float(r2_score(truth, predicted)))
    if schema.task == "multilabel":
        from sklearn.metrics import f1_score

        predicted = np.stack([_predict_label(y[:, k], train, test) for k in range(y.shape[1])], axis=1)
        value = f1_score(truth, predicted, average="micro", zero_division=0)
        return Baseline("logistic regression on the same features", float(value))
    right = make_logistic().fit(train, y).predict(test) == truth
    return Baseline("logistic regression on the same features", float(right.mean()))


def make_logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1_000)


def _predict_label(y: Array, train: Array, test: Array) -> Array:
    """Whether a label applies; of one that always or never does, the same."""
    if len(np.unique(y)) == 1:
        return np.full(len(test), y[0])
    found: Array = make_logistic().fit(train, y).predict(test)
    return found
