"""A stable version that cannot be loaded: callers read the truth, operators the cause; the version before answers."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import manifest
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import Rollout, change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.slim.conftest import open_app
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded
from tests.support.waiting import wait_until

PATH, BODY = f"/v1/models/{HALF_PLUS}", {"instances": [[1.0]]}
DATA_LOSS, OUT_OF_RANGE, RESOURCE_EXHAUSTED = 15, 11, 8
CAUSE = "checksum mismatch: saved_model.pb is missing, extra or changed"
DAMAGED = "DATA_LOSS: version 2 of half_plus is damaged on disk and cannot be loaded"


def fail(server: FakeModelServer, version: int = 2, model: str = HALF_PLUS, code: int = DATA_LOSS) -> None:
    """As after a restart of the model server."""
    server.loaded.discard((model, version))
    server.unloadable[model, version] = (code, CAUSE)


def mend(server: FakeModelServer, version: int = 2) -> None:
    del server.unloadable[HALF_PLUS, version]
    server.loaded.add((HALF_PLUS, version))


def predict(client: FlaskClient, path: str = PATH, **headers: str) -> tuple[int, str | None, Any]:
    answer = client.post(f"{path}:predict", json=BODY, headers=headers)
    return answer.status_code, answer.headers.get("X-Model-Version"), answer.json


def change(store: Store, edit: Callable[[Rollout], Rollout]) -> None:
    change_rollout(store, HALF_PLUS, edit)


def forbid_fallback(client: FlaskClient) -> None:
    answer = client.post(f"/api/models/{HALF_PLUS}/rollout", json={"fallback": False, "reason": "wrong is worse"})
    assert (answer.status_code, answer.json["fallback"]) == (200, False)


# --- what callers get -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [DATA_LOSS, OUT_OF_RANGE])
def test_the_version_before_answers_from_the_first_request_on(
    client: FlaskClient, server: FakeModelServer, code: int
) -> None:
    """The response names it; when the files are whole again, the stable one answers by itself."""
    fail(server, code=code)
    for _ in range(3):
        assert predict(client) == (200, "1", {"predictions": [[1.5]]})
    mend(server)
    wait_until(lambda: predict(client) == (200, "2", {"predictions": [[2.5]]}), what="the stable version")


@pytest.mark.parametrize("path", [f"{PATH}/versions/2", f"{PATH}/labels/stable"])
def test_who_names_the_damaged_version_reads_data_loss(client: FlaskClient, server: FakeModelServer, path: str) -> None:
    """It is no other version that was asked for; no retry would help, so there is no Retry-After, and no file name."""
    fail(server)
    for _ in range(2):
        answer = client.post(f"{path}:predict", json=BODY)
        assert (answer.status_code, answer.json, "Retry-After" in answer.headers) == (500, {"error": DAMAGED}, False)
    assert predict(client, f"{PATH}/versions/1")[0] == 200


def test_without_a_fallback_everybody_reads_data_loss(client: FlaskClient, server: FakeModelServer) -> None:
    """The rollout says whether there is one; its history has who said so."""
    forbid_fallback(client)
    fail(server)
    for _ in range(2):
        assert predict(client)[::2] == (500, {"error": DAMAGED})
    newest = client.get(f"/api/models/{HALF_PLUS}/rollout").json["history"][0]
    assert (newest["action"], newest["reason"]) == ("forbid fallback", "wrong is worse")
    client.post(f"/api/models/{HALF_PLUS}/rollout", json={"fallback": True})
    assert predict(client)[:2] == (200, "1")


def test_the_version_that_was_rolled_back_from_answers_nobody(client: FlaskClient, server: FakeModelServer) -> None:
    """Version 2 is loaded still, but nobody trusts it: nothing was stable before version 1."""
    client.post(f"/api/models/{HALF_PLUS}:rollback")
    fail(server, 1)
    assert predict(client) == (500, "1", {"error": DAMAGED.replace("version 2", "version 1")})


def test_a_damaged_fallback_is_none(client: FlaskClient, server: FakeModelServer) -> None:
    """Both are damaged: the error is that of the stable version, or of the one that was tried last."""
    fail(server, 1)
    fail(server, 2)
    wait_until(lambda: predict(client)[::2] == (500, {"error": DAMAGED}))


def test_the_stable_version_answers_in_place_of_a_damaged_canary(
    client: FlaskClient, server: FakeModelServer, filled: Store
) -> None:
    """Whatever the rollout says of fallbacks: that is the canary's risk, not its clients'."""
    since = "2026-01-01T00:00:00Z"
    change(filled, lambda now: now.promote(1, by="t", reason="r"))
    canary = Canary.model_validate({"version": 2, "percent": 100, "since": since})
    change(filled, lambda now: now.start_canary(canary, by="t", reason="r"))
    forbid_fallback(client)
    fail(server)
    assert predict(client) == (200, "1", {"predictions": [[1.5]]})


def test_a_version_that_does_not_fit_into_memory_is_no_data_loss(client: FlaskClient, server: FakeModelServer) -> None:
    """The server tries it again by itself: 503 with Retry-After."""
    forbid_fallback(client)
    fail(server, code=RESOURCE_EXHAUSTED)
    answer = client.post(f"{PATH}:predict", json=BODY)
    text = "version 2 of half_plus cannot be loaded at present (RESOURCE_EXHAUSTED); try again later"
    assert (answer.status_code, answer.json, "Retry-After" in answer.headers) == (503, {"error": text}, True)


@pytest.mark.parametrize("protocol", ["v1", "v2", "image", "classify"])
def test_every_way_to_predict_says_the_same(client: FlaskClient, server: FakeModelServer, protocol: str) -> None:
    """A model without a version before: DATA_LOSS in both protocols, of raw bodies, and of examples."""
    fail(server, 1, DIGITS)
    tensor = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "FP32", "data": [0.0] * 784}
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "v1": (f"/v1/models/{DIGITS}:predict", {"json": {"instances": [[[[0.0]] * 28] * 28]}}),
        "v2": (f"/v2/models/{DIGITS}/infer", {"json": {"inputs": [tensor]}}),
        "image": (f"/v1/models/{DIGITS}:predict", {"data": encoded("PNG"), "content_type": "image/png"}),
        "classify": (f"/v1/models/{DIGITS}:classify", {"json": {"examples": [{"x": 1}]}}),
    }
    path, body = asked[protocol]
    answer = client.post(path, **body)
    assert answer.status_code == 500, answer.text
    assert "DATA_LOSS: version 1 of digits is damaged on disk" in answer.json["error"]


# --- found on disk ----------------------------------------------------------------------------------------------------


def lose_manifest(folder: Path) -> None:
    (folder / manifest.FILE).unlink()


def garble_manifest(folder: Path) -> None:
    (folder / manifest.FILE).write_text("{")


def damage_graph(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"another graph")


@pytest.mark.parametrize("damage", [lose_manifest, garble_manifest, shutil.rmtree, damage_graph])
def test_damage_that_the_model_server_does_not_report_is_found_on_disk(
    server: FakeModelServer, filled: Store, settings: GatewaySettings, damage: Callable[[Path], None]
) -> None:
    """It was left out of the configuration, or the manifest is gone, which only the gateway reads."""
    damage(filled.path(HALF_PLUS, 2))
    server.loaded.discard((HALF_PLUS, 2))
    with open_app(settings) as app:
        client = app.test_client()
        assert predict(client)[:2] == (200, "1")
        assert client.post(f"{PATH}/versions/2:predict", json=BODY).json == {"error": DAMAGED}
        (detail,) = client.get("/readyz").json["details"]
        assert detail.startswith("half_plus version 2 is damaged on disk: DATA_LOSS: ")


def test_whole_files_that_are_not_loaded_yet_are_no_damage(client: FlaskClient, server: FakeModelServer) -> None:
    """The model server has yet to read its configuration: 503 with Retry-After."""
    server.loaded.discard((HALF_PLUS, 2))
    answer = client.post(f"{PATH}:predict", json=BODY)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert answer.json == {"error": "version 2 of half_plus is being loaded; try again in a moment"}


# --- what operators get -----------------------------------------------------------------------------------------------


def test_readiness_and_metrics_name_what_is_damaged_while_others_answer(
    client: FlaskClient, server: FakeModelServer
) -> None:
    """Ready, with details; without a probe or a request nobody knows, after one of them everybody does."""
    fail(server)
    answer = client.get("/readyz")
    expected = f"half_plus version 2 is damaged on disk: DATA_LOSS: {CAUSE}; version 1 answers in its place"
    assert (answer.status_code, answer.json) == (200, {"ready": True, "details": [expected]})
    assert 'modelyard_gateway_failed_versions{model="half_plus",version="2"} 1.0' in client.get("/metrics").text
    for path, status in (("health", 200), (f"models/{HALF_PLUS}", 200), (f"models/{HALF_PLUS}/versions/2", 503)):
        assert client.get(f"/v2/{path}/ready").status_code == status
    mend(server)
    wait_until(lambda: client.get("/readyz").json == {"ready": True})
    assert not re.search("^modelyard_gateway_failed_versions{", client.get("/metrics").text, re.MULTILINE)


def test_not_ready_when_nothing_can_answer(client: FlaskClient, server: FakeModelServer) -> None:
    """Every model is damaged: 503, each with its cause."""
    forbid_fallback(client)
    for model, version in ((DIGITS, 1), (REVIEWS, 1), (HALF_PLUS, 2)):
        fail(server, version, model)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert len([reason for reason in answer.json["reasons"] if CAUSE in reason]) == 3


def test_not_ready_while_a_model_is_being_loaded(client: FlaskClient, server: FakeModelServer) -> None:
    """Until all that should answer do, as TensorFlow Serving's port is closed; those that are there answer already."""
    server.loaded.discard((HALF_PLUS, 2))
    server.loading.add((HALF_PLUS, 2))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["reasons"]) == (503, ["half_plus version 2 is LOADING"])
    assert client.post(f"{PATH}/versions/1:predict", json=BODY).status_code == 200
    server.loading.clear()
    server.loaded.add((HALF_PLUS, 2))
    assert client.get("/readyz").json == {"ready": True}


