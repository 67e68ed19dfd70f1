"""Responses without the application, and what they are for: ambiguous headers, overload."""

import math
import random
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.http.errors import RETRY_AFTER_S, describe_error
from modelyard.services.gateway.http.headers import Headers
from modelyard.services.gateway.limits.token_bucket import Decision

MAX_HEADERS = 64
MAX_HEADER_BYTES = 8 * 1024
"""Of one header's value, and of a path with its query: some of them are taken apart piece by piece."""
MAX_RETRY_AFTER_S = 30


class Refused(Exception):
    """A response without the application."""

    def __init__(self, status: int, text: str, *, unread: bool = False, **headers: str) -> None:
        """``unread``: the client may still be sending the body."""
        super().__init__(text)
        self.status = status
        self.unread = unread
        self.headers = headers


def make_refusal(error: ModelyardError) -> Refused:
    """The response to an error that was found before the body was read."""
    status, text, headers = describe_error(error)
    return Refused(status, text, unread=True, **dict(headers))


def make_overload_error(model: str, wait_s: float, *, unread: bool) -> Refused:
    """The response of a model that is overloaded."""
    retry_after_s = min(MAX_RETRY_AFTER_S, math.ceil(wait_s) + random.randint(*RETRY_AFTER_S) - 1)
    text = f"{model[:64]} is overloaded; try again later"
    return Refused(503, text, unread=unread, **{"retry-after": str(retry_after_s)})


def make_limit_error(decision: Decision) -> Refused:
    """The response to a client that has used up its predictions."""
    text = f"expected at most {decision.rate.per_s:g} predictions a second, received more; try again later"
    return Refused(429, text, unread=True, **dict(decision.headers()))


def make_share_error(model: str, max_in_flight: int) -> Refused:
    """The response to a client that has taken its share of a model's places."""
    text = f"expected at most {max_in_flight} predictions of {model[:64]} at once with one key; try again later"
    return Refused(429, text, unread=True, **{"retry-after": str(random.randint(*RETRY_AFTER_S))})


def check_headers(headers: Headers) -> None:
    """Refuses ambiguous headers.

    Raises:
        Refused: length and chunks at once (RFC 9112, section 6.1: request smuggling), or too many headers.
    """
    if "transfer-encoding" in headers and "content-length" in headers:
        raise Refused(400, "expected Content-Length or Transfer-Encoding, received both", connection="close")
    if len(headers) > MAX_HEADERS:
        raise Refused(431, f"expected at most {MAX_HEADERS} headers", connection="close")
    if headers and len(max(headers.values(), key=len)) > MAX_HEADER_BYTES:
        raise Refused(431, f"expected headers of at most {MAX_HEADER_BYTES} bytes each", connection="close")


def check_address(scope: Any) -> None:
    """Refuses a long path or query; raises ``Refused``."""
    if len(scope.path) + len(scope.query_string) > MAX_HEADER_BYTES:
        raise Refused(414, f"expected a path and query of at most {MAX_HEADER_BYTES} bytes", connection="close")
