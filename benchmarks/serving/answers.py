"""Requests and answers on the wire: bodies to send, HTTP/1.1 responses as they come, and whether an answer is right."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

TOLERANCE = 1e-4
"""Largest difference from the expected probabilities that still counts as right."""
CACHED_BODIES = 64
"""Bodies per input that were found right and need not be parsed again when they come once more."""


@dataclass(frozen=True)
class Expected:
    """What the SavedModel itself answers to one input."""

    probabilities: tuple[float, ...]
    class_id: int


Read = Callable[[Any], tuple[list[float], int]]
"""Probabilities and class of the one row in a parsed answer."""


# --- forms ------------------------------------------------------------------------------------------------------------


def from_row(row: Mapping[str, Any]) -> tuple[list[float], int]:
    return row["probabilities"], row["class_id"]


def from_predictions(answer: Any) -> tuple[list[float], int]:
    """TensorFlow Serving's row form."""
    (row,) = answer["predictions"]
    return from_row(row)


def from_list(answer: Any) -> tuple[list[float], int]:
    (row,) = answer
    return from_row(row)


def from_v2(answer: Any) -> tuple[list[float], int]:
    """The Open Inference Protocol's JSON: flat data per output."""
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    (class_id,) = outputs["class_id"]
    return outputs["probabilities"], class_id


def from_labels(answer: Any) -> tuple[list[float], int]:
    """Our answer to a raw body."""
    return list(answer["scores"].values()), answer["class_id"]


READ: dict[str, Read] = {
    "predictions": from_predictions,
    "list": from_list,
    "v2": from_v2,
    "labels": from_labels,
}


def instances_body(*instances: Any) -> bytes:
    """TensorFlow Serving's row form."""
    return json.dumps({"instances": instances}).encode()


def v2_body(instance: Any) -> bytes:
    """The same input in the Open Inference Protocol."""
    if isinstance(instance, str):
        given: dict[str, Any] = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [instance]}
    else:
        flat = [value for row in instance for column in row for value in column]
        shape = [1, len(instance), len(instance[0]), len(instance[0][0])]
        given = {"name": "images", "shape": shape, "datatype": "FP32", "data": flat}
    return json.dumps({"inputs": [given]}).encode()


def request(port: int, path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- responses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """One whole HTTP response."""

    status: int
    body: bytes
    closes: bool
    """Whether the server ends the connection after it."""


def parse(received: bytes | bytearray) -> Response | None:
    """The response in ``received``; None while some of it is missing. Reads no more than it needs to.

    Raises:
        ValueError: this is no HTTP response.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    status, closes = int(head[9:12]), b"\r\nconnection: close" in head
    start = head.find(b"\r\ncontent-length:")
    if start >= 0:
        size = int(head[start + 17 :].split(b"\r\n", 1)[0])
        whole = len(received) >= end + 4 + size
        return Response(status, bytes(received[end + 4 : end + 4 + size]), closes) if whole else None
    if b"transfer-encoding: chunked" not in head:
        raise ValueError("expected a response with a length")
    body = dechunked(bytes(received[end + 4 :]))
    return None if body is None else Response(status, body, closes)


def dechunked(rest: bytes) -> bytes | None:
    """The body of chunks; None while the last one is missing."""
    parts: list[bytes] = []
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if len(rest) < size + 2:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(rest[:size])
        rest = rest[size + 2 :]


# --- right or wrong ---------------------------------------------------------------------------------------------------


class Checker:
    """Holds every answer against what the model itself says to that input."""

    def __init__(self, form: str, expected: list[Expected]) -> None:
        self._read, self._expected = READ[form], expected
        self._right: list[set[bytes]] = [set() for _ in expected]

    def right(self, index: int, body: bytes) -> bool:
        """Whether ``body`` answers input ``index``. The very same bytes are parsed once."""
        known = self._right[index]
        if body in known:
            return True
        if not self._matches(self._expected[index], body):
            return False
        if len(known) < CACHED_BODIES:
            known.add(body)
        return True

    def _matches(self, expected: Expected, body: bytes) -> bool:
        try:
            probabilities, class_id = self._read(orjson.loads(body))
            if len(probabilities) != len(expected.probabilities) or class_id != expected.class_id:
                return False
            gaps = [abs(one - other) for one, other in zip(probabilities, expected.probabilities, strict=True)]
            return all(math.isfinite(gap) and gap <= TOLERANCE for gap in gaps)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return False
