"""Whatever comes on ``/v2``: tensors come back as they went, anything else ends in an error of ours."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import Manifest, TensorSpec
from modelyard.services.gateway.codecs.oip import binary, json_data, json_fast
from modelyard.services.gateway.codecs.oip import request as oip_request
from modelyard.services.gateway.codecs.oip.request import HEADER, InferCall
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.http.headers import media_type
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.fakes import DIGITS, HALF_PLUS, KINDS, REVIEWS
from tests.support.versions import seal_as


def interface_of(said: Manifest) -> Interface:
    return Interface(said.model, said.version, said.signatures, said.input, said.labels, said.data.source, batches=True)


INTERFACES = {model: interface_of(seal_as(model, **KINDS[model])(1, {})) for model in KINDS}
LIMITS = GatewaySettings()
NUMBERS = sorted(set(binary.DATATYPES) - {"string"})
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    name = draw(st.sampled_from([*NUMBERS, "string"]))
    shape = draw(SHAPES)
    if name != "string":
        elements = {"allow_nan": False, "allow_infinity": False} if name.startswith("float") else None
        return draw(arrays_of.arrays(name, shape, elements=elements))
    count = int(np.prod(shape, dtype=int))
    array = np.empty(count, dtype=object)
    array[:] = draw(st.lists(st.binary(), min_size=count, max_size=count))
    return array.reshape(shape)


def spec_of(array: np.ndarray[Any, Any]) -> TensorSpec:
    name = "string" if array.dtype == object else array.dtype.name
    return TensorSpec(name="a", dtype=name, shape=(None,) * array.ndim)


@settings(max_examples=2 * settings.default.max_examples)
@given(tensors(), st.integers(0, 3))
def test_binary_tensors_come_back_as_they_went(array: np.ndarray[Any, Any], offset: int) -> None:
    """Every type and shape, wherever in the body they begin."""
    content = bytes(offset) + b"".join([binary.to_binary(array)])
    found = binary.from_binary(spec_of(array), array.shape, memoryview(content)[offset:])
    assert (found.shape, found.dtype.name) == (array.shape, array.dtype.name)
    assert found.tolist() == array.tolist()


@settings(max_examples=2 * settings.default.max_examples)
@given(tensors().filter(lambda array: array.dtype not in (np.float16, object)))
def test_json_tensors_come_back_as_they_went(array: np.ndarray[Any, Any]) -> None:
    """To the last digit, flat and nested."""
    flat = orjson.loads(orjson.dumps(json_data.to_data("a", array), option=orjson.OPT_SERIALIZE_NUMPY))
    for data in (flat, array.tolist()) if array.size else (flat,):
        found = json_data.from_data(spec_of(array), array.shape, data)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_numbers_are_not_copied() -> None:
    """An input is a view of the body, and the bytes of an output are the output's own."""
    body = bytes(range(16))
    spec = TensorSpec(name="a", dtype="float32", shape=(None,))
    array = binary.from_binary(spec, (3,), memoryview(body)[4:])
    assert np.shares_memory(array, np.frombuffer(body, np.uint8))
    assert np.shares_memory(binary.to_binary(array), array)


@given(arrays_of.arrays(np.float32, (2, 28, 28, 1), elements={"allow_nan": False, "allow_infinity": False}), st.data())
def test_both_ways_to_read_json_agree(images: np.ndarray[Any, Any], data: st.DataObject) -> None:
    """The faster way for large bodies, and the usual one: the same numbers, flat or nested, in any order of fields."""
    values = images.tolist() if data.draw(st.booleans()) else images.ravel().tolist()
    fields = {"name": "images", "shape": list(images.shape), "datatype": "FP32", "data": values}
    given_input = {key: fields[key] for key in data.draw(st.permutations(list(fields)))}
    indented = data.draw(st.sampled_from([0, orjson.OPT_INDENT_2]))
    body = orjson.dumps(
        {"id": '"data": [1]', "inputs": [given_input], "parameters": {"x": "data:[1]"}}, option=indented
    )
    quick = oip_request.parse_head(body, LIMITS)["inputs"][0]["data"]
    (spec,) = INTERFACES[DIGITS].signatures["serving_default"].inputs
    found = json_fast.decode_floats(spec, images.shape, quick)
    assert np.array_equal(found, images)
    assert np.array_equal(found, json_data.from_data(spec, images.shape, values))


keys = st.sampled_from(["inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data", "x"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["vectors", "text", "images", "FP32", "BYTES", "binary_data_size"]),
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=10)
parameters = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "signature_name", "timeout", "x"]),
    st.one_of(values, st.integers(0, 40), st.booleans()),
)
tensor_objects = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["vectors", "text", "images"]) | values,
        "shape": st.lists(st.integers(0, 3), max_size=4) | values,
        "datatype": st.sampled_from(["FP32", "BYTES"]) | values,
        "data": st.lists(st.floats(-9, 9) | st.just("good"), max_size=4) | values,
        "parameters": parameters,
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(tensor_objects, max_size=2) | values,
        "outputs": st.lists(tensor_objects, max_size=2) | values,
        "parameters": parameters | values,
        "id": values,
    },
)
lengths = st.one_of(st.none(), st.just("exact"), st.integers(-1, 60).map(str), st.sampled_from(["", "x", "1.5"]))


def outcome(head: bytes, tail: bytes, length: str | None, interface: Interface) -> InferCall | ModelyardError:
    headers = {} if length is None else {HEADER.lower(): str(len(head)) if length == "exact" else length}
    try:
        return oip_request.decode(HttpRequest(headers, media_type(headers), head + tail), interface, LIMITS)
    except ModelyardError as refused:
        return refused


@pytest.mark.parametrize("model", [DIGITS, REVIEWS, HALF_PLUS])
@settings(max_examples=2 * settings.default.max_examples)
@given(st.one_of(bodies.map(orjson.dumps), st.binary(max_size=40)), st.binary(max_size=40), lengths)
def test_any_body_is_understood_or_refused(model: str, head: bytes, tail: bytes, length: str | None) -> None:
    """Never any other exception; what is let through has the type and shape that the model takes."""
    interface = INTERFACES[model]
    found = outcome(head, tail, length, interface)
    if isinstance(found, ModelyardError):
        assert 400 <= found.status < 500
        assert len(str(found)) < 1000
        return
    for spec in interface.signatures[found.signature].inputs:
        array = found.inputs[spec.name]
        assert ("string" if array.dtype == object else array.dtype.name) == spec.dtype
        assert spec.shape is not None
        assert all(want in (None, size) for want, size in zip(spec.shape, array.shape, strict=True))
        assert 1 <= len(array) <= LIMITS.max_instances
