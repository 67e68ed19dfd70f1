"""The queue contract between those who ask for training and those who do it. Slim: no Keras, no TensorFlow.

Thin message, thick ledger: the broker carries a job id; everything else is in the ledger.
"""

import hashlib
import json

from celery import Celery

from modelyard.models.catalog import Catalog
from modelyard.models.errors import ModelyardError
from modelyard.services import broker
from modelyard.services.broker import QueueUnavailable
from modelyard.services.ledger import Job, JobRequest, Ledger, State, Submission


class NoTrainer(ModelyardError):
    """No trainer has yet said what can be trained."""

    status = 503


def announced(known: Catalog | None) -> Catalog:
    """What trainers said that they can train; raises ``NoTrainer``."""
    if known is None:
        raise NoTrainer("no trainer has announced its models yet; try again in a few seconds")
    return known


def accept(
    known: Catalog | None,
    ledger: Ledger,
    queue: Celery,
    asked: JobRequest,
    by: str,
    *,
    key: str | None = None,
    retry_of: str | None = None,
    group: str | None = None,
) -> Job:
    """``submit`` of what can be trained.

    Args:
        known: what trainers announced, if they did.

    Raises:
        NoTrainer: they did not.
        UnknownName, InvalidRecipe: what is wrong with it, and what is allowed.
        QueueUnavailable, KeyReused: as ``submit``.
    """
    trainable = announced(known).find(asked.model)
    trainable.check_recipe(asked.recipe, asked.overrides)
    devices = str(trainable.recipe_value(asked.recipe, asked.overrides, "devices") or "auto")
    return submit(ledger, queue, asked, by, devices=devices, key=key, retry_of=retry_of, group=group)


def submit(
    ledger: Ledger,
    queue: Celery,
    asked: JobRequest,
    by: str,
    *,
    devices: str = "auto",
    key: str | None = None,
    retry_of: str | None = None,
    group: str | None = None,
) -> Job:
    """Accepts a job: first the ledger, then the broker.

    Args:
        devices: what its recipe, with the overrides, is to be trained on.
        key: a request that comes again with the same key gets the job of the first one. Until that has started, its
            message is sent once more: the first request may not have got so far, and one too many does no harm.
        retry_of: the id of the job that this one tries again.
        group: the search that it belongs to.

    Raises:
        QueueUnavailable: the broker did not take it; the ledger says so too, so it will never run.
        KeyReused: the key came with another job within a day.
    """
    submission = Submission(key, digest(asked, retry_of)) if key is not None else None
    job = ledger.jobs.add(asked, by=by, devices=devices, retry_of=retry_of, group=group, submission=submission)
    if job.state is not State.QUEUED:
        return job
    try:
        broker.send(queue, job, ledger.workers.queues())
    except QueueUnavailable as error:
        if ledger.jobs.finish(job, State.FAILED, {"reason": "the broker did not take the job"}) and submission:
            ledger.jobs.forget(submission)
        raise QueueUnavailable("the job queue is not reachable; nothing was accepted, try again later") from error
    return job


def digest(asked: JobRequest, retry_of: str | None) -> str:
    """SHA-256 of what is asked for, however it was written."""
    return hashlib.sha256(json.dumps([asked.model_dump(), retry_of], sort_keys=True).encode()).hexdigest()
