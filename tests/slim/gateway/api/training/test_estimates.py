"""Estimates of the queue: only from what is known, and honest where nothing is."""

from datetime import UTC, datetime, timedelta
from typing import Any

from modelyard.services.gateway.api.training.estimates import (
    Durations,
    estimate_rest,
    forecast,
    measure_progress,
    sort_waiting,
)
from modelyard.services.ledger import Job, Priority, State, Training, Worker

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def make_job(number: int, **fields: Any) -> Job:
    known = {"id": f"job-{number}", "model": "m", "by": "ann", "devices": "auto", "created_at": NOW}
    return Job(**known | fields)


def running(number: int, began_s: float, worker: str = "w", **fields: Any) -> Job:
    started = {"state": State.RUNNING, "worker": worker, "started_at": NOW - timedelta(seconds=began_s), "attempts": 1}
    return make_job(number, **started | fields)


def took(*seconds: float, model: str = "m", recipe: str = "quick", **overrides: Any) -> list[Training]:
    return [Training(model, recipe, overrides, "auto", each) for each in seconds]


def worker(name: str = "w", *queues: str, slots: int = 1) -> Worker:
    return Worker(name, queues or ("train.cpu",), NOW, NOW, slots)


def training(step: int, eta_s: float) -> dict[str, Any]:
    return {"stage": "train", "epoch": 1, "epochs": 2, "step": step, "steps": 50, "eta_s": eta_s}


def test_a_job_takes_as_long_as_earlier_ones_of_its_length() -> None:
    """The median; those of other lengths count only where there are no such; another recipe's never."""
    known = Durations([*took(10, 30, 20), *took(300, epochs=9), *took(7, recipe="full")])
    assert known.estimate(make_job(1)) == (20, 3, True)
    assert known.estimate(make_job(1, overrides={"epochs": "9", "seed": 4})) == (300, 1, True)
    assert known.estimate(make_job(1, overrides={"epochs": 5})) == (25, 4, False)
    assert known.estimate(make_job(1, recipe="other")) is None
    assert Durations([]).estimate(make_job(1)) is None


def test_a_trainings_own_estimate_counts_after_its_first_steps() -> None:
    """The first ones compile: 2,709 s are no estimate. What comes after the training is in earlier jobs only."""
    assert estimate_rest(running(1, 5, progress=training(3, 2709.0)), Durations([]), NOW) is None
    assert estimate_rest(running(1, 5, progress=training(30, 40.0)), Durations([]), NOW) == 40
    assert estimate_rest(running(1, 5, progress=training(30, 40.0)), Durations(took(60)), NOW) == 55
    assert estimate_rest(running(1, 5, progress=training(30, 40.0)), Durations(took(999, epochs=9)), NOW) == 40
    assert estimate_rest(running(1, 90), Durations(took(60)), NOW) == 0


def test_progress_is_the_share_of_steps() -> None:
    """None where there are none: before, and after the training."""
    assert measure_progress(running(1, 5, progress=training(25, 1.0))) == 0.25
    assert measure_progress(running(1, 5, progress={"stage": "data"})) is None
    assert measure_progress(running(1, 5)) is None


def test_the_queue_is_played_through_in_the_order_of_workers() -> None:
    """What was lost first, then by priority, then the oldest."""
    later = NOW + timedelta(seconds=1)
    jobs = [
        make_job(1, priority=Priority.LOW),
        make_job(2, created_at=later),
        make_job(3),
        make_job(4, priority=Priority.HIGH, created_at=later),
        make_job(5, attempts=1, priority=Priority.LOW),
    ]
    assert [job.id for job in sort_waiting(jobs)] == ["job-5", "job-4", "job-3", "job-2", "job-1"]


def test_two_places_run_two_jobs_at_a_time() -> None:
    """Each job starts where a place is free first; the queue is empty when the last one has ended."""
    waiting = [make_job(number) for number in (2, 3, 4)]
    plan = forecast([running(1, 4)], waiting, [worker(slots=2)], Durations(took(10)), NOW)
    assert plan.starts_s == {"job-2": 0, "job-3": 6, "job-4": 10}
    assert (plan.empty_s, plan.unknown) == (20, [])


def test_a_job_waits_for_a_worker_of_its_queue_only() -> None:
    """A worker with two GPUs takes jobs for one and for two."""
    workers = [worker("cpu"), worker("gpus", "train.gpu", "train.gpu.2")]
    waiting = [make_job(1, devices="2"), make_job(2, devices="gpu"), make_job(3, devices="cpu")]
    assert forecast([], waiting, workers, Durations(took(10)), NOW).starts_s == {"job-1": 0, "job-2": 10, "job-3": 0}


def test_there_is_no_end_where_something_is_unknown() -> None:
    """A job without a worker, or of a kind that never went through; what is known stays known."""
    waiting = [make_job(1), make_job(2, devices="gpu"), make_job(3, model="new"), make_job(4)]
    plan = forecast([], waiting, [worker()], Durations(took(10)), NOW)
    assert plan.empty_s is None
    assert plan.starts_s == {"job-1": 0, "job-3": 10}
    assert plan.unknown == [
        "job-2 waits: no trainer with a GPU is alive; the job starts when one does",
        "no job of new with recipe quick has gone through yet, so nobody knows how long one takes",
    ]


def test_an_empty_queue_is_empty_now() -> None:
    """Without a worker, too."""
    assert forecast([], [], [], Durations([]), NOW).empty_s == 0
