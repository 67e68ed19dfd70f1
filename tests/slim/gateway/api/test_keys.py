"""What a key is for: its models, its own jobs, and, of admins, other keys."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from modelyard.services.ledger import JobRequest, Ledger, State
from modelyard.services.searches import SearchRequest, make_plan
from tests.slim.conftest import open_app
from tests.slim.scheduler.test_searches import KNOWN
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.keyed import KEY_SECRET, bearer_header, key_for, prefix_of, until_ended
from tests.support.ledgers import new_ledger_file
from tests.support.waiting import wait_until

MINE, FOREIGN, NOWHERE = HALF_PLUS, DIGITS, "nowhere"
BODY = {"instances": [[1.0]]}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_ledger_file(tmp_path / "ledger.db")


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger: Path) -> GatewaySettings:
    known = {name: KNOWN.model_copy(update={"name": name}) for name in (MINE, FOREIGN)}
    (filled.root / FILE).write_text(Catalog(digest="", trainable=known).model_dump_json())
    return GatewaySettings(
        store=filled.root,
        serving=(server.address,),
        ledger_url=f"sqlite:///{ledger}",
        broker_url="redis://127.0.0.1:1/0",
        submissions_per_min=0,  # nobody is there to count them
        key_secret=KEY_SECRET,
        captured_models=(MINE, FOREIGN),
    )


@pytest.fixture
def jobs(ledger: Path) -> Iterator[Ledger]:
    found = Ledger(f"sqlite:///{ledger}")
    found.prepare()
    yield found
    found.close()


@pytest.fixture
def narrow(ledger: Path) -> dict[Role, str]:
    """A key of each role for one model; there is no such admin."""
    return {role: key_for(ledger, role, MINE) for role in Role if role is not Role.ADMIN}


def job_of(jobs: Ledger, model: str, by: str, state: State | None = None) -> str:
    job = jobs.jobs.add(JobRequest(model=model), by=by)
    if state:
        jobs.jobs.finish(job, state, {"reason": "test"})
    return job.id


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("POST", "/v1/models/{}:predict", Role.PREDICTOR),
        ("POST", "/v1/models/{}/versions/1:predict", Role.PREDICTOR),
        ("POST", "/v1/models/{}/labels/stable:predict", Role.PREDICTOR),
        ("POST", "/V1/models/{}:predict", Role.PREDICTOR),
        ("POST", "/v1/models/{}:classify", Role.PREDICTOR),
        ("POST", "/v1/models/{}:regress", Role.PREDICTOR),
        ("GET", "/v1/models/{}", Role.PREDICTOR),
        ("GET", "/v1/models/{}/versions/1", Role.PREDICTOR),
        ("GET", "/v1/models/{}/metadata", Role.PREDICTOR),
        ("POST", "/v2/models/{}/infer", Role.PREDICTOR),
        ("POST", "/v2/models/{}/versions/1/infer", Role.PREDICTOR),
        ("GET", "/v2/models/{}", Role.PREDICTOR),
        ("GET", "/v2/models/{}/ready", Role.PREDICTOR),
        ("GET", "/api/models/{}", Role.PREDICTOR),
        ("GET", "/api/models/{}/rollout", Role.VIEWER),
        ("GET", "/api/models/{}/versions/1", Role.VIEWER),
        ("GET", "/api/models/{}/triggers", Role.VIEWER),
        ("GET", "/api/models/{}/drift", Role.VIEWER),
        ("POST", "/api/models/{}:rollback", Role.OPERATOR),
        ("POST", "/api/models/{}:promote", Role.OPERATOR),
        ("POST", "/api/models/{}/rollout", Role.OPERATOR),
        ("PUT", "/api/models/{}/triggers/t", Role.OPERATOR),
        ("DELETE", "/api/models/{}/triggers/t", Role.OPERATOR),
        ("POST", "/v2/repository/models/{}/load", Role.OPERATOR),
    ],
)
def test_a_model_that_a_key_is_not_for_is_not_there(
    client: FlaskClient, narrow: Mapping[Role, str], method: str, path: str, role: Role
) -> None:
    """404, word for word as one that does not exist; its own model is."""
    foreign, unknown, own = (
        client.open(
            path.format(model),
            method=method,
            json=BODY if method != "GET" else None,
            headers=bearer_header(narrow[role]),
        )
        for model in (FOREIGN, NOWHERE, MINE)
    )
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.text.replace(FOREIGN, NOWHERE) == unknown.text
    assert FOREIGN not in unknown.text
    assert own.status_code not in {401, 403}
    assert own.text != unknown.text.replace(NOWHERE, MINE)


def test_lists_hold_the_models_that_a_key_is_for(client: FlaskClient, narrow: Mapping[Role, str], ledger: Path) -> None:
    """And what can be trained of them; a key for all models sees all."""
    key, whole = bearer_header(narrow[Role.VIEWER]), bearer_header(key_for(ledger, Role.VIEWER, name="whole"))
    for headers, expected in ((key, {MINE}), (whole, {MINE, FOREIGN, REVIEWS})):
        listed = client.get("/api/models", headers=headers).json
        assert {model["name"] for model in listed["models"]} == expected
        assert set(listed["trainable"]) == expected - {REVIEWS}
        assert {entry["name"] for entry in client.post("/v2/repository/index", headers=headers).json} == expected


def test_what_concerns_all_models_is_not_for_a_key_of_some(client: FlaskClient, narrow: Mapping[Role, str]) -> None:
    """Metrics name them all."""
    refused = client.get("/metrics", headers=bearer_header(narrow[Role.VIEWER]))
    assert (refused.status_code, "expected a key for all models" in refused.text) == (403, True)


# --- jobs and searches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/events", "/log"])
def test_a_job_of_another_model_is_not_there(
    client: FlaskClient, narrow: Mapping[Role, str], jobs: Ledger, path: str
) -> None:
    """Nor its events, nor its log."""
    own, foreign = job_of(jobs, MINE, "bob", State.FAILED), job_of(jobs, FOREIGN, "bob", State.FAILED)
    key = bearer_header(narrow[Role.VIEWER])
    assert client.get(f"/api/jobs/{own}{path}", headers=key).status_code == 200
    hidden, unknown = (client.get(f"/api/jobs/{job}{path}", headers=key) for job in (foreign, "job-0"))
    assert (hidden.status_code, hidden.json) == (404, {"error": f"unknown job '{foreign}'"})
    assert hidden.text.replace(foreign, "job-0") == unknown.text


def test_jobs_of_other_models_are_in_no_list(client: FlaskClient, narrow: Mapping[Role, str], jobs: Ledger) -> None:
    """In no filter; also as the start of a page."""
    own, foreign = job_of(jobs, MINE, "bob"), job_of(jobs, FOREIGN, "bob")
    key = bearer_header(narrow[Role.VIEWER])
    assert [job["id"] for job in client.get("/api/jobs", headers=key).json["jobs"]] == [own]
    assert client.get(f"/api/jobs?model={FOREIGN}", headers=key).json["jobs"] == []
    assert client.get(f"/api/jobs?before={foreign}", headers=key).status_code == 404


def test_a_job_for_another_model_cannot_be_submitted(client: FlaskClient, narrow: Mapping[Role, str]) -> None:
    """As if nobody could train it: the answer names the key's own models only. The same for searches."""
    for path, more in (("/api/jobs", {}), ("/api/searches", {"trials": 4})):
        foreign, unknown = (
            client.post(path, json={"model": model, **more}, headers=bearer_header(narrow[Role.TRAINER]))
            for model in (FOREIGN, NOWHERE)
        )
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert foreign.text.replace(FOREIGN, NOWHERE) == unknown.text
        assert FOREIGN not in unknown.text


