"""Arrays and examples in ``.npz`` files without pickles; texts are one block of UTF-8 and offsets."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from modelyard.models.data import Split
from modelyard.models.types import Array

TEXT, OFFSETS, SHAPE = ".utf8", ".offsets", ".shape"
X, Y = "x", "y"
"""Names of inputs and targets in a file of examples."""


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> Path:
    """Writes named arrays; object arrays must hold ``str``."""
    flat: dict[str, Array] = {}
    for name, array in arrays.items():
        if array.dtype == object:
            encoded = [text.encode() for text in array.ravel()]
            flat[name + TEXT] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            flat[name + OFFSETS] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
            if array.ndim != 1:
                flat[name + SHAPE] = np.array(array.shape, dtype=np.int64)
        else:
            flat[name] = array
    np.savez(path, allow_pickle=False, **flat)
    return path


def load_arrays(path: Path) -> dict[str, Array]:
    """Reads arrays that ``save_arrays`` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    texts = [name.removesuffix(TEXT) for name in found if name.endswith(TEXT)]
    for name in texts:
        texts_of_name = _texts(found.pop(name + TEXT).tobytes(), found.pop(name + OFFSETS))
        found[name] = texts_of_name.reshape(found.pop(name + SHAPE, texts_of_name.shape))
    return found


def save_split(path: Path, split: Split) -> str:
    """Writes inputs and targets; inputs by name as ``x/name``."""
    x = split.x
    named = {f"{X}/{name}": values for name, values in x.items()} if isinstance(x, Mapping) else {X: x}
    return str(save_arrays(path, {**named, Y: split.y}))


def load_split(file: str) -> Split:
    """Reads what ``save_split`` wrote."""
    found = load_arrays(Path(file))
    y = found.pop(Y)
    return Split(found[X] if X in found else {name.removeprefix(f"{X}/"): x for name, x in found.items()}, y)


def _texts(block: bytes, offsets: Array) -> Array:
    texts = np.empty(len(offsets) - 1, dtype=object)
    for index, (start, end) in enumerate(pairwise(offsets)):
        texts[index] = block[start:end].decode()
    return texts
