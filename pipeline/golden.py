"""Golden inputs and outputs: answers of the trained model.

They are stored with the version, so that every later stage and every server can be compared with them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays, save_arrays

FILE = "assets.extra/golden.npz"
TOLERANCE = 1e-5
"""Largest allowed difference between the trained model's answers and those of its export, reloaded or served."""


def input_key(signature: str, tensor: str) -> str:
    """Name of a golden input."""
    return f"{signature}/{tensor}"


def output_key(signature: str, tensor: str) -> str:
    """Name of a golden output."""
    return f"{signature}/outputs/{tensor}"


def find_output(golden: Mapping[str, Array], signature: str, tensor: str) -> Array:
    """A golden output. Versions of release 0.1 have inputs and outputs under names of one form."""
    found = golden.get(output_key(signature, tensor))
    return golden[input_key(signature, tensor)] if found is None else found


def has_answers(golden: Mapping[str, Array], signature: str) -> bool:
    """Whether a signature has golden answers; one that explains answers has none."""
    return any(key.startswith(f"{signature}/") for key in golden)


def list_golden_inputs(golden: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Golden inputs by signature and tensor."""
    found: dict[str, dict[str, Array]] = {}
    for key, values in golden.items():
        signature, _, tensor = key.partition("/")
        if "/" not in tensor:
            found.setdefault(signature, {})[tensor] = values
    return found


def save_golden(staged: Path, golden: Mapping[str, Array]) -> None:
    """Writes named arrays; byte strings become one Latin-1 character per byte."""
    save_arrays(staged / FILE, {name: _as_text(array) for name, array in golden.items()})


def load_golden(version: Path) -> dict[str, Array]:
    """Reads arrays that ``save_golden`` wrote."""
    return {name: _as_bytes(array) for name, array in load_arrays(version / FILE).items()}


def max_difference(one: Array, other: Array) -> float:
    """Largest absolute difference, as a share of the largest value if that is above 1.

    Numbers of 32 bits have seven digits: around 150 neighbours are 1.5e-5 apart. It is infinite where shapes or
    texts differ, or a value is not finite.
    """
    if one.shape != other.shape:
        return float("inf")
    if object in (one.dtype, other.dtype):
        return 0.0 if np.array_equal(one, other) else float("inf")
    one, other = one.astype(np.float64), other.astype(np.float64)
    gap = np.abs(one - other)
    if not np.isfinite(gap).all():
        return float("inf")
    return float(gap.max(initial=0.0) / max(np.abs(one).max(initial=1.0), np.abs(other).max(initial=1.0)))


def _as_text(array: Array) -> Array:
    if array.dtype != object:
        return array
    return map_objects(array, lambda content: content.decode("latin-1"))


def _as_bytes(array: Array) -> Array:
    if array.dtype != object:
        return array
    return map_objects(array, lambda text: text.encode("latin-1"))


def map_objects(array: Array, change: Callable[[Any], Any]) -> Array:
    """Another object for each one, in the same shape."""
    found = np.empty(array.shape, dtype=object)
    found.ravel()[:] = [change(each) for each in array.ravel()]
    return found
