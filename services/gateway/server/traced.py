"""A span around each request, from its arrival to its response, for gateways that trace."""

from typing import Any

from modelyard.services.gateway.access_log import METHODS, PROBES
from modelyard.services.gateway.server.rsgi import RsgiApp
from modelyard.services.tracing.context import TRACEPARENT, TRACESTATE, parse_context
from modelyard.services.tracing.spans import CURRENT_SPAN, Kind, Tracing

UNTRACED = PROBES | {"/livez"}
"""Requested every few seconds, by machines."""


UNKNOWN_METHOD = "_OTHER"
"""OpenTelemetry's word for any other."""


class TracedApp:
    """The RSGI application, each of whose requests is the child of the caller's span, or begins a trace."""

    def __init__(self, app: RsgiApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """One request: a task, with a context of its own. What the response was is added where it is logged."""
        if scope.path in UNTRACED:
            await self._app.__rsgi__(scope, protocol)
            return
        headers = scope.headers
        caller = parse_context(headers.get_all(TRACEPARENT), headers.get_all(TRACESTATE))
        method = scope.method if scope.method in METHODS else UNKNOWN_METHOD
        span = self._tracing.begin(method, caller, {"http.request.method": method}, kind=Kind.SERVER)
        CURRENT_SPAN.set(span)
        try:
            await self._app.__rsgi__(scope, protocol)
        finally:
            span.end()  # if it was not: the client is gone