def test_a_trainer_ends_and_retries_its_own_jobs_and_no_others(client: FlaskClient, ledger: Path, jobs: Ledger) -> None:
    """It may read those of others, but cancelling or retrying them is 404; an operator acts on all."""
    ann = bearer_header(key_for(ledger, Role.TRAINER, name="ann"))
    operator = bearer_header(key_for(ledger, Role.OPERATOR, name="oscar"))
    own, others, old = job_of(jobs, MINE, "ann"), job_of(jobs, MINE, "bob"), job_of(jobs, MINE, "http 127.0.0.1")
    for job in (others, old):
        assert client.get(f"/api/jobs/{job}", headers=ann).status_code == 200
        for verb in ("cancel", "retry"):
            refused = client.post(f"/api/jobs/{job}:{verb}", headers=ann)
            assert (refused.status_code, refused.json) == (404, {"error": f"unknown job '{job}'"})
    assert client.post(f"/api/jobs/{own}:cancel", headers=ann).json["result"] == {"reason": "cancelled by ann"}
    assert client.post(f"/api/jobs/{others}:cancel", headers=operator).json["result"]["reason"] == "cancelled by oscar"
    assert client.post(f"/api/jobs/{own}:retry", headers=ann).status_code == 503  # no broker here: it got that far
    assert jobs.jobs.find()[0].by == "ann"


