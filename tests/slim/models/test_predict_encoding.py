"""Requests that were joined by hand are the messages that the official classes make."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.models.tfserving.messages import make_predict_request, predict_pb2
from modelyard.models.tfserving.predict_encoding import encode_predict_request
from modelyard.models.types import Array

DTYPES = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


def same(version: int | None, inputs: dict[str, Array]) -> bool:
    joined = predict_pb2.PredictRequest.FromString(encode_predict_request("m", version, "s", inputs))
    return bool(joined == make_predict_request("m", version, "s", inputs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 2), (64, 28, 28, 1)])
def test_numbers_of_every_type_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    """Contents of 127, 128 and 200,000 bytes differ in the length of their length."""
    assert same(1, {"x": np.ones(shape, dtype)})


def test_strings_and_several_inputs() -> None:
    """Each under its name."""
    texts = np.array([b"", b"a" * 300, "\u4e2d".encode()], dtype=object)
    assert same(None, {"texts": texts, "x" * 200: np.zeros((3, 1), np.float32)})


def test_arrays_that_are_not_contiguous() -> None:
    """Every second row, transposed, read-only."""
    wide = np.arange(24, dtype=np.float32).reshape(6, 4)
    frozen = np.frombuffer(wide.tobytes(), np.float32)
    assert same(7, {"a": wide[::2], "b": wide.T, "c": frozen})


@given(
    st.one_of(st.none(), st.integers(1, 2**62)),
    st.dictionaries(
        st.text(max_size=5),
        arrays.arrays(np.int32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
        max_size=3,
    ),
)
def test_anything(version: int | None, inputs: dict[str, Array]) -> None:
    """Names, shapes and contents."""
    assert same(version, inputs)
