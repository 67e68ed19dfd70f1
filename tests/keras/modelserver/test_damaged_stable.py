"""A stable version that is damaged on disk, between a real model server that restarts and a gateway."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import rollout
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store as ModelStore
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.faults import flip_a_byte, garble, truncate_variables
from tests.support.modelserver import MODES, Store, eventually, model_server, saved, store
from tests.support.versions import ROWS, publish_copy

__all__ = ["saved", "store"]  # fixtures

BODY = {"inputs": [[1.0, 2.0, 3.0]]}


@pytest.fixture
def models(store: Store) -> ModelStore:
    """Versions 1 and 2 of ``m``; the second is stable, the first is kept."""
    found = ModelStore(store.root)
    found.prepare()
    for version in (1, 2):
        publish_copy(found, "m", store.saved[version], signatures=ROWS)
        change_rollout(found, "m", lambda now, version=version: now.promote(version, by="test", reason="r"))
    return found


@pytest.fixture(params=MODES)
def restarted(
    request: pytest.FixtureRequest, models: ModelStore, store: Store, tmp_path: Path
) -> Iterator[Callable[[], FlaskClient]]:
    """Starts the model server, as after a restart, and a gateway before it."""
    opened = []
    servers = ExitStack()
    quick = {"model_config_file_poll_wait_seconds": 0.02, "file_system_poll_wait_seconds": 0.02}

    def start() -> FlaskClient:
        server = model_server(request.param, store, tmp_path, max_num_load_retries=0, **quick)
        served = servers.enter_context(server)
        eventually(lambda: served.health() == "SERVING", "ready")
        settings = GatewaySettings(store=models.root, serving=served.serving, predict_timeout_s=30, status_timeout_s=30)
        opened.append(create_app(settings, server=served.inside))
        return opened[-1].test_client()

    yield start
    for app in opened:
        app.extensions["predictor"].close()
        app.extensions["ledger"].close()
    servers.close()


@pytest.mark.parametrize("damage", [flip_a_byte, garble, truncate_variables])
def test_the_version_before_answers_and_the_cause_is_shown(
    models: ModelStore, restarted: Callable[[], FlaskClient], damage: Callable[[Path], None]
) -> None:
    """Until the files are whole again; who names the version reads DATA_LOSS."""
    folder = models.path("m", 2)
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    damage(folder)
    client = restarted()
    answer = client.post("/v1/models/m:predict", json=BODY)
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "1"), answer.text
    assert answer.json == {"outputs": {"version": 1, "y": [[1.5, 2.0, 2.5]]}}
    pinned = client.post("/v1/models/m/versions/2:predict", json=BODY)
    assert pinned.json == {"error": "DATA_LOSS: version 2 of m is damaged on disk and cannot be loaded"}
    (detail,) = client.get("/readyz").json["details"]
    assert detail.startswith("m version 2 is damaged on disk: DATA_LOSS: checksum mismatch: ")
    assert 'modelyard_gateway_failed_versions{model="m",version="2"} 1.0' in client.get("/metrics").text
    for path, content in whole.items():
        path.write_bytes(content)
    eventually(lambda: client.get("/readyz").json == {"ready": True}, "mended")
    mended = client.post("/v1/models/m:predict", json=BODY)
    assert mended.json == {"outputs": {"version": 2, "y": [[2.5, 3.0, 3.5]]}}
    assert mended.headers["X-Model-Version"] == "2"


def test_a_version_without_its_folder_is_damaged_too(models: ModelStore, restarted: Callable[[], FlaskClient]) -> None:
    """Nothing is being loaded: saying so for ever would be wrong."""
    change_rollout(models, "m", lambda now: now.model_copy(update={"fallback": False}))
    models.path("m", 2).rename(models.root / "elsewhere")
    answer = restarted().post("/v1/models/m:predict", json=BODY)
    assert (answer.status_code, "DATA_LOSS: version 2 of m" in answer.text) == (500, True)
    assert "versions: 2" in (models.root / rollout.CONFIG).read_text()
