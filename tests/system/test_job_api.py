"""Jobs over HTTP, on a real gateway, ledger and Redis; no trainer takes them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.job_api import JOB_BODY, JobApi, open_api


@pytest.fixture(scope="module")
def api(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobApi]:
    """With Redis: for all tests that stop neither, and do not mind the others' jobs."""
    with open_api(forks, tmp_path_factory.mktemp("api")) as found, found.redis():
        yield found


@pytest.fixture
def own_api(forks: ForkServer, tmp_path: Path) -> Iterator[JobApi]:
    """Without Redis, unless the test starts it."""
    with open_api(forks, tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def refusing_api(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobApi]:
    """Without Redis: for all tests of what is refused before it is asked for."""
    with open_api(forks, tmp_path_factory.mktemp("refusing")) as found:
        yield found


# --- the same request more than once ----------------------------------------------------------------------------------


def test_a_hundred_copies_of_a_submission_are_one_job(own_api: JobApi) -> None:
    """At the same time, over connections of their own; all get the same job."""
    barrier = threading.Barrier(100)

    def submit(_: int) -> httpx.Response:
        barrier.wait()
        return own_api.submit(key="nightly-2026-11-21")

    with own_api.redis(), ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(submit, range(100)))
    assert {answer.status_code for answer in answers} == {202}
    (job,) = own_api.jobs()
    assert {answer.json()["id"] for answer in answers} == {job["id"]}
    assert {answer.headers["Location"] for answer in answers} == {f"/api/jobs/{job['id']}"}


def test_an_idempotency_key_stands_for_the_request_whatever_its_json_form(api: JobApi) -> None:
    """Order and white space do not matter; another value is 422, names the job, and is not accepted."""
    before = api.jobs()
    first = api.submit(key="k").json()
    turned = api.submit(dict(reversed(JOB_BODY.items())), key="k").json()
    other = api.submit(JOB_BODY | {"rollout": "stable"}, key="k")
    free = api.submit(JOB_BODY | {"rollout": "stable"}, key="another").json()
    unmarked = api.submit().json()
    assert turned["id"] == first["id"]
    assert (other.status_code, first["id"] in other.json()["error"]) == (422, True)
    accepted = {job["id"] for job in api.jobs()} - {job["id"] for job in before}
    assert accepted == {first["id"], free["id"], unmarked["id"]}


def test_a_submission_that_was_refused_may_come_again(own_api: JobApi) -> None:
    """503 while Redis is away; then the same key is accepted, as a job that will run."""
    refused = own_api.submit(key="k")
    with own_api.redis():
        accepted = own_api.submit(key="k")
    assert (refused.status_code, accepted.status_code) == (503, 202)
    assert "Retry-After" in refused.headers
    assert accepted.json()["state"] == "queued"


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tin it"])
def test_a_key_that_is_none_is_refused(refusing_api: JobApi, key: str) -> None:
    """400 with what is expected; nothing is accepted."""
    answer = refusing_api.submit(key=key)
    assert answer.status_code == 400
    assert "Idempotency-Key: expected" in answer.json()["error"]
    assert refusing_api.jobs() == []


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_waiting_job_can_be_cancelled_over_and_over(api: JobApi) -> None:
    """It has ended, its events name who cancelled it, and nobody can start it; an unknown job is 404."""
    job = api.submit().json()
    first, again = (api.http.post(f"/api/jobs/{job['id']}:cancel") for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert (first.json()["state"], first.json()["result"]) == ("cancelled", {"reason": "cancelled by http 127.0.0.1"})
    assert api.ledger.jobs.claim(job["id"], "a worker") is None
    assert api.http.post("/api/jobs/job-0000:cancel").status_code == 404


def test_a_job_that_is_being_published_cannot_be_cancelled(api: JobApi) -> None:
    """409 with the way out."""
    job = api.submit().json()
    claimed = api.ledger.jobs.claim(job["id"], "a worker")
    assert claimed
    assert api.ledger.jobs.begin_publishing(claimed)
    answer = api.http.post(f"/api/jobs/{job['id']}:cancel")
    assert answer.status_code == 409
    assert "roll its version back" in answer.json()["error"]
    assert api.http.get(f"/api/jobs/{job['id']}").json()["state"] == "publishing"


# --- trying again -----------------------------------------------------------------------------------------------------


def test_a_job_that_has_ended_can_be_tried_again_as_a_new_one(api: JobApi) -> None:
    """The same request; it names the first. One that may still end well is 409; a key makes retrying safe to repeat."""
    asked = JOB_BODY | {"priority": "high", "budget_s": 60}
    first = api.submit(asked).json()["id"]
    early = api.http.post(f"/api/jobs/{first}:retry")
    assert (early.status_code, "is queued" in early.json()["error"]) == (409, True)
    api.http.post(f"/api/jobs/{first}:cancel")
    answers = [api.http.post(f"/api/jobs/{first}:retry", headers={"Idempotency-Key": "retry"}) for _ in range(2)]
    again = answers[0].json()
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].json()["id"] == again["id"] != first
    assert answers[0].headers["Location"] == f"/api/jobs/{again['id']}"
    assert again["state"] == "queued"
    assert {name: again[name] for name in asked} == asked
    assert again["retry_of"] == first
    assert api.http.get(f"/api/jobs/{first}").json()["state"] == "cancelled"
    assert api.http.post("/api/jobs/job-0000:retry").status_code == 404


