"""Inference on ``/v2`` that succeeds, in JSON and binary."""

import struct
import zlib
from typing import Any

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import from_proto
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded, publish

LENGTH = "Inference-Header-Content-Length"
INFER = f"/v2/models/{HALF_PLUS}/infer"
ONE = {"name": "vectors", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}


def framed(head: dict[str, Any], *tails: bytes) -> dict[str, Any]:
    """What to hand to ``client.post`` for JSON with binary tensors behind it."""
    text = orjson.dumps(head)
    return {"data": text + b"".join(tails), "headers": {LENGTH: str(len(text))}}


def binary(name: str, datatype: str, shape: list[int], content: bytes) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(content)}}


@pytest.mark.parametrize(
    ("path", "version", "value"),
    [(INFER, "2", 2.5), (f"/v2/models/{HALF_PLUS}/versions/1/infer", "1", 1.5)],
)
def test_json_is_returned_for_json(shared_client: FlaskClient, path: str, version: str, value: float) -> None:
    """With the client's id and the version."""
    answer = shared_client.post(path, json={"id": "a-1", "inputs": [ONE]})
    assert answer.json == {
        "model_name": HALF_PLUS,
        "model_version": version,
        "id": "a-1",
        "outputs": [{"name": "value", "datatype": "FP32", "shape": [1, 1], "data": [value]}],
    }
    assert answer.headers["X-Model-Version"] == version
    assert LENGTH not in answer.headers


@pytest.mark.parametrize("data", [[1.0, 2.0], [[1.0], [2.0]], [1, 2]])
def test_data_is_flat_or_nested(shared_client: FlaskClient, data: Any) -> None:
    """Row by row either way; a label stands where a version does."""
    body = {"inputs": [ONE | {"shape": [2, 1], "data": data}]}
    answer = shared_client.post(f"/v2/models/{HALF_PLUS}/versions/stable/infer", json=body)
    assert (answer.json or {})["outputs"][0]["data"] == [2.5, 3.0]


def test_what_clients_send_beside_the_protocol_is_understood(shared_client: FlaskClient) -> None:
    """The model's name, nulls for what is absent, parameters of nobody's concern, and no content type."""
    body = {
        "model_name": HALF_PLUS,
        "id": None,
        "outputs": None,
        "parameters": {"priority": 1, "trace": "x", "timeout": 5_000_000},
        "inputs": [ONE | {"parameters": None}],
    }
    assert shared_client.post(INFER, data=orjson.dumps(body)).status_code == 200


def test_binary_inputs_and_outputs(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Raw little-endian numbers behind the JSON, whose length is in a header, both ways."""
    values = np.array([[1.0], [2.0]], "<f4").tobytes()
    head = {"inputs": [binary("vectors", "FP32", [2, 1], values)], "parameters": {"binary_data_output": True}}
    answer = shared_client.post(INFER, **framed(head, values))
    length = int(answer.headers[LENGTH])
    said = orjson.loads(answer.data[:length])
    assert said["outputs"] == [
        {"name": "value", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}}
    ]
    assert np.frombuffer(answer.data[length:], "<f4").tolist() == [2.5, 3.0]
    assert answer.mimetype == "application/octet-stream"
    assert shared_server.calls[0].inputs["vectors"].tensor_content == values


@pytest.mark.parametrize("wrap", [zlib.compress, lambda body: b"".join(gzipped(body))], ids=["deflate", "gzip"])
def test_compressed_bodies_are_inflated(shared_client: FlaskClient, wrap: Any) -> None:
    """The length of the JSON is that before compression."""
    values = np.array([[1.0]], "<f4").tobytes()
    sent = framed({"inputs": [binary("vectors", "FP32", [1, 1], values)]}, values)
    body = wrap(sent["data"])
    encoding = "gzip" if body.startswith(b"\x1f\x8b") else "deflate"
    answer = shared_client.post(INFER, data=body, headers=sent["headers"] | {"Content-Encoding": encoding})
    assert (answer.json or {})["outputs"][0]["data"] == [2.5]


def gzipped(body: bytes) -> list[bytes]:
    stream = zlib.compressobj(wbits=31)
    return [stream.compress(body), stream.flush()]


def test_outputs_are_filtered_and_each_has_its_form(shared_client: FlaskClient) -> None:
    """In the requested order; ``binary_data`` of an output goes before the request's."""
    head = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "class_id"}],
    }
    answer = shared_client.post(f"/v2/models/{REVIEWS}/infer", json=head)
    length = int(answer.headers[LENGTH])
    first, second = orjson.loads(answer.data[:length])["outputs"]
    assert (first["name"], first["data"]) == ("probabilities", [0.1, 0.9])
    assert (second["name"], second["parameters"]) == ("class_id", {"binary_data_size": 8})
    assert answer.data[length:] == struct.pack("<q", 1)


