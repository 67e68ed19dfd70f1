"""``/api/keys``: who has keys, a new one, and the end of one. For admins."""

from typing import Any

import structlog
from flask import Blueprint, request

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Key, KeyAsked
from modelyard.services.ledger import Ledger

log = structlog.get_logger()

MAX_BODY_BYTES = 16 * 1024


class NoKeysHere(ModelyardError):
    """The gateway asks nobody for a key."""

    status = 409


def routes(settings: GatewaySettings, ledger: Ledger) -> Blueprint:
    """The views."""
    views = Blueprint("keys", __name__)

    @views.get("/api/keys")
    def listed() -> dict[str, Any]:
        return {"keys": [shown(key) for key in ledger.keys.all()]}

    @views.post("/api/keys")
    def create() -> tuple[dict[str, Any], int]:
        body = read_body(request, MAX_BODY_BYTES)
        if settings.key_secret is None:
            raise NoKeysHere("everybody is let in here: set MODELYARD_KEY_SECRET first")
        by = callers.author()
        key, text = ledger.keys.create(parse_json_body(KeyAsked, body), by, settings.key_bytes)
        log.warning("key created", created=shown(key), by=by)
        return shown(key) | {"key": text}, 201

    @views.delete("/api/keys/<prefix>")
    def revoke(prefix: str) -> dict[str, Any]:
        key = ledger.keys.revoke(prefix)
        log.warning("key revoked", revoked=shown(key), by=callers.author())
        return shown(key)

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
