"""Deadlines of requests. The remaining time is sent with every call: no work is done for a client that has gone."""

import time
from dataclasses import dataclass

import grpc

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.headers import TIMEOUT_HEADER, Headers

MAX_S = 30.0
"""TensorFlow Serving's own limit (``--rest_api_timeout_in_ms``); larger values are cut to it."""


@dataclass(frozen=True)
class Deadline:
    """A time, and the seconds that there were until it at first."""

    total_s: float
    ends_at: float
    """On the monotonic clock."""

    @classmethod
    def after(cls, total_s: float) -> "Deadline":
        return cls(total_s, time.monotonic() + total_s)

    @property
    def remaining_s(self) -> float:
        return self.ends_at - time.monotonic()

    def within(self, total_s: float | None) -> "Deadline":
        """The earlier one of this and another that begins now."""
        if total_s is None:
            return self
        return min(self, Deadline.after(total_s), key=lambda deadline: deadline.ends_at)

    def make_error(self) -> ServingFailed:
        """The error of a request whose deadline has passed."""
        return ServingFailed(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {self.total_s:g} s")


def parse_timeout_s(headers: Headers, default_s: float) -> float:
    """The client's ``X-Timeout-Ms``, in seconds.

    Raises:
        InvalidRequest: it is not a whole number of milliseconds.
    """
    value = headers.get(TIMEOUT_HEADER)
    if value is None:
        return default_s
    if not (value.isascii() and value.isdecimal() and int(value[:9]) > 0):
        raise InvalidRequest(f"X-Timeout-Ms: expected a whole number of milliseconds above 0, received {value[:20]!r}")
    return min(int(value[:9]) / 1000, MAX_S)


def parse_deadline(headers: Headers, default_s: float) -> Deadline:
    """The deadline of a request; raises as ``parse_timeout_s``."""
    return Deadline.after(parse_timeout_s(headers, default_s))
