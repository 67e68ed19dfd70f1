"""Triggers over HTTP: set, listed, removed; what can never be due is refused."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.fakes import HALF_PLUS, FakeModelServer

ROUTE = f"/api/models/{HALF_PLUS}/triggers"
EPOCHS = RecipeField(default=3, constraints={"type": "integer", "minimum": 1})


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    known = TrainableModel(
        name=HALF_PLUS, task="regression", summary="", dataset="", homepage="", recipes={"quick": {"epochs": EPOCHS}}
    )
    (filled.root / FILE).write_text(Catalog(digest="", trainable={HALF_PLUS: known}).model_dump_json())
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def test_a_trigger_is_set_changed_listed_and_removed(client: FlaskClient) -> None:
    """By its name."""
    nightly = {"cron": "0 3 * * *", "job": {"with_feedback": True}}
    first = client.put(f"{ROUTE}/nightly", json=nightly)
    assert first.status_code == 200, first.json
    assert {name: first.json[name] for name in ("name", "cron", "job", "fired_at")} == {
        "name": "nightly",
        **nightly,
        "fired_at": None,
    }
    client.put(f"{ROUTE}/feedback", json={"feedback": 500, "cooldown_s": 3600})
    client.put(f"{ROUTE}/nightly", json={"cron": "0 4 * * 1-5"})
    listed = client.get(ROUTE).json["triggers"]
    assert [(each["name"], each.get("cron"), each.get("feedback")) for each in listed] == [
        ("feedback", None, 500),
        ("nightly", "0 4 * * 1-5", None),
    ]
    assert [each["name"] for each in client.delete(f"{ROUTE}/nightly").json["triggers"]] == ["feedback"]
    assert client.delete(f"{ROUTE}/nightly").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "expected one of cron, feedback, quality and psi"),
        ({"cron": "0 3 * * *", "feedback": 5}, 400, "expected one of cron"),
        ({"cron": "0 0 30 2 *"}, 400, "is never due"),
        ({"cron": "61 3 * * *"}, 400, "is never due"),
        ({"cron": "0 3 * *"}, 400, "expected five fields such as '0 3 * * *'"),
        ({"cron": "* * * * * *"}, 400, "expected five fields"),
        ({"feedback": 0}, 400, "field 'feedback'"),
        ({"quality": {"floor": 1.5}}, 400, "field 'quality.floor'"),
        ({"feedback": 5, "cooldown_s": -1}, 400, "field 'cooldown_s'"),
        ({"feedback": 5, "per_week": 0}, 400, "field 'per_week'"),
        ({"feedback": 5, "job": {"recipe": "quik"}}, 400, "did you mean quick"),
        ({"feedback": 5, "job": {"overrides": {"epochs": 0}}}, 400, "recipe key 'epochs': received 0"),
        ({"feedback": 5, "job": {"budget_s": 0}}, 400, "field 'job.budget_s'"),
        ({"psi": 0}, 400, "field 'psi'"),
        ({"feedback": 5, "url": "x"}, 400, "field 'url'"),
    ],
)
def test_a_trigger_that_cannot_be_is_refused(client: FlaskClient, body: Any, status: int, text: str) -> None:
    """With the field, and what it may be; nothing is set."""
    refused = client.put(f"{ROUTE}/t", json=body)
    assert (refused.status_code, text in refused.json["error"]) == (status, True), refused.json
    assert client.get(ROUTE).json == {"triggers": []}


def test_a_model_that_nobody_can_train_is_refused(client: FlaskClient) -> None:
    """With the closest name."""
    refused = client.put("/api/models/half_plu/triggers/t", json={"feedback": 5})
    assert (refused.status_code, "did you mean half_plus" in refused.json["error"]) == (404, True)


def test_a_trigger_waits_for_a_trainer_as_a_job_does(client: FlaskClient, filled: Store) -> None:
    """There is no catalogue yet: try again later."""
    (filled.root / FILE).unlink()
    refused = client.put(f"{ROUTE}/t", json={"feedback": 5})
    assert (refused.status_code, refused.json["error"]) == (
        503,
        "no trainer has announced its models yet; try again in a few seconds",
    )
    assert int(refused.headers["Retry-After"]) > 0
