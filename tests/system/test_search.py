"""A search on a real Redis and ledger, with a worker and two schedulers."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from modelyard.models.catalog import TrainableModel, read_catalog
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.ledger import State
from modelyard.services.ledger.searches import (
    CANCELLED,
    FAILED,
    RUNNING,
    SUCCEEDED,
    Search,
    Searches,
)
from modelyard.services.scheduler.searches import SearchSteps
from modelyard.services.searches import SearchRequest, make_plan
from modelyard.services.tracing.spans import RecordedSpan, Tracing
from tests.support.programs import running_fork
from tests.support.training import TRAINED_S, TrainingCluster
from tests.support.waiting import wait_until

SEARCH = "search-0123456789abcdef"


def trainable(cluster: TrainingCluster) -> TrainableModel:
    found = read_catalog(cluster.home / "store")
    assert found
    return found.find("neuron")


@pytest.fixture
def searches(cluster: TrainingCluster) -> Searches:
    return cluster.ledger.searches


@pytest.fixture
def searcher(cluster: TrainingCluster) -> SearchSteps:
    return SearchSteps(Store(cluster.home / "store"), cluster.ledger, cluster.queue)


def ask(cluster: TrainingCluster, searches: Searches, **more: Any) -> Search:
    asked = SearchRequest(model="neuron", **{"trials": 3, "overrides": {"epochs": 6}, **more})
    return searches.add(SEARCH, "neuron", "test", make_plan(asked, trainable(cluster)).model_dump(mode="json"))


def end_all(cluster: TrainingCluster, result: dict[str, Any]) -> None:
    """Every job that waits ends with this, as a worker would have it."""
    for job in cluster.ledger.jobs.list_queued():
        claimed = cluster.ledger.jobs.claim(job.id, "w")
        assert claimed
        assert cluster.ledger.jobs.begin_publishing(claimed)
        cluster.ledger.jobs.finish(claimed, State.SUCCEEDED, result)


@pytest.mark.long
def test_a_whole_search_publishes_one_version_and_promotes_it(cluster: TrainingCluster, searches: Searches) -> None:
    """Three trials for two epochs, the best on the validation split for six; two schedulers poll all the time."""
    search = ask(cluster, searches, promote_best=True, seed=2)
    eager = cluster.settings | {"MODELYARD_SEARCH_S": "0.2"}
    cluster.worker("worker")
    with (
        running_fork(cluster.forks, cluster.home / "one.log", "scheduler", **eager) as one,
        running_fork(cluster.forks, cluster.home / "two.log", "scheduler", **eager) as two,
    ):
        wait_until(lambda: searches.get(SEARCH).finished_at, 2 * TRAINED_S, "the end of the search")
        assert (one.stop(), two.stop()) == (0, 0)
    ended = searches.get(search.id)
    first, (last,) = ended.rungs
    jobs = {job.id: job for job in cluster.ledger.jobs.find(group=SEARCH)}
    assert jobs.keys() == {tried.job for tried in (*first, last)}, "each trial was asked for once"
    reached = {tried.trial: jobs[tried.job].result["metrics"]["r2"] for tried in first}
    assert last.trial == max(reached, key=lambda trial: reached[trial])
    winner = jobs[last.job]
    assert (ended.state, winner.result["version"]) == (SUCCEEDED, 1), ended.reason
    assert {jobs[tried.job].result["state"] for tried in first} == {"measured"}
    store = Store(cluster.home / "store")
    assert (store.versions("neuron"), read_rollout(store, "neuron").stable) == ((1,), 1)
    made = store.manifest("neuron", 1)
    assert made.recipe.values["learning_rate"] == ended.plan["values"][last.trial]["learning_rate"]
    assert made.training.epochs == 6


def test_many_schedulers_that_poll_at_once_submit_each_trial_once(
    cluster: TrainingCluster, searches: Searches, searcher: SearchSteps
) -> None:
    """In every rung, which is one span: the parent of its trials' jobs."""
    ask(cluster, searches)
    said = list[RecordedSpan]()
    searcher = replace(searcher, tracing=Tracing(1.0, said.append, lambda: None))

    def poll_at_once() -> None:
        barrier = threading.Barrier(8)

        def poll() -> None:
            barrier.wait()
            searcher.step_all()

        threads = [threading.Thread(target=poll) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    poll_at_once()
    assert len(cluster.ledger.jobs.find(group=SEARCH)) == 3
    end_all(cluster, {"state": "measured", "metrics": {"r2": 0.5, "loss": 0.1}})
    poll_at_once()
    assert len(cluster.ledger.jobs.find(group=SEARCH)) == 4
    rungs = searches.get(SEARCH).rungs
    assert [len(rung) for rung in rungs] == [3, 1]
    for span, rung in zip(said, rungs, strict=True):
        parents = {cluster.ledger.jobs.get_traceparent(tried.job) for tried in rung}
        assert parents == {span.context.traceparent}
    end_all(cluster, {"version": 1, "metrics": {"r2": 0.5, "loss": 0.1}})
    poll_at_once()
    *told, whole = said
    assert [span.parent for span in told] == [whole.context] * 2
    assert (whole.name, whole.failed, whole.attributes["modelyard.search.outcome"]) == ("search", False, SUCCEEDED)


def test_a_search_of_which_nothing_is_left_fails(
    cluster: TrainingCluster, searches: Searches, searcher: SearchSteps
) -> None:
    """All its trials were cancelled, or learned nothing that is a number."""
    ask(cluster, searches)
    searcher.step_all()
    end_all(cluster, {"state": "measured", "metrics": {"r2": None, "loss": None}})
    searcher.step_all()
    ended = searches.get(SEARCH)
    assert (ended.state, ended.reason) == (FAILED, "no trial of rung 1 has a value of r2")


def test_a_search_waits_for_the_queue(cluster: TrainingCluster, searches: Searches, searcher: SearchSteps) -> None:
    """And leaves nothing in the ledger meanwhile, however often it polls."""
    ask(cluster, searches)
    cluster.end_redis()
    for _ in range(3):
        searcher.step_all()
    assert (cluster.ledger.jobs.find(group=SEARCH), searches.get(SEARCH).state) == ((), RUNNING)
    cluster.start_redis()
    searcher.step_all()
    assert len(cluster.ledger.jobs.find(group=SEARCH)) == 3


def test_a_search_cancelled_while_its_jobs_are_submitted_has_none_that_runs(
    cluster: TrainingCluster, searches: Searches, searcher: SearchSteps
) -> None:
    """The step that comes too late takes its jobs back."""
    search = ask(cluster, searches)
    assert searches.end(search, CANCELLED, "cancelled by test")
    searcher.step(search, make_plan(SearchRequest.model_validate(search.plan["asked"]), trainable(cluster)))
    assert {job.state for job in cluster.ledger.jobs.find(group=SEARCH)} == {State.CANCELLED}
