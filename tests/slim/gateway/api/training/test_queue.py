"""Workers and the queue over HTTP: what runs where, what waits and why, and when it will be empty."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from modelyard.models.catalog import FILE, Catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.training.broker_probe import AWAY
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from modelyard.services.ledger import Job, JobRequest, Ledger, State
from modelyard.services.ledger.sql.engine import open_engine
from modelyard.services.ledger.sql.tables import JOBS
from tests.slim.conftest import open_app
from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.jobs import claim
from tests.support.keyed import KEY_SECRET, bearer_header, key_for
from tests.support.ledgers import new_ledger_file

TRAINING = {"stage": "train", "epoch": 2, "epochs": 4, "step": 10, "steps": 20, "eta_s": 33.0}


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}"
    )


@pytest.fixture
def ledger(settings: GatewaySettings) -> Ledger:
    found = Ledger(settings.ledger)
    found.prepare()
    return found


def add(ledger: Ledger, model: str = HALF_PLUS, devices: str = "auto", **fields: Any) -> Job:
    return ledger.jobs.add(JobRequest(model=model, **fields), by="ann", devices=devices)


def end(ledger: Ledger, settings: GatewaySettings, took_s: float, model: str = HALF_PLUS) -> None:
    """A job that went through in so many seconds."""
    job = claim(ledger, add(ledger, model), "w")
    ledger.jobs.finish(job, State.REJECTED, {})
    engine = open_engine(settings.ledger)
    moment = datetime.now(UTC)
    with engine.begin() as connection:
        times = {"started_at": moment - timedelta(seconds=took_s), "finished_at": moment}
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(times))
    engine.dispose()


def read(client: FlaskClient) -> Any:
    answer = client.get("/api/queue")
    assert answer.status_code == 200, answer.json
    return answer.json


def test_what_runs_says_where_how_far_and_how_long(client: FlaskClient, ledger: Ledger) -> None:
    """And the worker says what it runs, on what, and since when it is alive."""
    ledger.workers.register("w", ["train.cpu"], slots=2)
    job = claim(ledger, add(ledger), "w")
    ledger.jobs.record_progress(job, TRAINING, milestone=False)
    found = read(client)
    (runs,) = found["running"]
    assert (runs["worker"], runs["queue"], runs["stage"], runs["share"], runs["left_s"]) == (
        "w",
        "train.cpu",
        "train",
        0.375,
        33.0,
    )
    assert (found["waiting"], found["depth"], found["empty_in_s"], found["workers"]) == ([], {}, 33.0, 1)
    (worker,) = client.get("/api/workers").json["workers"]
    assert (worker["devices"], worker["slots"], worker["busy"], worker["jobs"]) == (["CPU"], 2, 1, [job.id])
    assert datetime.fromisoformat(worker["since"]) <= datetime.fromisoformat(worker["seen_at"])


def test_what_waits_says_why_and_when_it_starts(client: FlaskClient, ledger: Ledger, settings: GatewaySettings) -> None:
    """By how long earlier jobs of the model and recipe took."""
    ledger.workers.register("w", ["train.cpu"])
    end(ledger, settings, 100.0)
    jobs = [add(ledger), add(ledger), add(ledger, devices="gpu"), add(ledger, priority="high")]
    found = read(client)
    assert [(each["id"], each["why"], each["starts_in_s"]) for each in found["waiting"]] == [
        (jobs[3].id, "it is next, and starts at once", 0),
        (jobs[0].id, "1 job is before it", 100),
        (jobs[1].id, "2 jobs are before it", 200),
        (jobs[2].id, "no trainer with a GPU is alive; the job starts when one does", None),
    ]
    assert found["depth"] == {"train.cpu": 3, "train.gpu": 1}
    assert found["empty_in_s"] is None
    assert found["empty_unknown"] == [
        f"{jobs[2].id} waits: no trainer with a GPU is alive; the job starts when one does"
    ]
    ledger.jobs.cancel(jobs[2].id, "test")
    assert read(client)["empty_in_s"] == 300


def test_nobody_invents_how_long_a_first_job_takes(client: FlaskClient, ledger: Ledger) -> None:
    """Null, and why."""
    ledger.workers.register("w", ["train.cpu"])
    add(ledger)
    found = read(client)
    assert (found["waiting"][0]["takes_s"], found["waiting"][0]["takes_from"], found["empty_in_s"]) == (None, 0, None)
    assert found["empty_unknown"] == [
        f"no job of {HALF_PLUS} with recipe quick has gone through yet, so nobody knows how long one takes"
    ]


def test_a_job_of_a_worker_that_is_gone_waits_for_another(client: FlaskClient, ledger: Ledger) -> None:
    """It is called running, and nothing runs."""
    ledger.workers.register("other", ["train.cpu"])
    job = claim(ledger, add(ledger), "gone")
    found = read(client)
    assert (found["running"], [each["id"] for each in found["waiting"]]) == ([], [job.id])
    assert found["waiting"][0]["why"].startswith("its worker is gone; another one takes it over")


def test_a_broker_that_is_away_is_said(client: FlaskClient, ledger: Ledger, filled: Store) -> None:
    """Of a system that trains: then nobody can say when anything starts."""
    (filled.root / FILE).write_text(Catalog(digest="", trainable={}).model_dump_json())
    ledger.workers.register("w", ["train.cpu"])
    add(ledger)
    found = read(client)
    assert (found["problem"], found["empty_in_s"], found["empty_unknown"]) == (AWAY, None, [AWAY])
    assert (found["waiting"][0]["why"], found["waiting"][0]["starts_in_s"]) == (
        "it is next; the job queue is not reachable",
        None,
    )


def test_a_gateway_that_only_predicts_has_an_empty_queue(filled: Store, server: FakeModelServer) -> None:
    """And makes no ledger by being asked."""
    url = f"sqlite:///{filled.root}/none.db"
    with open_app(GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=url)) as app:
        client = app.test_client()
        assert (read(client)["empty_in_s"], read(client)["problem"]) == (0, None)
        assert client.get("/api/workers").json == {"workers": []}
    assert not (filled.root / "none.db").exists()


def test_jobs_of_hidden_models_count_and_are_not_shown(
    settings: GatewaySettings, ledger: Ledger, tmp_path: Path
) -> None:
    """A key of one model sees that something is before its job, not what."""
    ledger.workers.register("w", ["train.cpu"])
    claim(ledger, add(ledger, REVIEWS), "w")
    add(ledger, REVIEWS)
    mine = add(ledger)
    key = key_for(tmp_path / "ledger.db", Role.VIEWER, HALF_PLUS)
    predictor = bearer_header(key_for(tmp_path / "ledger.db", Role.PREDICTOR))
    keyed = {name: getattr(settings, name) for name in ("store", "serving", "ledger_url")} | {"key_secret": KEY_SECRET}
    with open_app(GatewaySettings(**keyed)) as app:
        client, headers = app.test_client(), bearer_header(key)
        found = client.get("/api/queue", headers=headers)
        assert REVIEWS not in found.get_data(as_text=True)
        assert [(each["id"], each["before"]) for each in found.json["waiting"]] == [(mine.id, 1)]
        assert found.json["running"] == []
        (worker,) = client.get("/api/workers", headers=headers).json["workers"]
        assert (worker["busy"], worker["jobs"]) == (1, [])
        assert client.get("/api/queue", headers=predictor).status_code == 403


def test_all_jobs_count_and_the_next_ones_are_shown(client: FlaskClient, ledger: Ledger) -> None:
    """100 of them."""
    ledger.workers.register("w", ["train.cpu"])
    for _ in range(105):
        add(ledger)
    found = read(client)
    assert (len(found["waiting"]), found["depth"]) == (100, {"train.cpu": 105})
