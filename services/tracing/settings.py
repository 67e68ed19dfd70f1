"""Settings of processes that trace."""

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from modelyard.services.settings import Settings

TRACES_PATH = "/v1/traces"
"""OTLP's path of traces, below the receiver's URL (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Request")."""
HEADERS_VARIABLE = "OTEL_EXPORTER_OTLP_HEADERS"
_PRINTABLE = re.compile(r"[!-~]+")


class TracingSettings(Settings):
    """Where traces go, and how many."""

    otlp_endpoint: str | None = Field(
        None,
        repr=False,
        description="URL of an OpenTelemetry receiver (OTLP over HTTP) for traces, such as http://127.0.0.1:4318; "
        "needs the extra `tracing`. Not set: nothing is traced.",
    )
    trace_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the traces that begin here which is recorded; those that a caller began are as it says.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_receiver(cls, url: str | None) -> str | None:
        """The URL of its traces; errors hold nothing of it, as there may be a secret."""
        if url is None or not url.strip():
            return None
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            known = False
        if not known or not _PRINTABLE.fullmatch(url):
            raise ValueError("expected http://HOST:PORT or https://HOST:PORT of an OTLP receiver")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"expected a URL without user, query and fragment; secrets belong into {HEADERS_VARIABLE}")
        path = parts.path.rstrip("/")
        return parts._replace(path=path if path.endswith(TRACES_PATH) else f"{path}{TRACES_PATH}").geturl()
