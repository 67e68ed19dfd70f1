"""What a caller may read of a model server's failure."""

import re

import grpc

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.serving.replicas import SERVER_ERROR

SHOWN_CHARS = 1024
_GRAPH_NOISE = re.compile(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:[^\]]*\]", re.DOTALL)
"""Names of graph nodes in TensorFlow's messages: of no use to a caller, and not theirs to know."""


def public_text(failure: ServingFailed) -> str:
    """What a caller may read: the server's own words about a bad request, but nothing from its inside."""
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        return "the model server is not available; try again in a moment"
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "the model server did not answer in time"
    if failure.status >= SERVER_ERROR:
        return f"the model server failed ({failure.code.name})"
    lines = [" ".join(line.split()) for line in _GRAPH_NOISE.sub("", str(failure)).splitlines() if line.strip()]
    if lines and lines[0].startswith("Graph execution error"):  # where in the graph, line by line; then the cause
        lines = lines[-1:]
    return " ".join(lines)[:SHOWN_CHARS]
