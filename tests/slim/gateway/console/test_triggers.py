"""The page of triggers."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.services.gateway.console.watching.triggers import describe_when, measure_nearness
from modelyard.services.ledger import JobRequest, Ledger
from tests.support.fakes import HALF_PLUS


@pytest.fixture
def ledger(client: FlaskClient) -> Ledger:
    found: Ledger = client.application.extensions["ledger"]
    return found


def show(client: FlaskClient) -> str:
    response = client.get(f"/models/{HALF_PLUS}/triggers", headers={"Accept": "text/html"})
    assert response.status_code == 200, response.text
    return response.text


def test_without_a_trigger_the_page_says_what_one_does(client: FlaskClient) -> None:
    """And the command."""
    text = show(client)
    assert "No trigger yet" in text
    assert f"modelyard triggers set {HALF_PLUS} nightly" in text


def test_each_firing_leads_to_its_job(client: FlaskClient, ledger: Ledger) -> None:
    """With its reason, which is text; the condition's value stands beside its limit."""
    stored = ledger.triggers.put(HALF_PLUS, "learn", {"feedback": 500, "cooldown_s": 0}, "ann")
    job = ledger.jobs.add(JobRequest(model=HALF_PLUS), by=f"trigger {HALF_PLUS}/learn: <b>500</b>")
    ledger.triggers.record_firing(stored, job.id)
    text = show(client)
    assert f'href="/jobs/{job.id}"' in text
    assert "&lt;b&gt;500&lt;/b&gt;" in text
    assert f"{job.id}, which it started, has not ended" in text
    assert "0 now; fires at 500" in text
    assert "after 500 more predictions with feedback" in text


def test_a_trigger_of_another_release_is_shown_and_can_be_removed(client: FlaskClient, ledger: Ledger) -> None:
    """Not understood is not hidden."""
    ledger.triggers.put(HALF_PLUS, "odd", {"moon": "full"}, "ann")
    text = show(client)
    assert "not understood" in text
    assert f"DELETE /api/models/{HALF_PLUS}/triggers/odd" in text


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({"cron": "0 3 * * *"}, "at 0 3 * * * (UTC)"),
        ({"quality": {"floor": 0.95}}, "fewer than 95.0 % of the newest 200 labels are right"),
        ({"psi": 0.25}, "when drift is above 0.25"),
    ],
)
def test_conditions_are_said_in_words(trigger: dict[str, Any], words: str) -> None:
    """Each kind."""
    assert describe_when(trigger, next(iter(trigger))) == words


@pytest.mark.parametrize(
    ("kind", "value", "limit", "near"),
    [
        ("feedback", 90, 500, 0.18),
        ("psi", 0.5, 0.25, 1.0),
        ("quality", 0.975, 0.95, 0.5),
        ("quality", None, 0.95, None),
    ],
)
def test_how_near_a_condition_is(kind: str, value: float | None, limit: float, near: float | None) -> None:
    """Of quality it is the share of wrong answers that counts."""
    found = measure_nearness(kind, {"value": value, "limit": limit})
    assert found == (near if near is None else pytest.approx(near))
