"""API keys, for the OpenAPI document."""

from datetime import datetime
from typing import Literal

from modelyard.services.gateway.openapi.body import Body
from modelyard.services.keys import KeyAsked, Role


class KeyRequest(KeyAsked):
    """Whose it is to be, and what for."""


class KeyShown(Body):
    """A key, without its secret."""

    prefix: str
    name: str
    role: Role
    models: list[str]
    state: Literal["active", "expired", "revoked"]
    by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class KeyMade(KeyShown):
    """The key itself, this once."""

    key: str


class KeyList(Body):
    """Those that have ended, too."""

    keys: list[KeyShown]
