"""JSON lines: an answer for every line, in order, and a bad line that fails alone."""

import gzip
from typing import Any

import grpc
import orjson
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import get_model_metadata_pb2
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded, publish

JSONL = "application/jsonl"


def bulk(client: FlaskClient, model: str, body: bytes, query: str = "", **headers: str) -> TestResponse:
    return client.post(f"/v1/models/{model}:predict{query}", data=body, content_type=JSONL, headers=headers)


def parse_lines(response: TestResponse) -> list[Any]:
    assert response.data.endswith(b"\n")
    return [orjson.loads(line) for line in response.data.splitlines()]


@pytest.mark.parametrize("content_type", [JSONL, "application/x-ndjson", "application/jsonlines; charset=utf-8"])
def test_every_line_has_its_result_in_order(
    shared_client: FlaskClient, shared_server: FakeModelServer, content_type: str
) -> None:
    """In batches; the version is in the header."""
    body = b"\n".join(b"[%d]" % number for number in range(1000))
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", data=body, content_type=content_type)
    assert parse_lines(answer) == [[number / 2 + 2] for number in range(1000)]
    assert (answer.headers["X-Model-Version"], answer.mimetype) == ("2", content_type.partition(";")[0])
    assert len(shared_server.calls) <= 1000 / 64 + 4


