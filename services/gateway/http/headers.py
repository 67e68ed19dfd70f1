"""Names and contents of headers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from werkzeug.http import parse_options_header

Headers = Mapping[str, str]
"""Values by name, in lower case."""
HeaderList = list[tuple[str, str]]
"""Headers of a response."""

CLIENT_HEADER = "x-limited-client"
"""Who is charged for a prediction: set by the gateway itself, in place of what a client sends."""
CLASS_HEADER = "x-request-class"
"""``bulk``: goes after everything interactive."""
KEY_HEADER = "x-rollout-key"
"""Identifies the user: equal keys get the same version."""
CAPTURE_HEADER = "x-capture"
"""``no``: the prediction is not captured; ``yes``: it is, whatever the rate, if its model is one that is captured."""
TIMEOUT_HEADER = "x-timeout-ms"
MULTIPART = "multipart/form-data"
STREAMED = frozenset({"application/jsonl", "application/x-ndjson", "application/jsonlines"})
"""Content types whose bodies are read by the view, chunk by chunk."""
MEDIA_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Names that were never registered, and are in use."""
JSON_HEADERS: HeaderList = [("content-type", "application/json")]


def media_type(headers: Headers) -> str:
    """The content type without its parameters, in lower case; empty if there is none."""
    return _media_type(headers.get("content-type", ""))


def media_parameters(headers: Headers) -> dict[str, str]:
    """Parameters of the content type, such as ``charset``."""
    return parse_options_header(headers.get("content-type", ""))[1]


@lru_cache(maxsize=128)
def _media_type(content_type: str) -> str:
    found = content_type.partition(";")[0].strip().lower()
    return MEDIA_ALIASES.get(found, found)


def read_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a WSGI request."""
    found = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if key in environ:
            found[key.replace("_", "-").lower()] = environ[key]
    return found
