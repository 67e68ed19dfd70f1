"""Checks every trigger, and submits a job where one is due. Any number may run at once: a firing is one job."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from celery import Celery
from pydantic import ValidationError

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services import jobs
from modelyard.services.ledger import JobRequest, Ledger
from modelyard.services.ledger.triggers import StoredTrigger
from modelyard.services.triggers import Quality, Trigger, next_firing_time

log = structlog.get_logger()

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class TriggerSchedule:
    """Checks whether triggers are due, and submits their jobs."""

    store: Store
    ledger: Ledger
    queue: Celery

    def fire_due(self, now: datetime) -> None:
        """Submits a job for each trigger that is due.

        Raises:
            StorageFailed: the ledger is away.
        """
        for kept in self.ledger.triggers.list_triggers():
            try:
                trigger = Trigger.model_validate(kept.body)
            except ValidationError as error:  # of another release
                log.warning("trigger not understood", model=kept.model, trigger=kept.name, cause=str(error))
                continue
            if not self._held_back(kept, trigger, now) and (reason := self._reason(kept, trigger, now)):
                self._fire(kept, trigger, reason)

    def _reason(self, kept: StoredTrigger, trigger: Trigger, now: datetime) -> str:
        """Why it is due; empty if it is not."""
        last = kept.fired_at or kept.since
        if trigger.cron is not None:
            due = next_firing_time(trigger.cron, last)
            return f"due at {due:%Y-%m-%d %H:%M} UTC" if due <= now else ""
        if trigger.feedback is not None:
            count = self.ledger.feedback.count(kept.model, last)
            return f"{count} new answers with feedback" if count >= trigger.feedback else ""
        if trigger.psi is not None:
            return self._moved(kept.model, trigger.psi)
        assert trigger.quality
        return self._fallen(kept.model, trigger.quality)

    def _moved(self, model: str, most: float) -> str:
        stable = read_rollout(self.store, model).stable
        for drift in self.ledger.observations.list_drift(model):
            psi, name = max(((moved["psi"] or 0.0, name) for name, moved in drift.shifts.items()), default=(0.0, ""))
            if drift.version == stable and psi > most:
                return f"{name} has moved: population stability index {psi:.3f} over {drift.answers} answers"
        return ""

    def _fallen(self, model: str, quality: Quality) -> str:
        stable = read_rollout(self.store, model).stable
        right, count = self.ledger.feedback.count_correct(model, stable or 0, quality.of)
        if count < quality.of or right >= quality.floor * count:
            return ""
        return f"{right} of the newest {count} answers were right, fewer than {quality.floor:.1%}"

    def _held_back(self, kept: StoredTrigger, trigger: Trigger, now: datetime) -> bool:
        """Whether its cool-down, its weekly limit or its running job keeps it from firing."""
        if kept.fired_at and now - kept.fired_at < timedelta(seconds=trigger.cooldown_s):
            return True
        if kept.job_id and not self.ledger.jobs.get(kept.job_id).finished_at:
            return True
        return self.ledger.jobs.count_by_author(author(kept), now - WEEK) >= trigger.per_week

    def _fire(self, kept: StoredTrigger, trigger: Trigger, reason: str) -> None:
        request = JobRequest(model=kept.model, **trigger.job.model_dump())
        key = f"trigger {kept.model}/{kept.name} {kept.revision}"  # whoever fires it too, gets the same job
        try:
            job = jobs.accept(
                read_catalog(self.store.root), self.ledger, self.queue, request, f"{author(kept)}: {reason}", key=key
            )
        except ModelyardError as error:
            log.warning("trigger could not ask for its job", model=kept.model, trigger=kept.name, cause=str(error))
            return
        if self.ledger.triggers.record_firing(kept, job.id):
            log.info("trigger fired", model=kept.model, trigger=kept.name, reason=reason, job=job.id)


def author(kept: StoredTrigger) -> str:
    """The author of a trigger's jobs."""
    return f"trigger {kept.model}/{kept.name}"
