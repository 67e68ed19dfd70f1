"""Versions that explain their answers, through our own model server and a gateway."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.store import Store
from modelyard.pipeline.exporting.saved_model import write_saved_model
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.keras.explaining.test_words import SPEC
from tests.support import modelserver
from tests.support.explained import linear, texts
from tests.support.table_models import describe
from tests.support.versions import seal_as

MODEL = "opinions"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with one stable version."""
    store = Store(tmp_path_factory.mktemp("explain") / "store")
    store.prepare()
    rows = texts("good", "bad", "a", "b")
    with store.staging(MODEL) as staged:
        write_saved_model(SPEC, linear([2, -3, 5], activation="sigmoid"), {}, {"text": rows}, staged)
        manifest = store.publish(staged, seal_as(MODEL, **describe(SPEC, rows, staged)))
    change_rollout(store, MODEL, lambda found: found.promote(manifest.version, by="test", reason="published"))
    prepare_config(store)
    return store


@pytest.fixture(scope="module", params=modelserver.INSIDE_FIRST)
def client(
    request: pytest.FixtureRequest, published: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FlaskClient]:
    """A gateway before a model server."""
    root = tmp_path_factory.mktemp("serving")
    with modelserver.model_server(request.param, modelserver.Store(published.root, {}), root) as running:
        running.await_state(1, "AVAILABLE", MODEL)
        settings = GatewaySettings(
            store=published.root,
            ledger=f"sqlite:///{root}/ledger.sqlite",
            serving=running.serving,
            status_timeout_s=30,
            predict_timeout_s=30,
        )
        app = create_app(settings, server=running.inside)
        yield app.test_client()
        app.extensions["predictor"].close()
        app.extensions["ledger"].close()


def test_the_model_server_explains_what_it_answers(client: FlaskClient) -> None:
    """A known model's weights, by the words of the text; as tensors the same, shorter texts filled up."""
    path = f"/v1/models/{MODEL}:predict"
    found: Any = client.post(f"{path}?explain=1", data="not bad at all", content_type="text/plain").json
    assert found["label"] == found["explanation"]["label"] == "positive"
    weights = {entry["word"]: round(entry["weight"], 3) for entry in found["explanation"]["words"]}
    assert weights == {"not": 5, "bad": 2, "at": 0, "all": 0}
    body = {"signature_name": "explain", "instances": ["not bad at all", "bad"]}
    long, short = json.loads(client.post(path, json=body).text)["predictions"]
    assert [round(weight, 3) for weight in long["weights"]] == [*weights.values()]
    assert short["words"] == ["bad", "", "", ""]
    assert short["weights"] == [pytest.approx(3, abs=1e-3), 0, 0, 0]


def test_as_many_inputs_as_long_as_they_may_be_are_explained(client: FlaskClient) -> None:
    """Eight texts of nearly 20,000 characters, in one request."""
    body = {"instances": ["good " + "word " * 3_800] * 8}
    answer = client.post(f"/v1/models/{MODEL}:predict?explain=1&labels=true", json=body)
    assert answer.status_code == 200
    rows = answer.json["predictions"]
    assert [len(row["explanation"]["words"]) for row in rows] == [3_801] * 8
    assert all(row["explanation"]["words"][0]["weight"] > 0 for row in rows)