def test_one_output_alone(shared_client: FlaskClient) -> None:
    """Outputs that were not requested are not returned."""
    body = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["bad"]}],
        "outputs": [{"name": "class_id"}],
    }
    answer = shared_client.post(f"/v2/models/{REVIEWS}/infer", json=body)
    assert (answer.json or {})["outputs"] == [{"name": "class_id", "datatype": "INT64", "shape": [1], "data": [0]}]


def test_images_are_bytes_of_another_signature(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Each behind its length; the signature is a parameter."""
    files = [encoded("PNG"), encoded("JPEG")]
    content = b"".join(struct.pack("<I", len(file)) + file for file in files)
    head = {
        "parameters": {"signature_name": "image_bytes"},
        "inputs": [binary("image_bytes", "BYTES", [2], content)],
    }
    answer = shared_client.post(f"/v2/models/{DIGITS}/infer", **framed(head, content))
    assert answer.status_code == 200
    assert list(shared_server.calls[0].inputs["image_bytes"].string_val) == files


@pytest.mark.parametrize(
    ("model", "body", "name", "shape"),
    [
        (HALF_PLUS, np.array([1, 2, 3], "<f4").tobytes(), "vectors", (3, 1)),
        (DIGITS, bytes(2 * 28 * 28 * 4), "images", (2, 28, 28, 1)),
        (REVIEWS, b"a good film", "text", (1,)),
    ],
)
def test_a_raw_body_is_the_only_input(
    shared_client: FlaskClient,
    shared_server: FakeModelServer,
    model: str,
    body: bytes,
    name: str,
    shape: tuple[int, ...],
) -> None:
    """No JSON at all: the shape follows from the size, text is one element as it is, and outputs are binary."""
    answer = shared_client.post(f"/v2/models/{model}/infer", data=body, headers={LENGTH: "0"})
    assert (answer.status_code, LENGTH in answer.headers) == (200, True)
    assert from_proto(shared_server.calls[0].inputs[name]).shape == shape


def test_every_datatype_reaches_the_model_and_comes_back(
    client: FlaskClient, filled: Store, server: FakeModelServer
) -> None:
    """Also half floats, which only the binary form carries."""
    arrays = {
        "BOOL": np.array([True, False]),
        "UINT8": np.array([0, 255], np.uint8),
        "INT16": np.array([-(2**15), 1], np.int16),
        "UINT64": np.array([2**64 - 1, 0], np.uint64),
        "INT64": np.array([-(2**63), 0], np.int64),
        "FP16": np.array([0.5, -65504], np.float16),
        "FP64": np.array([1e300, 1 / 3]),
    }
    specs = tuple(TensorSpec(name=name, dtype=array.dtype.name, shape=(None,)) for name, array in arrays.items())
    first = TensorSpec(name="vectors", dtype="float32", shape=(None, 1))
    every = SignatureSpec(inputs=(first, *specs), outputs=specs)
    server.loaded.add((HALF_PLUS, publish(filled, HALF_PLUS, signatures={"serving_default": every})))
    server.outputs = arrays
    values = np.zeros((2, 1), np.float32)
    contents = [values.tobytes(), *(array.tobytes() for array in arrays.values())]
    inputs = [binary("vectors", "FP32", [2, 1], contents[0])]
    inputs += [binary(name, name, [2], array.tobytes()) for name, array in arrays.items()]
    head = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    answer = client.post(INFER, **framed(head, *contents))
    assert answer.status_code == 200
    length = int(answer.headers[LENGTH])
    assert answer.data[length:] == b"".join(contents[1:])
    assert {name: from_proto(server.calls[0].inputs[name]).tolist() for name in arrays} == {
        name: array.tolist() for name, array in arrays.items()
    }


def test_strings_that_are_not_text_come_back_binary(
    client: FlaskClient, filled: Store, server: FakeModelServer
) -> None:
    """In JSON they are refused with the way out."""
    text = SignatureSpec(
        inputs=(TensorSpec(name="vectors", dtype="float32", shape=(None, 1)),),
        outputs=(TensorSpec(name="blob", dtype="string", shape=(None,)),),
    )
    server.loaded.add((HALF_PLUS, publish(filled, HALF_PLUS, signatures={"serving_default": text})))
    server.outputs = {"blob": np.array([b"\xff\x00"], dtype=object)}
    plain = client.post(INFER, json={"inputs": [ONE]})
    raw = client.post(INFER, json={"inputs": [ONE], "parameters": {"binary_data_output": True}})
    assert (plain.status_code, "binary_data true" in (plain.json or {})["error"]) == (400, True)
    assert raw.data.endswith(b"\x02\x00\x00\x00\xff\x00")


def test_the_earlier_of_two_deadlines_counts(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """The ``timeout`` parameter is in microseconds."""
    assert shared_client.post(INFER, json={"inputs": [ONE]}).status_code == 200  # there is a connection
    shared_server.calls.clear()
    shared_server.release.clear()
    answer = shared_client.post(INFER, json={"inputs": [ONE], "parameters": {"timeout": 2_000_000}})
    assert (answer.status_code, len(shared_server.calls)) == (504, 1)
