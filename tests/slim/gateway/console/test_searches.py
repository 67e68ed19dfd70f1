"""Pages of searches: rungs in words, each trial once, and the best."""

import json
import re
from html import unescape
from typing import Any

from flask.testing import FlaskClient

from modelyard.models.catalog import Catalog
from modelyard.services.ledger import Ledger, State
from modelyard.services.ledger.searches import SUCCEEDED, Search, Tried
from modelyard.services.searches import Plan, SearchRequest, make_plan
from tests.slim.gateway.console.conftest import MARKUP, add, end
from tests.support.fakes import HALF_PLUS

BROWSER = {"Accept": "text/html"}
SEARCH = "search-0123456789abcdef"


def read(client: FlaskClient, path: str) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.get_data(as_text=True)[:500]
    return re.sub(r"\s+", " ", answer.get_data(as_text=True))


def read_data(page: str) -> Any:
    found = re.search(r'<template id="trials-data" data-json="([^"]*)"', page)
    assert found
    return json.loads(unescape(found[1]))


def submit(ledger: Ledger, catalog: Catalog, trials: int) -> tuple[Search, Plan]:
    request = SearchRequest(model=HALF_PLUS, trials=trials)
    plan = make_plan(request, catalog.find(HALF_PLUS))
    search = ledger.searches.add(SEARCH, HALF_PLUS, MARKUP, plan.model_dump(mode="json"))
    return search, plan


def measure(ledger: Ledger, trial: int, value: float, **result: Any) -> Tried:
    measured = {"state": "measured", "metrics": {"accuracy": value, "loss": 0.1}}
    return Tried(trial, end(ledger, State.SUCCEEDED, group=SEARCH, **measured | result).id)


def test_without_a_search_the_page_says_how_one_begins(client: FlaskClient, catalog: Catalog) -> None:
    """With the command."""
    del catalog
    assert "modelyard train mnist_mlp --search 12" in read(client, "/searches")


def test_a_search_explains_its_rungs_and_lists_each_trial_once(
    client: FlaskClient, ledger: Ledger, catalog: Catalog
) -> None:
    """As far as it came; who came farthest is first."""
    search, _ = submit(ledger, catalog, 3)
    first = [
        measure(ledger, 0, 0.7),
        measure(ledger, 1, 0.9),
        Tried(2, end(ledger, State.FAILED, group=SEARCH, reason="boom").id),
    ]
    ledger.searches.begin_rung(search, first)
    page = read(client, f"/searches/{search.id}")
    assert "3 trials train for 1 epoch. The best one goes on." in page
    assert "1 trial trains for 3 epochs. It becomes a version." in page
    assert MARKUP not in page
    data = read_data(page)
    assert (data["metric"], data["keys"], data["magnitudes"]) == (
        "accuracy",
        ["batch_size", "learning_rate"],
        ["learning_rate"],
    )
    assert [(one["trial"], one["value"], one["state"]) for one in data["trials"]] == [
        (1, 0.9, "succeeded"),
        (0, 0.7, "succeeded"),
        (2, None, "failed"),
    ]
    assert f'data-api="POST /api/searches/{search.id}:cancel"' in page


def test_the_best_of_a_search_can_be_promoted(client: FlaskClient, ledger: Ledger, catalog: Catalog) -> None:
    """Its version; a trial that was measured in an earlier rung keeps its value while the next one runs."""
    search, _ = submit(ledger, catalog, 2)
    ledger.searches.begin_rung(search, [measure(ledger, 0, 0.7), measure(ledger, 1, 0.9)])
    search = ledger.searches.get(search.id)
    waiting = add(ledger, group=SEARCH)
    ledger.searches.begin_rung(search, [Tried(1, waiting.id)])
    (top, _) = read_data(read(client, f"/searches/{search.id}"))["trials"]
    assert (top["trial"], top["value"], top["state"], top["best"]) == (1, 0.9, "queued", True)
    claimed = ledger.jobs.claim(waiting.id, "w")
    assert claimed
    ledger.jobs.begin_publishing(claimed)
    ledger.jobs.finish(claimed, State.SUCCEEDED, {"version": 7, "validation": {"accuracy": 0.95, "loss": 0.1}})
    ledger.searches.end(ledger.searches.get(search.id), SUCCEEDED, "trial 1 is the best: version 7")
    page = read(client, f"/searches/{search.id}")
    assert f'data-api="POST /api/models/{HALF_PLUS}:promote"' in page
    assert "&#34;version&#34;:7" in page
    listed = read(client, "/searches")
    assert ">0.95<" in listed
    assert "2 of 3" not in listed


def test_a_search_that_is_not_there_is_a_page(client: FlaskClient, catalog: Catalog) -> None:
    """404, for people."""
    del catalog
    answer = client.get("/searches/search-none", headers=BROWSER)
    assert (answer.status_code, answer.content_type) == (404, "text/html; charset=utf-8")
