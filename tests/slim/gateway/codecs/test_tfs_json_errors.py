"""Every refusal of a predict body that TensorFlow Serving has words for, in its words and with its code.

Source: tensorflow/serving ``util/json_tensor.cc``.
"""

from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.tfserving.messages import get_model_metadata_pb2, types_pb2
from tests.support.fakes import HALF_PLUS, FakeModelServer

PLAIN, PAIR, TEXTS, COUNTS, HALVES, FLAGS = "plain", "pair", "texts", "counts", "halves", "flags"
TYPES = {
    PLAIN: {"vectors": types_pb2.DT_FLOAT},
    PAIR: {"a": types_pb2.DT_FLOAT, "b": types_pb2.DT_FLOAT},
    TEXTS: {"text": types_pb2.DT_STRING},
    COUNTS: {"n": types_pb2.DT_INT32},
    HALVES: {"h": types_pb2.DT_HALF},
    FLAGS: {"f": types_pb2.DT_BOOL},
}
FAILED = "Failed to process element:"
INVALID = "Error: INVALID_ARGUMENT:"

CASES: dict[str, tuple[str, Any, int, str]] = {
    # the body
    "not an object": (PLAIN, [1], 400, "JSON Value: [1] Is not object"),
    "signature no string": (
        PLAIN,
        {"signature_name": 5},
        400,
        "JSON Value: {\"signature_name\":5} not formatted correctly. 'signature_name' key must be a string value.",
    ),
    "unknown signature": (
        PLAIN,
        {"signature_name": "x"},
        400,
        'Serving signature name: "x" not found in signature def',
    ),
    "neither form": (PLAIN, {"x": 1}, 400, "Missing 'inputs' or 'instances' key"),
    "both forms": (
        PLAIN,
        {"instances": [1], "inputs": [1]},
        400,
        (
            'JSON Value: {"instances":[1],"inputs":[1]} Not formatted correctly expecting only one of \'inputs\' or '
            "'instances' keys to exist "
        ),
    ),
    "instances no list": (
        PLAIN,
        {"instances": 1},
        400,
        "JSON Value: {\"instances\":1} Expecting 'instances' to be an list/array",
    ),
    "no instances": (PLAIN, {"instances": []}, 400, "JSON Value: {\"instances\":[]} No values in 'instances' array"),
    # rows
    "plain rows for two inputs": (
        PAIR,
        {"instances": [1]},
        400,
        (
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        ),
    ),
    "a value among objects": (
        PLAIN,
        {"instances": [{"vectors": 1}, 1]},
        400,
        "Expecting object but got list at item 1 of input list",
    ),
    "an object among values": (
        PLAIN,
        {"instances": [1, {"vectors": 1}]},
        400,
        "Expecting value/list but got object at item 1 of input list",
    ),
    "unknown name": (
        PLAIN,
        {"instances": [{"vector": 1}]},
        400,
        f"{FAILED} 0 key: vector of 'instances' list. {INVALID} JSON object: does not have named input: vector",
    ),
    "missing name": (
        PAIR,
        {"instances": [{"a": 1, "b": 1}, {"a": 1}]},
        400,
        f"{FAILED} 1 of 'instances' list. JSON object: {{\"a\":1}} keys must be equal to: a,b",
    ),
    "another size": (
        PLAIN,
        {"instances": [[1], [1, 2]]},
        400,
        f"{FAILED} 1 of 'instances' list. {INVALID} Expecting tensor size: 1 but got: 2",
    ),
    "another shape": (
        PLAIN,
        {"instances": [[[1, 2]], [[1], [2]]]},
        400,
        f"{FAILED} 1 of 'instances' list. {INVALID} Expecting shape [1,2] but got: [2,1]",
    ),
    "a list for a value": (
        PLAIN,
        {"instances": [[1, [2]]]},
        400,
        f"{FAILED} 0 of 'instances' list. {INVALID} Encountered list at unexpected level: 1 expected < 1",
    ),
    "a value for a list": (
        PLAIN,
        {"instances": [[[1], 2]]},
        400,
        (
            f"{FAILED} 0 of 'instances' list. {INVALID} JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "
            "Expected at level: 2"
        ),
    ),
    "ragged": (
        PLAIN,
        {"instances": [[[1], [2, 3]]]},
        400,
        (
            f"{FAILED} 0 of 'instances' list. {INVALID} Encountered list at unexpected size: 2 at level: 1 "
            "expected size: 1"
        ),
    ),
    "a type without JSON in rows": (
        HALVES,
        {"instances": [{"h": 1.5}]},
        400,
        f"{FAILED} 0 key: h of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 1.5 to type: half",
    ),
    # columns
    "a plain column for two inputs": (
        PAIR,
        {"inputs": [1]},
        400,
        (
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        ),
    ),
    "missing column": (PAIR, {"inputs": {"a": 1}}, 400, "Missing named input: b in 'inputs' object."),
    "null": (PLAIN, {"inputs": None}, 400, "JSON Value: null Type: Null is not of expected type: float"),
    "true for a float": (PLAIN, {"inputs": [True]}, 400, "JSON Value: true Type: True is not of expected type: float"),
    "object for a float": (
        PLAIN,
        {"inputs": [{"b64": "AA"}]},
        400,
        'JSON Value: {"b64":"AA"} Type: Object is not of expected type: float',
    ),
    "text for a float": (
        PLAIN,
        {"inputs": ["1"]},
        400,
        'JSON Value: "1" Type: String is not of expected type: float',
    ),
    "fraction for an integer": (
        COUNTS,
        {"inputs": [1.0]},
        400,
        "JSON Value: 1.0 Type: Number is not of expected type: int32",
    ),
    "too large an integer": (
        COUNTS,
        {"inputs": [2**31]},
        400,
        "JSON Value: 2147483648 Type: Number is not of expected type: int32",
    ),
    "number for a flag": (FLAGS, {"inputs": [1]}, 400, "JSON Value: 1 Type: Number is not of expected type: bool"),
    "number for a text": (TEXTS, {"inputs": [1]}, 400, "JSON Value: 1 Type: Number is not of expected type: string"),
    "no base64 object": (
        TEXTS,
        {"inputs": [{"b64": 1}]},
        400,
        'JSON Value: {"b64":1} not formatted correctly for base64 data',
    ),
    "bad base64": (TEXTS, {"inputs": [{"b64": "_-8="}]}, 400, "Unable to base64 decode"),
    "a type without JSON in columns": (
        HALVES,
        {"inputs": [1.5]},
        501,
        "Conversion of JSON Value: 1.5 to type: half",
    ),
}


