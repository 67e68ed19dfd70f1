"""What ``/v2`` refuses: in one form, with what was expected and what came, before any model runs."""

from typing import Any

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient

from tests.slim.gateway.inference.test_oip import INFER, ONE
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer

FOUR = np.array([1.0], "<f4").tobytes()
TEXT = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}
IMAGE = {"parameters": {"signature_name": "image_bytes"}}


def request_with(**said: Any) -> dict[str, Any]:
    """A request whose only input says this, too; None takes a field away."""
    return {"inputs": [{key: value for key, value in (ONE | said).items() if value is not None}]}


def sized(size: Any, **said: Any) -> dict[str, Any]:
    return request_with(data=None, parameters={"binary_data_size": size}, **said)


JSON_CASES: dict[str, tuple[str, Any, str]] = {
    "not an object": (HALF_PLUS, [1], "expected a JSON object, received a list"),
    "unknown key": (HALF_PLUS, {"inputs": [ONE], "instances": []}, 'received "instances"'),
    "no inputs": (HALF_PLUS, {}, "inputs: expected a list, received null"),
    "empty inputs": (HALF_PLUS, {"inputs": []}, "inputs: expected vectors, received none"),
    "inputs no list": (HALF_PLUS, {"inputs": ONE}, "inputs: expected a list, received an object"),
    "input no object": (HALF_PLUS, {"inputs": [1]}, "inputs[0]: expected a JSON object, received 1"),
    "unknown input": (HALF_PLUS, request_with(name="x"), 'inputs[0].name: expected vectors, received "x"'),
    "input without name": (HALF_PLUS, request_with(name=None), "inputs[0].name: expected vectors, received null"),
    "input twice": (HALF_PLUS, {"inputs": [ONE, ONE]}, 'inputs[1].name: expected no more, received "vectors"'),
    "unknown input key": (HALF_PLUS, request_with(dtype="FP32"), 'received "dtype"'),
    "other datatype": (
        HALF_PLUS,
        request_with(datatype="INT64"),
        'inputs[0].datatype: expected FP32, received "INT64"',
    ),
    "unknown datatype": (
        HALF_PLUS,
        request_with(datatype="BF16"),
        'inputs[0].datatype: expected FP32, received "BF16"',
    ),
    "no datatype": (HALF_PLUS, request_with(datatype=None), "inputs[0].datatype: expected FP32, received null"),
    "no shape": (
        HALF_PLUS,
        request_with(shape=None),
        "inputs[0].shape: expected a list of at most 32 sizes, received null",
    ),
    "long shape": (HALF_PLUS, request_with(shape=[1] * 33), "expected a list of at most 32 sizes, received 33"),
    "negative size": (
        HALF_PLUS,
        request_with(shape=[-1, 1]),
        "inputs[0].shape: expected whole numbers from 0, received -1",
    ),
    "size no number": (HALF_PLUS, request_with(shape=["1", 1]), 'expected whole numbers from 0, received "1"'),
    "size true": (HALF_PLUS, request_with(shape=[True, 1]), "expected whole numbers from 0, received true"),
    "size null": (HALF_PLUS, request_with(shape=[1, [None]]), "expected whole numbers from 0, received a list"),
    "huge shape": (
        HALF_PLUS,
        request_with(shape=[2**63, 2**63]),
        "expected at most 2147483647 elements, received more",
    ),
    "other shape": (
        HALF_PLUS,
        request_with(shape=[1, 2], data=[1, 2]),
        "vectors: expected shape [n,1], received [1,2]",
    ),
    "other rank": (HALF_PLUS, request_with(shape=[1]), "vectors: expected shape [n,1], received [1]"),
    "no rows": (HALF_PLUS, request_with(shape=[0, 1], data=[]), "vectors: expected 1 to 256 inputs, received 0"),
    "too many rows": (
        HALF_PLUS,
        request_with(shape=[257, 1], data=[1] * 257),
        "expected 1 to 256 inputs, received 257",
    ),
    "too few values": (
        HALF_PLUS,
        request_with(shape=[2, 1]),
        "vectors: expected data of shape [2,1] or [2], received [1]",
    ),
    "otherwise nested": (
        HALF_PLUS,
        request_with(shape=[2, 1], data=[[1, 2]]),
        "expected data of shape [2,1] or [2], received",
    ),
    "ragged": (HALF_PLUS, request_with(shape=[2, 1], data=[[1], [1, 2]]), "vectors[1]: expected a list of 1"),
    "half nested": (HALF_PLUS, request_with(shape=[2, 1], data=[1, [2]]), "vectors[1]: expected a value"),
    "too few texts": (
        REVIEWS,
        request_with(name="text", datatype="BYTES", shape=[2], data=["a"]),
        "of shape [2], received [1]",
    ),
    "bare value": (HALF_PLUS, request_with(data=1.0), "expected data of shape [1,1] or [1], received []"),
    "text for a number": (HALF_PLUS, request_with(data=["1"]), 'vectors[0][0]: expected a float32 value, received "1"'),
    "true for a number": (
        HALF_PLUS,
        request_with(data=[True]),
        "vectors[0][0]: expected a float32 value, received true",
    ),
    "null for a number": (
        HALF_PLUS,
        request_with(data=[None]),
        "vectors[0][0]: expected a float32 value, received null",
    ),
    "beyond float32": (HALF_PLUS, request_with(data=[1e39]), "expected a finite float32 value, received 1e+39"),
    "number for a text": (REVIEWS, {"inputs": [TEXT | {"data": [5]}]}, "text[0]: expected a string, received 5"),
    "b64 for a text": (REVIEWS, {"inputs": [TEXT | {"data": [{"b64": ""}]}]}, "can be sent as binary data"),
    "empty text": (REVIEWS, {"inputs": [TEXT | {"data": [""]}]}, "text[0]: expected a text, received an empty one"),
    "text for an image": (
        DIGITS,
        {**IMAGE, "inputs": [TEXT | {"name": "image_bytes"}]},
        "image_bytes[0]: expected a PNG or JPEG image, received 4 bytes of something else",
    ),
    "neither data nor size": (
        HALF_PLUS,
        request_with(data=None),
        "inputs[0]: expected data or parameters.binary_data_size, received neither",
    ),
    "data and size": (HALF_PLUS, request_with(parameters={"binary_data_size": 4}), "received both"),
    "size without header": (HALF_PLUS, sized(4), "expected at most the 0 bytes that are left"),
    "parameters no object": (HALF_PLUS, request_with(parameters=[]), "inputs[0].parameters: expected a JSON object"),
    "shared memory": (
        HALF_PLUS,
        request_with(parameters={"shared_memory_region": "x"}),
        "inputs[0].parameters.shared_memory_region: expected none",
    ),
    "sequence": (
        HALF_PLUS,
        request_with() | {"parameters": {"sequence_id": 7}},
        "parameters.sequence_id: expected none",
    ),
    "unknown signature": (
        DIGITS,
        {"inputs": [], "parameters": {"signature_name": "x"}},
        'signature_name: expected image_bytes or serving_default, received "x"',
    ),
    "binary output no bool": (
        HALF_PLUS,
        request_with() | {"parameters": {"binary_data_output": 1}},
        "expected true or false",
    ),
    "timeout no number": (HALF_PLUS, request_with() | {"parameters": {"timeout": "1"}}, 'microseconds, received "1"'),
    "id no string": (HALF_PLUS, request_with() | {"id": 5}, "id: expected a string, received 5"),
    "unknown output": (
        HALF_PLUS,
        request_with() | {"outputs": [{"name": "x"}]},
        'outputs[0].name: expected value, received "x"',
    ),
    "output twice": (
        HALF_PLUS,
        request_with() | {"outputs": [{"name": "value"}] * 2},
        "outputs[1].name: expected no more",
    ),
    "outputs no list": (HALF_PLUS, request_with() | {"outputs": {}}, "outputs: expected a list, received an object"),
    "output form no bool": (
        HALF_PLUS,
        request_with() | {"outputs": [{"name": "value", "parameters": {"binary_data": "yes"}}]},
        'outputs[0].parameters.binary_data: expected true or false, received "yes"',
    ),
    "classification": (
        HALF_PLUS,
        request_with() | {"outputs": [{"name": "value", "parameters": {"classification": 3}}]},
        "outputs[0].parameters.classification: expected none",
    ),
}


