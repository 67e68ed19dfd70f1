"""Which trace, and which span of it: W3C Trace Context (https://www.w3.org/TR/trace-context/), in and out."""

import re
from collections.abc import Sequence
from typing import NamedTuple

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
"""Names of the headers, and of gRPC's metadata."""
MAX_STATE_CHARS, MAX_STATE_MEMBERS = 512, 32

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_FIRST_VERSION, _INVALID_VERSION = "00", "ff"
_SAMPLED = 1


class TraceContext(NamedTuple):
    """One span, as others name it."""

    trace_id: int
    """128 bits, not 0."""
    span_id: int
    """64 bits, not 0."""
    sampled: bool
    """Whether its trace is recorded."""
    state: str = ""
    """What other systems on the way have added, passed on as it is."""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """For whoever is called."""
        parent = (TRACEPARENT, self.traceparent)
        return (parent, (TRACESTATE, self.state)) if self.state else (parent,)


def parse_context(parents: Sequence[str], states: Sequence[str] = ()) -> TraceContext | None:
    """The caller's span; None if it names none, or not as the standard says: then a new trace begins.

    Args:
        parents: values of all headers ``traceparent``; only one is valid.
        states: of all headers ``tracestate``, in order; dropped if they are malformed.
    """
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == _INVALID_VERSION or (version == _FIRST_VERSION and rest) or not int(trace, 16) or not int(span, 16):
        return None
    return TraceContext(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED), parse_state(states))


def parse_state(states: Sequence[str]) -> str:
    """The members of ``tracestate``; none of them if any is malformed or comes twice, or if they are too long."""
    members = [member for member in (each.strip(" \t") for each in ",".join(states).split(",")) if member]
    names = {member.partition("=")[0] for member in members}
    if len(members) > MAX_STATE_MEMBERS or len(names) < len(members) or not all(map(_MEMBER.fullmatch, members)):
        return ""
    state = ",".join(members)
    return state if len(state) <= MAX_STATE_CHARS else ""
