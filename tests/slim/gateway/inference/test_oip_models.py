"""What ``/v2`` says of the server and its models: metadata, health and index, and what of that it refuses."""

import pytest
from flask.testing import FlaskClient

from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_says_what_it_is(client: FlaskClient, path: str) -> None:
    """With and without a slash, as the protocol's own files disagree."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json is not None
    assert (answer.json["name"], answer.json["extensions"]) == ("modelyard", ["binary_tensor_data", "model_repository"])


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("health/live", "live"),
        ("health/ready", "ready"),
        (f"models/{HALF_PLUS}/ready", "ready"),
        (f"models/{HALF_PLUS}/versions/1/ready", "ready"),
        (f"models/{HALF_PLUS}/versions/stable/ready/", "ready"),
    ],
)
def test_health_is_a_code_and_a_field(client: FlaskClient, path: str, field: str) -> None:
    """Clients use either."""
    answer = client.get(f"/v2/{path}")
    assert (answer.status_code, (answer.json or {})[field]) == (200, True)


def test_what_is_not_loaded_is_not_ready(client: FlaskClient, server: FakeModelServer) -> None:
    """503 with the reason in both; live nevertheless."""
    server.loaded.clear()
    for path in ("health/ready", f"models/{HALF_PLUS}/ready"):
        answer = client.get(f"/v2/{path}")
        assert (answer.status_code, (answer.json or {})["ready"]) == (503, False)
        assert "error" in (answer.json or {})
    assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("rest", ["", "/", "/versions/2", "/versions/2/", "/versions/stable"])
def test_metadata_of_a_model(client: FlaskClient, rest: str) -> None:
    """Open sizes are -1; versions are those that would answer."""
    answer = client.get(f"/v2/models/{HALF_PLUS}{rest}")
    assert answer.json == {
        "name": HALF_PLUS,
        "versions": ["1", "2"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "vectors", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}],
    }
    assert answer.headers["X-Model-Version"] == "2"


def test_metadata_of_another_signature(client: FlaskClient) -> None:
    """By its name in the query."""
    answer = client.get(f"/v2/models/{DIGITS}?signature_name=image_bytes")
    assert (answer.json or {})["inputs"] == [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}]


def test_index_lists_every_version_and_its_state(client: FlaskClient, server: FakeModelServer) -> None:
    """A model that is not loaded has no version; ``ready`` leaves it out."""
    server.loaded.discard((REVIEWS, 1))
    everything = client.post("/v2/repository/index").json
    ready = client.post("/v2/repository/index", json={"ready": True}).json
    loaded = [(DIGITS, "1"), (HALF_PLUS, "1"), (HALF_PLUS, "2")]
    expected = [{"name": name, "version": version, "state": "READY", "reason": ""} for name, version in loaded]
    assert ready == expected
    assert sorted(everything, key=lambda entry: entry["name"])[:3] == expected
    (missing,) = [entry for entry in everything if entry["name"] == REVIEWS]
    assert (missing["state"], "version" in missing) == ("UNAVAILABLE", False)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("models/nothing_here", 404, "Servable not found for request: Latest(nothing_here)"),
        (f"models/{HALF_PLUS}/versions/9", 404, "Specific(half_plus, 9)"),
        (f"models/{HALF_PLUS}/versions/{'9' * 100}", 404, "Servable not found"),
        (f"models/{HALF_PLUS}/versions/{'9' * 5000}", 404, "no such route"),
        (f"models/{HALF_PLUS}/versions/-1", 400, "Unrecognized servable version label: -1"),
        (f"models/{HALF_PLUS}/versions/canary/ready", 400, "Unrecognized servable version label: canary"),
        (f"models/{HALF_PLUS}?signature_name=x", 400, 'signature_name: expected serving_default, received "x"'),
        ("models/", 404, "no such route"),
        (f"models/{HALF_PLUS}/infer", 405, "GET is not allowed here"),
        ("systemsharedmemory/status", 404, "no such route"),
    ],
)
def test_what_does_not_exist_has_its_code(client: FlaskClient, path: str, status: int, text: str) -> None:
    """Labels are 400 as in TensorFlow Serving, names and numbers 404."""
    answer = client.get(f"/v2/{path}")
    assert (answer.status_code, text in (answer.json or {})["error"]) == (status, True), answer.json


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_what_is_loaded_is_changed_elsewhere(client: FlaskClient, verb: str) -> None:
    """501 with the reason: this guard only shows it."""
    answer = client.post(f"/v2/repository/models/{HALF_PLUS}/{verb}")
    assert (answer.status_code, "follows from its rollout" in (answer.json or {})["error"]) == (501, True)


@pytest.mark.parametrize("body", [b"[]", b'{"ready": 1}', b'{"x": true}', b"{"])
def test_index_requests_that_cannot_be_understood_are_400(client: FlaskClient, body: bytes) -> None:
    """As everywhere."""
    assert client.post("/v2/repository/index", data=body).status_code == 400
