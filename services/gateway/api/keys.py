"""``/api/keys``: list keys, create one, revoke one. For admins."""

from datetime import datetime
from typing import Literal

import structlog
from flask import Blueprint

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth.principal import current_author, current_origin
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import KeyRequest, Role
from modelyard.services.ledger import Ledger

log = structlog.get_logger()


class NoAuthentication(ModelyardError):
    """The gateway runs without API keys."""

    status = 409


class KeyResponse(Body):
    """A key, without its secret."""

    prefix: str
    name: str
    role: Role
    models: tuple[str, ...]
    state: Literal["active", "expired", "revoked"]
    by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class CreatedKey(KeyResponse):
    """A new key with its secret, which no later response has."""

    key: str


class KeyList(Body):
    """All keys, expired and revoked ones too."""

    keys: list[KeyResponse]


def routes(settings: GatewaySettings, ledger: Ledger) -> Blueprint:
    """The views."""
    views = Blueprint("keys", __name__)

    @views.get("/api/keys")
    @json_view()
    def list_keys() -> KeyList:
        """API keys, without their secrets."""
        return KeyList(keys=[KeyResponse.model_validate(key) for key in ledger.keys.list_keys()])

    @views.post("/api/keys")
    @json_view(status=201, errors=(409,))
    def create_key(body: KeyRequest) -> CreatedKey:
        """Create an API key; the response is the only one that has it."""
        if settings.key_secret is None:
            raise NoAuthentication("API keys are not used here: set MODELYARD_KEY_SECRET first")
        by = current_author()
        key, text = ledger.keys.create(body, by, settings.key_bytes, current_origin())
        created = KeyResponse.model_validate(key)
        log.warning("key created", created=created.model_dump(), by=by)
        return CreatedKey(**vars(created), key=text)

    @views.delete("/api/keys/<prefix>")
    @json_view(errors=(404,))
    def revoke_key(prefix: str) -> KeyResponse:
        """Revoke an API key, in every gateway within five seconds."""
        by = current_author()
        key = KeyResponse.model_validate(ledger.keys.revoke(prefix, by, current_origin()))
        log.warning("key revoked", revoked=key.model_dump(), by=by)
        return key

    return views
