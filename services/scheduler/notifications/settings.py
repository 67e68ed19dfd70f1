"""Settings of notifications. The URL is a secret, as that of most webhooks is, and comes from the operator alone."""

import re
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from modelyard.services.settings import Secret, Settings, is_loopback, split_list

_PRINTABLE = re.compile(r"[!-~]+")


class Event(StrEnum):
    """What may be told."""

    JOB_FAILED = "job.failed"
    JOB_REJECTED = "job.rejected"
    CANARY = "canary"
    DRIFT = "drift"


def check_url(secret: SecretStr) -> SecretStr:
    """Raises ``ValueError``, whose text has nothing of the URL."""
    url = secret.get_secret_value()
    try:
        parts = urlsplit(url)
        host, known = parts.hostname or "", parts.port != 0
    except ValueError:  # a port that is no number
        host, known = "", False
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)) if known else False
    if not host or not secure or not _PRINTABLE.fullmatch(url):
        raise ValueError("expected https://HOST/PATH, or http:// to an address of this machine")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("expected a URL without user and fragment; a secret belongs into MODELYARD_NOTIFY_TOKEN")
    return secret


def check_token(secret: SecretStr) -> SecretStr:
    """Raises ``ValueError`` for what cannot be in a header."""
    if not _PRINTABLE.fullmatch(secret.get_secret_value()):
        raise ValueError("expected printable characters without spaces")
    return secret


def check_link(url: str) -> str:
    """Raises ``ValueError``."""
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("expected http://HOST or https://HOST")
    return url.rstrip("/")


class NotificationSettings(Settings):
    """Who is told, and of what."""

    notify_url: Annotated[Secret, AfterValidator(check_url)] | None = Field(
        None,
        description="URL that events are posted to as JSON: https, or http to this machine. It is a secret, better "
        "kept in a file. Not set: nobody is told.",
    )
    notify_token: Annotated[Secret, AfterValidator(check_token)] | None = Field(
        None, description="Bearer token that is sent with them."
    )
    notify_events: Annotated[tuple[Event, ...], NoDecode, BeforeValidator(split_list)] = Field(
        tuple(Event), description="Which events, separated by commas."
    )
    notify_format: Literal["json", "text"] = Field(
        "json", description="json: all fields; text: `text` alone, as chat services want it that refuse other fields."
    )
    notify_console: Annotated[str, AfterValidator(check_link)] = Field(
        "", description="Address of the console as people reach it, for links, such as https://models.example.org."
    )
    notify_drift: float = Field(0.25, gt=0, description="Population stability index above which drift is told.")
    notify_timeout_s: float = Field(10.0, gt=0, le=60, description="Seconds for each step of a post.")
    notify_s: float = Field(5.0, gt=0, le=3600, description="Seconds between two looks for events.")
