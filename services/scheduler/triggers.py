"""Checks every trigger, and submits a job where one is due. Any number may run at once: a firing is one job."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from celery import Celery
from pydantic import ValidationError

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.services import jobs
from modelyard.services.ledger import JobRequest, Ledger
from modelyard.services.ledger.triggers import StoredTrigger
from modelyard.services.scheduler.submission_spans import begin_firing, make_origin
from modelyard.services.tracing.spans import Tracing
from modelyard.services.triggers import Trigger, check_condition, find_hold, trigger_author

log = structlog.get_logger()


@dataclass(frozen=True)
class TriggerSchedule:
    """Checks whether triggers are due, and submits their jobs."""

    store: Store
    ledger: Ledger
    queue: Celery
    tracing: Tracing | None = None

    def fire_due(self, now: datetime) -> None:
        """Submits a job for each trigger that is due.

        Raises:
            StorageFailed: the ledger is away.
        """
        for stored in self.ledger.triggers.list_triggers():
            try:
                trigger = Trigger.model_validate(stored.body)
            except ValidationError as error:  # of another release
                log.warning("trigger not understood", model=stored.model, trigger=stored.name, cause=str(error))
                continue
            if find_hold(stored, trigger, self.ledger, now):
                continue
            found = check_condition(stored, trigger, self.store, self.ledger, now)
            if found.due:
                self._fire(stored, trigger, found.reason)

    def _fire(self, stored: StoredTrigger, trigger: Trigger, reason: str) -> None:
        request = JobRequest(model=stored.model, **trigger.job.model_dump())
        key = f"trigger {stored.model}/{stored.name} {stored.revision}"  # equal in every scheduler: one job
        span = begin_firing(self.tracing, stored, reason)
        try:
            job = jobs.accept(
                read_catalog(self.store.root),
                self.ledger,
                self.queue,
                request,
                f"{trigger_author(stored)}: {reason}",
                key=key,
                origin=make_origin(span),
            )
        except ModelyardError as error:
            log.warning("trigger job not submitted", model=stored.model, trigger=stored.name, cause=str(error))
            return
        if self.ledger.triggers.record_firing(stored, job.id):
            log.info("trigger fired", model=stored.model, trigger=stored.name, reason=reason, job=job.id)
            if span is not None:
                span.end({"modelyard.job.id": job.id})
