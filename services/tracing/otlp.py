"""Sends spans to a receiver by OpenTelemetry's exporter. The only file that imports it, and only when it is called."""

import importlib.metadata
import logging
import threading
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from modelyard.services.settings import InvalidSettings
from modelyard.services.tracing.context import TraceContext
from modelyard.services.tracing.settings import TracingSettings
from modelyard.services.tracing.spans import RecordedSpan, Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

log = structlog.get_logger()

MAX_QUEUED, BATCH, DELAY_MS = 4096, 256, 2000
"""Spans that wait to be sent, more are dropped; those of one message; and how long the first of them waits."""
SEND_S, CLOSE_S = 5.0, 3.0
"""For one message with all its tries; and for all that is left when the process ends."""
MISSING = (
    "expected the packages of the extra tracing with it, which are not installed: pip install 'modelyard[tracing]'"
)


def open_tracing(settings: TracingSettings, process: str) -> Tracing | None:
    """Tracing of a process, with a thread of its own that sends; None, and nothing is imported, if it is off.

    Args:
        process: its name: ``gateway``, ``modelserver``, ``scheduler`` or ``trainer``.

    Raises:
        InvalidSettings: the extra is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    require_tracing(settings)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it says at each message what we say once
    exporter = make_quiet(OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=SEND_S))
    processor = BatchSpanProcessor(
        exporter, max_queue_size=MAX_QUEUED, schedule_delay_millis=DELAY_MS, max_export_batch_size=BATCH
    )
    convert = Converter(process)

    def close() -> None:
        """Sends what is left, in limited time."""
        closing = threading.Thread(target=processor.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    return Tracing(settings.trace_share, lambda span: processor.on_end(convert(span)), close)


def require_tracing(settings: TracingSettings) -> None:
    """Raises ``InvalidSettings`` if traces are to be sent by packages that are not installed."""
    if settings.otlp_endpoint is None:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401  # whether they are there
    except ImportError as error:
        raise InvalidSettings(f"MODELYARD_OTLP_ENDPOINT: {MISSING}") from error


class Converter:
    """Makes OpenTelemetry's spans of ours."""

    def __init__(self, process: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

        version = importlib.metadata.version("modelyard")
        name, instance = f"modelyard-{process}", str(uuid.uuid4())
        self._resource = Resource.create(
            {"service.name": name, "service.version": version, "service.instance.id": instance}
        )
        self._scope = InstrumentationScope("modelyard", version)
        self._kinds = tuple(SpanKind)
        self._statuses = (Status(StatusCode.UNSET), Status(StatusCode.ERROR))
        self._sampled = TraceFlags(TraceFlags.SAMPLED)
        self._make_span, self._make_link, self._make_context = ReadableSpan, Link, SpanContext
        self._parse_state = TraceState.from_header

    def __call__(self, span: RecordedSpan) -> "ReadableSpan":
        return self._make_span(
            name=span.name,
            context=self._convert(span.context),
            parent=self._convert(span.parent, remote=span.is_remote) if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            links=[self._make_link(self._convert(link)) for link in span.links],
            kind=self._kinds[span.kind],
            status=self._statuses[span.failed],
            start_time=span.began_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )

    def _convert(self, context: TraceContext, *, remote: bool = False) -> "SpanContext":
        state = self._parse_state([context.state]) if context.state else None
        return self._make_context(context.trace_id, context.span_id, remote, self._sampled, state)


def make_quiet(exporter: "SpanExporter") -> "SpanExporter":
    """An exporter that says once when spans cannot be delivered, and once when they can be again."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class QuietExporter(SpanExporter):
        """Runs in the thread that sends."""

        def __init__(self) -> None:
            self._lost = 0

        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            result = exporter.export(spans)
            if result is not SpanExportResult.SUCCESS:
                if not self._lost:
                    log.warning("traces not delivered: the receiver does not take them; they are dropped")
                self._lost += len(spans)
            elif self._lost:
                log.info("traces delivered again", lost_spans=self._lost)
                self._lost = 0
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return exporter.force_flush(timeout_millis)

    return QuietExporter()
