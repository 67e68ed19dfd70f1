"""An OTLP receiver: keeps the spans that processes send, and fails as it is told to."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.waiting import TIMEOUT_S, wait_until


@dataclass(frozen=True)
class Received:
    """One span; ids as in the protocol's hexadecimal form."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first of a trace."""
    kind: str
    failed: bool
    attributes: Mapping[str, Any]
    links: tuple[str, ...]
    """Ids of spans."""
    state: str
    began_ns: int
    ended_ns: int


class OtlpReceiver:
    """On a free port of loopback, in this process."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.requests: list[Mapping[str, str]] = []
        """Headers of each."""
        self.paths: set[str] = set()
        self.status = 200
        self.answers = threading.Event()
        """Requests wait for it."""
        self.answers.set()
        self.asked = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "OtlpReceiver":
        threading.Thread(target=self._server.serve_forever, name="otlp", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()

    def find(self, name: str, **wanted: Any) -> list[Received]:
        """Spans of a name; ``wanted`` are their fields."""
        return [
            span
            for span in tuple(self.spans)
            if span.name == name and all(getattr(span, field) == value for field, value in wanted.items())
        ]

    def await_span(self, name: str, timeout_s: float = TIMEOUT_S, **wanted: Any) -> Received:
        """The first of them."""
        found: Sequence[Received] = wait_until(lambda: self.find(name, **wanted), timeout_s, f"span {name} {wanted}")
        return found[0]

    def await_all(self, condition: Callable[[Sequence[Received]], Any]) -> None:
        wait_until(lambda: condition(tuple(self.spans)), TIMEOUT_S, "spans")

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.set()
                receiver.answers.wait()
                receiver.paths.add(self.path)
                receiver.requests.append(dict(self.headers))
                if receiver.status == 200:
                    receiver.spans.extend(read_spans(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Tests print nothing."""

        return Handler


def read_spans(body: bytes) -> list[Received]:
    """The spans of one message."""
    message = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource in message.resource_spans:
        service = read_attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            found += [read_span(service, span) for span in scope.spans]
    return found


def read_span(service: str, span: Any) -> Received:
    return Received(
        service.removeprefix("modelyard-"),
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.status.code == span.status.STATUS_CODE_ERROR,
        read_attributes(span.attributes),
        tuple(link.span_id.hex() for link in span.links),
        span.trace_state,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def read_attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
