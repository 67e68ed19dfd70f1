"""Exit statuses of commands, and what to do about errors."""

import signal
from collections.abc import Mapping

from modelyard.client import (
    Forbidden,
    ModelyardClientError,
    NotFound,
    RateLimited,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unreachable,
)

FAILED, USAGE, REFUSED, NOT_FOUND, NOT_ALLOWED, UNAVAILABLE = 1, 2, 3, 4, 5, 6
INTERRUPTED = 128 + signal.SIGINT
MEANINGS: Mapping[int, str] = {
    0: "Done.",
    FAILED: "Failed: a job failed or was cancelled, `doctor` or `verify` found a fault, or another error.",
    USAGE: "Wrong usage: an argument, option, setting or value that cannot be. Nothing was done.",
    REFUSED: "Refused: the gate rejected the version, or things are not so that it can be done (HTTP 409).",
    NOT_FOUND: "Not found: the gateway knows no such model, version, job or search, or none for this key.",
    NOT_ALLOWED: "Not allowed: no valid key was sent, or its role may not do this.",
    UNAVAILABLE: "Not available: no gateway answers, it has too much to do, or did not answer in time. Try again.",
    INTERRUPTED: "Ended by Ctrl-C.",
}

NO_KEY = (
    "the gateway requires a valid API key: put one into MODELYARD_API_KEY, into a file that --key-file names, or into "
    "the file modelyard_key of the folder MODELYARD_SECRETS_DIR; `modelyard keys create` makes one"
)
WAYS_OUT: Mapping[type[ModelyardClientError], str] = {
    Forbidden: "use a key of such a role: --key-file FILE",
    NotFound: "`modelyard models` and `modelyard jobs` list what there is",
    Unreachable: "start one with `modelyard up`, or `make up` in a checkout; another address: --url",
    TimedOut: "try again; `modelyard doctor` shows what is wrong",
    RateLimited: "try again later",
    Unavailable: "try again in a moment; `modelyard doctor` shows what is wrong",
}
"""What to type next, by the most special class that fits."""


def describe_error(error: Exception) -> str:
    """The error in one line, with the way out."""
    if isinstance(error, Unauthenticated):
        return NO_KEY
    text = " ".join(str(error).split())
    if "try again" in text:
        return text
    if isinstance(error, Unavailable) and error.retry_after_s:
        return f"{text}; try again in {error.retry_after_s:g} s"
    found = next((way for kind in type(error).__mro__ if (way := WAYS_OUT.get(kind))), None)
    return f"{text}; {found}" if found and found not in text else text
