"""Pages of jobs."""

from html import unescape

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.console.jobs import advise, format_took
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Job, JobRequest, Ledger, State
from tests.support.curves import add_job, add_trained, begin_stage, end_epoch
from tests.support.fakes import FakeModelServer
from tests.support.ledgers import new_ledger_file

BROWSER = {"Accept": "text/html"}
MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger: Ledger, ledger_url: str) -> GatewaySettings:
    ledger.prepare()
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


@pytest.fixture
def ledger_url(tmp_path: object) -> str:
    return f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}"


def read(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == status
    return answer.get_data(as_text=True)


def end(ledger: Ledger, state: State, result: dict[str, object]) -> Job:
    job = add_job(ledger)
    begin_stage(ledger, job, "train", "preparing, on cpu with tensorflow")
    if state is State.SUCCEEDED:
        ledger.jobs.begin_publishing(job)
    ledger.jobs.finish(job, state, result)
    return job


def test_the_list_says_what_to_do_where_there_is_no_job(client: FlaskClient) -> None:
    """None at all, or none like that."""
    assert "modelyard train" in read(client, "/jobs")
    assert "No job like that" in read(client, "/jobs?state=failed&model=x")


def test_the_list_is_filtered_and_goes_on_by_pages(client: FlaskClient, ledger: Ledger) -> None:
    """The link to older jobs keeps the filter."""
    jobs = [ledger.jobs.add(JobRequest(model="digits"), by="test") for _ in range(51)]
    other = add_trained(ledger, [0.5])
    page = read(client, "/jobs?model=digits")
    assert other.id not in page
    assert page.count('name="id"') == 50
    assert f'href="/jobs?model=digits&amp;before={jobs[1].id}"' in page
    older = read(client, f"/jobs?model=digits&before={jobs[1].id}")
    assert older.count('name="id"') == 1
    assert "data-refresh" not in older
    assert other.id in read(client, "/jobs?state=rejected")
    group = ledger.jobs.add(JobRequest(model="digits"), by="test", group="search-1")
    assert f'href="/jobs/compare?id={group.id}"' in read(client, "/jobs?group=search-1")
    read(client, "/jobs?state=none", 400)


def test_a_running_job_shows_stages_and_what_is_left(client: FlaskClient, ledger: Ledger) -> None:
    """It can be cancelled, not retried; the page refreshes itself."""
    job = add_job(ledger)
    begin_stage(ledger, job, "data")
    values = {"stage": "train", "epoch": 2, "epochs": 9, "eta_s": 8100.0, "share": 0.45, "metrics": {}}
    ledger.jobs.record_progress(job, values, milestone=True)
    page = read(client, f"/jobs/{job.id}")
    assert "45 % · 2 h 15 min left" in page
    assert f'data-api="POST /api/jobs/{job.id}:cancel"' in page
    assert ":retry" not in page
    assert 'data-refresh="10"' in page
    assert '<li class="now" data-took="" aria-current="step"><span>train</span>' in page
    assert '<li class="next" data-took=""><span>export</span>' in page


@pytest.mark.parametrize(
    ("state", "result", "words"),
    [
        (State.FAILED, {"reason": "timeout: its time budget of 9 s is used up"}, "budget_s"),
        (State.REJECTED, {"reason": "accuracy 0.5 is below the floor 0.9"}, "The gate rejected it"),
        (State.SUCCEEDED, {"state": "measured", "metrics": {"loss": 0.5}}, "publishes nothing"),
        (State.SUCCEEDED, {"version": 7, "promotion": {"promoted": False, "reason": "left"}}, "Version 7 of half_plus"),
    ],
)
def test_an_ended_job_says_what_became_of_it(
    client: FlaskClient, ledger: Ledger, state: State, result: dict[str, object], words: str
) -> None:
    """In words, with what to do; nothing refreshes itself any more, and it can be retried."""
    job = end(ledger, state, result)
    page = read(client, f"/jobs/{job.id}")
    assert words in page
    assert str(result.get("reason", "")) in page
    assert "data-refresh" not in page
    assert f'data-api="POST /api/jobs/{job.id}:retry"' in page
    assert "host-1" in page


def test_a_refresh_carries_no_curves(client: FlaskClient, ledger: Ledger) -> None:
    """The page has them from its stream."""
    job = add_job(ledger)
    end_epoch(ledger, job, 1, 0.5)
    assert "curves-data" in read(client, f"/jobs/{job.id}")
    refreshed = client.get(f"/jobs/{job.id}", headers={**BROWSER, "X-Refresh": "true"}).get_data(as_text=True)
    assert "curves-data" not in refreshed


def test_a_job_that_is_not_there_says_so(client: FlaskClient) -> None:
    """On a page."""
    assert "There is nothing here" in read(client, "/jobs/job-0000000000000000", 404)
    assert "Choose jobs first" in read(client, "/jobs/compare")


def test_jobs_beside_each_other_mark_the_best(client: FlaskClient, ledger: Ledger) -> None:
    """Only what differs; each can be left out."""
    one = add_trained(ledger, [0.5, 0.2], learning_rate=0.1)
    other = add_trained(ledger, [0.6, 0.4], learning_rate=0.2)
    page = read(client, f"/jobs/compare?id={one.id}&id={other.id}")
    assert "learning_rate" in page
    assert page.count('class="number best"') == 4
    assert f'href="/jobs/compare?id={other.id}" aria-label="Remove {one.id}"' in page


def test_markup_from_users_stays_text(client: FlaskClient, ledger: Ledger) -> None:
    """Names, values, reasons and messages."""
    job = add_job(ledger, MARKUP, note=MARKUP)
    begin_stage(ledger, job, "train", MARKUP)
    ledger.jobs.finish(job, State.FAILED, {"reason": MARKUP})
    for path in ("/jobs", f"/jobs/{job.id}", f"/jobs/compare?id={job.id}"):
        page = read(client, path)
        assert MARKUP not in page
        assert MARKUP in unescape(page)


def test_short_stages_are_told_by_tenths() -> None:
    """And a failure without advice of its own points to the log."""
    assert [format_took(s) for s in (None, 0.02, 0.62, 75)] == ["", "<0.1 s", "0.6 s", "1 min 15 s"]
    assert "smaller batch_size" in advise("the training process was ended by SIGKILL (out of memory?)")
    assert "log" in advise("anything else")
