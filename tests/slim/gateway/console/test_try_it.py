"""Try it and the label desk, as they are sent to the browser."""

import html
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from modelyard.models.registry.manifest import CategoryLimits, NamedLimits, NumberLimits, SignatureSpec, TensorSpec
from modelyard.models.registry.rollout import Canary, change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from tests.slim.conftest import open_app
from tests.support.fakes import CLASSES, DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, publish
from tests.support.keyed import KEY_SECRET, key_for

BROWSER = {"Accept": "text/html"}
MARKUP = "<script>alert(1)</script>"


def read_data(client: FlaskClient, path: str, name: str) -> dict[str, Any]:
    """What a page brings along for its module."""
    response = client.get(path, headers=BROWSER)
    assert response.status_code == 200
    found = re.search(f'<template id="{name}" data-json="([^"]*)"', response.text)
    assert found, response.text
    data: dict[str, Any] = json.loads(html.unescape(found[1]))
    return data


def test_the_page_knows_what_the_model_takes(client: FlaskClient) -> None:
    """From its manifest: kind and limits of each input, the classes, and what can be asked."""
    data = read_data(client, f"/models/{DIGITS}/try", "try")
    assert (data["name"], data["labels"], data["feedback"]) == (DIGITS, ["dark", "light"], "class")
    assert data["usage"]["inputs"][0]["limits"]["width"] == 28
    assert [target["value"] for target in data["targets"]] == ["*", "stable", "1"]
    assert (data["capture"]["on"], data["keyed"], data["may_give_feedback"]) == (False, False, True)


def test_with_a_canary_the_page_begins_with_the_stable_version(client: FlaskClient, filled: Store) -> None:
    """What is tried out is no evidence about it; both can be asked by their labels."""
    canary = Canary(version=1, percent=10, since=datetime.now(UTC))
    change_rollout(filled, HALF_PLUS, lambda now: now.start_canary(canary, by="t", reason="r"))
    data = read_data(client, f"/models/{HALF_PLUS}/try", "try")
    assert [target["value"] for target in data["targets"]] == ["stable", "*", "canary", "2", "1"]


def test_names_with_markup_stay_text(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """Of inputs, categories and classes, and what the model is for."""
    name = "marked"
    inputs = {"a": NumberLimits(title=MARKUP), "b": CategoryLimits(values=(MARKUP,), title="b")}
    specs = tuple(TensorSpec(name=one, dtype=kind, shape=(None,)) for one, kind in (("a", "float32"), ("b", "string")))
    publish(
        filled,
        name,
        task="binary",
        summary=MARKUP,
        labels=(MARKUP, "other"),
        input=NamedLimits(inputs=inputs),
        signatures={"serving_default": SignatureSpec(inputs=specs, outputs=CLASSES)},
    )
    server.loaded.add((name, 1))
    for page in ("try", "label"):
        text = client.get(f"/models/{name}/{page}", headers=BROWSER).text
        assert MARKUP not in text
        assert "&lt;script&gt;" in text


def test_a_model_without_a_version_that_answers_says_what_to_do(
    client: FlaskClient, filled: Store, server: FakeModelServer
) -> None:
    """No form that leads nowhere."""
    publish(filled, "fresh", stable=False)
    del server
    text = client.get("/models/fresh/try", headers=BROWSER).text
    assert "No version answers" in text
    assert "modelyard train fresh --wait" in text
    assert "data-module" not in text


def test_a_damaged_model_is_said_to_be_one(client: FlaskClient, filled: Store) -> None:
    """Its manifest cannot be read, so nothing can be made from it."""
    (filled.path(DIGITS, 1) / "assets.extra" / "manifest.json").write_text("{")
    assert "Its manifest cannot be read" in client.get(f"/models/{DIGITS}/try", headers=BROWSER).text


@pytest.mark.parametrize("page", ["try", "label"])
def test_an_unknown_model_has_no_such_page(client: FlaskClient, page: str) -> None:
    """404, as a page."""
    response = client.get(f"/models/none/{page}", headers=BROWSER)
    assert (response.status_code, "There is nothing here" in response.text) == (404, True)


def test_the_label_desk_says_how_answers_come_to_be_kept(client: FlaskClient) -> None:
    """With the setting, where they are not."""
    text = client.get(f"/models/{REVIEWS}/label", headers=BROWSER).text
    assert f"MODELYARD_CAPTURED_MODELS={REVIEWS}" in text
    assert read_data(client, f"/models/{REVIEWS}/label", "desk")["feedback"] == "class"


def test_a_model_that_takes_no_feedback_has_no_label_desk(
    client: FlaskClient, filled: Store, server: FakeModelServer
) -> None:
    """Said plainly, with what to do instead."""
    publish(filled, "tags", task="multilabel", labels=("a", "b"))
    server.loaded.add(("tags", 1))
    text = client.get("/models/tags/label", headers=BROWSER).text
    assert "No labels here" in text
    assert "data-module" not in text


def test_each_role_sees_what_it_may_use(settings: GatewaySettings, filled: Store) -> None:
    """Trainers try what they trained; feedback needs its own permission, which viewers and trainers lack."""
    roles = (Role.VIEWER, Role.TRAINER, Role.PREDICTOR)
    keys = {role: key_for(filled.root.parent / "ledger.db", role) for role in roles}
    with open_app(settings.model_copy(update={"key_secret": SecretStr(KEY_SECRET)})) as app:
        client = app.test_client()
        pages = {
            (role, page): client.get(
                f"/models/{DIGITS}/{page}", headers=BROWSER | {"Authorization": f"Bearer {keys[role]}"}
            ).status_code
            for role in roles
            for page in ("try", "label")
        }
    assert pages == {
        (Role.VIEWER, "try"): 403,
        (Role.VIEWER, "label"): 403,
        (Role.TRAINER, "try"): 200,
        (Role.TRAINER, "label"): 403,
        (Role.PREDICTOR, "try"): 200,
        (Role.PREDICTOR, "label"): 200,
    }
