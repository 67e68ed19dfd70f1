"""Jobs' events as they happen, on a real gateway, ledger and Redis; no trainer takes the jobs."""

import json
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.ledger import State
from tests.support.job_api import JobApi, open_api
from tests.support.processes import WAIT_S
from tests.support.waiting import wait_until


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
