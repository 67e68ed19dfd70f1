"""Jobs through the client: their events, also over connections that break; rollouts, searches, triggers, feedback."""

import asyncio
import inspect
import threading
from typing import Any

import pytest

from modelyard.client import Conflict, InvalidInput, NotFound, TimedOut, groups
from modelyard.client.client import AsyncClient, Client
from modelyard.client.jobs import EventStream
from modelyard.services.ledger import JobRequest, State
from tests.slim.client.conftest import Gateway, Opens
from tests.support.fakes import HALF_PLUS, REVIEWS
from tests.support.fault_proxy import Answers, Closes, Cuts, FaultProxy
from tests.support.waiting import wait_until


def add_job(served: Gateway) -> str:
    with served.open_ledger() as ledger:
        return str(ledger.jobs.add(JobRequest(model=HALF_PLUS), by="test", devices="auto").id)


def run_job(served: Gateway, job_id: str, epochs: int = 3) -> None:
    """As a trainer does it."""
    with served.open_ledger() as ledger:
        job = ledger.jobs.claim(job_id, "worker")
        assert job
        for epoch in range(1, epochs + 1):
            progress = {"stage": "train", "epoch": epoch, "epochs": epochs, "metrics": {"loss": 1 / epoch}}
            ledger.jobs.record_progress(job, progress, milestone=True)
        ledger.jobs.finish(job, State.FAILED, {"reason": "on purpose"})


def test_a_job_is_followed_until_it_ends(client: Any, served: Gateway) -> None:
    """Events as they happen; then the job, with its reason."""
    job_id = add_job(served)
    trainer = threading.Thread(target=run_job, args=(served, job_id))
    seen = []
    for event in client.jobs.follow(job_id):
        if not seen:
            trainer.start()
        seen.append(event)
    trainer.join()
    assert [event.state for event in seen if event.state] == ["queued", "running", "failed"]
    assert [event.body["epoch"] for event in seen if event.kind == "progress"] == [1, 2, 3]
    job = client.jobs.wait(job_id)
    assert (job.state, job.ended, job.reason) == ("failed", True, "on purpose")
    assert list(client.jobs.follow(job_id, after=seen[-1].id)) == []


@pytest.mark.parametrize("fault", [Closes(), Answers(503, "Retry-After: 0\r\n"), Cuts(b"epoch")])
def test_a_stream_that_breaks_goes_on_behind_its_last_event(
    served: Gateway, proxy: FaultProxy, opens: Opens, fault: Any
) -> None:
    """None is lost, none comes twice, whether it broke between two or within one."""
    job_id = add_job(served)
    run_job(served, job_id)
    whole = list(opens(served.url, served.key).jobs.follow(job_id))
    proxy.faults.extend([fault, fault])
    assert list(opens(proxy.url, served.key).jobs.follow(job_id)) == whole
    assert len(proxy.requests) >= 3
    resumed = [request.lower() for request in proxy.requests[1:]]
    assert all("last-event-id" in request for request in resumed) is isinstance(fault, Cuts)


def test_a_job_that_is_not_there_is_not_waited_for(client: Any) -> None:
    """Whatever is asked of it."""
    for call in (client.jobs.get, client.jobs.wait, client.jobs.cancel, client.jobs.log, client.jobs.retry):
        with pytest.raises(NotFound):
            call("job-0123456789abcdef")
    with pytest.raises(NotFound):
        list(client.jobs.follow("job-0123456789abcdef"))


def test_jobs_are_listed_cancelled_and_waited_for(client: Any, served: Gateway) -> None:
    """One that does not end in time goes on."""
    job_id = add_job(served)
    with pytest.raises(TimedOut, match=r"has not ended within 0\.1 s: it is queued"):
        client.jobs.wait(job_id, timeout=0.1)
    assert job_id in [job.id for job in client.jobs.list(model=HALF_PLUS, state=["queued", "running"])]
    assert client.jobs.cancel(job_id).state == "cancelled"
    ended = add_job(served)
    run_job(served, ended)
    with pytest.raises(Conflict, match="has failed"):
        client.jobs.cancel(ended)
    assert client.jobs.log(job_id) == ""


def test_a_stream_half_read_is_closed(client: Any, served: Gateway) -> None:
    """The gateway notices; other calls of the client go on meanwhile."""
    job_id = add_job(served)
    events = client.jobs.follow(job_id)
    assert next(events).state == "queued"
    assert client.jobs.get(job_id).state == "queued"
    events.close()
    client.jobs.cancel(job_id)


