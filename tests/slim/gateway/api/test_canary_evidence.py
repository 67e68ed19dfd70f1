"""What the API tells of a canary: its evidence, what is missing for a decision, and what follows when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from modelyard.models.registry.roles.canary import Canary, Step
from modelyard.models.registry.rollout import change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import bucket_name
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.scheduler.canary_analysis import analyse_canaries
from tests.support.fakes import HALF_PLUS

ROUTE = f"/api/models/{HALF_PLUS}/canary"
STEPS = (Step(percent=5, enough=100), Step(percent=50, enough=200))


@pytest.fixture
def ledger(settings: GatewaySettings) -> Ledger:
    """The gateway's own."""
    return Ledger(settings.ledger)


def start(store: Store, **said: Any) -> Canary:
    """Version 2 is stable, version 1 its canary."""
    canary = Canary(version=1, since=datetime.now(UTC), **{"percent": 5, **said})
    change_rollout(store, HALF_PLUS, lambda now: now.start_canary(canary, by="ann", reason="try it"))
    return canary


def count(ledger: Ledger, canary: Canary, role: Any, answers: int, errors: int = 0, gateway: str = "one") -> None:
    counts = {"answers": answers, "errors": errors, bucket_name(3): answers - errors}
    ledger.observations.put_counts(HALF_PLUS, role, 1 if role == "canary" else 2, canary.since, gateway, counts)


def look(store: Store, ledger: Ledger, canary: Canary, stable: int, tried: int, errors: int = 0) -> None:
    """Counts so many answers, and lets canary analysis look."""
    count(ledger, canary, "stable", stable)
    count(ledger, canary, "canary", tried, errors)
    analyse_canaries(store, ledger)


def test_without_a_canary_there_is_an_empty_answer(client: FlaskClient) -> None:
    """And an unknown model is none."""
    found = client.get(ROUTE).json
    assert (found["running"], found["canary"], found["comparisons"], found["path"]) == (False, None, [], [])
    assert client.get("/api/models/none/canary").status_code == 404


def test_a_running_canary_has_its_evidence_its_path_and_what_follows(
    client: FlaskClient, filled: Store, ledger: Ledger
) -> None:
    """Each comparison with its bound; both versions' sums of all gateways; how many answers are left until what."""
    canary = start(filled, steps=STEPS)
    for share in (1, 2, 3):
        look(filled, ledger, canary, 400 * share, 20 * share)
    count(ledger, canary, "canary", 7, gateway="two")
    found = client.get(ROUTE).json
    assert [(one["name"], one["bound"], one["decides"]) for one in found["comparisons"]] == [
        ("errors", 100, "end"),
        ("slow", 100, "end"),
        ("mistakes", 100, "end"),
        ("fit", 20, "promote"),
    ]
    assert found["comparisons"][0]["canary"] == {"answers": 60, "bad": 0}
    assert (found["stable"]["version"], found["tried"]["version"], found["tried"]["answers"]) == (2, 1, 67)
    assert 0.005 < found["tried"]["p50_s"] < found["tried"]["p99_s"] <= 0.01
    assert [point["answers"] for point in found["path"]] == [20, 40, 60]
    progress = {"step": 1, "steps": 2, "percent": 5, "next_percent": 50, "compared": 60, "needed": 100, "then": "step"}
    assert found["progress"] == progress
    assert found["outlook"]["answers_left"] == 40
    assert found["outlook"]["labels_left"] > 100
    assert [each["gateway"] for each in found["gateways"]] == ["one", "two"]
    assert [change["action"] for change in found["changes"]] == ["canary"]


