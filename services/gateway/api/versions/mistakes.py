"""A version's mistakes by kind, with their inputs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, request
from pydantic import ValidationError

from modelyard.models.errors import CorruptData
from modelyard.models.registry import evaluations
from modelyard.models.registry.store import Store, first_line
from modelyard.pipeline.results import ConfusedPair, Mistake
from modelyard.services.gateway.api.versions.evaluations import (
    EvaluationRecord,
    find_evaluated,
    read_of_rejected,
    read_of_version,
)
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import Parameter, json_view
from modelyard.services.gateway.http.query import check_parameters
from modelyard.services.ledger import Ledger

MAX_LIMIT = 100
SHOWN_LABELS = 10
LABEL = {"type": "string"}
MISTAKE_FILTERS = (
    Parameter("expected", "query", "Only where this label was right; of several at once, where it was missed.", LABEL),
    Parameter("received", "query", "Only where this label was given; of several at once, wrongly.", LABEL),
    Parameter(
        "limit", "query", "How many mistakes.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}
    ),
    Parameter("offset", "query", "How many to leave out before.", {"type": "integer", "minimum": 0, "default": 0}),
)


class MistakePage(Body):
    """Mistakes of one kind, or of all, the worst first; ``next`` is the ``offset`` of the page after this one."""

    expected: str | None
    received: str | None
    total: int | None
    """How many there are; null of numbers, which are more or less off, and where it was not counted."""
    kept: int
    """How many are kept with their inputs: 50 of a kind, 2,000 in all, 8 MiB."""
    mistakes: list[Mistake]
    next: int | None


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views of mistakes."""
    views = Blueprint("mistakes", __name__)

    def list_of(model: str, version: int) -> MistakePage:
        found = read_of_version(store, model, version)
        return select_mistakes(found, evaluations.read_mistakes(store, model, version), parse_query(found.labels))

    @views.get("/api/models/<model>/versions/<version:version>/evaluation/mistakes")
    @json_view(parameters=MISTAKE_FILTERS, errors=(404, 500))
    def list_mistakes(model: str, version: int) -> MistakePage:
        """A version's mistakes of one kind, the worst first."""
        return list_of(model, version)

    @views.get("/api/jobs/<job_id>/evaluation/mistakes")
    @json_view(parameters=MISTAKE_FILTERS, errors=(404, 500))
    def list_job_mistakes(job_id: str) -> MistakePage:
        """The same of a job's version, or of what its gate rejected."""
        job, version = find_evaluated(ledger, job_id)
        if version:
            return list_of(job.model, version)
        found = read_of_rejected(store, job)
        return select_mistakes(
            found, evaluations.read_rejected_mistakes(store, job.model, job_id), parse_query(found.labels)
        )

    return views


def parse_query(labels: Sequence[str]) -> dict[str, Any]:
    """The parameters of a list of mistakes; raises ``InvalidRequest``, which names one and what it may be."""
    query = request.args
    check_parameters(query.to_dict(flat=False), [parameter.name for parameter in MISTAKE_FILTERS])
    for name in ("expected", "received"):
        if name in query and query[name] not in labels:
            there = ", ".join(labels[:SHOWN_LABELS]) + (", ..." if len(labels) > SHOWN_LABELS else "")
            raise InvalidRequest(
                f"{name}: received {query[name][:40]!r}, which is no label; there are {there or 'none'}"
            )
    limit, offset = parse_number("limit", "50", 1, MAX_LIMIT), parse_number("offset", "0", 0, 10**6)
    return {"expected": query.get("expected"), "received": query.get("received"), "limit": limit, "offset": offset}


def parse_number(name: str, default: str, least: int, most: int) -> int:
    received = request.args.get(name, default)
    if not re.fullmatch(r"[0-9]{1,7}", received) or not least <= int(received) <= most:
        raise InvalidRequest(f"{name}: received {received[:40]!r}, allowed: {least} to {most}")
    return int(received)


def select_mistakes(found: EvaluationRecord, lines: Sequence[bytes] | None, query: Mapping[str, Any]) -> MistakePage:
    """A page of those that are kept; of a version that has no file of them, of the 50 worst.

    Raises:
        CorruptData: the file is damaged.
    """
    expected, received, limit, offset = query.values()
    try:
        kept = found.mistakes if lines is None else [Mistake.model_validate_json(line) for line in lines]
        chosen = [mistake for mistake in kept if is_of_kind(mistake, expected, received)]
    except ValidationError as error:
        raise CorruptData(f"the file of mistakes is damaged: {first_line(error)}") from error
    return MistakePage(
        expected=expected,
        received=received,
        total=count_mistakes(found, expected, received),
        kept=len(chosen),
        mistakes=chosen[offset : offset + limit],
        next=offset + limit if len(chosen) > offset + limit else None,
    )


def is_of_kind(mistake: Mistake, expected: str | None, received: str | None) -> bool:
    """Whether it is of these labels; of several labels at once, whether the one was missed, and the other given."""
    if isinstance(mistake.expected, list):
        missed = expected is None or (expected in mistake.expected and expected not in mistake.received)
        return missed and (received is None or (received in mistake.received and received not in mistake.expected))
    return expected in (None, mistake.expected) and received in (None, mistake.received)


def count_mistakes(found: EvaluationRecord, expected: str | None, received: str | None) -> int | None:
    """How many there are; None where it was not counted."""
    if expected is None and received is None:
        return found.wrong
    pairs = [pair for pair in found.confused if matches(pair, expected, received)]
    alone = any(pair.expected is None or pair.received is None for pair in found.confused)
    return None if alone and expected is not None and received is not None else sum(pair.count for pair in pairs)


def matches(pair: ConfusedPair, expected: str | None, received: str | None) -> bool:
    return expected in (None, pair.expected) and received in (None, pair.received)
