"""Spans of traces: begun with an explicit parent, ended with an outcome. No library in here.

Processes that do not trace have no ``Tracing`` and no span: ``CURRENT_SPAN`` is None there, and that is all they ask.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from enum import IntEnum
from types import MappingProxyType
from typing import Protocol, Self

from modelyard.services.tracing.context import TraceContext

Value = str | int | float | bool
Attributes = Mapping[str, Value]
NONE: Attributes = MappingProxyType({})
MAX_LINKS = 128
"""Of one span: OpenTelemetry's own limit."""


class Kind(IntEnum):
    """OpenTelemetry's kinds of spans."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Span(Protocol):
    """One span under way. Times are nanoseconds since 1970."""

    @property
    def context(self) -> TraceContext: ...

    @property
    def is_recorded(self) -> bool: ...

    def begin(
        self,
        name: str,
        attributes: Attributes = NONE,
        *,
        kind: Kind = Kind.INTERNAL,
        links: Sequence[TraceContext] = (),
        at_ns: int | None = None,
        span_id: int | None = None,
    ) -> "Span":
        """A child."""

    def link(self, other: TraceContext) -> None:
        """Names a span that this one has to do with."""

    def end(
        self, attributes: Attributes = NONE, *, name: str = "", failed: bool = False, at_ns: int | None = None
    ) -> None:
        """Ends it, once; later calls do nothing. ``name``: another than at its beginning."""


CURRENT_SPAN: ContextVar[Span | None] = ContextVar("current_span", default=None)
"""What the work of this context, and of tasks that were started in it, is a part of."""


class RecordedSpan:
    """A span that is exported when it has ended."""

    is_recorded = True

    def __init__(
        self,
        name: str,
        context: TraceContext,
        parent: TraceContext | None,
        export: "Callable[[RecordedSpan], None]",
        *,
        kind: Kind,
        attributes: Attributes,
        links: Sequence[TraceContext] = (),
        at_ns: int | None = None,
        is_remote: bool = False,
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.is_remote = is_remote
        """Whether the parent is another process's."""
        self.kind = kind
        self.attributes = dict(attributes)
        self.links = list(links[:MAX_LINKS])
        self.failed = False
        self.began_ns = time.time_ns() if at_ns is None else at_ns
        self.ended_ns = 0
        self._export = export

    def begin(
        self,
        name: str,
        attributes: Attributes = NONE,
        *,
        kind: Kind = Kind.INTERNAL,
        links: Sequence[TraceContext] = (),
        at_ns: int | None = None,
        span_id: int | None = None,
    ) -> "RecordedSpan":
        parent = self.context
        context = TraceContext(parent.trace_id, span_id or draw_id(64), True, parent.state)
        return RecordedSpan(
            name, context, parent, self._export, kind=kind, attributes=attributes, links=links, at_ns=at_ns
        )

    def link(self, other: TraceContext) -> None:
        if len(self.links) < MAX_LINKS:
            self.links.append(other)

    def end(
        self, attributes: Attributes = NONE, *, name: str = "", failed: bool = False, at_ns: int | None = None
    ) -> None:
        if self.ended_ns:
            return
        self.ended_ns = time.time_ns() if at_ns is None else at_ns
        self.name, self.failed = name or self.name, failed
        self.attributes.update(attributes)
        self._export(self)


class UnrecordedSpan:
    """Of a trace that is not recorded: carries its ids, and does nothing."""

    is_recorded = False

    def __init__(self, context: TraceContext, *, chosen_here: bool) -> None:
        """``chosen_here``: the trace began here, and is not in our share; else its caller said so."""
        self.context = context
        self.chosen_here = chosen_here

    def begin(self, *_: object, **__: object) -> Self:
        return self

    def link(self, other: TraceContext) -> None:
        """Nobody sees it."""

    def end(self, *_: object, **__: object) -> None:
        """Nothing is kept."""


class JoinedSpan:
    """Spans that share what comes below: it is a child of the first, linked with all others, and they with it."""

    is_recorded = True

    def __init__(self, spans: Sequence[Span]) -> None:
        self._first, *self._others = spans

    @property
    def context(self) -> TraceContext:
        return self._first.context

    def begin(
        self,
        name: str,
        attributes: Attributes = NONE,
        *,
        kind: Kind = Kind.INTERNAL,
        links: Sequence[TraceContext] = (),
        at_ns: int | None = None,
        span_id: int | None = None,
    ) -> Span:
        all_links = [*links, *(other.context for other in self._others)]
        child = self._first.begin(name, attributes, kind=kind, links=all_links, at_ns=at_ns, span_id=span_id)
        for other in self._others:
            other.link(child.context)
        return child

    def link(self, other: TraceContext) -> None:
        for span in (self._first, *self._others):
            span.link(other)

    def end(
        self, attributes: Attributes = NONE, *, name: str = "", failed: bool = False, at_ns: int | None = None
    ) -> None:
        for span in (self._first, *self._others):
            span.end(attributes, name=name, failed=failed, at_ns=at_ns)


class Tracing:
    """Begins the spans of one process that traces."""

    def __init__(self, share: float, export: Callable[[RecordedSpan], None], close: Callable[[], None]) -> None:
        """``export`` is given each span that has ended, and returns at once; ``close`` sends what is left."""
        self._below = int(share * 2**64)
        self._export = export
        self.close = close

    def begin(
        self,
        name: str,
        caller: TraceContext | None,
        attributes: Attributes = NONE,
        *,
        kind: Kind,
        trace_id: int | None = None,
        span_id: int | None = None,
        at_ns: int | None = None,
    ) -> Span:
        """The first span here of a trace.

        Args:
            caller: the span that it is a child of, whose trace is recorded if it says so; None begins a trace, of which
                our share is recorded.
            trace_id: of a trace that begins here, if it is known already; whether it is recorded follows from it.
            span_id: its own, likewise.
        """
        new = trace_id or draw_id(128) if caller is None else caller.trace_id
        sampled = self._is_ours(new) if caller is None else caller.sampled
        context = TraceContext(new, span_id or draw_id(64), sampled, caller.state if caller else "")
        if not sampled:
            return UnrecordedSpan(context, chosen_here=caller is None)
        return RecordedSpan(
            name, context, caller, self._export, kind=kind, attributes=attributes, at_ns=at_ns, is_remote=True
        )

    def _is_ours(self, trace_id: int) -> bool:
        """As OpenTelemetry's ``TraceIdRatioBased``: every process with the same share says the same of a trace."""
        return trace_id & (2**64 - 1) < self._below


def draw_id(bits: int) -> int:
    """A new id, which needs no secrecy: see ``access_log.choose_request_id``."""
    return random.getrandbits(bits) or 1
