"""Errors of the model server, each with its gRPC status, and the decorator that returns them to clients."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
import structlog

from modelyard.models.errors import ModelyardError

MESSAGE_LIMIT = 1024
"""Characters; longer messages are cut as TensorFlow Serving cuts them (``model_servers/grpc_status_util.cc``)."""

log = structlog.get_logger()


class Refused(ModelyardError):
    """A refused call or load; ``code`` is a ``grpc.StatusCode``, whose numbers TensorFlow shares."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def number(self) -> int:
        """The code as ``tensorflow.error.Code``."""
        return int(self.code.value[0])


class InvalidConfig(ModelyardError):
    """A configuration that cannot be parsed or applied; the previous one stays in force."""

    exit_code = 2


def convert_code(number: int) -> grpc.StatusCode:
    """The gRPC status of a ``tensorflow.error.Code``: the numbers are the same (tsl ``error_codes.proto``)."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)


def wrap_error(error: Exception) -> Refused:
    """A ``Refused`` for any other exception."""
    if isinstance(error, MemoryError):
        return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory to load it")
    return Refused(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")


def truncate_message(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "...TRUNCATED"


def handle_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a servicer's method: ``Refused`` becomes the call's status, any other exception an opaque INTERNAL."""

    @wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except Refused as refusal:
            code, message = refusal.code, truncate_message(str(refusal))
        except Exception:  # the outermost boundary of a call: the cause goes to the log, not to the client
            log.exception("call_failed", method=method.__name__)
            code, message = grpc.StatusCode.INTERNAL, "Internal error"
        return context.abort(code, message)

    return call
