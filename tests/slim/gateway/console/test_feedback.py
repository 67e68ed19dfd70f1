"""The page of drift and feedback."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.reference import FILE, Histogram, Reference
from modelyard.models.registry.store import Store
from modelyard.services.gateway.console.watching.feedback import describe_shift, name_bins
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.ledger.observations import Drift
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.ledgers import new_ledger_file

MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def settings(filled: Store, server: FakeModelServer) -> GatewaySettings:
    ledger_url = f"sqlite:///{new_ledger_file(filled.root.parent / 'ledger.db')}"
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=ledger_url, captured_models=(REVIEWS, DIGITS)
    )


@pytest.fixture
def ledger(client: FlaskClient) -> Ledger:
    found: Ledger = client.application.extensions["ledger"]
    return found


def show(client: FlaskClient, model: str, query: str = "") -> str:
    response = client.get(f"/models/{model}/feedback{query}", headers={"Accept": "text/html"})
    assert response.status_code == 200, response.text
    return response.text


def test_where_nothing_is_kept_the_page_says_how_to_keep_it(client: FlaskClient) -> None:
    """With the setting, ready to copy."""
    text = show(client, HALF_PLUS)
    assert "Predictions are not kept" in text
    assert f"MODELYARD_CAPTURED_MODELS={HALF_PLUS} modelyard up" in text


def test_where_little_is_kept_the_page_says_how_much_is_needed(client: FlaskClient, ledger: Ledger) -> None:
    """Drift needs two hundred predictions, accuracy needs feedback."""
    tell(ledger, 1, truth=None)
    text = show(client, REVIEWS)
    assert "Drift is measured from 200 predictions of version 1 on; 1 were kept" in text
    assert "none of them has feedback yet" in text


def test_wrong_ones_and_shifts_are_shown_as_text(client: FlaskClient, ledger: Ledger, filled: Store) -> None:
    """Markup in an input stays text; each bin says its shares; a version can be chosen."""
    reference = Reference(histograms={f"input {MARKUP}": Histogram(edges=(1.0,), counts=(3, 1))})
    (filled.path(REVIEWS, 1) / FILE).write_text(reference.model_dump_json())
    shift = {"psi": 0.4, "p_value": 1e-9, "seen": [1, 3]}
    ledger.observations.put_drift(Drift(REVIEWS, 1, 200, {f"input {MARKUP}": shift}, datetime.now(UTC)))
    tell(ledger, 1, truth=1.0)
    text = show(client, REVIEWS)
    assert MARKUP not in text
    assert "&lt;script&gt;" in text
    assert "below 1: 75.0 % in training, 25.0 % now" in text
    assert "has moved far" in text
    assert re.search(r"negative</span>.*is really <strong>positive</strong>", text, re.DOTALL)
    assert "version=1" in text
    assert "All versions" in show(client, REVIEWS, "?version=1&days=7")


def test_a_wrong_address_is_said_on_a_page(client: FlaskClient) -> None:
    """An unknown model, and days that are no number."""
    browser = {"Accept": "text/html"}
    assert client.get("/models/none/feedback", headers=browser).status_code == 404
    refused = client.get(f"/models/{REVIEWS}/feedback?days=x", headers=browser)
    assert (refused.status_code, "received &#39;x&#39;" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("psi", "p_value", "count", "words"),
    [
        (0.05, 0.5, 10, "about as in training"),
        (0.2, 0.005, 10, "may be chance"),
        (0.2, 0.0005, 10, "has moved"),
        (0.3, None, 10, "has moved far"),
        (0.3, 1e-9, 260, "has moved far"),
    ],
)
def test_how_much_is_much_is_said_in_words(psi: float, p_value: float | None, count: int, words: str) -> None:
    """Of many that were looked at, some move by chance."""
    assert describe_shift(psi, p_value, count)[0] == words


def test_bins_have_names() -> None:
    """Ranges of numbers, categories, classes, and what is missing."""

    def names(count: int, classes: tuple[str, ...] = (), **shift: Any) -> list[str]:
        return list(name_bins({"edges": None, "values": None, "missing": False} | shift, count, classes))

    assert names(3, edges=[1, 2]) == ["below 1", "1 to 2", "2 and above"]
    assert names(3, edges=[1], missing=True) == ["below 1", "1 and above", "missing"]
    assert names(3, values=["gold"]) == ["gold", "all others", "missing"]
    assert names(2, ("a", "b"), edges=[0.5]) == ["a", "b"]


def tell(ledger: Ledger, number: int, truth: float | None) -> None:
    content = f"{MARKUP} {number}".encode()
    now = datetime.now(UTC)
    answer = CapturedPrediction(f"id-{number}", 0, REVIEWS, 1, "text", "bytes", (), content, 0.0, 0.9, now)
    ledger.feedback.capture([answer])
    if truth is not None:
        ledger.feedback.record_truth(answer, truth, right=truth == 0, client="c", chosen="outcome")
