"""Jobs over HTTP, on a real gateway, ledger and Redis; no trainer takes them."""

import json
import subprocess
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.services.cli.processes import redis_server
from modelyard.services.ledger import Ledger, State
from tests.support.ports import free_port
from tests.support.serving import START_S, WAIT_S, Running, running
from tests.support.waiting import wait_until

MODEL = "neuron"
JOB_BODY = {"model": MODEL, "recipe": "quick", "rollout": "manual"}

EPOCHS = RecipeField(default=3, constraints={"type": "integer", "minimum": 1, "maximum": 10})


@dataclass
class JobApi:
    """A gateway that takes jobs."""

    home: Path
    http: httpx.Client
    gateway: Running

    @property
    def ledger(self) -> Ledger:
        """The gateway's own, opened once more."""
        return Ledger(f"sqlite:///{self.home}/ledger.db")

    def submit(self, asked: dict[str, Any] = JOB_BODY, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post("/api/jobs", content=json.dumps(asked), headers=headers)

    def jobs(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.http.get("/api/jobs").json()["jobs"]
        return listed

    @contextmanager
    def redis(self) -> Iterator[None]:
        socket = self.home / "redis.sock"
        command = redis_server.build_command(redis_server.find_server(), socket, self.home)
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: redis_server.is_answering(socket), WAIT_S, "redis")
            yield
        finally:
            server.terminate()
            server.wait(WAIT_S)


@contextmanager
def open_api(home: Path) -> Iterator[JobApi]:
    store = home / "store"
    store.mkdir()
    known = TrainableModel(
        name=MODEL, task="regression", summary="", dataset="", homepage="", recipes={"quick": {"epochs": EPOCHS}}
    )
    (store / FILE).write_text(Catalog(digest="", trainable={MODEL: known}).model_dump_json())
    port = free_port()
    settings = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(store),
        "MODELYARD_LEDGER_URL": f"sqlite:///{home}/ledger.db",
        "MODELYARD_BROKER_URL": redis_server.make_broker_url(home / "redis.sock"),
    }
    with (
        running(home / "gateway.log", "modelyard.services.gateway", **settings) as gateway,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as http,
    ):
        found = JobApi(home, http, gateway)
        wait_until(lambda: "listening" in gateway.printed, START_S, "the gateway")
        yield found


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobApi]:
    """With Redis: for all tests that stop neither, and do not mind the others' jobs."""
    with open_api(tmp_path_factory.mktemp("api")) as found, found.redis():
        yield found


@pytest.fixture
def own_api(tmp_path: Path) -> Iterator[JobApi]:
    """Without Redis, unless the test starts it."""
    with open_api(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def refusing_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobApi]:
    """Without Redis: for all tests of what is refused before it is asked for."""
    with open_api(tmp_path_factory.mktemp("refusing")) as found:
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


# --- events as they happen --------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """One event of a stream."""

    id: int | None
    kind: str
    data: dict[str, Any]


def listen(api: JobApi, job: str, after: int | None = None) -> Generator[Heard]:
    """A stream until it ends."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with api.http.stream("GET", f"/api/jobs/{job}/events", headers=headers) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        found: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                found[name] = value
            elif "data" in found:
                yield Heard(int(found["id"]) if "id" in found else None, found["event"], json.loads(found["data"]))
                found = {}


def test_a_jobs_events_are_streamed_live_and_resume_after_a_disconnect(api: JobApi) -> None:
    """States and milestones with growing ids, progress between them without; the second stream goes on behind them."""
    job = api.submit().json()["id"]
    stream = listen(api, job)
    first = next(stream)
    assert (first.kind, first.data["state"]) == ("state", "queued")
    claimed = api.ledger.jobs.claim(job, "a worker")
    assert claimed
    started = next(stream)
    assert (started.kind, started.data["state"]) == ("state", "running")
    api.ledger.jobs.record_progress(claimed, {"stage": "train", "step": 7}, milestone=False)
    now = next(stream)
    assert (now.id, now.kind, now.data) == (None, "now", {"stage": "train", "step": 7})
    stream.close()
    api.ledger.jobs.record_progress(claimed, {"stage": "export"}, milestone=True)
    api.ledger.jobs.finish(claimed, State.FAILED, {"reason": "no reason"})
    rest = list(listen(api, job, after=started.id))
    assert [(heard.kind, heard.data.get("state") or heard.data["stage"]) for heard in rest] == [
        ("progress", "export"),
        ("state", "failed"),
    ]
    assert started.id
    assert [heard.id for heard in rest] == sorted(heard.id for heard in rest if heard.id and heard.id > started.id)
    over = api.http.get(f"/api/jobs/{job}/events", headers={"Last-Event-ID": str(rest[-1].id)})
    assert (over.status_code, over.content) == (204, b"")


def test_listeners_hold_no_thread_and_those_who_left_no_place(api: JobApi) -> None:
    """A hundred at once, and jobs are still accepted; one more is 503; when they have closed, there is room."""
    with ExitStack() as stack:
        job = api.submit().json()["id"]
        path, pool = f"/api/jobs/{job}/events", httpx.Limits(max_connections=None)
        many = stack.enter_context(httpx.Client(base_url=api.http.base_url, limits=pool, timeout=WAIT_S))
        streams = [stack.enter_context(many.stream("GET", path)).iter_lines() for _ in range(100)]
        assert [next(lines) for lines in streams] == ["retry: 2000"] * 100
        assert api.submit().status_code == 202
        assert api.http.get(f"/api/jobs/{job}").json()["state"] == "queued"
        one_more = api.http.get(path)
        assert (one_more.status_code, "100 listeners" in one_more.json()["error"]) == (503, True)

    def is_stream_open() -> bool:
        with api.http.stream("GET", path) as answer:
            return answer.status_code == 200

    wait_until(is_stream_open, WAIT_S, "places are free again")


def test_streams_end_when_the_gateway_is_stopped(own_api: JobApi) -> None:
    """SIGTERM is not held up by who listens to a job that runs for hours."""
    with own_api.redis():
        job = own_api.submit().json()["id"]
    stream = listen(own_api, job)
    next(stream)
    own_api.gateway.process.terminate()
    assert list(stream) == []
    assert own_api.gateway.process.wait(WAIT_S) == 0


def test_what_is_no_event_and_no_job_is_refused(api: JobApi) -> None:
    """400 and 404, as any other error."""
    job = api.submit().json()["id"]
    wrong = api.http.get(f"/api/jobs/{job}/events", headers={"Last-Event-ID": "-1"})
    assert (wrong.status_code, "Last-Event-ID: expected" in wrong.json()["error"]) == (400, True)
    assert api.http.get("/api/jobs/job-0000/events").status_code == 404
