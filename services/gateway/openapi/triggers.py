"""Triggers and drift, for the OpenAPI document."""

from datetime import datetime

from modelyard.services.gateway.openapi.body import Body
from modelyard.services.triggers import Trigger


class TriggerAsked(Trigger):
    """One of ``cron`` (five fields, in UTC), ``feedback``, ``quality`` and ``psi`` (drift), and the job."""


class TriggerShown(TriggerAsked):
    """A trigger, and when it last started which job."""

    model: str
    name: str
    since: datetime
    fired_at: datetime | None
    job_id: str | None


class TriggerList(Body):
    """In order of name."""

    triggers: list[TriggerShown]


class ShiftShown(Body):
    """How far a histogram has moved."""

    psi: float
    p_value: float | None


class DriftShown(Body):
    """How far what the stable version is asked, and answers, has moved from what it was measured on."""

    model: str
    version: int | None
    answers: int
    shifts: dict[str, ShiftShown]
    at: datetime | None
