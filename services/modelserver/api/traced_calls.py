"""A span around each call of the API that runs a model: the child of the caller's, or the first of a trace."""

from functools import partial
from typing import Any

import grpc

from modelyard.services.tracing.context import TRACEPARENT, TRACESTATE, parse_context
from modelyard.services.tracing.spans import CURRENT_SPAN, Kind, Tracing

SERVICE = "tensorflow.serving.PredictionService"
TRACED = frozenset({"Predict", "Classify", "Regress", "MultiInference"})


class TracedCalls:
    """A servicer of predictions, traced."""

    def __init__(self, servicer: object, tracing: Tracing) -> None:
        self._servicer = servicer
        self._tracing = tracing

    def __getattr__(self, method: str) -> Any:
        behaviour = getattr(self._servicer, method)
        return partial(self._run, f"{SERVICE}/{method}", behaviour) if method in TRACED else behaviour

    def _run(self, method: str, behaviour: Any, request: Any, context: grpc.ServicerContext) -> Any:
        sent: dict[str, list[str]] = {TRACEPARENT: [], TRACESTATE: []}
        for name, value in context.invocation_metadata():
            if name in sent:
                sent[name].append(value)
        caller = parse_context(sent[TRACEPARENT], sent[TRACESTATE])
        span = self._tracing.begin(method, caller, {"rpc.system.name": "grpc", "rpc.method": method}, kind=Kind.SERVER)
        token, failed = CURRENT_SPAN.set(span), True
        try:
            answer = behaviour(request, context)
            failed = False
        finally:
            CURRENT_SPAN.reset(token)
            code = (context.code() or grpc.StatusCode.UNKNOWN) if failed else grpc.StatusCode.OK
            spec = getattr(request, "model_spec", None)
            model = {"modelyard.model": spec.name} if spec is not None else {}
            span.end({"rpc.response.status_code": code.name, **model}, failed=failed)
        return answer
