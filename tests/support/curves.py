"""Jobs that have reported curves, as a trainer would have recorded them."""

from collections.abc import Sequence
from typing import Any

from modelyard.services.ledger import Job, JobRequest, Ledger, State
from tests.support.jobs import claim

STEPS = 20


def add_job(ledger: Ledger, model: str = "half_plus", **overrides: Any) -> Job:
    """A job that is claimed."""
    return claim(ledger, ledger.jobs.add(JobRequest(model=model, overrides=overrides), by="test"))


def end_epoch(ledger: Ledger, job: Job, epoch: int, loss: float, accuracy: float = 0.5, epochs: int = 4) -> None:
    metrics = {"loss": loss, "accuracy": accuracy, "val_loss": loss + 0.1, "val_accuracy": accuracy - 0.1}
    body = {"stage": "train", "epoch": epoch, "epochs": epochs, "step": STEPS, "steps": STEPS, "metrics": metrics}
    ledger.jobs.record_progress(job, body | {"learning_rate": 0.1 / epoch}, milestone=True)


def end_step(ledger: Ledger, job: Job, epoch: int, step: int, loss: float, epochs: int = 4) -> None:
    body = {"stage": "train", "epoch": epoch, "epochs": epochs, "step": step, "steps": STEPS, "metrics": {"loss": loss}}
    ledger.jobs.record_progress(job, body, milestone=False, point=True)


def begin_stage(ledger: Ledger, job: Job, stage: str, message: str = "") -> None:
    ledger.jobs.record_progress(job, {"stage": stage, "message": message, "metrics": {}}, milestone=True)


def add_trained(ledger: Ledger, losses: Sequence[float], state: State = State.REJECTED, **overrides: Any) -> Job:
    """A job that has ended, with a validation loss of 0.1 more than these by epoch."""
    job = add_job(ledger, **overrides)
    begin_stage(ledger, job, "train", "preparing, on cpu with tensorflow")
    for epoch, loss in enumerate(losses, 1):
        end_epoch(ledger, job, epoch, loss, accuracy=1 - loss)
    ledger.jobs.finish(job, state, {"reason": "accuracy 0.5 is below the floor 0.9"})
    return ledger.jobs.get(job.id)
