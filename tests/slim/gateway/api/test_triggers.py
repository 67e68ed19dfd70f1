"""Triggers over HTTP: set, listed, removed; what can never be due is refused."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.registry.reference import FILE as REFERENCE_FILE
from modelyard.models.registry.reference import Histogram, Reference, Shares
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import JobRequest, Ledger
from modelyard.services.ledger.observations import Drift
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


def test_a_schedule_says_when_it_fires_next(client: FlaskClient) -> None:
    """Five times, no two nearer than its cool-down."""
    hourly = client.put(f"{ROUTE}/hourly", json={"cron": "0 * * * *", "cooldown_s": 7200}).json
    times = [datetime.fromisoformat(at) for at in hourly["next_at"]]
    assert len(times) == 5
    assert times[0] - datetime.now(UTC) <= timedelta(hours=1)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=2)}
    assert hourly["condition"]["due"] is False
    assert client.put(f"{ROUTE}/some", json={"feedback": 5}).json["next_at"] == []


def test_what_keeps_a_trigger_from_firing_is_said(client: FlaskClient, ledger: Ledger) -> None:
    """The condition's value against its limit; then its cool-down, and the job that it started with its state."""
    (waiting,) = (client.put(f"{ROUTE}/learn", json={"feedback": 5}).json,)
    assert waiting["condition"] == {
        "due": False,
        "reason": "0 new answers with feedback",
        "value": 0,
        "limit": 5,
        "held_back": "",
    }
    (stored,) = ledger.triggers.list_triggers(HALF_PLUS)
    request = JobRequest(model=HALF_PLUS)
    job = ledger.jobs.add(request, by=f"trigger {HALF_PLUS}/learn: 5 new answers with feedback")
    ledger.jobs.add(request, by=f"trigger {HALF_PLUS}/learner: another one's")
    assert ledger.triggers.record_firing(stored, job.id)
    (fired,) = client.get(ROUTE).json["triggers"]
    assert fired["condition"]["held_back"].startswith("its cool-down lasts until")
    assert [(one["job"], one["state"], one["reason"]) for one in fired["firings"]] == [
        (job.id, "queued", "5 new answers with feedback")
    ]
    client.put(f"{ROUTE}/learn", json={"feedback": 5, "cooldown_s": 0})
    (busy,) = client.get(ROUTE).json["triggers"]
    assert busy["condition"]["held_back"] == f"{job.id}, which it started, has not ended"
    assert len(busy["firings"]) == 1


def test_drift_comes_with_the_histograms_that_it_compares(client: FlaskClient, filled: Store, ledger: Ledger) -> None:
    """Counts in the same bins; none where their number differs, or of an older release."""
    reference = Reference(
        histograms={"answer value": Histogram(edges=(0.0, 1.0), counts=(5, 3, 2))},
        shares={"input plan": Shares(values=("gold",), counts=(7, 2, 1))},
    )
    (filled.path(HALF_PLUS, 1) / REFERENCE_FILE).write_text(reference.model_dump_json())
    shifts = {
        "answer value": {"psi": 0.1, "p_value": 0.5, "seen": [1, 2, 3]},
        "input plan": {"psi": 0.3, "p_value": None, "seen": [1, 1, 4]},
        "input gone": {"psi": 0.2, "p_value": 0.1, "seen": [1]},
        "input old": {"psi": None, "p_value": 0.1},
    }
    ledger.observations.put_drift(Drift(HALF_PLUS, 1, 200, shifts, datetime.now(UTC)))
    found = client.get(f"/api/models/{HALF_PLUS}/drift").json["shifts"]
    assert list(found) == ["input plan", "input gone", "answer value", "input old"]
    plan, value = found["input plan"], found["answer value"]
    assert (plan["reference"], plan["seen"], plan["values"], plan["edges"]) == ([7, 2, 1], [1, 1, 4], ["gold"], None)
    assert (value["reference"], value["seen"], value["edges"], value["values"]) == ([5, 3, 2], [1, 2, 3], [0, 1], None)
    assert (found["input gone"]["reference"], found["input old"]["psi"], found["input old"]["seen"]) == (None, 0, None)