def test_what_is_missing_is_said(client: FlaskClient, filled: Store, ledger: Ledger) -> None:
    """No look yet, no answers, too few of the stable version, no feedback, a share with nothing to compare."""
    canary = start(filled)
    assert "has not looked at it yet. It looks every few seconds." in client.get(ROUTE).json["missing"][0]
    earlier = canary.model_copy(update={"since": canary.since - timedelta(minutes=2)})
    change_rollout(filled, HALF_PLUS, lambda now: now.model_copy(update={"canary": earlier}))
    assert "is one running?" in client.get(ROUTE).json["missing"][0]
    change_rollout(filled, HALF_PLUS, lambda now: now.model_copy(update={"canary": canary}))
    analyse_canaries(filled, ledger)
    texts = " ".join(client.get(ROUTE).json["missing"])
    assert "Version 1 has answered nothing yet" in texts
    assert "The stable version has answered nothing" in texts
    assert "no feedback on answers of either version" in texts
    look(filled, ledger, canary, 30, 10)
    texts = " ".join(client.get(ROUTE).json["missing"])
    assert "Of the stable version's answers 30 were compared. It takes 100" in texts
    look(filled, ledger, canary, 300, 100)
    missing = client.get(ROUTE).json["missing"]
    assert missing == ["There is no feedback on answers of either version: mistakes are not compared."]
    everything = canary.model_copy(update={"percent": 100.0})
    change_rollout(filled, HALF_PLUS, lambda now: now.start_canary(everything, by="t", reason="r"))
    assert "At 100 % the stable version gets no requests" in client.get(ROUTE).json["missing"][0]


def test_the_last_canary_stays_to_be_read(client: FlaskClient, filled: Store, ledger: Ledger) -> None:
    """With how it ended, until another one is looked at."""
    canary = start(filled)
    look(filled, ledger, canary, 300, 20)
    look(filled, ledger, canary, 900, 60, errors=30)
    found = client.get(ROUTE).json
    assert (found["running"], found["canary"]["version"], found["tried"]["errors"]) == (False, 1, 30)
    assert (found["outcome"]["action"], found["outcome"]["by"]) == ("end canary", "canary analysis")
    assert "its answers fail more often" in found["outcome"]["reason"]
    assert found["path"][-1]["errors"] >= 100
    assert found["supports"]["action"] == "end"


def test_a_canary_of_an_earlier_release_is_read(client: FlaskClient, filled: Store) -> None:
    """Its file says only whether it is judged."""
    canary = start(filled)
    path = filled.folder(HALF_PLUS) / "rollout.json"
    content = path.read_text().replace('"judge": "full",', "").replace('"judged": true', '"judged": false')
    path.write_text(content.replace('"steps": [],', ""))
    now = read_rollout(filled, HALF_PLUS)
    assert now.canary == canary.model_copy(update={"judge": "off"})
    found = client.get(ROUTE).json
    assert (found["canary"]["judge"], found["canary"]["judged"], found["progress"]["then"]) == (
        "off",
        False,
        "a person decides",
    )


def test_an_analysis_of_an_earlier_release_has_not_looked_yet(
    client: FlaskClient, filled: Store, ledger: Ledger, settings: GatewaySettings
) -> None:
    """It did not say when it looked: that is no time long ago."""
    canary = start(filled)
    look(filled, ledger, canary, 300, 20)
    engine = create_engine(settings.ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE verdicts SET looked_at = NULL"))
    engine.dispose()
    found = client.get(ROUTE).json
    assert found["looked_at"] is None
    assert "has not looked at it yet" in found["missing"][0]


def test_traffic_of_all_gateways_adds_up_by_version(client: FlaskClient, ledger: Ledger) -> None:
    """This one's own from memory, others' from the ledger; requests that the client got wrong are told apart."""
    slot = int((datetime.now(UTC) - timedelta(minutes=10)).timestamp()) // 300 * 300
    other = {"requests": 10, "errors": 1, bucket_name(5): 9}
    ledger.observations.put_traffic(HALF_PLUS, 2, "other", slot, other)
    ledger.observations.put_traffic(HALF_PLUS, 1, "other", slot - 7200, other)
    for body in ({"instances": [[0.0]]}, {"instances": "x"}):
        client.post(f"/v1/models/{HALF_PLUS}:predict", json=body)
    found = client.get(f"/api/models/{HALF_PLUS}/traffic").json
    (version,) = found["hour"]
    assert (version["version"], version["requests"], version["errors"], version["refused"]) == (2, 12, 1, 1)
    assert version["p50_s"] < 0.1
    assert (version["accuracy"], found["complete"]) == (None, True)
    assert [one["version"] for one in found["day"]] == [2, 1]
    listed = {one["model"]: one for one in client.get("/api/traffic").json["models"]}
    assert listed[HALF_PLUS]["hour"] == found["hour"]
