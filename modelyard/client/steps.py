"""What calls do, without how: generators that yield steps, which ``Client`` and ``AsyncClient`` each carry out.

A call is written once, as a routine: it yields a request and is sent the reply, or the error is thrown into it. The
retries are written once, too, around any routine.
"""

import json
import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from modelyard.client.errors import (
    BrokenAnswer,
    ModelyardClientError,
    RateLimited,
    TimedOut,
    Unavailable,
    Unreachable,
    choose_error,
)
from modelyard.client.options import Options

T = TypeVar("T")
JSON = "application/json"
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
"""Between two tries: doubled each time, and drawn at random below it, so that clients do not come back together."""
MAX_DOUBLINGS = 10
SHOWN_CHARS = 200

Repeat = Literal["always", "unless late", "never sent"]
"""``always``: a repetition changes nothing. ``unless late``: nor that, but it would be more work for who has too much.
``never sent``: only if the first try did not reach the gateway's code."""


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeat: Repeat = "never sent"
    timeout_s: float | None = None
    """Of the whole call; None: the client's."""


@dataclass(frozen=True)
class Reply:
    """The whole answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    took_s: float

    def json(self) -> Any:
        """Raises ``BrokenAnswer``."""
        try:
            return json.loads(self.content)
        except ValueError:
            shown = self.content[:SHOWN_CHARS].decode(errors="replace")
            raise BrokenAnswer(
                f"expected JSON, received {shown!r}: is this a gateway?",
                status=self.status,
                request_id=self.headers.get("x-request-id"),
            ) from None


@dataclass(frozen=True)
class Sleep:
    """A pause."""

    seconds: float


@dataclass(frozen=True)
class Open:
    """Opens a stream: the reply has no content, and its lines are read one by one."""

    request: Request


@dataclass(frozen=True)
class NextLine:
    """The next line of the stream; None at its end."""


@dataclass(frozen=True)
class Emit:
    """A value for whoever iterates."""

    value: Any


Step = Request | Sleep | Open | NextLine | Emit
Routine = Generator[Step, Any, T]


def get(path: str, **query: Any) -> Request:
    """A request that reads; parameters that are None are left out."""
    return Request("GET", path, {name: value for name, value in query.items() if value is not None}, repeat="always")


def send_json(method: str, path: str, body: Any, *, idempotency_key: str | None = None) -> Request:
    """A request that changes something; with an idempotency key it may be repeated."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": JSON} if content is not None else {}
    if idempotency_key is None:
        return Request(method, path, headers=headers, body=content)
    headers["Idempotency-Key"] = idempotency_key
    return Request(method, path, headers=headers, body=content, repeat="always")


def encode_path(*parts: object, verb: str = "") -> str:
    """``("api", "models", "a b")`` -> ``/api/models/a%20b``; a verb stands behind a colon."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts) + (f":{verb}" if verb else "")


# --- retries ----------------------------------------------------------------------------------------------------------


def with_retries(routine: Routine[T], options: Options) -> Routine[T]:
    """The same routine, whose requests are tried again where that is safe."""
    try:
        step = next(routine)
        while True:
            try:
                result = (yield from _try(step, options)) if isinstance(step, Request) else (yield step)
            except ModelyardClientError as error:
                step = routine.throw(error)
            else:
                step = routine.send(result)
    except StopIteration as end:
        found: T = end.value
        return found


def _try(request: Request, options: Options) -> Routine[Reply]:
    """The reply to a request; raises the last error."""
    total_s = request.timeout_s or options.timeout_s
    deadline = time.monotonic() + total_s
    tries = 0
    while True:
        try:
            reply: Reply = yield replace(request, timeout_s=max(0.001, deadline - time.monotonic()))
            raise_for_status(reply)
        except ModelyardClientError as error:
            pause = choose_pause(error, tries)
            if not may_repeat(request, error) or tries == options.retries or time.monotonic() + pause >= deadline:
                raise
        else:
            return reply
        yield Sleep(pause)
        tries += 1


def may_repeat(request: Request, error: ModelyardClientError) -> bool:
    """Whether another try can neither do something twice, nor meet the same answer for sure."""
    if isinstance(error, Unreachable | RateLimited):  # refused before anything was done
        return True
    if request.repeat == "never sent" or not isinstance(error, Unavailable):
        return False
    return request.repeat == "always" or not isinstance(error, TimedOut)


def choose_pause(error: ModelyardClientError, tries: int) -> float:
    """Seconds until the next try: as the gateway asks, else longer each time."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return random.uniform(0.5, 1) * min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries, MAX_DOUBLINGS))


def raise_for_status(reply: Reply) -> None:
    """Raises the error of a reply that is one."""
    if reply.status < 300:  # noqa: PLR2004
        return
    body = _error_body(reply)
    raise choose_error(reply.status)(
        _error_text(reply, body),
        status=reply.status,
        request_id=reply.headers.get("x-request-id"),
        retry_after_s=_parse_seconds(reply.headers.get("retry-after")),
        body=body,
    )


def _error_body(reply: Reply) -> Any:
    try:
        return json.loads(reply.content)
    except ValueError:
        return None


def _error_text(reply: Reply, body: Any) -> str:
    if isinstance(body, dict) and "error" in body:
        return str(body["error"])
    shown = reply.content[:SHOWN_CHARS].decode(errors="replace").strip()
    return f"{reply.status} {shown}".strip()


def _parse_seconds(header: str | None) -> float | None:
    """Of ``Retry-After``; None of a date, which gateways do not send."""
    return float(header) if header and header.isdecimal() else None