def test_not_ready_while_an_external_model_is_being_loaded(server: FakeModelServer, settings: GatewaySettings) -> None:
    """Whose interface only the model server knows."""
    server.loading.add(("foreign", 1))
    with open_app(settings.model_copy(update={"external_models": ("foreign",)})) as app:
        client = app.test_client()
        text = "foreign is being loaded; try again in a moment"
        assert client.get("/readyz").json == {"ready": False, "reasons": [text]}
        asked = client.post("/v1/models/foreign:predict", json=BODY)
        assert (asked.status_code, asked.json, "Retry-After" in asked.headers) == (503, {"error": text}, True)
        server.loading.clear()
        server.loaded.add(("foreign", 1))
        wait_until(lambda: client.get("/readyz").json == {"ready": True})


def test_an_external_model_that_cannot_be_loaded_says_so(server: FakeModelServer, settings: GatewaySettings) -> None:
    """With TensorFlow Serving's text; the others make the gateway ready."""
    server.unloadable["foreign", 3] = (DATA_LOSS, CAUSE)
    with open_app(settings.model_copy(update={"external_models": ("foreign",)})) as app:
        client = app.test_client()
        text = "Servable not found for request: Latest(foreign); version 3 cannot be loaded: DATA_LOSS"
        asked = client.post("/v1/models/foreign:predict", json=BODY)
        assert (asked.status_code, asked.json) == (404, {"error": text})
        assert client.get("/readyz").status_code == 200


def test_one_restarting_replica_of_two_leaves_the_gateway_ready(filled: Store, server: FakeModelServer) -> None:
    """What one of them has loaded answers."""
    with FakeModelServer(filled) as other:
        other.loading |= other.loaded
        other.loaded.clear()
        client = create_app(GatewaySettings(store=filled.root, serving=(other.address, server.address))).test_client()
        for _ in range(3):
            assert client.get("/readyz").json == {"ready": True}
