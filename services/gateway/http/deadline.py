"""How long a caller waits. What is left of it travels with every call: nobody works for someone who has gone."""

import time
from dataclasses import dataclass

import grpc

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.errors import InvalidRequest

HEADER = "X-Timeout-Ms"
LONGEST_S = 30.0
"""TensorFlow Serving's own limit (``--rest_api_timeout_in_ms``); a caller who asks for more gets this."""


@dataclass(frozen=True)
class Deadline:
    """A moment, and how far away it was at first."""

    total_s: float
    ends_at: float
    """On the monotonic clock."""

    @classmethod
    def after(cls, total_s: float) -> "Deadline":
        return cls(total_s, time.monotonic() + total_s)

    @property
    def left_s(self) -> float:
        return self.ends_at - time.monotonic()

    def missed(self) -> ServingFailed:
        """What whoever waited that long is told."""
        return ServingFailed(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {self.total_s:g} s")


def asked(header: str | None, default_s: float) -> Deadline:
    """The deadline that a caller's ``X-Timeout-Ms`` asks for.

    Raises:
        InvalidRequest: it is not a whole number of milliseconds.
    """
    if header is None:
        return Deadline.after(default_s)
    if not (header.isascii() and header.isdecimal() and int(header[:9]) > 0):
        raise InvalidRequest(f"{HEADER}: expected a whole number of milliseconds above 0, received {header[:20]!r}")
    return Deadline.after(min(int(header[:9]) / 1000, LONGEST_S))
