"""Golden inputs and outputs: what the trained model answered.

They are kept beside the version, so that every later stage and every server can be held against them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from modelyard.models.types import Array
from modelyard.pipeline import arrays

FILE = "assets.extra/golden.npz"
TOLERANCE = 1e-5
"""Largest allowed difference between the trained model's answers and those of its export, reloaded or served."""


def save(staged: Path, golden: Mapping[str, Array]) -> None:
    """Writes arrays named ``<signature>/<tensor>``; byte strings become one Latin-1 character per byte."""
    arrays.save(staged / FILE, {name: _as_text(array) for name, array in golden.items()})


def load(version: Path) -> dict[str, Array]:
    """Reads what ``save`` wrote."""
    return {name: _as_bytes(array) for name, array in arrays.load(version / FILE).items()}


def largest_difference(one: Array, other: Array) -> float:
    """Largest absolute difference; infinity where shapes differ or a value is not finite."""
    if one.shape != other.shape:
        return float("inf")
    gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(gap.max(initial=0.0)) if np.isfinite(gap).all() else float("inf")


def _as_text(array: Array) -> Array:
    if array.dtype != object:
        return array
    return np.array([content.decode("latin-1") for content in array], dtype=object)


def _as_bytes(array: Array) -> Array:
    if array.dtype != object:
        return array
    return np.array([text.encode("latin-1") for text in array], dtype=object)
