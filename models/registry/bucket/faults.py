"""What went wrong with a bucket, in words of ours: a server's answer may repeat who asked, and how it was signed."""

import os
import re

from modelyard.models.errors import StorageFailed

_REASONS: tuple[tuple[str, str], ...] = (
    ("NoSuchBucket|ContainerNotFound", "there is no such bucket"),
    ("RequestTimeTooSkewed", "this machine's clock is wrong"),
    ("SlowDown|TooManyRequests", "it asks for fewer requests"),
    ("Account must be specified", "the account is not set: AZURE_STORAGE_ACCOUNT_NAME"),
    ("- HTTP error: builder error", "its endpoint is not https, which only AWS_ALLOW_HTTP=true allows"),
    ("- HTTP error: request or response body error", "the connection broke off"),
    ("- HTTP error: (operation timed out|.*TimedOut)", "it did not answer in time"),
    ("- HTTP error: error sending request", "it cannot be reached, or did not answer in time"),
)
_METADATA = r"169\.254\.169\.254|169\.254\.170\.|metadata\.google"
"""Where the library asks the platform for credentials, if the environment has none."""
NO_CREDENTIALS = "no credentials were found, in the environment or from the platform"
_STATUS = re.compile(r"status code: (\d{3})")
REFUSED = "it refuses these credentials, or they may not do this"

_first_process: list[int] = []
"""The process that called the library first: its threads are in no fork."""


class BucketFailed(StorageFailed):
    """The bucket refuses, cannot be reached, or does not answer in time."""


def check_process() -> None:
    """Raises ``RuntimeError`` in a fork of a process that has called the library: it would wait for ever."""
    if not _first_process:
        _first_process.append(os.getpid())
    if _first_process[0] != os.getpid():
        raise RuntimeError("a process that has called the object store must not fork one that does")


def is_refusal(error: Exception) -> bool:
    """Whether the same request would be refused again."""
    from obstore.exceptions import InvalidPathError, PermissionDeniedError, UnauthenticatedError

    if isinstance(error, InvalidPathError | PermissionDeniedError | UnauthenticatedError):
        return True
    status = _STATUS.search(str(error))  # of requests for several objects the library has no class
    return status is not None and status[1] in ("401", "403")


def describe_fault(error: Exception) -> str:
    """One clause, without anything that the server has said."""
    text = str(error)
    if re.search(_METADATA, text):
        return NO_CREDENTIALS
    if is_refusal(error):
        return REFUSED
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    status = _STATUS.search(text)
    return f"it answers with status {status[1]}" if status else f"it failed ({type(error).__name__})"
