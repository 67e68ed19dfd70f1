"""Submits jobs for the first versions of models, so that a system with an empty store serves something."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from celery import Celery

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services import broker, jobs
from modelyard.services.ledger import OPEN, JobRequest, Ledger
from modelyard.services.scheduler.submission_spans import begin_first, make_origin
from modelyard.services.tracing.spans import Tracing

log = structlog.get_logger()

BY = "first start"


@dataclass
class FirstVersions:
    """Finds models without a stable version, and submits jobs for them. Any number of schedulers may run at once."""

    store: Store
    ledger: Ledger
    queue: Celery
    models: Sequence[str]
    tracing: Tracing | None = None
    _logged: dict[str, str] = field(default_factory=dict)
    """What was logged last of each model: an unchanged state is logged once."""

    def submit_missing(self) -> None:
        """Submits a job for each model without a stable version or an open job; at most one a day.

        Raises:
            StorageFailed: the ledger is away.
        """
        for model in self.models:
            try:
                self._log_change(model, self._submit(model))
            except StorageFailed:
                raise
            except ModelyardError as error:  # no catalog yet, the queue is away, or there is no such model
                self._log_change(model, f"waits: {error}")

    def _submit(self, model: str) -> str:
        """Returns the model's state, as text for the log."""
        if (stable := read_rollout(self.store, model).stable) is not None:
            return f"version {stable} answers"
        if under_way := self.ledger.jobs.find(model=model, states=OPEN, limit=1):
            return f"{under_way[0].id} is on its way"
        broker.require_broker(self.queue)  # else each poll would leave a job that failed
        known, request, span = read_catalog(self.store.root), JobRequest(model=model), begin_first(self.tracing, model)
        key, origin = f"{BY} {model}", make_origin(span)
        job = jobs.accept(known, self.ledger, self.queue, request, BY, key=key, origin=origin)
        if job.finished_at:  # of the last day: a request with the same key gets the same job
            return f"{job.id} has {job.state}; another one is submitted a day after it, or by `modelyard train {model}`"
        if span and self.ledger.jobs.get_traceparent(job.id) == origin.traceparent:  # else another one's
            span.end({"modelyard.job.id": job.id})
        return f"{job.id} is on its way"

    def _log_change(self, model: str, what: str) -> None:
        if self._logged.get(model) != what:
            self._logged[model] = what
            log.info("first version", model=model, state=what)
