"""Traces of jobs, from what the ledger has and what a training process reports: no process, no broker."""

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from modelyard.models.errors import StorageFailed
from modelyard.services.job_trace import ATTEMPT, JOB, WAIT, trace_attempt
from modelyard.services.ledger import STOPPED, SYSTEM, Job, JobRequest, Ledger, State
from modelyard.services.tracing.spans import RecordedSpan, Tracing
from tests.support.jobs import claim

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


class Spans:
    """Tracing whose spans stay here."""

    def __init__(self, share: float = 1.0) -> None:
        self.said: list[RecordedSpan] = []
        self.tracing = Tracing(share, self.said.append, lambda: None)

    def only(self, name: str) -> RecordedSpan:
        (found,) = self.named(name)
        return found

    def named(self, name: str) -> list[RecordedSpan]:
        return [span for span in self.said if span.name == name]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def submit(ledger: Ledger, traceparent: str | None = PARENT, group: str | None = None) -> Job:
    origin = replace(SYSTEM, traceparent=traceparent)
    return ledger.jobs.add(JobRequest(model="neuron"), by="test", group=group, origin=origin)


def run(spans: Spans, ledger: Ledger, job: Job, *stages: str, ends: State = State.SUCCEEDED) -> Job:
    """One attempt that ends the job."""
    claimed = claim(ledger, job)
    with trace_attempt(spans.tracing, ledger, claimed) as note:
        for stage in stages:
            note(stage)
        if ends in (State.SUCCEEDED, State.FAILED):
            ledger.jobs.begin_publishing(claimed)
        assert ledger.jobs.finish(claimed, ends, {"version": 7} if ends is State.SUCCEEDED else {})
    return claimed


def test_a_job_is_a_trace_from_its_request_through_the_queue_to_its_stages(ledger: Ledger, spans: Spans) -> None:
    """Stages under the attempt, which is beside the wait; all in the trace of the request."""
    job = submit(ledger)
    run(spans, ledger, job, "data", "train", "rehearse", "rehearse", "train", "export", "gate")
    root, wait, attempt = spans.only(JOB), spans.only(WAIT), spans.only(ATTEMPT)
    assert {span.context.trace_id for span in spans.said} == {TRACE}
    assert root.parent
    assert root.parent.traceparent == PARENT
    assert wait.parent == attempt.parent == root.context
    stages = [span for span in spans.said if span.parent == attempt.context]
    assert [span.name for span in stages] == ["data", "rehearse", "train", "export", "gate"]
    assert all(before.ended_ns <= after.began_ns for before, after in pairwise(stages))
    assert root.began_ns <= wait.began_ns <= wait.ended_ns == attempt.began_ns <= attempt.ended_ns
    assert root.attributes == {
        "modelyard.job.id": job.id,
        "modelyard.model": "neuron",
        "modelyard.recipe": "quick",
        "modelyard.job.devices": "auto",
        "modelyard.job.outcome": "succeeded",
        "modelyard.job.attempts": 1,
        "modelyard.version": 7,
    }
    assert not any(span.failed for span in spans.said)


def test_a_failure_is_that_of_the_stage_of_the_attempt_and_of_the_job(ledger: Ledger, spans: Spans) -> None:
    run(spans, ledger, submit(ledger), "data", "train", ends=State.FAILED)
    assert {span.name for span in spans.said if span.failed} == {"train", ATTEMPT, JOB}
    assert spans.only(ATTEMPT).attributes["modelyard.job.outcome"] == "failed"


def test_a_rejected_version_and_a_cancelled_job_are_outcomes_and_no_failures(ledger: Ledger, spans: Spans) -> None:
    run(spans, ledger, submit(ledger), "gate", ends=State.REJECTED)
    claimed = claim(ledger, submit(ledger))
    with trace_attempt(spans.tracing, ledger, claimed) as note:
        note("train")
        ledger.jobs.cancel(claimed.id, "somebody")
    assert [span.attributes["modelyard.job.outcome"] for span in spans.named(JOB)] == ["rejected", "cancelled"]
    assert not any(span.failed for span in spans.said)


def test_an_attempt_that_was_taken_over_is_told_by_the_next_one(ledger: Ledger, spans: Spans) -> None:
    """Its own process is gone, or finds that it is not its job any more: one span for each attempt, in one trace."""
    job = submit(ledger)
    first = claim(ledger, job, lease_s=-1)
    with trace_attempt(spans.tracing, ledger, first) as note:
        note("train")
        run(spans, ledger, job, "train")
    lost, second = sorted(spans.named(ATTEMPT), key=lambda span: span.began_ns)
    assert (lost.attributes["modelyard.job.outcome"], lost.failed) == ("lost", True)
    assert (second.attributes["modelyard.job.outcome"], second.failed) == ("succeeded", False)
    assert lost.parent == second.parent == spans.only(JOB).context
    assert [span.parent for span in spans.named("train")] == [second.context, lost.context]
    assert len(spans.named(WAIT)) == 1


