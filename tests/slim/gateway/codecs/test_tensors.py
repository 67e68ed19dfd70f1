"""Tensors to and from numpy, without TensorFlow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.tfserving.messages import from_proto, tensor_pb2, to_proto, types_pb2
from modelyard.services.gateway.codecs.tensors import check_output_types
from modelyard.services.gateway.http.errors import InvalidRequest

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0))))
def test_numbers_come_back_as_they_were(array: np.ndarray) -> None:
    """Every carried type and any shape, empty and scalar ones included."""
    found = from_proto(to_proto(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@given(st.lists(st.binary(), min_size=1))
def test_byte_strings_come_back_as_they_were(values: list[bytes]) -> None:
    """Any bytes."""
    array = np.array(values, dtype=object)
    assert from_proto(to_proto(array)).tolist() == values


def test_the_other_encoding_is_read_too() -> None:
    """TensorFlow Serving answers with typed values, and a shorter list repeats its last one (tensor.proto)."""
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0, 2.0])
    proto.tensor_shape.dim.add(size=4)
    assert from_proto(proto).tolist() == [1.0, 2.0, 2.0, 2.0]


def test_types_that_are_not_carried_are_named() -> None:
    """An error, not a wrong array."""
    with pytest.raises(ValueError, match="DT_COMPLEX64"):
        from_proto(tensor_pb2.TensorProto(dtype=types_pb2.DT_COMPLEX64))


def test_a_signature_without_outputs_is_refused_before_it_runs() -> None:
    """In TensorFlow Serving's words: there is nothing to write."""
    with pytest.raises(InvalidRequest, match=r"^Cannot convert empty tensor map to JSON$"):
        check_output_types(SignatureSpec(inputs=(TensorSpec(name="x", dtype="float32", shape=()),), outputs=()))
