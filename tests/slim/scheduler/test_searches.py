"""Searches: how they are laid out, which trials go on, and what the gateway refuses."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.errors import InvalidRecipe
from modelyard.models.ranges import choice, log_range
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Job, JobRequest, KeyReused, Ledger, State
from modelyard.services.ledger.searches import FAILED, SUCCEEDED, Tried
from modelyard.services.scheduler.searches import choose_survivors, read_outcome
from modelyard.services.searches import Plan, SearchRequest, make_plan, read_metric
from tests.support.fakes import HALF_PLUS, FakeModelServer


def number(default: float, **bounds: float) -> RecipeField:
    return RecipeField(default=default, constraints={"type": "number", **bounds})


RECIPE = {
    "epochs": RecipeField(default=20, constraints={"type": "integer", "minimum": 1, "maximum": 1000}),
    "min_steps": RecipeField(default=400, constraints={"type": "integer", "minimum": 1}),
    "learning_rate": number(0.1, exclusiveMinimum=0, maximum=10),
    "batch_size": number(16, minimum=1),
}
RANGES = {"learning_rate": log_range(1e-3, 1.0), "batch_size": choice(8, 16)}
KNOWN = TrainableModel(
    name=HALF_PLUS,
    task="regression",
    summary="",
    dataset="",
    homepage="",
    recipes={"quick": RECIPE},
    search=RANGES,
    metric="r2",
)


def search_request(**more: Any) -> SearchRequest:
    return SearchRequest(model=HALF_PLUS, **{"trials": 12, **more})


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        (12, 20, [(12, 2), (4, 6), (1, 18)]),
        (2, 20, [(2, 6), (1, 18)]),
        (100, 20, [(100, 1), (33, 3), (11, 9), (3, 27), (1, 81)]),
        (9, 2, [(9, 1), (3, 3), (1, 9)]),
    ],
)
def test_each_rung_keeps_a_third_for_three_times_as_long(
    trials: int, epochs: int, expected: list[tuple[int, int]]
) -> None:
    """Down to one, which gets about what the recipe says; at least one epoch for all."""
    found = make_plan(search_request(trials=trials, overrides={"epochs": epochs}), KNOWN)
    assert [(rung.trials, rung.epochs) for rung in found.rungs] == expected


def test_steps_that_a_recipe_wants_at_least_grow_alike() -> None:
    """Else the first rung would cost as much as the last."""
    assert [rung.min_steps for rung in make_plan(search_request(), KNOWN).rungs] == [44, 133, 400]


def test_only_the_last_rung_publishes_and_it_is_promoted_only_on_request() -> None:
    """The others measure on the validation split, at low priority."""
    quiet, loud = make_plan(search_request(), KNOWN), make_plan(search_request(promote_best=True), KNOWN)
    assert [quiet.job(rung, 3).rollout for rung in range(3)] == ["none", "none", "manual"]
    assert [loud.job(rung, 3).rollout for rung in range(3)] == ["none", "none", "stable"]
    assert quiet.job(0, 3).priority == "low"
    assert quiet.job(0, 3).overrides == {**quiet.values[3], "epochs": 2, "min_steps": 44}


def test_what_is_fixed_is_not_searched() -> None:
    """An override, or all keys but those that are named."""
    assert set(make_plan(search_request(overrides={"batch_size": 8}), KNOWN).values[0]) == {"learning_rate"}
    assert set(make_plan(search_request(keys=["batch_size"]), KNOWN).values[0]) == {"batch_size"}
    assert (
        make_plan(search_request(), KNOWN)
        == make_plan(search_request(), KNOWN)
        != make_plan(search_request(seed=1), KNOWN)
    )
    with pytest.raises(InvalidRecipe, match="field 'overrides': nothing is left to search"):
        make_plan(search_request(overrides={"batch_size": 8}, keys=["batch_size"]), KNOWN)


# --- choosing ---------------------------------------------------------------------------------------------------------


def add(ledger: Ledger, group: str | None) -> Job:
    return ledger.jobs.add(JobRequest(model="m"), by="t", group=group)


def finish_job(ledger: Ledger, result: Mapping[str, Any], group: str = "search-1") -> Job:
    job = add(ledger, group)
    claimed = ledger.jobs.claim(job.id, "w")
    assert claimed
    assert ledger.jobs.begin_publishing(claimed)
    ledger.jobs.finish(claimed, State.SUCCEEDED, result)
    return ledger.jobs.get(job.id)


def measured_result(r2: float | None, loss: float | None = 0.1) -> dict[str, Any]:
    return {"state": "measured", "metrics": {"r2": r2, "loss": loss}}


def test_the_best_go_on_and_of_equals_the_first(ledger: Ledger) -> None:
    """What failed, or learned nothing that is a number, does not; and if nothing is left, nothing goes on."""
    values = [
        measured_result(0.5),
        measured_result(0.9),
        {"reason": "failed"},
        measured_result(0.9),
        measured_result(None),
        measured_result(0.99, None),
    ]
    jobs = [(trial, finish_job(ledger, result)) for trial, result in enumerate(values)]
    found = make_plan(search_request(), KNOWN)
    assert choose_survivors(found, 1, jobs) == [1, 3, 0]
    assert choose_survivors(found, 2, jobs) == [1]
    assert choose_survivors(found, 1, [jobs[2], jobs[4]]) == []


def test_trials_are_compared_by_the_validation_split_never_by_the_test_split() -> None:
    """Of a version that was published both are known."""
    published = {"state": "published", "metrics": {"r2": 0.1, "loss": 0.0}, "validation": {"r2": 0.7, "loss": 0.2}}
    assert read_metric(make_plan(search_request(), KNOWN), published) == 0.7
    assert (
        read_metric(make_plan(search_request(), KNOWN), {"state": "rejected", "metrics": {"r2": 0.9, "loss": 0.1}})
        is None
    )


def test_a_search_succeeds_with_a_version(ledger: Ledger) -> None:
    """Or fails with what became of its last job."""
    found = make_plan(search_request(), KNOWN)
    published = {"state": "published", "version": 4, "validation": {"r2": 0.7, "loss": 0.2}}
    assert read_outcome(found, 2, finish_job(ledger, published)) == (
        SUCCEEDED,
        "trial 2 is the best with r2 0.7000 on the validation split: version 4",
    )
    state, reason = read_outcome(found, 2, finish_job(ledger, {"reason": "r2 0.5 is below the floor"}))
    assert (state, "below the floor" in reason) == (FAILED, True)


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_of_two_who_take_a_step_one_does(ledger: Ledger) -> None:
    """And none after the search has ended."""
    searches = ledger.searches
    search = searches.add("search-1", HALF_PLUS, "t", make_plan(search_request(), KNOWN).model_dump(mode="json"))
    assert searches.begin_rung(search, [Tried(0, "job-1")])
    assert not searches.begin_rung(search, [Tried(0, "job-2")])
    now = searches.get("search-1")
    assert now.rungs == ((Tried(0, "job-1"),),)
    assert Plan.model_validate(now.plan) == make_plan(search_request(), KNOWN)
    assert searches.end(now, SUCCEEDED, "r")
    ended = searches.get("search-1")
    assert not searches.begin_rung(ended, [])
    assert (ended.state, ended.reason, ended.finished_at is not None) == (SUCCEEDED, "r", True)
    with pytest.raises(KeyReused):
        searches.add("search-1", HALF_PLUS, "t", make_plan(search_request(seed=1), KNOWN).model_dump(mode="json"))


# --- the gateway ------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    plain = KNOWN.model_copy(update={"name": "plain", "search": {}})
    (filled.root / FILE).write_text(Catalog(digest="", trainable={HALF_PLUS: KNOWN, "plain": plain}).model_dump_json())
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def test_a_search_is_accepted_returned_and_cancelled(client: FlaskClient) -> None:
    """With its plan; the same key is the same search, with another body 422."""
    body = {"model": HALF_PLUS, "trials": 4, "seed": 3}
    first = client.post("/api/searches", json=body, headers={"Idempotency-Key": "k"})
    assert first.status_code == 202, first.json
    assert first.headers["Location"] == f"/api/searches/{first.json['id']}"
    assert (first.json["state"], len(first.json["values"]), first.json["best"]) == ("running", 4, None)
    assert [(rung["trials"], rung["epochs"], rung["tried"]) for rung in first.json["rungs"]] == [
        (4, 6, []),
        (1, 18, []),
    ]
    again = client.post("/api/searches", json=body, headers={"Idempotency-Key": "k"})
    other = client.post("/api/searches", json=body | {"seed": 4}, headers={"Idempotency-Key": "k"})
    assert (again.json["id"], other.status_code) == (first.json["id"], 422)
    assert [search["id"] for search in client.get("/api/searches").json["searches"]] == [first.json["id"]]
    cancelled = [client.post(f"/api/searches/{first.json['id']}:cancel") for _ in range(2)]
    assert [answer.json["state"] for answer in cancelled] == ["cancelled"] * 2
    assert client.get("/api/searches/search-0").status_code == 404


def test_a_search_is_cancelled_with_all_its_jobs(client: FlaskClient, settings: GatewaySettings) -> None:
    """Those that have ended, or belong to no search, stay as they are."""
    search = client.post("/api/searches", json={"model": HALF_PLUS, "trials": 3}).json["id"]
    with closing(Ledger(settings.ledger)) as ledger:
        waiting, other = (add(ledger, group) for group in (search, None))
        done = finish_job(ledger, measured_result(0.5), search)
        assert ledger.searches.begin_rung(ledger.searches.get(search), [Tried(0, done.id), Tried(1, waiting.id)])
        found = client.post(f"/api/searches/{search}:cancel").json
        assert [(tried["state"], tried["value"]) for tried in found["rungs"][0]["tried"]] == [
            ("succeeded", 0.5),
            ("cancelled", None),
        ]
        assert (found["reason"], found["jobs"]) == ("cancelled by http 127.0.0.1", {"succeeded": 1, "cancelled": 1})
        assert ledger.jobs.get(other.id).state == State.QUEUED


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"trials": 1}, 400, "field 'trials': Input should be greater than or equal to 2"),
        ({"trials": 101}, 400, "field 'trials': Input should be less than or equal to 100"),
        ({}, 400, "field 'trials': Field required; the fields are model"),
        ({"trials": 4, "rungs": 3}, 400, "field 'rungs': Extra inputs are not permitted; the fields are model"),
        ({"trials": 4, "model": "half_plu"}, 404, "did you mean half_plus"),
        ({"trials": 4, "model": "plain"}, 400, "plain cannot be searched: it declares no ranges"),
        ({"trials": 4, "recipe": "quik"}, 400, "did you mean quick"),
        ({"trials": 4, "keys": ["batch"]}, 400, "field 'keys': unknown search key 'batch'; did you mean batch_size?"),
        ({"trials": 4, "keys": ["epochs"]}, 400, "valid: batch_size, learning_rate"),
        ({"trials": 4, "overrides": {"epochs": 0}}, 400, "recipe key 'epochs': received 0"),
        ({"trials": 4, "overrides": {"epoch": 1}}, 400, "did you mean epochs?"),
        ({"trials": 4, "seed": -1}, 400, "field 'seed'"),
    ],
)
def test_a_search_that_cannot_be_is_refused(client: FlaskClient, body: Any, status: int, text: str) -> None:
    """With the field, and what it may be; nothing is accepted."""
    refused = client.post("/api/searches", json={"model": HALF_PLUS} | body)
    assert (refused.status_code, text in refused.json["error"]) == (status, True), refused.json
    assert client.get("/api/searches").json == {"searches": []}


def test_jobs_are_listed_by_their_search(client: FlaskClient, settings: GatewaySettings) -> None:
    """And no others."""
    with closing(Ledger(settings.ledger)) as ledger:
        _, mine = (add(ledger, group) for group in (None, "search-1"))
    assert [job["id"] for job in client.get("/api/jobs?group=search-1").json["jobs"]] == [mine.id]
    assert len(client.get("/api/jobs").json["jobs"]) == 2


def test_a_search_is_described_as_it_is_read(client: FlaskClient) -> None:
    """The document is made of the class that reads the body."""
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    read = SearchRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    assert schemas | read.pop("$defs") == schemas
    assert schemas["SearchRequest"] == read
