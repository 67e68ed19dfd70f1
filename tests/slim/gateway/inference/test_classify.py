"""Classify and regress: JSON to ``tf.Example``, results to JSON.

Words and forms: tensorflow/serving ``util/json_tensor.cc``, ``g3doc/api_rest.md``.
"""

from typing import Any

import grpc
import pytest
from flask.testing import FlaskClient

from modelyard.models.tfserving.messages import feature_pb2, input_pb2
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer

CLASSIFY, REGRESS = f"/v1/models/{HALF_PLUS}:classify", f"/v1/models/{HALF_PLUS}:regress"


def feature(**lists: list[Any]) -> feature_pb2.Feature:
    found = feature_pb2.Feature()
    for kind, values in lists.items():
        getattr(found, kind).value.extend(values)
    return found


@pytest.mark.parametrize("path", [CLASSIFY, REGRESS])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, feature(int64_list=[1])),
        (-(2**63), feature(int64_list=[-(2**63)])),
        (1.0, feature(float_list=[1.0])),
        (True, feature(int64_list=[1])),
        ("é", feature(bytes_list=["é".encode()])),
        ({"b64": "/w=="}, feature(bytes_list=[b"\xff"])),
        ([1, 2, False], feature(int64_list=[1, 2, 0])),
        ([1.5, 2.0], feature(float_list=[1.5, 2.0])),
        (["a", {"b64": "Yg"}], feature(bytes_list=[b"a", b"b"])),
        ([], feature_pb2.Feature()),
    ],
)
def test_values_become_features(
    shared_client: FlaskClient, shared_server: FakeModelServer, path: str, value: Any, expected: feature_pb2.Feature
) -> None:
    """By their JSON type, alone or in a list."""
    assert shared_client.post(path, json={"examples": [{"x": value}]}).status_code == 200
    (example,) = shared_server.calls[0].input.example_list.examples
    assert example.features.feature["x"] == expected


