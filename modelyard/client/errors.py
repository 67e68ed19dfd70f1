"""Errors of the client, one class for each thing that a caller can do about it; all are ``ModelyardClientError``."""

from typing import Any

from modelyard.models.errors import ModelyardError

NO_ANSWER = 0
"""``status`` where no answer came."""


class ModelyardClientError(ModelyardError):
    """A request failed. Its text is the gateway's.

    Attributes:
        status: of the answer; 0 if there was none.
        request_id: names the request in the gateway's logs; None if no answer came.
        retry_after_s: seconds after which the gateway asks to try again; None if it says nothing.
        body: the answer's JSON; None if it had none.
    """

    status = NO_ANSWER

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.body = body


class InvalidInput(ModelyardClientError):
    """What was sent is not what the model, or the route, takes; the text says what is."""

    status = 400
    exit_code = 2


class Unauthenticated(ModelyardClientError):
    """No valid API key was sent."""

    status = 401
    exit_code = 5


class Forbidden(ModelyardClientError):
    """The key's role may not do this; the text names those that may."""

    status = 403
    exit_code = 5


class NotFound(ModelyardClientError):
    """No such model, version, job or route, or none for this key."""

    status = 404
    exit_code = 4


class Conflict(ModelyardClientError):
    """As things are, it cannot be done: the gate forbids it, a job has ended, or there is nothing to go back to."""

    status = 409
    exit_code = 3


class Unavailable(ModelyardClientError):
    """The gateway, or what stands behind it, cannot answer now; a later try may succeed."""

    status = 503
    exit_code = 6


class RateLimited(Unavailable):
    """The client's limit is reached; ``retry_after_s`` says when there is more."""

    status = 429


class Unreachable(Unavailable):
    """No gateway answers at the address; nothing was sent."""

    status = NO_ANSWER


class ConnectionBroken(Unavailable):
    """The connection ended before the answer; what was asked for may have been done."""

    status = NO_ANSWER


class TimedOut(Unavailable):
    """No answer in time: the gateway's limit (status 504), or the client's own (0)."""

    status = 504


class ServerFailed(ModelyardClientError):
    """The gateway, or the model, failed; its log has the request id."""

    status = 500


class BrokenAnswer(ModelyardClientError):
    """An answer that is none of a gateway's."""


_BY_STATUS: dict[int, type[ModelyardClientError]] = {
    error.status: error
    for error in (Unauthenticated, Forbidden, NotFound, Conflict, Unavailable, RateLimited, TimedOut)
}
_CLIENT_ERRORS, _SERVER_ERRORS = 400, 500


def choose_error(status: int) -> type[ModelyardClientError]:
    """The class of an answer's status. Gateways redirect nobody."""
    if status < _CLIENT_ERRORS:
        return BrokenAnswer
    return _BY_STATUS.get(status, InvalidInput if status < _SERVER_ERRORS else ServerFailed)
