"""``/api/keys``: who has keys, a new one, and the end of one. For admins."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, request

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Key, KeyAsked

if TYPE_CHECKING:
    from modelyard.services.ledger.keys import Keys

log = structlog.get_logger()

MAX_BODY_BYTES = 16 * 1024


class NoKeysHere(ModelyardError):
    """The gateway asks nobody for a key."""

    status = 409


class KeyDesk:
    """Where keys are made; connected at the first use."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings

    @cached_property
    def keys(self) -> "Keys":
        from modelyard.services.ledger.keys import Keys

        return Keys(self._settings.ledger)

    def create(self, body: bytes, by: str) -> dict[str, Any]:
        """The key with all that is known of it, this once.

        Raises:
            NoKeysHere: the gateway has no secret to keep keys under.
            TooManyKeys: the name has two.
        """
        if self._settings.key_secret is None:
            raise NoKeysHere("everybody is let in here: set MODELYARD_KEY_SECRET first")
        key, text = self.keys.create(parse_json_body(KeyAsked, body), by, self._settings.key_bytes)
        log.warning("key created", created=shown(key), by=by)
        return shown(key) | {"key": text}

    def revoke(self, prefix: str, by: str) -> dict[str, Any]:
        """Raises ``UnknownName``."""
        key = self.keys.revoke(prefix)
        log.warning("key revoked", revoked=shown(key), by=by)
        return shown(key)


def routes(settings: GatewaySettings) -> Blueprint:
    """The views."""
    desk = KeyDesk(settings)
    views = Blueprint("keys", __name__)

    @views.get("/api/keys")
    def listed() -> dict[str, Any]:
        return {"keys": [shown(key) for key in desk.keys.all()]}

    @views.post("/api/keys")
    def create() -> tuple[dict[str, Any], int]:
        return desk.create(read_body(request, MAX_BODY_BYTES), callers.author()), 201

    @views.delete("/api/keys/<prefix>")
    def revoke(prefix: str) -> dict[str, Any]:
        return desk.revoke(prefix, callers.author())

    return views


def shown(key: Key) -> dict[str, Any]:
    """A key as admins see it."""
    return {
        "prefix": key.prefix,
        "name": key.name,
        "role": key.role,
        "models": key.models,
        "state": key.state,
        "by": key.by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
