"""Inputs that fit a signature, where there is no test data to take them from."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.types import Array

ROWS = 16
MAX_BYTES = 16 << 20
"""Of one input: model servers take messages of 64 MB."""
UNKNOWN_SIZES = (8, 32, 128, 1)
"""Tried in turn where a dimension may have any size."""
WORDS = ("a", "model", "answers", "what", "it", "has", "learned", "from", "others", "and", "never", "before")
STRINGS = ("words", "image", "empty")
FILLS = ("random", "zeros")


def generate_inputs(spec: SignatureSpec, encoded_image: bytes) -> Iterator[dict[str, Array]]:
    """Batches to try, the likeliest first: random numbers, words; then zeros, images, nothing."""
    open_sizes = any(tensor.shape is None or None in tensor.shape[1:] for tensor in spec.inputs)
    strings = any(tensor.dtype == "string" for tensor in spec.inputs)
    variants = product(FILLS, UNKNOWN_SIZES if open_sizes else (1,), STRINGS if strings else STRINGS[:1])
    for fill, size, kind in variants:
        rows = min(choose_rows(tensor, size) for tensor in spec.inputs)
        generator = np.random.default_rng(0)
        yield {
            tensor.name: make_array(tensor, (rows, *list_sizes(tensor, size)), fill, kind, encoded_image, generator)
            for tensor in spec.inputs
        }


def list_sizes(tensor: TensorSpec, unknown: int) -> tuple[int, ...]:
    """Sizes of one row; of an input of any rank, a vector."""
    if tensor.shape is None:
        return (unknown,)
    return tuple(unknown if size is None else size for size in tensor.shape[1:])


def choose_rows(tensor: TensorSpec, unknown: int) -> int:
    """As many as fit into a message."""
    per_row = 8 * int(np.prod(list_sizes(tensor, unknown), dtype=np.int64))
    return max(1, min(ROWS, MAX_BYTES // max(1, per_row)))


def make_array(
    tensor: TensorSpec,
    shape: tuple[int, ...],
    fill: str,
    kind: str,
    encoded_image: bytes,
    generator: np.random.Generator,
) -> Array:
    """Values of the tensor's type. Whole numbers are 0 or 1, which any table of embeddings has."""
    if tensor.dtype == "string":
        return make_strings(shape, kind, encoded_image, generator)
    dtype = np.dtype(tensor.dtype)
    if fill == "zeros":
        return np.zeros(shape, dtype)
    if dtype == np.uint8:
        return generator.integers(0, 256, shape).astype(dtype)
    if dtype.kind in "iub":
        return generator.integers(0, 2, shape).astype(dtype)
    return generator.random(shape).astype(dtype)


def make_strings(shape: tuple[int, ...], kind: str, encoded_image: bytes, generator: np.random.Generator) -> Array:
    found = np.empty(shape, dtype=object)
    for index in range(found.size):
        if kind == "words":
            text = " ".join(generator.choice(WORDS, generator.integers(1, 12))).encode()
        else:
            text = encoded_image if kind == "image" else b""
        found.ravel()[index] = text
    return found


def choose_rows_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """A few rows, evenly spaced."""
    count = min(len(array) for array in arrays.values())
    wanted = min(ROWS, count, *(max(1, MAX_BYTES // max(1, array[:1].nbytes)) for array in arrays.values()))
    chosen = np.linspace(0, count - 1, wanted).astype(int)
    return {name: array[chosen] for name, array in arrays.items()}
