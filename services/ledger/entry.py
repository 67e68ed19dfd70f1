"""Entries of the audit trail as values: who did what to what. No database in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What an entry is about."""

    JOB = "job"
    SEARCH = "search"
    TRIGGER = "trigger"
    ROLLOUT = "rollout"
    VERSION = "version"
    KEY = "key"
    DENIED = "denied"
    """Attempts without permission, of any kind."""
    AUDIT = "audit"
    """Of the trail itself: what retention deleted, and histories that an operator accepted."""


class Outcome(StrEnum):
    """What came of an action."""

    DONE = "done"
    REQUESTED = "requested"
    """The change of a rollout follows in an entry of its own, if it succeeds."""
    DENIED = "denied"


@dataclass(frozen=True)
class Origin:
    """Where an action came from, beside its author: empty for the system itself, and for commands."""

    prefix: str = ""
    """Of the API key."""
    role: str = ""
    request_id: str = ""
    traceparent: str | None = None
    """Its span, by W3C Trace Context: no part of the trail."""


SYSTEM = Origin()


@dataclass(frozen=True)
class Entry:
    """Who did what to what."""

    kind: Kind
    action: str
    by: str
    origin: Origin = SYSTEM
    model: str | None = None
    version: int | None = None
    subject: str | None = None
    """Id of the job or search, name of the trigger, prefix of the key."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome = Outcome.DONE


@dataclass(frozen=True)
class StoredEntry:
    """An entry of the trail."""

    kind: str
    number: int
    at: datetime
    action: str
    outcome: str
    by: str
    prefix: str
    role: str
    request_id: str
    model: str | None
    version: int | None
    subject: str | None
    detail: Mapping[str, Any]
    previous: str
    """Hash of the entry before."""
