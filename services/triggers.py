"""Triggers: the contract between the gateway, where they are set and looked at, and the scheduler, which fires them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.ledger import JobOptions, Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.triggers import StoredTrigger

WEEK = timedelta(days=7)
SIGNIFICANCE = 0.01
"""Probability that a drift trigger fires though nothing has moved; a vector has up to 260 histograms, and some vary."""


class Quality(BaseModel):
    """Falls below a floor: share of right answers of the stable version, over its newest answers with feedback."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    floor: float = Field(gt=0, lt=1)
    of: int = Field(200, ge=10, le=100_000)


class Trigger(BaseModel):
    """When to train a model, and how. One of ``cron``, ``feedback``, ``quality`` and ``psi`` says when."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cron: str | None = Field(None, max_length=200)
    """Five fields, in UTC."""
    feedback: int | None = Field(None, ge=1, le=10**9)
    """Number of feedback since it last fired."""
    quality: Quality | None = None
    psi: float | None = Field(None, gt=0, le=10)
    """The population stability index of an input or an answer is above it."""
    job: JobOptions = JobOptions()
    cooldown_s: float = Field(86_400, ge=0, le=366 * 86_400)
    """Minimum time between two firings."""
    per_week: int = Field(7, ge=1, le=10_000)
    """Maximum of jobs within seven days."""

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        conditions = (self.cron, self.feedback, self.quality, self.psi)
        if sum(condition is not None for condition in conditions) != 1:
            raise ValueError("expected one of cron, feedback, quality and psi")
        if self.cron is not None:
            next_firing_time(self.cron, datetime.now(UTC))
        return self


def next_firing_time(cron: str, moment: datetime) -> datetime:
    """Time when a schedule is due next.

    Raises:
        ValueError: not a schedule, or one that is never due.
    """
    from croniter import croniter  # loaded by those who set or watch triggers
    from croniter.croniter import CroniterError

    if len(cron.split()) != 5:  # noqa: PLR2004  # minute, hour, day, month, day of the week
        raise ValueError(f"cron: expected five fields such as '0 3 * * *', received {cron!r}")
    try:
        found: datetime = croniter(cron, moment).get_next(datetime)
    except CroniterError as error:
        raise ValueError(f"cron: {cron!r} is never due: {error}") from None
    return found


# --- whether one is due -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """What a trigger's condition says now."""

    due: bool
    reason: str
    """In words, whether it is due or not."""
    value: float | None = None
    """What is compared with the limit, as far as it is known."""
    limit: float | None = None


def check_condition(
    stored: "StoredTrigger", trigger: Trigger, store: Store, ledger: Ledger, now: datetime
) -> Condition:
    """Whether a trigger is due; whether it may fire is another question.

    Raises:
        StorageFailed: the ledger is away.
    """
    last = stored.fired_at or stored.since
    if trigger.cron is not None:
        due = next_firing_time(trigger.cron, last)
        return Condition(due <= now, f"due at {due:%Y-%m-%d %H:%M} UTC")
    if trigger.feedback is not None:
        count = ledger.feedback.count(stored.model, last)
        return Condition(count >= trigger.feedback, f"{count} new answers with feedback", count, trigger.feedback)
    stable = read_rollout(store, stored.model).stable
    if trigger.psi is not None:
        return _check_drift(stored.model, trigger.psi, stable, ledger)
    assert trigger.quality
    return _check_quality(stored.model, trigger.quality, stable, ledger)


def _check_drift(model: str, limit: float, stable: int | None, ledger: Ledger) -> Condition:
    for drift in ledger.observations.list_drift(model):
        significant = {name: moved for name, moved in drift.shifts.items() if is_significant(moved, len(drift.shifts))}
        psi, name = max(((moved["psi"] or 0.0, name) for name, moved in significant.items()), default=(0.0, ""))
        if drift.version == stable:
            moved = f"{name} has moved: population stability index {psi:.3f}" if name else "nothing has moved"
            return Condition(psi > limit, f"{moved} over {drift.answers} answers", psi, limit)
    return Condition(False, "drift of the stable version has not been measured yet", None, limit)


def _check_quality(model: str, quality: Quality, stable: int | None, ledger: Ledger) -> Condition:
    right, count = ledger.feedback.count_correct(model, stable or 0, quality.of)
    if count < quality.of:
        return Condition(False, f"{count} of {quality.of} answers with feedback yet", None, quality.floor)
    due = right < quality.floor * count
    than = f"fewer than {quality.floor:.1%}" if due else f"at least {quality.floor:.1%}"
    return Condition(due, f"{right} of the newest {count} answers were right, {than}", right / count, quality.floor)


def is_significant(moved: Mapping[str, Any], count: int) -> bool:
    """Whether a shift is more than chance, as one of so many that were looked at (Bonferroni); True where unknown."""
    p_value = moved.get("p_value")
    return p_value is None or p_value * count < SIGNIFICANCE


def find_hold(stored: "StoredTrigger", trigger: Trigger, ledger: Ledger, now: datetime) -> str:
    """What keeps a trigger from firing though it may be due: its cool-down, its job, or its weekly limit; or nothing.

    Raises:
        StorageFailed: the ledger is away.
    """
    if stored.fired_at and now - stored.fired_at < (pause := timedelta(seconds=trigger.cooldown_s)):
        return f"its cool-down lasts until {stored.fired_at + pause:%Y-%m-%d %H:%M} UTC"
    if stored.job_id and not ledger.jobs.get(stored.job_id).finished_at:
        return f"{stored.job_id}, which it started, has not ended"
    count = ledger.jobs.count_by_author(trigger_author(stored), now - WEEK)
    return f"it has started {count} jobs within seven days, its limit" if count >= trigger.per_week else ""


def list_next_times(stored: "StoredTrigger", trigger: Trigger, now: datetime, count: int) -> Iterator[datetime]:
    """When a schedule fires next, if nothing but its cool-down holds it back; nothing of other triggers."""
    last, fired_at = stored.fired_at or stored.since, stored.fired_at
    for _ in range(count if trigger.cron else 0):
        due = next_firing_time(trigger.cron or "", last)
        held_until = fired_at + timedelta(seconds=trigger.cooldown_s) if fired_at else due
        last = fired_at = max(due, held_until, now)
        yield last


def trigger_author(stored: "StoredTrigger") -> str:
    """The author of a trigger's jobs."""
    return f"trigger {stored.model}/{stored.name}"
