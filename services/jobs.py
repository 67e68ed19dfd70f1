"""Submits training jobs: first to the ledger, then to the broker. Slim: no Keras, no TensorFlow.

Thin message, thick ledger: the broker carries a job id; everything else is in the ledger.
"""

import hashlib
import json

from celery import Celery

from modelyard.models.catalog import Catalog
from modelyard.models.errors import ModelyardError
from modelyard.services import broker
from modelyard.services.broker import QueueUnavailable
from modelyard.services.ledger import SYSTEM, Job, JobRequest, Ledger, Origin, State, Submission


class NoTrainer(ModelyardError):
    """No trainer has written the catalog of trainable models yet."""

    status = 503


def require_catalog(known: Catalog | None) -> Catalog:
    """The catalog that a trainer wrote; raises ``NoTrainer`` if there is none."""
    if known is None:
        raise NoTrainer("no trainer has announced its models yet; try again in a few seconds")
    return known


def accept(
    known: Catalog | None,
    ledger: Ledger,
    queue: Celery,
    request: JobRequest,
    by: str,
    *,
    key: str | None = None,
    retry_of: str | None = None,
    group: str | None = None,
    origin: Origin = SYSTEM,
) -> Job:
    """Checks a request against the catalog, and submits it.

    Args:
        known: the catalog, if a trainer wrote one.

    Raises:
        NoTrainer: there is no catalog.
        UnknownName, InvalidRecipe: with the values that are allowed.
        QueueUnavailable, KeyReused: as ``submit``.
    """
    trainable = require_catalog(known).find(request.model)
    trainable.check_recipe(request.recipe, request.overrides)
    devices = find_devices(trainable.recipe_value(request.recipe, request.overrides, "devices"))
    return submit(ledger, queue, request, by, devices=devices, key=key, retry_of=retry_of, group=group, origin=origin)


def find_devices(value: str | float | None) -> str:
    """Devices of a recipe, in the one form that queues know: ``4`` for 4.0, which JSON takes for a whole number."""
    if value is None or value in ("auto", "cpu", "gpu"):
        return str(value or "auto")
    return str(int(float(value)))


def submit(
    ledger: Ledger,
    queue: Celery,
    request: JobRequest,
    by: str,
    *,
    devices: str = "auto",
    key: str | None = None,
    retry_of: str | None = None,
    group: str | None = None,
    origin: Origin = SYSTEM,
) -> Job:
    """Accepts a job: first the ledger, then the broker.

    Args:
        devices: what its recipe, with the overrides, is to be trained on.
        key: a request that comes again with the same key gets the job of the first one. Until that has started, its
            message is sent once more: the first request may not have got so far, and one too many does no harm.
        retry_of: the id of the job that this one tries again.
        group: the search that it belongs to.
        origin: for the audit trail.

    Raises:
        QueueUnavailable: the broker did not take it; the ledger says so too, so it will never run.
        KeyReused: the key came with another job within a day.
    """
    submission = Submission(key, hash_request(request, retry_of)) if key is not None else None
    job = ledger.jobs.add(
        request, by=by, devices=devices, retry_of=retry_of, group=group, submission=submission, origin=origin
    )
    if job.state is not State.QUEUED:
        return job
    try:
        broker.send(queue, job, ledger.workers.list_queues())
    except QueueUnavailable as error:
        if ledger.jobs.finish(job, State.FAILED, {"reason": "the broker did not take the job"}) and submission:
            ledger.jobs.delete_submission(submission)
        raise QueueUnavailable("the job queue is not reachable; nothing was accepted, try again later") from error
    return job


def hash_request(request: JobRequest, retry_of: str | None) -> str:
    """SHA-256 of a request's values."""
    return hashlib.sha256(json.dumps([request.model_dump(), retry_of], sort_keys=True).encode()).hexdigest()
