"""Triggers as values: the contract between the gateway, where they are set, and the scheduler."""

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.services.ledger import JobOptions


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