def test_lines_are_what_stands_in_instances(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """Bare or named, several inputs or one."""
    two = SignatureSpec(
        inputs=(
            TensorSpec(name="vectors", dtype="float32", shape=(None, 1)),
            TensorSpec(name="weights", dtype="int64", shape=(None,)),
        ),
        outputs=(TensorSpec(name="value", dtype="float32", shape=(None, 1)),),
    )
    assert parse_lines(bulk(client, HALF_PLUS, b'{"vectors": [1]}\n [ 2.0 ] \r\n')) == [[2.5], [3.0]]
    server.loaded.add((HALF_PLUS, publish(filled, HALF_PLUS, signatures={"serving_default": two})))
    found = parse_lines(bulk(client, HALF_PLUS, b'{"vectors": [1], "weights": 2}\n{"vectors": [1]}'))
    assert found[0] == [3.5]
    assert "expected an object with the names vectors, weights" in found[1]["error"]


def test_texts_are_returned_as_labels_on_request(shared_client: FlaskClient) -> None:
    """Or with all outputs."""
    assert parse_lines(bulk(shared_client, REVIEWS, '"a good café"\n"dull"\n'.encode(), "?labels=true")) == [
        {"label": "positive", "class_id": 1, "score": 0.9},
        {"label": "negative", "class_id": 0, "score": 0.9},
    ]
    assert parse_lines(bulk(shared_client, REVIEWS, b'"dull"')) == [{"class_id": 0, "probabilities": [0.9, 0.1]}]


def test_another_signature_is_named_in_the_query(shared_client: FlaskClient) -> None:
    """Images in base64, say."""
    import base64

    line = orjson.dumps({"b64": base64.b64encode(encoded("PNG")).decode()})
    assert (
        parse_lines(bulk(shared_client, DIGITS, line, "?signature_name=image_bytes&labels=true"))[0]["label"] == "light"
    )


@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_a_body_may_be_compressed(shared_client: FlaskClient, encoding: str) -> None:
    """It is unfolded while it is read."""
    body = b"[1]\n" * 10_000
    sent = gzip.compress(body) if encoding else body
    assert parse_lines(bulk(shared_client, HALF_PLUS, sent, **{"Content-Encoding": encoding})) == [[2.5]] * 10_000


BAD = {
    b"": "JSON Parse error: The document is empty",
    b"   ": "JSON Parse error: The document is empty",
    b"[1": "JSON Parse error: Missing a comma or ']' after an array element. at offset: 2",
    b"[1],[2]": "JSON Parse error: unexpected content after document",
    b"[1]]": "JSON Parse error",
    b"[[1]]": "vectors: expected shape [n,1], received [1,1,1]",
    b"[]": "vectors: expected shape [n,1], received [1,0]",
    b"[1,2]": "vectors: expected shape [n,1], received [1,2]",
    b'["1"]': 'vectors[0][0]: expected a float32 value, received "1"',
    b"[NaN]": "expected finite numbers, received NaN, which is not JSON, at offset: 1",
    b"[1e39]": "expected a finite float32 value",
    b'{"x": 1}': "expected an object with the names vectors",
    b"[" * 100: "expected JSON nested at most 32 deep",
    b"[1" + b" " * 9_000_000 + b"]": "expected a line of at most 8388608 bytes",
    b'{"instances": [[1]]}': "expected an object with the names vectors",
}


@pytest.mark.parametrize(("line", "text"), BAD.items(), ids=[str(line[:20]) for line in BAD])
def test_a_bad_line_fails_alone(shared_client: FlaskClient, line: bytes, text: str) -> None:
    """With its number; its neighbours succeed, and lines never shift."""
    found = parse_lines(bulk(shared_client, HALF_PLUS, b"\n".join([b"[1]", line, b"[2]", line, b"[3]\n"])))
    assert [found[0], found[2], found[4]] == [[2.5], [3.0], [3.5]]
    assert [found[1]["line"], found[3]["line"]] == [2, 4]
    assert text in found[1]["error"]


def test_a_row_split_over_two_lines_is_two_bad_lines(shared_client: FlaskClient) -> None:
    """Though they would make rows if they were only put together."""
    found = parse_lines(bulk(shared_client, HALF_PLUS, b"[1\n2]\n[3],[4]\n[5]"))
    assert ["error" in entry for entry in found[:3]] == [True] * 3
    assert found[3] == [4.5]


def test_a_line_that_the_model_refuses_fails_alone(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """It is found by bisection, so its neighbours in the batch succeed."""
    shared_server.refused = 77.0
    found = parse_lines(bulk(shared_client, HALF_PLUS, b"\n".join(b"[%d]" % number for number in range(200))))
    assert found[77] == {"error": "an input is refused", "line": 78}
    assert [entry for entry in found if isinstance(entry, list)] == [[n / 2 + 2] for n in range(200) if n != 77]
    assert len(shared_server.calls) < 4 + 2 * 7


def test_a_server_that_was_away_is_waited_for(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """As long as the batch's deadline lets it."""
    shared_server.fail_next(grpc.StatusCode.UNAVAILABLE, times=3)
    assert parse_lines(bulk(shared_client, HALF_PLUS, b"[1]\n[2]")) == [[2.5], [3.0]]


def test_each_batch_has_its_deadline(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Its lines fail; the answer goes on to the end."""
    shared_server.release.clear()
    found = parse_lines(bulk(shared_client, HALF_PLUS, b"[1]\n[2]", **{"X-Timeout-Ms": "200"}))
    assert [entry["line"] for entry in found] == [1, 2]
    assert "did not answer in time" in found[0]["error"] or "no answer within" in found[0]["error"]


def test_any_saved_model_predicts_lines(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Lines of different shape go in different calls; all from the version of the first."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for tensors in (
        signatures.signature_def["serving_default"].inputs["vectors"],
        signatures.signature_def["serving_default"].outputs["value"],
    ):
        tensors.dtype, tensors.tensor_shape.unknown_rank = 1, True
    shared_server.signatures = signatures
    shared_server.loaded.add(("external", 7))
    answer = bulk(shared_client, "external", b"1\n[1, 2]\n3\n[[4]]")
    assert parse_lines(answer) == [7.5, [7.5, 8.0], 8.5, [[9.0]]]
    assert answer.headers["X-Model-Version"] == "7"
    assert {call.model_spec.version.value for call in shared_server.calls} == {7}
    shared_server.calls.clear()
    assert parse_lines(bulk(shared_client, "external", b"[1]\n" * 128)) == [[7.5]] * 128
    assert len(shared_server.calls) < 8


@pytest.mark.parametrize(
    ("query", "headers", "status", "text"),
    [
        ("?signature_name=no", {}, 400, 'Serving signature name: "no" not found'),
        ("?labels=true", {}, 400, "labels: serving_default of half_plus has none"),
        ("?labels=x", {}, 400, "labels: expected true, false or scores"),
        ("", {"Content-Encoding": "br"}, 415, "expected Content-Encoding gzip, deflate or identity"),
        ("", {"X-Timeout-Ms": "soon"}, 400, "X-Timeout-Ms"),
    ],
)
def test_an_error_of_the_whole_request_is_returned_before_the_first_line(
    shared_client: FlaskClient, query: str, headers: dict[str, str], status: int, text: str
) -> None:
    """With a status of its own."""
    answer = bulk(shared_client, HALF_PLUS, b"[1]", query, **headers)
    assert answer.json is not None
    assert (answer.status_code, text in answer.json["error"]) == (status, True)


def test_a_body_that_breaks_ends_with_an_error(shared_client: FlaskClient) -> None:
    """Half a line is not taken for one."""
    body = gzip.compress(b"[1]\n" * 100)[:-9]
    found = parse_lines(bulk(shared_client, HALF_PLUS, body, **{"Content-Encoding": "gzip"}))
    assert "breaks off" in found[-1]["error"]
    assert found[-1]["line"] == len(found)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"not gzip", "received bytes that are not"), (gzip.compress(b"")[:5], "breaks off")],
    ids=["damaged", "short"],
)
def test_a_body_that_breaks_before_its_first_line_is_400(shared_client: FlaskClient, body: bytes, text: str) -> None:
    """No response of lines has begun."""
    refused = bulk(shared_client, HALF_PLUS, body, **{"Content-Encoding": "gzip"})
    assert (refused.status_code, text in refused.text) == (400, True), refused.text


def test_no_lines_have_no_results(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """And the model is not called."""
    assert (bulk(shared_client, HALF_PLUS, b"").data, shared_server.calls) == (b"", [])


def test_batches_are_no_larger_than_the_settings_say(settings: GatewaySettings, server: FakeModelServer) -> None:
    """So bulk never keeps an interactive request waiting for long."""
    client = create_app(settings.model_copy(update={"max_batch": 8})).test_client()
    assert len(parse_lines(bulk(client, HALF_PLUS, b"[1]\n" * 100))) == 100
    assert max(call.inputs["vectors"].tensor_shape.dim[0].size for call in server.calls) == 8
