"""Spans of what the scheduler submits: a firing of a trigger, a search with its rungs, a model's first version.

Ids follow from what is submitted, so that any number of schedulers speak of one span, and whichever records the
submission tells it. The job has the span as its request's: its row in the ledger carries it, as the gateway's does.
"""

from dataclasses import replace

from modelyard.services.job_trace import SPAN_BITS, TRACE_BITS, make_id, to_ns
from modelyard.services.ledger import SYSTEM, Origin
from modelyard.services.ledger.searches import Search
from modelyard.services.ledger.triggers import StoredTrigger
from modelyard.services.tracing.spans import Attributes, Kind, Span, Tracing

FIRING, SEARCH, RUNG, FIRST = "trigger", "search", "rung", "first version"


def begin_firing(tracing: Tracing | None, stored: StoredTrigger, reason: str) -> Span | None:
    """From here to the record of the firing; None where nothing is traced."""
    if tracing is None:
        return None
    key = f"{FIRING} {stored.model}/{stored.name} {stored.revision} {stored.since.isoformat()}"
    facts = {"modelyard.model": stored.model, "modelyard.trigger": stored.name, "modelyard.trigger.reason": reason}
    return _begin(tracing, FIRING, key, facts)


def begin_search(tracing: Tracing | None, search: Search) -> Span | None:
    """From its request to its end, which whoever ends it tells."""
    if tracing is None:
        return None
    facts = {"modelyard.search.id": search.id, "modelyard.model": search.model}
    return _begin(tracing, SEARCH, f"{SEARCH} {search.id}", facts, at_ns=to_ns(search.created_at))


def begin_rung(tracing: Tracing | None, search: Search, trials: int) -> Span | None:
    """The submission of a rung's jobs, as a part of the search."""
    if (whole := begin_search(tracing, search)) is None:
        return None
    number = len(search.rungs) + 1
    facts = {"modelyard.search.rung": number, "modelyard.search.trials": trials}
    span_id = make_id(f"{SEARCH} {search.id} {RUNG} {number}", SPAN_BITS)
    return whole.begin(RUNG, facts, kind=Kind.PRODUCER, span_id=span_id)


def begin_first(tracing: Tracing | None, model: str) -> Span | None:
    """The submission of a job for a model that has no version."""
    return tracing.begin(FIRST, None, {"modelyard.model": model}, kind=Kind.PRODUCER) if tracing else None


def make_origin(span: Span | None) -> Origin:
    """Of a job that is submitted in the span; without one that is recorded the trainer decides anew."""
    if span is None or not span.is_recorded:
        return SYSTEM
    return replace(SYSTEM, traceparent=span.context.traceparent)


def _begin(tracing: Tracing, name: str, key: str, facts: Attributes, at_ns: int | None = None) -> Span:
    ids = {"trace_id": make_id(key, TRACE_BITS), "span_id": make_id(f"{key} span", SPAN_BITS)}
    return tracing.begin(name, None, facts, kind=Kind.PRODUCER, at_ns=at_ns, **ids)