@pytest.mark.parametrize(("model", "body", "text"), JSON_CASES.values(), ids=JSON_CASES)
def test_json_that_does_not_fit_is_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, model: str, body: object, text: str
) -> None:
    """The model server is never called."""
    answer = shared_client.post(f"/v2/models/{model}/infer", json=body)
    assert answer.status_code == 400, answer.json
    assert answer.json is not None
    assert answer.json.keys() == {"error"}
    assert text in answer.json["error"]
    assert shared_server.calls == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "malformed JSON"),
        (b'{"inputs": [', "malformed JSON: unexpected end of data"),
        (b'{"inputs": [{"data": [NaN]}]}', "received NaN, which is not JSON"),
        (b"[" * 500_000, "expected JSON nested at most 32 deep, received 500000"),
        (orjson.dumps(request_with()) + FOUR, "malformed JSON"),
    ],
)
def test_malformed_json_is_400(shared_client: FlaskClient, body: bytes, text: str) -> None:
    """Also binary data without the header that says where it begins."""
    answer = shared_client.post(INFER, data=body)
    assert (answer.status_code, text in (answer.json or {})["error"]) == (400, True)


ROW = b"[" + b",".join([b"[1.5]"] * 28) + b"]"
PIXELS = b"[[" + b",".join([ROW] * 28) + b"]]"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (PIXELS.replace(b"1.5", b"true", 1), "images[0][0][0][0]: expected a float32 value, received true"),
        (PIXELS.replace(b"1.5", b"null", 1), "images[0][0][0][0]: expected a float32 value, received null"),
        (PIXELS.replace(b"1.5", b"1e39", 1), "expected a finite float32 value, received 1e+39"),
        (PIXELS.replace(b"1.5", b"NaN", 1), "received NaN, which is not JSON"),
        (PIXELS.replace(b"1.5", b"1.5.5", 1), "malformed JSON"),
        (PIXELS.replace(b"1.5", b'"1.5"', 1), 'expected a float32 value, received "1.5"'),
        (PIXELS.replace(b"1.5", b"{}", 1), "expected a float32 value, received an object"),
        (PIXELS.replace(b"[1.5]", b"[1.5,1.5]", 1), "images[0][0][1]: expected a list of 2"),
        (PIXELS.replace(b"[1.5]", b"1.5", 1), "images[0][0][1]: expected a value"),
        (PIXELS.replace(b"[1.5]", b"[]", 1), "images[0][0][1]: expected a list of 0"),
        (PIXELS[:-1], "malformed JSON"),
        (PIXELS + b"]", "malformed JSON"),
        (PIXELS + b",[]", "malformed JSON"),
        (b"[" * 2000, "nested at most 32 deep, received 2000"),
        (b"[" * 2000 + b"]" * 2000, "nested at most 32 deep, received 2000"),
        (b"[" + b",".join([b"1"] * 783) + b"]", "expected data of shape [1,28,28,1] or [784], received [783]"),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_long_data_that_does_not_fit_is_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, data: bytes, text: str, *, last: bool
) -> None:
    """Large bodies are read in a faster way, which refuses just the same."""
    said = b'"name": "images", "shape": [1, 28, 28, 1], "datatype": "FP32"'
    fields = said + b', "data": ' + data if last else b'"data": ' + data + b" , " + said
    answer = shared_client.post(f"/v2/models/{DIGITS}/infer", data=b'{"inputs": [{' + fields + b"}]}")
    assert (answer.status_code, shared_server.calls) == (400, []), answer.json
    assert text in (answer.json or {})["error"]
