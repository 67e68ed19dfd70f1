"""What is learned from the training split to turn rows into features: means, vocabularies, names of features."""

from collections.abc import Mapping

import numpy as np

from modelyard.models.errors import InvalidSpec
from modelyard.models.inputs import OneInput
from modelyard.models.types import Array

MAX_VALUES = 100
"""Values of a category with a feature each, the commonest; the others are unknown."""
MIN_COUNT = 2
"""Rows that a category or word must be in to have a feature."""
MAX_WORDS = 500
"""Words of a text with a feature each, the commonest."""
KINDS = ("number", "vector", "category", "text", "date", "image")
"""Kinds that rows may have, in the order of their features."""


def list_names(inputs: Mapping[str, OneInput], kind: str) -> list[str]:
    """Names of the inputs of one kind, in their order."""
    return [name for name, given in inputs.items() if given.kind == kind]


def check_kinds(inputs: Mapping[str, OneInput]) -> None:
    """Checks that every input can be one of several.

    Raises:
        InvalidSpec: one cannot.
    """
    for name, given in inputs.items():
        if given.kind not in KINDS:
            raise InvalidSpec(
                f"input {name!r}: there is no default for a {given.kind} among several inputs; give prepare, build and "
                "recipes"
            )


def learn_scales(inputs: Mapping[str, OneInput], x: Mapping[str, Array]) -> dict[str, Array]:
    """Means and variances of numbers ``float32 [K]`` and vectors; a constant has variance 1."""
    numbers = list_names(inputs, "number")
    columns = [measure(x[name][:, None]) for name in numbers]
    state = {}
    if numbers:
        state["number/mean"] = np.concatenate([mean for mean, _ in columns])
        state["number/variance"] = np.concatenate([variance for _, variance in columns])
    for name in list_names(inputs, "vector"):
        state[f"vector/{name}/mean"], state[f"vector/{name}/variance"] = measure(x[name])
    return state


def measure(values: Array) -> tuple[Array, Array]:
    """``float32 [D]`` means and variances of ``[N,D]``; missing values are left out, a constant has variance 1."""
    present = ~np.isnan(values)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0).sum(axis=0, dtype=np.float64) / count
    gaps = np.where(present, values - mean, 0)
    variance = (gaps**2).sum(axis=0, dtype=np.float64) / count
    tiny = variance <= (1e-6 * np.maximum(1e-12, np.abs(mean))) ** 2
    return mean.astype(np.float32), np.where(tiny, 1, variance).astype(np.float32)


def learn_categories(inputs: Mapping[str, OneInput], x: Mapping[str, Array]) -> dict[str, Array]:
    """Values of each category, ``object [V]`` of ``str``, the commonest first; an empty one stands for missing."""
    return {f"category/{name}": rank_values(x[name]) for name in list_names(inputs, "category")}


def rank_values(values: Array) -> Array:
    """The values that have a feature, the commonest first and equally common ones in alphabetical order."""
    names, counts = np.unique(values.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return names[order][counts[order] >= MIN_COUNT][:MAX_VALUES].astype(object)


def name_categories(name: str, values: Array) -> list[str]:
    """Names of a category's features, the unknown one first."""
    return [f"{name} is unknown", *(f"{name} = {value}" if value else f"{name} is missing" for value in values)]
