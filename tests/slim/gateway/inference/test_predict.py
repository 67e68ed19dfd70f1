"""Predictions that succeed: every form of body, every way to say which version."""

import base64
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded, publish
from tests.support.waiting import wait_until

WHITE = np.full((28, 28, 1), 255).tolist()


def test_rows_with_one_output_are_returned_bare(shared_client: FlaskClient) -> None:
    """``predictions`` holds one value per instance, in order; the stable version answers, and says so."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[1.0], [2.0]]})
    assert (answer.status_code, answer.json) == (200, {"predictions": [[2.5], [3.0]]})
    assert answer.headers["X-Model-Version"] == "2"
    assert answer.headers["X-Model-Data"] == "generated"


def test_rows_with_several_outputs_are_returned_as_objects(shared_client: FlaskClient) -> None:
    """One object per instance, holding every output by name."""
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", json={"instances": [WHITE]})
    assert answer.json == {"predictions": [{"class_id": 1, "probabilities": [0.0, 1.0]}]}


def test_columns_are_returned_by_output(shared_client: FlaskClient) -> None:
    """A lone output stands bare, several stand by name."""
    one = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", json={"inputs": {"vectors": [[1.0]]}})
    several = shared_client.post(f"/v1/models/{REVIEWS}:predict", json={"inputs": ["good"]})
    assert one.json == {"outputs": [[2.5]]}
    assert several.json == {"outputs": {"class_id": [1], "probabilities": [[0.1, 0.9]]}}


@pytest.mark.parametrize("instances", [[[1.0]], [{"vectors": [1.0]}], [[1]]])
def test_a_lone_input_may_be_named_or_bare(shared_client: FlaskClient, instances: object) -> None:
    """And whole numbers are numbers, as in TensorFlow Serving."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": instances})
    assert answer.json == {"predictions": [[2.5]]}


def test_several_inputs_come_as_objects(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """Row and column form give the server the same tensors."""
    two = SignatureSpec(
        inputs=(
            TensorSpec(name="vectors", dtype="float32", shape=(None, 1)),
            TensorSpec(name="weights", dtype="int64", shape=(None,)),
        ),
        outputs=(TensorSpec(name="value", dtype="float32", shape=(None, 1)),),
    )
    version = publish(filled, HALF_PLUS, signatures={"serving_default": two})
    server.loaded.add((HALF_PLUS, version))
    rows = {"instances": [{"vectors": [1.0], "weights": 3}, {"vectors": [2.0], "weights": 4}]}
    columns = {"inputs": {"vectors": [[1.0], [2.0]], "weights": [3, 4]}}
    for body in (rows, columns):
        assert client.post(f"/v1/models/{HALF_PLUS}:predict", json=body).status_code == 200
    assert server.calls[0] == server.calls[1]


def test_a_pinned_version_predicts_though_another_is_stable(shared_client: FlaskClient) -> None:
    """x/2 + 1 is version 1's answer."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}/versions/1:predict", json={"instances": [[1.0]]})
    assert answer.json == {"predictions": [[1.5]]}
    assert answer.headers["X-Model-Version"] == "1"


def test_a_promotion_is_seen_by_the_next_request(client: FlaskClient, filled: Store) -> None:
    """A rollback is one file write."""
    before = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[0.0]]})
    change_rollout(filled, HALF_PLUS, lambda found: found.promote(1, by="test", reason="back"))
    after = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[0.0]]})
    assert (before.json, after.json) == ({"predictions": [[2.0]]}, {"predictions": [[1.0]]})


@pytest.mark.parametrize(
    ("form", "content_type", "label"), [("PNG", "image/png", "light"), ("JPEG", "image/jpeg", "dark")]
)
def test_a_raw_image_gets_its_label(shared_client: FlaskClient, form: str, content_type: str, label: str) -> None:
    """The label, every label's score, and what the version was trained on."""
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", data=encoded(form, (40, 60)), content_type=content_type)
    assert answer.status_code == 200
    assert answer.json == {
        "model": DIGITS,
        "version": 1,
        "label": label,
        "class_id": int(label == "light"),
        "score": 0.75,
        "scores": {"dark": 0.25, "light": 0.75} if label == "light" else {"dark": 0.75, "light": 0.25},
        "data": "real",
        "request_id": answer.headers["X-Request-Id"],
    }


def test_a_raw_text_gets_its_label(shared_client: FlaskClient) -> None:
    """Any UTF-8, and the header says that the version was trained on a sample."""
    answer = shared_client.post(f"/v1/models/{REVIEWS}:predict", data="a good café".encode(), content_type="text/plain")
    assert answer.json is not None
    assert (answer.json["label"], answer.json["score"], answer.json["data"]) == ("positive", 0.9, "sample")
    assert answer.headers["X-Model-Data"] == "sample"


def test_images_in_json_are_base64(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """``{"b64": …}`` is a value, bare or named; the server gets the bytes."""
    content = encoded("PNG")
    value = {"b64": base64.b64encode(content).decode()}
    for body in ({"instances": [value]}, {"instances": [{"image_bytes": value}]}, {"inputs": [value]}):
        answer = shared_client.post(f"/v1/models/{DIGITS}:predict", json={**body, "signature_name": "image_bytes"})
        assert answer.status_code == 200
    assert all(call.inputs["image_bytes"].string_val[:] == [content] for call in shared_server.calls)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", None])
def test_json_needs_no_content_type(shared_client: FlaskClient, content_type: str | None) -> None:
    """TensorFlow Serving never reads it, and ``curl -d`` sends a wrong one."""
    body = b'{"instances": [[1.0]]}'
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", data=body, content_type=content_type)
    assert answer.status_code == 200


def test_numbers_read_back_exactly(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """float32 values are printed in the fewest digits that give the same float32 again."""
    values = np.array([[0.1], [1 / 3], [3e-39], [16_777_217], [1.0]], dtype=np.float32)
    shared_server.outputs = {"value": values}
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[0.0]] * 5})
    assert np.array_equal(np.array(orjson.loads(answer.data)["predictions"], np.float32), values)
    assert b"[[0.1],[0.33333334]," in answer.data
    assert answer.data.endswith(b",[1.0]]}")