def test_a_search_is_its_owners(client: FlaskClient, ledger: Path) -> None:
    """Readable by whoever may read its model, cancelled by its owner or by an operator."""
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        for name, model in (("s1", MINE), ("s2", MINE), ("s3", FOREIGN)):
            planned = make_plan(SearchRequest(model=model, trials=4), KNOWN.model_copy(update={"name": model}))
            found.searches.add(name, model, "bob", planned.model_dump(mode="json"))
    ann = bearer_header(key_for(ledger, Role.TRAINER, MINE, name="ann"))
    bob = bearer_header(key_for(ledger, Role.TRAINER, MINE, name="bob"))
    operator = bearer_header(key_for(ledger, Role.OPERATOR, MINE, name="oscar"))
    assert {search["id"] for search in client.get("/api/searches", headers=ann).json["searches"]} == {"s1", "s2"}
    assert client.get("/api/searches/s1", headers=ann).status_code == 200
    assert client.get("/api/searches/s3", headers=ann).json == {"error": "unknown search 's3'"}
    assert [
        client.post(f"/api/searches/{search}:cancel", headers=who).status_code
        for search, who in (("s1", ann), ("s3", operator), ("s1", bob), ("s2", operator))
    ] == [404, 404, 200, 200]


def test_equal_idempotency_keys_of_two_principals_are_two(client: FlaskClient, ledger: Path) -> None:
    """No principal gets the job of another one."""
    asked, keys_of_both = (
        {"model": MINE, "trials": 4},
        [key_for(ledger, Role.TRAINER, name=name) for name in ("ann", "bob")],
    )
    searches = [
        client.post("/api/searches", json=asked, headers={**bearer_header(key), "Idempotency-Key": "same"}).json
        for key in keys_of_both
        for _ in range(2)
    ]
    assert [search["by"] for search in searches] == ["ann", "ann", "bob", "bob"]
    assert len({search["id"] for search in searches}) == 2


# --- answers ----------------------------------------------------------------------------------------------------------


