"""What there is: TensorFlow Serving's status and metadata, and the gateway's own listing."""

from typing import Any

import orjson
from flask.testing import FlaskClient

from modelyard.models import catalog
from modelyard.models.registry import manifest
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, publish


def entry(version: int) -> dict[str, Any]:
    return {
        "version": str(version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def test_status_is_tensorflow_servings(client: FlaskClient) -> None:
    """All versions, or the one that is named; numbers are strings."""
    everything = client.get(f"/v1/models/{HALF_PLUS}")
    one = client.get(f"/v1/models/{HALF_PLUS}/versions/1")
    assert everything.json == {"model_version_status": [entry(1), entry(2)]}
    assert one.json == {"model_version_status": [entry(1)]}


def test_status_of_what_the_server_does_not_know_is_404(client: FlaskClient) -> None:
    """In the server's words."""
    assert client.get("/v1/models/nothing_here").status_code == 404
    assert client.get(f"/v1/models/{HALF_PLUS}/versions/9").status_code == 404


def test_metadata_is_tensorflow_servings(client: FlaskClient) -> None:
    """snake_case, defaults written out, 64-bit numbers as strings (half_plus_two_model_metadata.json)."""
    answer = client.get(f"/v1/models/{HALF_PLUS}/metadata")
    tensor = {
        "name": "vectors:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }
    signature = {
        "inputs": {"vectors": tensor},
        "outputs": {},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert answer.json == {
        "model_spec": {"name": HALF_PLUS, "signature_name": "", "version": "2"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
    assert answer.headers["X-Model-Version"] == "2"


def test_models_are_listed_by_their_stable_version(client: FlaskClient, filled: Store) -> None:
    """With the number the gate judged by, where the data came from, and what can be trained."""
    known = catalog.Catalog(digest="", trainable={}, broken={"churn": "models/churn.py:1: SyntaxError: no"})
    (filled.root / catalog.FILE).write_text(known.model_dump_json())
    publish(filled, REVIEWS, stable=False, summary="newer, but nobody promoted it")
    answer = client.get("/api/models")
    assert answer.json is not None
    assert [model["name"] for model in answer.json["models"]] == [DIGITS, HALF_PLUS, REVIEWS]
    assert answer.json["trainable"] == []
    assert answer.json["broken"] == [{"name": "churn", "error": "models/churn.py:1: SyntaxError: no"}]
    assert answer.json["models"][2] == {
        "name": REVIEWS,
        "task": "binary",
        "summary": "half plus version",
        "stable": 1,
        "canary": None,
        "shadow": None,
        "metric": {"name": "r2", "value": 1.0},
        "data": {"name": "fake", "source": "sample"},
        "pool": "default",
        "labels": ["negative", "positive"],
    }


def test_a_model_has_its_versions_and_their_state(client: FlaskClient, server: FakeModelServer) -> None:
    """Where each came from, and whether the model server has it."""
    server.loaded.discard((HALF_PLUS, 1))
    answer = client.get(f"/api/models/{HALF_PLUS}")
    assert answer.json is not None
    rollout = {"stable": 2, "canary": None, "shadow": None, "labels": {}, "keep": [1], "fallback": True}
    rollout |= {"placement": {"pool": "default", "arriving": None, "leaving": None}}
    assert answer.json["rollout"] == rollout
    assert [(version["version"], version["state"]) for version in answer.json["versions"]] == [
        (1, "not loaded"),
        (2, "AVAILABLE"),
    ]
    assert answer.json["versions"][0].keys() == {
        "version",
        "created_at",
        "metrics",
        "data",
        "recipe",
        "imported",
        "verdict",
        "state",
    }


def test_a_version_that_was_unloaded_is_not_loaded(client: FlaskClient, server: FakeModelServer) -> None:
    """TensorFlow Serving calls it "END" until its next start, and then knows nothing of it."""
    server.loaded.discard((HALF_PLUS, 1))
    server.unloadable[HALF_PLUS, 1] = (0, "")
    answer = client.get(f"/api/models/{HALF_PLUS}")
    assert answer.json is not None
    assert [version["state"] for version in answer.json["versions"]] == ["not loaded", "AVAILABLE"]


def test_models_are_listed_while_the_model_server_is_down(filled: Store) -> None:
    """The store knows all but the state."""
    client = create_app(GatewaySettings(store=filled.root, serving=("127.0.0.1:9",))).test_client()
    answer = client.get(f"/api/models/{HALF_PLUS}")
    assert answer.json is not None
    assert {version["state"] for version in answer.json["versions"]} == {"unknown"}


def test_a_damaged_manifest_is_named_and_hides_nothing_else(client: FlaskClient, filled: Store) -> None:
    """One bad version does not take the listing down."""
    (filled.path(HALF_PLUS, 2) / manifest.FILE).write_text("{}")
    listed, shown = client.get("/api/models"), client.get(f"/api/models/{HALF_PLUS}")
    assert listed.json is not None
    assert shown.json is not None
    assert "damaged" in listed.json["models"][1]["error"]
    assert [("error" in version) for version in shown.json["versions"]] == [False, True]


def test_unknown_models_are_404(client: FlaskClient) -> None:
    """Names that cannot exist too."""
    for name in ("nothing_here", "UPPER", "..", "x" * 300):
        assert client.get(f"/api/models/{name}").status_code == 404


def test_an_empty_store_lists_nothing(server: FakeModelServer, tmp_path: Any) -> None:
    """Before anything was trained, and before the folder exists."""
    client = create_app(GatewaySettings(store=tmp_path / "none", serving=(server.address,))).test_client()
    assert orjson.loads(client.get("/api/models").data) == {"models": [], "trainable": [], "broken": []}
