"""Attempts without permission, on their way into the audit trail.

No request waits for the ledger because of them: a thread writes them every ten seconds, equal ones as one entry with
their number, so that a flood of them cannot fill the trail.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import structlog
from flask import g
from flask.globals import request_ctx

from modelyard.models.errors import StorageFailed
from modelyard.services.gateway.auth.principal import Principal
from modelyard.services.ledger import Entry, Kind, Ledger, Origin, Outcome

log = structlog.get_logger()

MAX_DISTINCT = 50
"""Attempts that are told apart between two writes; the rest of them is one entry."""
WRITE_INTERVAL_S = 10.0
"""With the number above, no flood of attempts adds more than a few entries a second."""
MAX_TEXT_CHARS = 128


@dataclass(frozen=True)
class Attempt:
    """Who tried what, without permission."""

    action: str
    reason: str
    """``401`` and why, ``403``, ``404``."""
    by: str = ""
    """Name of the key; empty where none was valid."""
    prefix: str = ""
    role: str = ""
    model: str | None = None
    address: str = ""
    request_id: str = field(default="", compare=False)
    """Of the first of equal ones."""
    subject: str | None = field(default=None, compare=False)


OTHERS = Attempt("other attempts", "too many different ones")


class Denials:
    """Attempts that are not in the trail yet. Safe for many threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._pending: Counter[Attempt] = Counter()
        self._written_at = -WRITE_INTERVAL_S

    def add(self, attempt: Attempt, count: int = 1) -> None:
        """Takes microseconds."""
        with self._lock:
            known = attempt in self._pending or len(self._pending) < MAX_DISTINCT
            self._pending[attempt if known else OTHERS] += count

    def write_due(self) -> None:
        """Writes all, if the last time is long enough ago."""
        if time.monotonic() - self._written_at >= WRITE_INTERVAL_S:
            self.write()

    def write(self) -> None:
        """Writes all; what the ledger does not take is tried again the next time."""
        self._written_at = time.monotonic()
        with self._lock:
            pending, self._pending = self._pending, Counter()
        if not pending:
            return
        try:
            self._ledger.audit.record(*(make_entry(attempt, count) for attempt, count in pending.items()))
        except StorageFailed as error:
            log.warning("denied attempts not written; retried later", cause=str(error))
            for attempt, count in pending.items():
                self.add(attempt, count)


def make_entry(attempt: Attempt, count: int) -> Entry:
    """The entry of the trail for attempts that are equal."""
    detail = {"reason": attempt.reason, "count": count} | ({"address": attempt.address} if attempt.address else {})
    return Entry(
        Kind.DENIED,
        attempt.action,
        attempt.by,
        Origin(attempt.prefix, attempt.role, attempt.request_id),
        model=attempt.model and attempt.model[:MAX_TEXT_CHARS],
        subject=attempt.subject and attempt.subject[:MAX_TEXT_CHARS],
        detail=detail,
        outcome=Outcome.DENIED,
    )


def describe_attempt(principal: Principal, status: int) -> Attempt:
    """This request, which is denied. A change of what does not exist, or is not theirs, is denied as 404."""
    named = dict(request_ctx.request.view_args or {})
    model = named.pop("model", None)
    return Attempt(
        action=request_ctx.request.endpoint or "",
        reason=str(status),
        by=principal.name,
        prefix=principal.prefix,
        role=principal.role or "",
        model=model,
        request_id=g.get("request_id", ""),
        subject=" ".join(map(str, named.values())) or None,
    )
