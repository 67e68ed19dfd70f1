"""The permission to publish: given once, never with a cancellation, and remembered when its holder is lost."""

import contextlib
import threading

import pytest

from modelyard.services.ledger import MAX_ATTEMPTS, MAX_LOSSES, Job, Ledger, State, TooLate
from tests.support.jobs import WORKER, accept, claim


def test_a_version_is_published_only_by_way_of_the_permission(ledger: Ledger) -> None:
    """Success without the permission is no transition; the holder gets it, and may lose its worker after."""
    job = claim(ledger, accept(ledger), lease_s=-1)
    assert not ledger.jobs.finish(job, State.SUCCEEDED, {"version": 1})
    assert ledger.jobs.begin_publishing(job)
    assert [lost.id for lost in ledger.jobs.list_lost()] == [job.id]
    again = claim(ledger, job, "host-2")
    assert (again.state, again.attempts, again.losses) == (State.PUBLISHING, 2, 0)
    assert not ledger.jobs.begin_publishing(job)
    assert ledger.jobs.begin_publishing(again)


def lose_while_publishing(ledger: Ledger, losses: int) -> Job:
    """A job that was lost so often before its last attempt, which was lost with the permission to publish."""
    job = claim(ledger, accept(ledger), lease_s=-1)
    for _ in range(losses):
        job = claim(ledger, job, lease_s=-1)
    assert ledger.jobs.begin_publishing(job)
    return job


def test_no_loss_ends_a_job_that_may_be_published(ledger: Ledger) -> None:
    """Neither the third one nor the thirtieth, until an attempt has looked for the version."""
    job = lose_while_publishing(ledger, MAX_LOSSES - 1)
    for _ in range(MAX_ATTEMPTS + 10):
        job = claim(ledger, job, lease_s=-1)
        assert (job.state, job.losses) == (State.PUBLISHING, MAX_LOSSES - 1)
    assert ledger.jobs.finish(job, State.SUCCEEDED, {"version": 1})


def test_an_attempt_that_found_no_version_trains_and_its_loss_counts(ledger: Ledger) -> None:
    """After it, limits end the job again; who no longer holds it resumes nothing."""
    lost = lose_while_publishing(ledger, MAX_LOSSES - 1)
    job = claim(ledger, lost, lease_s=-1)
    assert ledger.jobs.resume_training(lost) is None
    resumed = ledger.jobs.resume_training(job)
    assert resumed
    assert resumed.state is State.RUNNING
    assert ledger.jobs.claim(job.id, WORKER) is None
    assert ledger.jobs.get(job.id).state is State.FAILED


@pytest.mark.parametrize("lost", [True, False])
def test_a_requeued_job_that_may_be_published_stays_so(ledger: Ledger, lost: bool) -> None:
    """Its process was killed, or its worker stopped: any worker may look for the version at once."""
    job = claim(ledger, accept(ledger))
    assert ledger.jobs.begin_publishing(job)
    assert ledger.jobs.requeue(job, "killed", lost=False) if lost else ledger.jobs.release(WORKER)
    assert [free.id for free in ledger.jobs.list_lost()] == [job.id]
    assert claim(ledger, job, "host-2").state is State.PUBLISHING


def test_a_waiting_and_a_running_job_can_be_cancelled_and_stay_so(ledger: Ledger) -> None:
    """Who runs it holds it no more: it may not publish, and cannot end it otherwise. Cancelling again does nothing."""
    waiting, running = accept(ledger), claim(ledger, accept(ledger))
    assert ledger.jobs.is_held(running)
    for job in (waiting, running):
        cancelled = ledger.jobs.cancel(job.id, "ann")
        assert (cancelled.state, cancelled.result) == (State.CANCELLED, {"reason": "cancelled by ann"})
        assert ledger.jobs.cancel(job.id, "bob") == cancelled
        assert ledger.jobs.claim(job.id, WORKER) is None
    assert not ledger.jobs.is_held(running)
    assert not ledger.jobs.begin_publishing(running)
    assert not ledger.jobs.renew(running)
    assert not ledger.jobs.finish(running, State.FAILED, {"reason": "killed"})
    assert ledger.jobs.list_lost() == ()


def test_a_job_that_is_published_or_has_ended_is_not_cancelled(ledger: Ledger) -> None:
    """The error says what became of it."""
    job = claim(ledger, accept(ledger))
    ledger.jobs.begin_publishing(job)
    with pytest.raises(TooLate, match="is being published; roll its version back"):
        ledger.jobs.cancel(job.id, "ann")
    ledger.jobs.finish(job, State.SUCCEEDED, {"version": 1})
    with pytest.raises(TooLate, match="has succeeded"):
        ledger.jobs.cancel(job.id, "ann")


def test_of_cancelling_and_publishing_at_once_one_wins(ledger: Ledger) -> None:
    """Twenty races: the job is cancelled and may not publish, or is published and cannot be cancelled."""
    for _ in range(20):
        job, barrier = claim(ledger, accept(ledger)), threading.Barrier(2)
        allowed: list[bool] = []

        def publish(job: Job = job, barrier: threading.Barrier = barrier, allowed: list[bool] = allowed) -> None:
            barrier.wait()
            allowed.append(ledger.jobs.begin_publishing(job))

        thread = threading.Thread(target=publish)
        thread.start()
        barrier.wait()
        with contextlib.suppress(TooLate):
            ledger.jobs.cancel(job.id, "ann")
        thread.join()
        assert ledger.jobs.get(job.id).state is (State.PUBLISHING if allowed == [True] else State.CANCELLED)