# --- looking ----------------------------------------------------------------------------------------------------------


def test_a_list_is_filtered_and_paged(own_api: JobApi) -> None:
    """By model and states; each page names where the next one begins, the last one nothing."""
    with own_api.redis():
        ids = [own_api.submit().json()["id"] for _ in range(5)]
    own_api.http.post(f"/api/jobs/{ids[1]}:cancel")

    def page(**query: Any) -> tuple[list[str], str | None]:
        found = own_api.http.get("/api/jobs", params=query).json()
        return [job["id"] for job in found["jobs"]], found["next"]

    first, following = page(limit=3)
    assert (first, following) == (ids[:1:-1], ids[2])
    assert page(limit=3, before=following) == ([ids[1], ids[0]], None)
    assert page(state="cancelled") == ([ids[1]], None)
    assert page(state=["cancelled", "queued"], limit=5) == (ids[::-1], None)
    assert page(model="another") == ([], None)


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("limit=0", 400, "limit: received '0', allowed: 1 to 200"),
        ("limit=many", 400, "limit: received 'many'"),
        ("state=done", 400, "state: received 'done', allowed: queued, running"),
        ("offset=3", 400, "unknown parameter 'offset'; there are model, group, state, limit, before"),
        ("before=job-0000", 404, "unknown job"),
    ],
)
def test_a_list_that_cannot_be_is_refused(refusing_api: JobApi, query: str, status: int, text: str) -> None:
    """With the parameter, and what it may be."""
    answer = refusing_api.http.get(f"/api/jobs?{query}")
    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.json()


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"budget_s": 0}, "field 'budget_s': Input should be greater than or equal to 1"),
        ({"priority": "urgent"}, "field 'priority': Input should be 'high', 'normal' or 'low'"),
        ({"overrides": {"epochs": 0}}, "recipe key 'epochs': received 0, allowed: a whole number from 1"),
        ({"overrides": {"epoch": 1}}, "unknown recipe key 'epoch'; did you mean epochs?"),
        ({"url": "http://elsewhere"}, "field 'url': Extra inputs are not permitted; the fields are recipe"),
        ({"rollout": "now"}, "field 'rollout'"),
    ],
)
def test_an_invalid_job_is_refused_by_the_gateway(refusing_api: JobApi, asked: dict[str, Any], text: str) -> None:
    """400 with the field and what it may be; nothing is accepted."""
    answer = refusing_api.submit(JOB_BODY | asked)
    assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.json()
    assert refusing_api.jobs() == []


def test_a_log_is_text(api: JobApi) -> None:
    """What the job's processes wrote; empty before they did, 404 for a job that nobody knows."""
    job = api.submit().json()["id"]
    empty = api.http.get(f"/api/jobs/{job}/log")
    assert (empty.status_code, empty.text) == (200, "")
    api.ledger.logs.write(job, "Traceback…\n")
    answer = api.http.get(f"/api/jobs/{job}/log")
    assert (answer.text, answer.headers["content-type"]) == ("Traceback…\n", "text/plain; charset=utf-8")
    assert api.http.get("/api/jobs/job-0000/log").status_code == 404