def declared(inputs: dict[str, int]) -> get_model_metadata_pb2.SignatureDefMap:
    """One signature of inputs of any rank."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    for name, dtype in inputs.items():
        signature.inputs[name].dtype, signature.inputs[name].tensor_shape.unknown_rank = dtype, True
    signature.outputs["value"].dtype, signature.outputs["value"].tensor_shape.unknown_rank = 1, True
    return signatures


@pytest.mark.parametrize(("model", "body", "status", "text"), CASES.values(), ids=CASES)
def test_refusals_have_tensorflow_servings_messages(
    client: FlaskClient, server: FakeModelServer, model: str, body: Any, status: int, text: str
) -> None:
    """For any SavedModel; a place may stand behind them. The model is not run."""
    server.loaded.add((model, 7))
    server.signatures = declared(TYPES[model])
    answer = client.post(f"/v1/models/{model}:predict", json=body)
    assert answer.json is not None
    assert (answer.status_code, answer.json["error"].partition("; ")[0]) == (status, text)
    assert answer.headers["X-Model-Version"] == "7"
    assert server.calls == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": [2, 3, 4]}, {"predictions": [8.0, 8.5, 9.0]}),
        ({"instances": [[2], [3]], "anything": {"else": 1}}, {"predictions": [[8.0], [8.5]]}),
        ({"instances": [{"vectors": 2}], "signature_name": ""}, {"predictions": [8.0]}),
        ({"inputs": {"vectors": [2, 3], "other": "x"}}, {"outputs": [8.0, 8.5]}),
        ({"inputs": 2}, {"outputs": 8.0}),
        ({"inputs": []}, {"outputs": []}),
        ({"inputs": [[[[2]]]]}, {"outputs": [[[[8.0]]]]}),
    ],
)
def test_any_shape_is_fed_to_any_saved_model(
    client: FlaskClient, server: FakeModelServer, body: Any, expected: Any
) -> None:
    """As TensorFlow Serving feeds it; what it does not know in a body it ignores."""
    server.loaded.add((PLAIN, 7))
    server.signatures = declared(TYPES[PLAIN])
    answer = client.post(f"/v1/models/{PLAIN}:predict", json=body)
    assert (answer.status_code, answer.json) == (200, expected)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({"a": (), "b": (1,)}, "Tensor name: a has no shape information "),
        ({"a": (1,), "b": (2,)}, "Tensor name: b has inconsistent batch size: 2 expecting: 1"),
    ],
)
def test_outputs_without_rows_have_no_row_form(
    client: FlaskClient, server: FakeModelServer, shapes: dict[str, tuple[int, ...]], text: str
) -> None:
    """The column form answers them."""
    import numpy as np

    server.loaded.add((PLAIN, 7))
    server.signatures = declared(TYPES[PLAIN])
    for name in shapes:
        server.signatures.signature_def["serving_default"].outputs[name].dtype = 1
    del server.signatures.signature_def["serving_default"].outputs["value"]
    server.outputs = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    rows = client.post(f"/v1/models/{PLAIN}:predict", json={"instances": [1]})
    columns = client.post(f"/v1/models/{PLAIN}:predict", json={"inputs": [1]})
    assert (rows.status_code, rows.json["error"].partition("; ")[0]) == (400, text)
    assert columns.json == {"outputs": {name: np.ones(shape).tolist() for name, shape in shapes.items()}}


def test_base64_needs_neither_padding_nor_one_line(client: FlaskClient, server: FakeModelServer) -> None:
    """As TensorFlow Serving decodes it."""
    server.loaded.add((TEXTS, 7))
    server.signatures = declared({"text": types_pb2.DT_STRING})
    for encoded in ("Z29vZA==", "Z29vZA", "Z29v\nZA=="):
        client.post(f"/v1/models/{TEXTS}:predict", json={"instances": [{"b64": encoded}]})
    assert [call.inputs["text"].string_val[:] for call in server.calls] == [[b"good"]] * 3


def test_a_model_of_ours_keeps_its_shape(client: FlaskClient) -> None:
    """Its manifest says what it takes, so the error names it instead of a graph's inside."""
    answer = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [2, 3, 4]})
    assert (answer.status_code, answer.json) == (400, {"error": "vectors: expected shape [n,1], received [3]"})