def test_an_attempt_of_a_stopped_worker_is_told_by_the_next_one(ledger: Ledger, spans: Spans) -> None:
    """Also if its process could tell, so that there is one."""
    job = submit(ledger)
    first = claim(ledger, job, "stopping")
    with trace_attempt(spans.tracing, ledger, first) as note:
        note("train")
        assert [released.id for released in ledger.jobs.release("stopping")] == [job.id]
    assert STOPPED in str(ledger.jobs.list_events(job.id)[-1].body)
    assert spans.named(ATTEMPT) == []
    run(spans, ledger, job, "train")
    lost, second = sorted(spans.named(ATTEMPT), key=lambda span: span.began_ns)
    assert (lost.attributes["modelyard.job.outcome"], lost.attributes["modelyard.job.attempt"]) == ("lost", 1)
    assert second.attributes["modelyard.job.attempt"] == 2
    assert [wait.attributes["modelyard.job.attempt"] for wait in spans.named(WAIT)] == [1, 2]


def test_an_attempt_that_its_worker_requeues_is_told_at_once(ledger: Ledger, spans: Spans) -> None:
    """And not again."""
    job = submit(ledger)
    first = claim(ledger, job)
    with trace_attempt(spans.tracing, ledger, first) as note:
        note("train")
        assert ledger.jobs.requeue(first, "the training process was ended by SIGKILL", lost=True)
    assert spans.only(ATTEMPT).attributes["modelyard.job.outcome"] == "requeued"
    assert spans.named(JOB) == []
    run(spans, ledger, job, "train")
    assert [span.attributes["modelyard.job.attempt"] for span in spans.named(ATTEMPT)] == [1, 2]
    assert len(spans.named(JOB)) == 1


@pytest.mark.parametrize("traceparent", [None, "nonsense"])
def test_a_job_that_nobody_traced_has_a_trace_of_its_own_whoever_runs_it(
    ledger: Ledger, traceparent: str | None
) -> None:
    """As of triggers, searches and commands: two workers know the same ids without having spoken."""
    job = submit(ledger, traceparent, group="search-1")
    one, other = Spans(), Spans()
    first = claim(ledger, job)
    with trace_attempt(one.tracing, ledger, first):
        assert ledger.jobs.requeue(first, "killed", lost=True)
    run(other, ledger, job)
    assert {span.context.trace_id for span in one.said} == {span.context.trace_id for span in other.said}
    assert one.only(ATTEMPT).parent == other.only(JOB).context
    assert other.only(JOB).parent is None
    assert other.only(JOB).attributes["modelyard.search.id"] == "search-1"


def test_a_request_that_is_not_recorded_keeps_its_job_from_being_so(ledger: Ledger, spans: Spans) -> None:
    run(spans, ledger, submit(ledger, f"{PARENT[:-1]}0"), "train")
    assert spans.said == []


def test_a_share_of_none_records_no_trace_that_begins_with_a_job(ledger: Ledger) -> None:
    none = Spans(share=0.0)
    run(none, ledger, submit(ledger, None), "train")
    assert none.said == []


def test_no_job_fails_by_a_ledger_that_is_away_when_its_trace_is_told(ledger: Ledger, spans: Spans) -> None:
    claimed = claim(ledger, submit(ledger))
    away = Ledger("postgresql+psycopg://nobody@127.0.0.1:1/none")
    done: list[str] = []
    with trace_attempt(spans.tracing, away, claimed) as note:
        note("train")
        done.append("trained")
    assert (done, spans.said) == (["trained"], [])
    with suppress(StorageFailed):
        away.close()


def test_without_tracing_nothing_is_read(ledger: Ledger) -> None:
    """The ledger here could not be."""
    claimed = claim(ledger, submit(ledger))
    with trace_attempt(None, Ledger("postgresql+psycopg://nobody@127.0.0.1:1/none"), claimed) as note:
        note("train")


def test_the_ledger_keeps_the_span_of_a_jobs_request(ledger: Ledger) -> None:
    assert ledger.jobs.get_traceparent(submit(ledger, None).id) is None
    assert ledger.jobs.get_traceparent(submit(ledger).id) == PARENT