def test_an_event_without_its_end_is_none() -> None:
    """A new stream begins with ``retry``; comments are skipped."""
    stream = EventStream()
    lines = ["id: 1", "event: state", 'data: {"state": "run', "retry: 2000", "", ":", "", "id: 1", "event: state"]
    assert [stream.read(line) for line in lines] == [None] * len(lines)
    assert stream.read('data: {"state": "running"}') is None
    found = stream.read("")
    assert found
    assert (found.id, found.state, stream.last) == (1, "running", 1)


# --- rollouts, feedback -----------------------------------------------------------------------------------------------


def test_roles_are_read_given_and_ended(client: Any) -> None:
    """A label here, as nothing has to be loaded for it; what the gateway refuses, it says."""
    assert HALF_PLUS in [each.name for each in client.models.list().served]
    assert [each["version"] for each in client.models.get(HALF_PLUS).versions] == [1, 2]
    assert client.models.version(HALF_PLUS, 1)["model"] == HALF_PLUS
    assert client.models.card(HALF_PLUS, 1)["version"] == 1
    assert f"# Model card: {HALF_PLUS}, version 1" in client.models.card_text(HALF_PLUS, 1)
    assert client.models.rollout(HALF_PLUS).stable == 2
    with pytest.raises(NotFound):
        client.models.promote(HALF_PLUS, 99, reason="r")
    with pytest.raises(Conflict):
        client.models.rollout(HALF_PLUS, canary=None)
    with pytest.raises(Conflict):
        client.models.rollback(REVIEWS, "worse")
    (pool,) = client.models.pools()
    assert (pool.name, pool.servers, pool.memory_mb) == ("default", 1, None)
    assert {"model": HALF_PLUS, "version": 2}.items() <= next(
        each for each in pool.versions if each["version"] == 2
    ).items()
    assert client.models.move(HALF_PLUS, "default").placement["pool"] == "default"


def test_the_truth_about_a_prediction_is_sent(client: Any) -> None:
    """By the prediction itself, whichever row of a batch it was."""
    good, bad = client.predict_many(REVIEWS, ["good", "bad"])
    assert client.feedback(good, label="positive").right is True
    found = client.feedback(bad, label="positive")
    assert (found.model, found.version, found.right) == (REVIEWS, 1, False)
    assert client.feedback(client.predict(HALF_PLUS, [1.0]), value=3.0).right is None
    with pytest.raises(InvalidInput, match="allowed: negative, positive"):
        client.feedback(good, label="maybe")


def test_triggers_and_searches(client: Any) -> None:
    """Each of the routes."""
    assert client.searches.list() == []
    assert client.triggers.list(HALF_PLUS) == []
    with pytest.raises(NotFound):
        client.searches.get("search-0123456789abcdef")
    found = client.triggers.set(HALF_PLUS, "nightly", cron="0 3 * * *")
    assert (found.name, found.raw["cron"]) == ("nightly", "0 3 * * *")
    assert client.triggers.remove(HALF_PLUS, "nightly") is None


def test_both_clients_have_the_same_methods() -> None:
    """With the same parameters and texts; the asynchronous ones are coroutines."""
    for blocking, asynchronous in (
        (Client, AsyncClient),
        (groups.Jobs, groups.AsyncJobs),
        (groups.Models, groups.AsyncModels),
        (groups.Searches, groups.AsyncSearches),
        (groups.Triggers, groups.AsyncTriggers),
    ):
        names = {name for name in dir(blocking) if not name.startswith("_")}
        assert names == {name for name in dir(asynchronous) if not name.startswith("_")}
        for name in names - {"close", "limited", "options", "url", "from_options", "follow"}:
            one, other = getattr(blocking, name), getattr(asynchronous, name)
            assert inspect.signature(one) == inspect.signature(other)
            assert inspect.getdoc(one) == inspect.getdoc(other)


def test_many_tasks_share_a_client(served: Gateway) -> None:
    """More of them than it has connections."""

    async def ask() -> list[str]:
        async with AsyncClient(served.url, served.key, max_connections=4) as client:
            found = await asyncio.gather(*(client.predict(REVIEWS, f"good {number}") for number in range(50)))
        return [each.label for each in found]

    assert asyncio.run(ask()) == ["positive"] * 50


def test_threads_share_a_client(served: Gateway) -> None:
    """Each has its own answer."""
    labels: dict[int, str] = {}
    with Client(served.url, served.key) as client:

        def ask(number: int) -> None:
            labels[number] = client.predict(REVIEWS, "good" if number % 2 else "bad").label

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(labels) == len(threads))
    assert [labels[number] for number in range(8)] == ["negative", "positive"] * 4
