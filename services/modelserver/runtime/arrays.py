"""Arrays as tensors and back, for callers in the same process: no message in between, and no copy of numbers."""

import numpy as np

from modelyard.models.tfserving.messages import dtype_name, find_enum
from modelyard.models.types import Array
from modelyard.services.modelserver.runtime.tensor import STRING, Tensor

NO_ARRAY = "DT_"
"""Begins the names of types that have no array form."""


def make_tensor(array: Array) -> Tensor:
    """A tensor that shares the memory of its array, if that is in row-major order; object arrays hold ``bytes``."""
    enum = find_enum(array)
    if enum == STRING:
        return Tensor(STRING, array.shape, array.ravel().tolist())
    return Tensor(enum, array.shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def make_array(tensor: Tensor) -> Array | None:
    """An array that shares the memory of its tensor; None for types that have no array form here.

    Strings become an object array of ``bytes``.
    """
    if tensor.dtype == STRING:
        strings = np.empty(len(tensor.strings), dtype=object)
        strings[:] = tensor.strings
        return strings.reshape(tensor.shape)
    name = dtype_name(tensor.dtype)
    return None if name.startswith(NO_ARRAY) else np.frombuffer(tensor.raw, name).reshape(tensor.shape)
