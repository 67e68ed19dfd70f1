"""The pages of models and of canaries, as a browser gets them."""

from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.manifest import Verdict
from modelyard.models.registry.roles.canary import Canary, Step
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.scheduler.canary_analysis import analyse_canaries
from tests.slim.conftest import open_app
from tests.slim.gateway.console.test_pages import BROWSER
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, publish

REJECTED = Verdict(
    accepted=False, reasons=("<b>too low</b>",), metric="r2", value=0.1, champion=None, champion_value=None
)


def read(client: FlaskClient, path: str) -> str:
    found = client.get(path, headers=BROWSER)
    assert (found.status_code, found.content_type) == (200, "text/html; charset=utf-8"), found.text
    return found.text


def start_canary(store: Store) -> None:
    steps = (Step(percent=5, enough=100), Step(percent=50, enough=200))
    canary = Canary(version=1, percent=5, since=datetime.now(UTC), judge="abort-only", steps=steps)
    change_rollout(store, HALF_PLUS, lambda now: now.start_canary(canary, by="ann", reason="<i>try it</i>"))


def test_the_list_says_what_serves(client: FlaskClient, filled: Store) -> None:
    """Each model with its roles; a canary with its share."""
    start_canary(filled)
    page = read(client, "/models")
    assert f'href="/models/{DIGITS}"' in page
    assert "1 · 5 %" in page


def test_a_models_page_has_its_versions_and_what_may_be_done(client: FlaskClient, filled: Store) -> None:
    """A rejected version says why, as text; it is promoted by force only."""
    version = publish(filled, HALF_PLUS, stable=False, verdict=REJECTED)
    page = read(client, f"/models/{HALF_PLUS}")
    assert 'title="&lt;b&gt;too low&lt;/b&gt;"' in page
    assert f'aria-label="Promote version {version}"' in page
    assert 'aria-label="Promote version 2"' not in page  # it is stable
    assert 'data-api="POST /api/models/half_plus:rollback"' in page


def test_a_damaged_version_is_named_and_offered_for_nothing(client: FlaskClient, filled: Store) -> None:
    """The page stands."""
    (filled.path(HALF_PLUS, 1) / manifests.FILE).write_text("{")
    page = read(client, f"/models/{HALF_PLUS}")
    assert "damaged" in page
    assert 'aria-label="Promote version 1"' not in page


def test_a_canarys_page_says_how_it_stands(client: FlaskClient, filled: Store, settings: GatewaySettings) -> None:
    """In words, with what is missing; what people wrote stays text."""
    start_canary(filled)
    analyse_canaries(filled, Ledger(settings.ledger))
    page = read(client, f"/models/{HALF_PLUS}/canary")
    assert "answers 5 % of the requests" in page
    assert "Its share rises to 50 % after 100 more answers" in page
    assert "Version 1 has answered nothing yet." in page
    assert "&lt;i&gt;try it&lt;/i&gt;" in page
    assert 'aria-current="step"' in page


def test_without_a_canary_its_page_says_how_to_start_one(client: FlaskClient) -> None:
    """By a button or a command."""
    page = read(client, f"/models/{HALF_PLUS}/canary")
    assert "No canary yet" in page
    assert "modelyard rollout half_plus --canary 1 --steps 5,25,50" in page


def test_a_model_that_only_the_model_server_knows_has_a_page(
    settings: GatewaySettings, server: FakeModelServer
) -> None:
    """No roles, no versions to promote; what it takes is known from the server."""
    server.loaded.add(("foreign", 3))
    with open_app(settings.model_copy(update={"external_models": ("foreign",)})) as app:
        client = app.test_client()
        assert "available" in read(client, "/models")
        page = read(client, "/models/foreign")
        assert "served as it is" in page
        assert "Promote" not in page
        assert "No canaries here" in read(client, "/models/foreign/canary")


@pytest.mark.parametrize("path", ["/models/none", "/models/none/canary"])
def test_an_unknown_model_is_said_on_a_page(client: FlaskClient, path: str) -> None:
    """With its status."""
    found = client.get(path, headers=BROWSER)
    assert (found.status_code, "There is nothing here" in found.text) == (404, True)
