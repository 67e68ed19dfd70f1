"""``/api/audit``: who did what to which model, version, job, key and rollout. For admins."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, request

from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Parameter, json_view
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.ledger import Kind, Ledger, Outcome, StoredEntry

MAX_LIMIT = 500
MAX_TEXT_CHARS = 256
ENTRY_ID = re.compile(rf"({'|'.join(Kind)})-([0-9]{{1,18}})")
FIELDS: Mapping[str, str] = {
    "by": "Only what this key, person or part of the system did.",
    "action": "Only this action, such as promote.",
    "model": "Only about this model.",
    "subject": "Only about this job, search, trigger or key.",
    "request_id": "Only what this request did.",
}
TIME = {"type": "string", "format": "date-time"}
FILTERS = (
    Parameter("kind", "query", "Only entries of this kind.", {"enum": list(Kind)}),
    Parameter("outcome", "query", "Only entries with this outcome.", {"enum": list(Outcome)}),
    *(Parameter(name, "query", text, {"type": "string"}) for name, text in FIELDS.items()),
    Parameter("version", "query", "Only about this version.", {"type": "integer", "minimum": 1}),
    Parameter("since", "query", "Only entries of this time (ISO 8601) or later.", TIME),
    Parameter("until", "query", "Only entries before this time (ISO 8601).", TIME),
    Parameter(
        "limit", "query", "How many entries.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}
    ),
    Parameter(
        "before", "query", "Only entries behind this one.", {"type": "string", "pattern": f"^{ENTRY_ID.pattern}$"}
    ),
)


class AuditEntry(Body):
    """Who did what to what; ``previous`` is the hash of the entry of this kind before."""

    id: str
    kind: Kind
    number: int
    at: datetime
    action: str
    outcome: Outcome
    by: str
    prefix: str
    role: str
    request_id: str
    model: str | None
    version: int | None
    subject: str | None
    detail: dict[str, Any]
    previous: str


class AuditPage(Body):
    """The newest first; ``next`` is the ``before`` of the page after this one."""

    entries: list[AuditEntry]
    next: str | None


def routes(ledger: Ledger) -> Blueprint:
    """The view."""
    views = Blueprint("audit", __name__)

    @views.get("/api/audit")
    @json_view(parameters=FILTERS, errors=(404,))
    def list_entries() -> AuditPage:
        """The audit trail, the newest entry first."""
        asked = parse_filters(request.args.to_dict(flat=False))
        limit = asked["limit"]
        found = ledger.audit.find(**asked | {"limit": limit + 1})
        page = [make_entry(entry) for entry in found[:limit]]
        return AuditPage.model_construct(entries=page, next=page[-1].id if len(found) > limit else None)

    return views


def make_entry(entry: StoredEntry) -> AuditEntry:
    """Not validated: another release may have other kinds."""
    return AuditEntry.model_construct(id=f"{entry.kind}-{entry.number}", **vars(entry))


def parse_filters(query: Mapping[str, list[str]]) -> dict[str, Any]:
    """The filters as arguments of ``Audit.find``. Raises ``InvalidRequest``, which names one, and what it may be."""
    check_parameters(query, [parameter.name for parameter in FILTERS])
    given = {name: value for name, (value,) in query.items()}
    kinds: Mapping[str, type[Kind] | type[Outcome]] = {"kind": Kind, "outcome": Outcome}
    chosen = {name: parse_choice(name, given[name], allowed) for name, allowed in kinds.items() if name in given}
    plain = {name: parse_text(name, given[name]) for name in FIELDS if name in given}
    version = {"version": parse_number("version", given["version"], 2**53 - 1)} if "version" in given else {}
    return {
        "filters": chosen | plain | version,
        "since": parse_time("since", given.get("since")),
        "until": parse_time("until", given.get("until")),
        "before": parse_entry_id(given.get("before")),
        "limit": parse_number("limit", given.get("limit", "50"), MAX_LIMIT),
    }


def parse_choice(name: str, received: str, allowed: type[Kind] | type[Outcome]) -> str:
    if received not in list(allowed):
        raise InvalidRequest(f"{name}: received {received[:40]!r}, allowed: {', '.join(allowed)}")
    return received


def parse_text(name: str, received: str) -> str:
    if not received.isprintable() or not 1 <= len(received) <= MAX_TEXT_CHARS:
        raise InvalidRequest(f"{name}: received {received[:40]!r}, expected 1 to {MAX_TEXT_CHARS} printable characters")
    return received


def parse_number(name: str, received: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,16}", received) or not 1 <= int(received) <= most:
        raise InvalidRequest(f"{name}: received {received[:40]!r}, allowed: 1 to {most}")
    return int(received)


def parse_time(name: str, received: str | None) -> datetime | None:
    """UTC, unless it has another zone."""
    if received is None:
        return None
    try:
        found = datetime.fromisoformat(received)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{name}: expected a time such as 2026-11-29T12:00:00Z, received {received[:40]!r}"
        ) from None


def parse_entry_id(received: str | None) -> tuple[str, int] | None:
    if received is None:
        return None
    found = ENTRY_ID.fullmatch(received)
    if found is None:
        raise InvalidRequest(f"before: expected the id of an entry, such as job-12, received {received[:40]!r}")
    return found[1], int(found[2])
