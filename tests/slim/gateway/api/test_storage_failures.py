"""A ledger or a store that cannot be written: 503, when to try again, and nothing has changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from tests.slim.conftest import open_app
from tests.support.fakes import HALF_PLUS

ROUTE = f"/api/models/{HALF_PLUS}"
CHANGES = [
    ("POST", f"{ROUTE}:rollback", {}),
    ("POST", f"{ROUTE}:promote", {"version": 1}),
    ("POST", f"{ROUTE}/rollout", {"canary": {"version": 1}}),
]


def replace_by_loop(path: Path) -> None:
    """A file that nobody can open."""
    path.unlink(missing_ok=True)
    path.symlink_to(path)


@pytest.mark.parametrize(("method", "route", "body"), CHANGES)
def test_a_rollout_that_cannot_be_changed_is_503(
    client: FlaskClient, filled: Store, method: str, route: str, body: dict[str, Any]
) -> None:
    """Whatever the change is."""
    for lock in (".pointers.lock", f".promote-{HALF_PLUS}.lock"):
        replace_by_loop(filled.root / lock)
    refused = client.open(route, method=method, json=body)
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True), refused.json
    assert refused.json["error"].startswith("storage: .")
    assert str(filled.root) not in refused.text
    assert read_rollout(filled, HALF_PLUS).stable == 2


@pytest.fixture
def without_ledger(settings: GatewaySettings, tmp_path: Path) -> Iterator[FlaskClient]:
    """Its database is a folder."""
    (tmp_path / "folder.db").mkdir()
    with open_app(settings.model_copy(update={"ledger_url": f"sqlite:///{tmp_path}/folder.db"})) as app:
        yield app.test_client()


@pytest.mark.parametrize(
    ("method", "route"),
    [("POST", "/api/jobs"), ("GET", "/api/jobs"), ("GET", "/api/jobs/job-0"), ("GET", "/api/searches")],
)
def test_without_a_ledger_control_requests_are_503_and_predictions_go_on(
    without_ledger: FlaskClient, method: str, route: str
) -> None:
    """Views that read, too."""
    refused = without_ledger.open(route, method=method, json={"model": HALF_PLUS} if method == "POST" else None)
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True), refused.json
    assert without_ledger.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[1.0]]}).status_code == 200
