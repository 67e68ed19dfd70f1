"""Checks every trigger, and submits a job where one is due. Any number may run at once: a firing is one job."""

from collections.abc import Mapping
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
SIGNIFICANCE = 0.01
"""Probability that a drift trigger fires though nothing has moved; a vector has up to 260 histograms, and some vary."""


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
        for stored in self.ledger.triggers.list_triggers():
            try:
                trigger = Trigger.model_validate(stored.body)
            except ValidationError as error:  # of another release
                log.warning("trigger not understood", model=stored.model, trigger=stored.name, cause=str(error))
                continue
            if not self._is_held_back(stored, trigger, now) and (reason := self._reason(stored, trigger, now)):
                self._fire(stored, trigger, reason)

    def _reason(self, stored: StoredTrigger, trigger: Trigger, now: datetime) -> str:
        """Why it is due; empty if it is not."""
        last = stored.fired_at or stored.since
        if trigger.cron is not None:
            due = next_firing_time(trigger.cron, last)
            return f"due at {due:%Y-%m-%d %H:%M} UTC" if due <= now else ""
        if trigger.feedback is not None:
            count = self.ledger.feedback.count(stored.model, last)
            return f"{count} new answers with feedback" if count >= trigger.feedback else ""
        if trigger.psi is not None:
            return self._drift_reason(stored.model, trigger.psi)
        assert trigger.quality
        return self._quality_reason(stored.model, trigger.quality)

    def _drift_reason(self, model: str, max_psi: float) -> str:
        stable = read_rollout(self.store, model).stable
        for drift in self.ledger.observations.list_drift(model):
            significant = {
                name: moved for name, moved in drift.shifts.items() if is_significant(moved, len(drift.shifts))
            }
            psi, name = max(((moved["psi"] or 0.0, name) for name, moved in significant.items()), default=(0.0, ""))
            if drift.version == stable and psi > max_psi:
                return f"{name} has moved: population stability index {psi:.3f} over {drift.answers} answers"
        return ""

    def _quality_reason(self, model: str, quality: Quality) -> str:
        stable = read_rollout(self.store, model).stable
        right, count = self.ledger.feedback.count_correct(model, stable or 0, quality.of)
        if count < quality.of or right >= quality.floor * count:
            return ""
        return f"{right} of the newest {count} answers were right, fewer than {quality.floor:.1%}"

    def _is_held_back(self, stored: StoredTrigger, trigger: Trigger, now: datetime) -> bool:
        """Whether its cool-down, its weekly limit or its running job keeps it from firing."""
        if stored.fired_at and now - stored.fired_at < timedelta(seconds=trigger.cooldown_s):
            return True
        if stored.job_id and not self.ledger.jobs.get(stored.job_id).finished_at:
            return True
        return self.ledger.jobs.count_by_author(trigger_author(stored), now - WEEK) >= trigger.per_week

    def _fire(self, stored: StoredTrigger, trigger: Trigger, reason: str) -> None:
        request = JobRequest(model=stored.model, **trigger.job.model_dump())
        key = f"trigger {stored.model}/{stored.name} {stored.revision}"  # equal in every scheduler: one job
        try:
            job = jobs.accept(
                read_catalog(self.store.root),
                self.ledger,
                self.queue,
                request,
                f"{trigger_author(stored)}: {reason}",
                key=key,
            )
        except ModelyardError as error:
            log.warning("trigger job not submitted", model=stored.model, trigger=stored.name, cause=str(error))
            return
        if self.ledger.triggers.record_firing(stored, job.id):
            log.info("trigger fired", model=stored.model, trigger=stored.name, reason=reason, job=job.id)


def is_significant(moved: Mapping[str, float | None], count: int) -> bool:
    """Whether a shift is more than chance, as one of so many that were looked at (Bonferroni); True where unknown."""
    p_value = moved.get("p_value")
    return p_value is None or p_value * count < SIGNIFICANCE


def trigger_author(stored: StoredTrigger) -> str:
    """The author of a trigger's jobs."""
    return f"trigger {stored.model}/{stored.name}"