@pytest.mark.parametrize(("name", "shown"), [("label", "café"), ("label_bytes", {"b64": "Y2Fmw6k="})])
def test_string_outputs_are_base64_where_their_name_says_bytes(
    client: FlaskClient, filled: Store, server: FakeModelServer, name: str, shown: object
) -> None:
    """As TensorFlow Serving writes them."""
    text = SignatureSpec(
        inputs=(TensorSpec(name="vectors", dtype="float32", shape=(None, 1)),),
        outputs=(TensorSpec(name=name, dtype="string", shape=(None,)),),
    )
    server.loaded.add((HALF_PLUS, publish(filled, HALF_PLUS, signatures={"serving_default": text})))
    server.outputs = {name: np.array(["café".encode()], dtype=object)}
    answer = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[1.0]]})
    assert answer.json == {"predictions": [shown]}


def test_one_bad_row_of_a_shared_batch_fails_alone(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Requests that left together are judged one by one when the model refuses them; the others get their answers."""
    shared_server.refused = 77.0
    shared_server.release.clear()
    with ThreadPoolExecutor(6) as clients:
        first = []
        for under_way in (1, 2):  # as many calls as may be in flight: what comes now waits, and goes together
            first.append(clients.submit(ask, shared_client, 0.0))
            wait_until(lambda: len(shared_server.calls) == under_way)  # noqa: B023  # called at once
        together = [clients.submit(ask, shared_client, value) for value in (1.0, 2.0, 77.0, 3.0)]
        wait_until(lambda: waiting(shared_client) == len(together))
        shared_server.release.set()
        answers = [future.result() for future in together]
    assert [future.result()[0] for future in first] == [200, 200]
    assert max(call.inputs["vectors"].tensor_shape.dim[0].size for call in shared_server.calls) > 1
    assert answers == [
        (200, {"predictions": [[2.5]]}),
        (200, {"predictions": [[3.0]]}),
        (400, {"error": "an input is refused"}),
        (200, {"predictions": [[3.5]]}),
    ]


def ask(client: FlaskClient, value: float) -> tuple[int, object]:
    own = client.application.test_client()  # a client is one thread's
    answer = own.post(
        f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[value]]}, headers={"X-Timeout-Ms": "30000"}
    )
    return answer.status_code, answer.json


def waiting(client: FlaskClient) -> int:
    """Requests that go with the next call."""
    queues = client.application.extensions["predictor"].batcher.queues
    return sum(len(queue.interactive) for queue in list(queues.values()))
