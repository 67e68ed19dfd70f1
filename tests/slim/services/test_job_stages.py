"""A job's stages, and what is left of it."""

from datetime import UTC, datetime

import pytest

from modelyard.pipeline.progress import Progress
from modelyard.services.cli.output import describe_progress
from modelyard.services.gateway.api.training.estimates import Durations, estimate_rest
from modelyard.services.job_stages import JobEstimate, list_stages, measure_earlier
from modelyard.services.ledger import Ledger, State, Training
from modelyard.services.trainer.execute import ProgressRecorder
from tests.support.curves import add_job, add_trained, begin_stage, end_epoch
from tests.support.jobs import claim

EARLIER = {"export": 3.0, "evaluate": 5.0, "publish": 2.0}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_each_attempt_has_its_stages(ledger: Ledger) -> None:
    """What training prepares before it rehearses belongs to the rehearsal; the last stage goes on."""
    job = add_job(ledger)
    for stage in ("data", "train", "rehearse", "train"):
        begin_stage(ledger, job, stage)
    ledger.jobs.requeue(job, "killed", lost=True)
    again = claim(ledger, job)
    begin_stage(ledger, again, "data")
    stages = list_stages(ledger.jobs.list_events(job.id))
    assert [(stage.stage, stage.attempt) for stage in stages] == [
        ("data", 1),
        ("rehearse", 1),
        ("train", 1),
        ("data", 2),
    ]
    assert [stage.seconds is None for stage in stages] == [False, False, False, True]
    assert stages[1].started_at == stages[0].finished_at


def test_what_comes_after_training_is_known_from_earlier_jobs(ledger: Ledger) -> None:
    """Of the same model, of those that were published."""
    for model in ("half_plus", "other"):
        job = add_job(ledger, model)
        begin_stage(ledger, job, "export")
        begin_stage(ledger, job, "evaluate")
        ledger.jobs.begin_publishing(job)
        ledger.jobs.finish(job, State.SUCCEEDED, {})
    add_trained(ledger, [0.5])
    assert set(measure_earlier(ledger, add_job(ledger))) == {"export", "evaluate"}
    assert measure_earlier(ledger, add_job(ledger, "third")) == {}


def test_the_estimate_of_a_job_ends_with_the_job(ledger: Ledger) -> None:
    """Training by its own steps, the rest by earlier jobs; its share is of time. Nothing is said before."""
    clock = Clock()
    estimate = JobEstimate(add_job(ledger), EARLIER, clock)
    assert "eta_s" not in estimate.complete({"stage": "data"})
    assert "eta_s" not in estimate.complete({"stage": "train", "step": 3})
    clock.s = 30
    training = estimate.complete({"stage": "train", "step": 12, "eta_s": 20.0})
    assert (training["eta_s"], training["share"]) == (30.0, 0.5)
    estimate.complete({"stage": "export"})
    clock.s = 31
    assert estimate.complete({"stage": "export"})["eta_s"] == 9.0
    clock.s = 60
    assert estimate.complete({"stage": "export"})["eta_s"] == 7.0


def test_a_trial_ends_with_its_training(ledger: Ledger) -> None:
    """Nothing is exported."""
    trial = add_job(ledger).model_copy(update={"rollout": "none"})
    assert JobEstimate(trial, EARLIER, Clock()).complete({"stage": "train", "eta_s": 8.0})["eta_s"] == 8.0


@pytest.mark.parametrize(("hours", "most"), [(0.02, 80), (0.2, 250)])
def test_curves_within_epochs_have_some_hundred_points_however_long_it_trains(
    ledger: Ledger, hours: float, most: int
) -> None:
    """The ledger holds neither each step nor only the last."""
    clock, job = Clock(), add_job(ledger)
    record = ProgressRecorder(ledger, job, clock)
    reports = 0
    while clock.s < 3600 * hours:
        clock.s += max(0.5, clock.s / 110)
        reports += 1
        record(Progress("train", epoch=1, epochs=1, step=reports, steps=10**6, metrics={"loss": 1.0}))
    points = [event for event in ledger.jobs.list_events(job.id) if event.kind == "point"]
    assert 30 < len(points) < most


def test_the_command_line_says_what_the_ledger_says(ledger: Ledger) -> None:
    """One figure everywhere, also in the queue, whatever earlier jobs took."""
    clock, job = Clock(), add_job(ledger)
    record = ProgressRecorder(ledger, job, clock)
    clock.s = 10
    record(Progress("train", epoch=1, epochs=2, step=12, steps=20, eta_s=30.0, eta_at_most=True, metrics={"loss": 1.0}))
    progress = ledger.jobs.get(job.id).progress
    assert (progress["eta_s"], progress["share"], progress["eta_at_most"]) == (30.0, 0.25, True)
    earlier = Durations([Training(job.model, job.recipe, {}, "auto", 500.0)])
    assert estimate_rest(ledger.jobs.get(job.id), earlier, datetime.now(UTC)) == 30.0
    assert describe_progress(progress)[1] == "25 % · at most 30 s left · epoch 1/2 · loss 1.0000"


def test_an_ended_epoch_is_a_milestone_and_no_point(ledger: Ledger) -> None:
    """The list of a job's events does not hold points."""
    job = add_job(ledger)
    end_epoch(ledger, job, 1, 0.5)
    assert [event.kind for event in ledger.jobs.list_events(job.id, kinds=("progress", "point"))] == ["progress"]