def test_predictions_of_another_model_are_404(
    client: FlaskClient, narrow: Mapping[Role, str], ledger: Path, app: Any
) -> None:
    """Neither to read nor to label; feedback bears the key's name, whatever its body says."""
    whole = bearer_header(key_for(ledger, Role.PREDICTOR, name="whole"))
    client.post(f"/v1/models/{MINE}:predict", json=BODY, headers={**whole, "X-Request-Id": "mine"})
    image = {"instances": [[[[0.0]] * 28] * 28]}
    assert client.post(f"/v1/models/{FOREIGN}:predict", json=image, headers={**whole, "X-Request-Id": "foreign"}).json
    app.extensions["predictor"].capture.close()
    key = bearer_header(narrow[Role.PREDICTOR])
    assert client.get("/api/answers/mine", headers=key).status_code == 200
    hidden, unknown = (client.get(f"/api/answers/{name}", headers=key) for name in ("foreign", "none"))
    assert (hidden.status_code, hidden.text.replace("foreign", "none")) == (404, unknown.text)
    assert client.get("/api/answers/foreign", headers=whole).status_code == 200
    statuses = [
        client.post("/api/feedback", json={"request_id": name, **truth}, headers=key).status_code
        for name, truth in (("foreign", {"label": 1}), ("mine", {"value": 1.0}))
    ]
    assert statuses == [404, 201]
    examples = app.extensions["ledger"].feedback.list_examples(MINE, limit=10)
    assert [example.client for example in examples] == ["predictor"]


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(ledger: Path) -> Mapping[str, str]:
    return bearer_header(key_for(ledger, Role.ADMIN))


def test_an_admin_creates_a_key_that_is_returned_once(client: FlaskClient, admin: Mapping[str, str]) -> None:
    """It is valid as soon as the gateway has polled; no list has more than its prefix."""
    asked = {"name": "ann", "role": "predictor", "models": [MINE], "days": 30}
    made = client.post("/api/keys", json=asked, headers=admin)
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    key = made.json["key"]
    wait_until(lambda: client.get(f"/v1/models/{MINE}", headers=bearer_header(key)).status_code == 200)
    listed = client.get("/api/keys", headers=admin)
    assert {entry["name"]: entry["state"] for entry in listed.json["keys"]} == {"admin": "active", "ann": "active"}
    assert (key in listed.text, "digest" in listed.text, prefix_of(key) in listed.text) == (False, False, True)


def test_a_revoked_key_is_refused_soon_and_revoking_again_is_no_error(
    app: Flask, client: FlaskClient, admin: Mapping[str, str], ledger: Path
) -> None:
    """Within five seconds; a key that there never was is 404."""
    key = key_for(ledger, Role.VIEWER, name="ann")
    assert client.get("/version", headers=bearer_header(key)).status_code == 200
    first, again = (client.delete(f"/api/keys/{prefix_of(key)}", headers=admin) for _ in range(2))
    assert (first.status_code, again.json) == (200, first.json)
    until_ended(
        lambda: client.get("/version", headers=bearer_header(key)).status_code == 401,
        lambda: app.extensions["guard"].key_cache.age_s,
    )
    assert client.delete("/api/keys/000000000000", headers=admin).status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"name": "Ann", "role": "viewer"}, 400, "field 'name'"),
        ({"name": "ann", "role": "root"}, 400, "field 'role'"),
        ({"name": "ann", "role": "admin", "models": [MINE]}, 400, "none is for some models only"),
        ({"name": "ann", "role": "viewer", "days": 0}, 400, "field 'days'"),
        ({"name": "two", "role": "viewer"}, 409, "two has 2 active keys already"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_reason(
    client: FlaskClient, admin: Mapping[str, str], ledger: Path, asked: Any, status: int, text: str
) -> None:
    """And none is made."""
    for _ in range(2):
        key_for(ledger, Role.VIEWER, name="two")
    refused = client.post("/api/keys", json=asked, headers=admin)
    assert (refused.status_code, text in refused.json["error"]) == (status, True), refused.json
    assert len(client.get("/api/keys", headers=admin).json["keys"]) == 3


def test_without_a_secret_there_are_no_keys_to_give(filled: Store, server: FakeModelServer, ledger: Path) -> None:
    """Everybody is let in there; the answer says what to set."""
    open_to_all = GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=f"sqlite:///{ledger}")
    with open_app(open_to_all) as app:
        refused = app.test_client().post("/api/keys", json={"name": "ann", "role": "viewer"})
    assert (refused.status_code, "MODELYARD_KEY_SECRET" in refused.json["error"]) == (409, True)