def test_a_context_goes_beside_the_examples(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """As the message has it; the model server joins them."""
    shared_client.post(CLASSIFY, json={"context": {"c": 1}, "examples": [{"x": 1}, {"x": 2}], "other": None})
    sent: input_pb2.Input = shared_server.calls[0].input
    assert sent.WhichOneof("kind") == "example_list_with_context"
    assert sent.example_list_with_context.context.features.feature["c"] == feature(int64_list=[1])
    assert len(sent.example_list_with_context.examples) == 2


def test_results_are_pairs_or_numbers(shared_client: FlaskClient) -> None:
    """Under ``results``, in the examples' order; float32 numbers in the fewest digits."""
    examples = [{"a": [1, 2], "b": "x"}, {}]
    assert shared_client.post(CLASSIFY, json={"examples": examples}).json == {"results": [[["a", 2.0], ["b", 1.0]], []]}
    assert shared_client.post(REGRESS, json={"examples": examples}).json == {"results": [2.1, 0.1]}


@pytest.mark.parametrize(("rest", "version"), [("", 2), ("/versions/1", 1), ("/labels/stable", 2)])
@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_any_version_can_be_named(
    shared_client: FlaskClient, shared_server: FakeModelServer, verb: str, rest: str, version: int
) -> None:
    """The header names the version."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}{rest}:{verb}", json={"examples": [{"x": 1}]})
    assert answer.headers["X-Model-Version"] == str(version)
    assert shared_server.calls[0].model_spec.version.value == version
    assert shared_server.calls[0].model_spec.signature_name == "serving_default"


def test_a_signature_may_be_named(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Whether it is one for examples is the model server's to say."""
    shared_server.fail_next(grpc.StatusCode.INVALID_ARGUMENT, "Expected classification signature method_name to be")
    body = {"examples": [{"x": 1}], "signature_name": "image_bytes"}
    answer = shared_client.post(f"/v1/models/{DIGITS}:classify", json=body)
    assert shared_server.calls[0].model_spec.signature_name == "image_bytes"
    assert (answer.status_code, answer.json) == (400, {"error": "Expected classification signature method_name to be"})


CASES: dict[str, tuple[Any, str]] = {
    "no object": ([], "JSON Value: [] Is not object"),
    "no examples": (
        {"x": 1},
        "JSON Value: {\"x\":1} When method is classify, key 'examples' is expected and was not found",
    ),
    "examples no list": (
        {"examples": 1},
        "JSON Value: {\"examples\":1} Expecting 'examples' value to be an list/array",
    ),
    "empty": ({"examples": []}, "JSON Value: {\"examples\":[]} 'examples' value is an empty array"),
    "too many": ({"examples": [{}] * 257}, "examples: expected a list of 1 to 256, received 257"),
    "example no object": ({"examples": [[1]]}, "Example must be JSON object but got JSON Array"),
    "context no object": ({"examples": [{}], "context": 1}, "Example must be JSON object but got JSON Number"),
    "null": ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
    "nested": ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
    "object": ({"examples": [{"x": {"y": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
    "int then float": (
        {"examples": [{"x": [1, 1.5]}]},
        "Unexpected element type in feature: x expecting type: int64",
    ),
    "float then text": (
        {"examples": [{"x": [1.5, "a"]}]},
        "Unexpected element type in feature: x expecting type: float",
    ),
    "text then flag": (
        {"examples": [{"x": ["a", True]}]},
        "Unexpected element type in feature: x expecting type: bytes",
    ),
    "uint64": ({"examples": [{"x": 2**63}]}, "Feature: x has uint64_t element. Only int64_t is supported."),
    "beyond float": ({"examples": [{"x": 1e39}]}, "Feature: x: expected a finite float32 value, received 1e+39"),
    "bad base64": ({"examples": [{"x": {"b64": "?"}}]}, "Unable to base64 decode; feature x"),
    "unknown signature": (
        {"examples": [{"x": 1}], "signature_name": "no"},
        "No signature was found with the name: no; expected serving_default",
    ),
}


@pytest.mark.parametrize("path", [CLASSIFY, REGRESS])
@pytest.mark.parametrize(("body", "text"), CASES.values(), ids=CASES)
def test_what_is_no_example_is_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, path: str, body: Any, text: str
) -> None:
    """In TensorFlow Serving's words, where it has some."""
    answer = shared_client.post(path, json=body)
    assert (answer.status_code, answer.json) == (400, {"error": text})
    assert shared_server.calls == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.OUT_OF_RANGE, 400),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.ALREADY_EXISTS, 409),
        (grpc.StatusCode.ABORTED, 409),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.CANCELLED, 503),  # 499 there; but nobody who calls has cancelled: the server ends
        (grpc.StatusCode.UNKNOWN, 500),
        (grpc.StatusCode.INTERNAL, 500),
        (grpc.StatusCode.DATA_LOSS, 500),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize("verb", ["classify", "predict"])
def test_the_servers_codes_become_http_codes(
    shared_client: FlaskClient, shared_server: FakeModelServer, verb: str, code: grpc.StatusCode, status: int
) -> None:
    """As TensorFlow Serving maps them: ``model_servers/http_server.cc``."""
    shared_server.fail_next(code, times=2)
    body = {"examples": [{"x": 1}]} if verb == "classify" else {"instances": [[1.0]]}
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}/versions/1:{verb}", json=body)
    assert answer.json is not None
    assert (answer.status_code, answer.json.keys()) == (status, {"error"})


def test_a_result_that_is_not_a_number_is_500(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Never bare NaN, which is not JSON."""
    shared_server.score = float("nan")
    for path in (CLASSIFY, REGRESS):
        answer = shared_client.post(path, json={"examples": [{"x": 1}]})
        assert (answer.status_code, answer.json) == (500, {"error": "the model returned a number that is not finite"})
