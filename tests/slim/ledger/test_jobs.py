"""The ledger: states change by compare-and-set, along allowed moves only."""

import re
import threading
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from modelyard.models.errors import StorageFailed, UnknownName
from modelyard.services.ledger import FINAL, MAX_ATTEMPTS, MOVES, Job, Ledger, State
from tests.support.jobs import WORKER, accept, claim
from tests.support.repository import ROOT


def test_an_accepted_job_is_queued_and_can_be_read_back(ledger: Ledger) -> None:
    """All of the request is stored."""
    job = accept(ledger)
    assert ledger.jobs.get(job.id) == job
    assert (job.state, job.overrides, job.attempts) == (State.QUEUED, {"epochs": 2}, 0)


def test_a_claim_starts_the_job_and_counts_the_attempt(ledger: Ledger) -> None:
    """RUNNING, with a start time."""
    claimed = ledger.jobs.claim(accept(ledger).id, WORKER)
    assert claimed is not None
    assert (claimed.state, claimed.attempts) == (State.RUNNING, 1)
    assert claimed.started_at is not None
    assert claimed.started_at.tzinfo is not None


def test_of_many_claims_at_once_one_wins(ledger: Ledger) -> None:
    """Sixteen threads, one job: a message that was delivered twice starts it once."""
    job = accept(ledger)
    barrier = threading.Barrier(16)
    won: list[Job] = []

    def compete() -> None:
        barrier.wait()
        claimed = ledger.jobs.claim(job.id, WORKER)
        if claimed:
            won.append(claimed)

    threads = [threading.Thread(target=compete) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [claimed.attempts for claimed in won] == [ledger.jobs.get(job.id).attempts] == [1]


def test_a_running_job_is_free_only_when_its_lease_has_run_out(ledger: Ledger) -> None:
    """A second delivery leaves a held job alone; a lease that ended in the past holds nothing."""
    job = accept(ledger)
    held = claim(ledger, job)
    assert ledger.jobs.claim(job.id, "host-2") is None
    assert ledger.jobs.list_lost() == ()
    assert ledger.jobs.renew(held, lease_s=-1)
    assert [lost.id for lost in ledger.jobs.list_lost()] == [job.id]
    assert claim(ledger, job, "host-2").worker == "host-2"
    assert ledger.jobs.list_lost() == ()


@pytest.mark.parametrize("skew", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_a_worker_with_a_wrong_clock_takes_and_loses_no_job(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    """Leases, and who is there, are judged by the database's clock."""
    held = claim(ledger, accept(ledger))
    ledger.workers.register("host-1", ["train.gpu"])

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + skew

    monkeypatch.setattr("modelyard.services.ledger.jobs.datetime", Wrong)
    assert ledger.jobs.claim(held.id, "host-2") is None
    assert ledger.jobs.list_lost() == ()
    assert ledger.workers.list_queues() == {"train.gpu"}
    mine = claim(ledger, accept(ledger), "host-2")
    assert ledger.jobs.renew(mine)
    monkeypatch.undo()
    assert ledger.jobs.list_lost() == ()
    assert ledger.jobs.claim(mine.id, "host-1") is None


def test_whoever_lost_the_lease_changes_nothing_any_more(ledger: Ledger) -> None:
    """The attempt is the fencing number: no renewal, no progress, no end from an older one."""
    job = accept(ledger)
    old = claim(ledger, job, lease_s=-1)
    new = claim(ledger, job, "host-2")
    assert not ledger.jobs.renew(old)
    ledger.jobs.record_progress(old, {"stage": "old"}, milestone=True)
    assert not ledger.jobs.finish(old, State.SUCCEEDED, {"version": 1})
    assert ledger.jobs.get(job.id) == new
    assert "old" not in [event.body.get("stage") for event in ledger.jobs.list_events(job.id)]


def test_a_stopping_worker_requeues_its_jobs_and_no_others(ledger: Ledger) -> None:
    """Queued again, free at once, and the attempt is counted."""
    mine, other = claim(ledger, accept(ledger)), claim(ledger, accept(ledger), "host-2")
    assert [job.id for job in ledger.jobs.release(WORKER)] == [mine.id]
    assert ledger.jobs.get(mine.id).state is State.QUEUED
    assert ledger.jobs.get(other.id) == other
    assert claim(ledger, mine).attempts == 2


def test_a_holder_requeues_its_job_with_a_reason(ledger: Ledger) -> None:
    """The reason is in the job's events; nobody else can, and not twice."""
    job = claim(ledger, accept(ledger))
    assert ledger.jobs.requeue(job, "out of memory", lost=True)
    assert not ledger.jobs.requeue(job, "again", lost=True)
    assert dict(ledger.jobs.list_events(job.id)[-1].body) == {"state": State.QUEUED, "reason": "out of memory"}
    second = claim(ledger, job, "host-2")
    assert not ledger.jobs.requeue(job, "an older attempt", lost=True)
    assert ledger.jobs.get(job.id) == second


@pytest.mark.parametrize("end", sorted(FINAL))
def test_an_ended_job_does_not_start_or_end_again(ledger: Ledger, end: State) -> None:
    """Final states are final."""
    job = claim(ledger, accept(ledger))
    assert ledger.jobs.begin_publishing(job) if end is State.SUCCEEDED else True
    assert ledger.jobs.finish(job, end, {"version": 3})
    assert ledger.jobs.claim(job.id, WORKER) is None
    assert not ledger.jobs.finish(job, State.FAILED, {"reason": "late"})
    assert ledger.jobs.get(job.id).result == {"version": 3}


def test_final_states_have_no_moves() -> None:
    """Nothing leads out of them, and every other state has a way to an end."""
    assert FINAL.isdisjoint(MOVES)
    assert all(FINAL & targets for targets in MOVES.values())


def test_the_picture_in_the_docs_is_the_code() -> None:
    """Every arrow of it is a move, and every move an arrow."""
    picture = (ROOT / "docs" / "jobs.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", picture, re.MULTILINE))
    assert drawn == {(str(source), str(target)) for source, targets in MOVES.items() for target in targets}


def test_a_job_that_keeps_losing_its_worker_fails_with_the_reason(ledger: Ledger) -> None:
    """Three losses, of one kind or the other, then FAILED; the queue is not held up for ever."""
    job = accept(ledger)
    claim(ledger, job, lease_s=-1)
    ledger.jobs.requeue(claim(ledger, job), "killed", lost=True)
    for _ in range(5):  # its worker was stopped: nothing is wrong with the job
        ledger.jobs.requeue(claim(ledger, job), "its worker stopped", lost=False)
    claim(ledger, job, lease_s=-1)
    assert ledger.jobs.claim(job.id, WORKER) is None
    assert (ledger.jobs.get(job.id).state, ledger.jobs.get(job.id).attempts) == (State.FAILED, 8)
    assert "was lost 3 times" in ledger.jobs.get(job.id).result["reason"]


def test_a_job_that_never_ends_is_given_up(ledger: Ledger) -> None:
    """Though no attempt was a loss."""
    job = accept(ledger)
    for _ in range(MAX_ATTEMPTS):
        assert ledger.jobs.requeue(claim(ledger, job), "its worker stopped", lost=False)
    assert ledger.jobs.claim(job.id, WORKER) is None
    assert ledger.jobs.get(job.id).result["reason"] == f"it did not end in {MAX_ATTEMPTS} attempts"


def test_the_time_that_attempts_run_is_added_up(ledger: Ledger) -> None:
    """Written down with each renewal, so that a vanished worker takes little of it along; waiting costs nothing."""
    begun = datetime.now(UTC)
    first = claim(ledger, accept(ledger))
    ledger.jobs.renew(first.model_copy(update={"started_at": first.started_at - timedelta(seconds=50)}), lease_s=-1)  # type: ignore[operator]  # it has started
    spent_s = ledger.jobs.get(first.id).spent_s
    assert 50 <= spent_s <= 50 + seconds_since(begun)
    second = claim(ledger, first, "host-2")
    assert second.spent_s == spent_s
    ledger.jobs.requeue(
        second.model_copy(update={"started_at": second.started_at - timedelta(seconds=7)}), "killed", lost=True
    )  # type: ignore[operator]  # likewise
    assert 57 <= ledger.jobs.get(first.id).spent_s <= 57 + seconds_since(begun)


def seconds_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


def test_progress_is_stored_and_milestones_become_events(ledger: Ledger) -> None:
    """The latest progress is always readable; the events are states and milestones in order."""
    job = claim(ledger, accept(ledger))
    ledger.jobs.record_progress(job, {"stage": "train", "step": 1}, milestone=False)
    ledger.jobs.record_progress(job, {"stage": "train", "step": 2}, milestone=True)
    ledger.jobs.begin_publishing(job)
    ledger.jobs.finish(job, State.SUCCEEDED, {"version": 1})
    assert ledger.jobs.get(job.id).progress == {"stage": "train", "step": 2}
    recorded = [
        (event.kind, event.body.get("state") or event.body.get("step")) for event in ledger.jobs.list_events(job.id)
    ]
    expected = [
        ("state", "queued"),
        ("state", "running"),
        ("progress", 2),
        ("state", "publishing"),
        ("state", "succeeded"),
    ]
    assert recorded == expected
    assert ledger.jobs.list_events(job.id, after=ledger.jobs.list_events(job.id)[-1].id) == ()


def test_jobs_are_listed_newest_first_and_filtered(ledger: Ledger) -> None:
    """By model and by state, up to a limit."""
    first, second = accept(ledger), accept(ledger, "sentiment_lstm")
    ledger.jobs.claim(first.id, WORKER)
    assert [job.id for job in ledger.jobs.find()] == [second.id, first.id]
    assert [job.id for job in ledger.jobs.find(model="mnist_cnn")] == [first.id]
    assert [job.id for job in ledger.jobs.find(states=[State.QUEUED])] == [second.id]
    assert len(ledger.jobs.find(limit=1)) == 1


def test_pages_of_a_list_hold_every_job_once(ledger: Ledger) -> None:
    """Each goes on before the last job of the one before, also when jobs are of the same moment or come in between."""
    every = [accept(ledger).id for _ in range(7)]
    pages: list[list[str]] = []
    before = None
    while page := [job.id for job in ledger.jobs.find(before=before, limit=3)]:
        pages, before = [*pages, page], page[-1]
        accept(ledger)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [job for page in pages for job in page] == every[::-1]
    with pytest.raises(UnknownName):
        ledger.jobs.find(before="job-none")


def test_an_unknown_job_is_named(ledger: Ledger) -> None:
    """With the id of the request."""
    with pytest.raises(UnknownName, match="job-none"):
        ledger.jobs.get("job-none")


def test_a_ledger_that_cannot_be_reached_is_one_clear_error(tmp_path: Path) -> None:
    """A folder in the file's place."""
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(StorageFailed, match="ledger: unable to open database file"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db").prepare()
