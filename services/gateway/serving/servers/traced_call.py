"""A span around a call of a model server, whose metadata names it."""

from typing import TYPE_CHECKING, Any

import grpc

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.settings import LOCAL
from modelyard.services.tracing.spans import CURRENT_SPAN, Kind, Span, Value

if TYPE_CHECKING:
    from modelyard.services.gateway.serving.servers.replicas import Replica


async def call_traced(parent: Span, replica: "Replica", method: str, request: Any, timeout_s: float) -> Any:
    """``replica.call``, whatever it raises; each try has a span of its own."""
    span = begin_call(parent, replica.address, method.removeprefix("/"))
    token, code = CURRENT_SPAN.set(span), grpc.StatusCode.UNKNOWN
    try:
        answer = await replica.call(method, request, timeout_s)
        code = grpc.StatusCode.OK
    except ServingFailed as failure:
        code = failure.code
        raise
    finally:
        CURRENT_SPAN.reset(token)
        failed = code is not grpc.StatusCode.OK
        span.end({"rpc.response.status_code": code.name} | ({"error.type": code.name} if failed else {}), failed=failed)
    return answer


def begin_call(parent: Span, address: str, method: str) -> Span:
    """Of a model server in another process: a client's span, by OpenTelemetry's conventions for gRPC."""
    if address == LOCAL:
        return parent.begin(method.rpartition("/")[2], {"modelyard.serving": LOCAL})
    host, colon, port = address.rpartition(":")
    where: dict[str, Value] = {"server.address": address}
    if colon and port.isdecimal():
        where = {"server.address": host, "server.port": int(port)}
    return parent.begin(method, {"rpc.system.name": "grpc", "rpc.method": method, **where}, kind=Kind.CLIENT)
