"""``/api/keys``: list keys, create one, revoke one, for admins. ``/api/session``: sign in with one, and out."""

import time
from datetime import UTC, datetime
from typing import Literal

import structlog
from flask import Blueprint, Response, request
from pydantic import Field

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth.guard import SIGN_IN, SIGN_IN_LIMIT, Guard
from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import (
    Principal,
    current_address,
    current_author,
    current_origin,
    current_principal,
)
from modelyard.services.gateway.http.body import read_body
from modelyard.services.gateway.http.client_address import is_encrypted
from modelyard.services.gateway.http.json_body import Body, parse_json_body
from modelyard.services.gateway.http.operation import (
    CONTENT_ENCODING,
    JSON,
    Operation,
    describe_view,
    encode_body,
    json_view,
)
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
    last_used_at: datetime | None
    """To the minute; null if it never was."""


class CreatedKey(KeyResponse):
    """A new key with its secret, which no later response has."""

    key: str


class KeyList(Body):
    """All keys, expired and revoked ones too."""

    keys: list[KeyResponse]


class SignInRequest(Body):
    """An API key, once."""

    key: str = Field(max_length=200)


class SessionResponse(Body):
    """Who asks, and what they may do; without keys, everybody may do everything, and has no name.

    ``expires_at`` and ``csrf_token`` are those of a browser's session, null of a key that came with the request: what a
    session changes takes the token in ``X-CSRF-Token``.
    """

    name: str
    prefix: str
    role: Role | None
    models: tuple[str, ...]
    permissions: tuple[str, ...]
    expires_at: datetime | None
    csrf_token: str | None


SIGN_IN_OPERATION = Operation(
    "Sign in a browser with an API key: the response sets a cookie that stands for the key from then on.",
    {200: {JSON: SessionResponse}},
    request_bodies={JSON: SignInRequest},
    parameters=(CONTENT_ENCODING,),
    errors=(409, 415, 429),
)


def routes(settings: GatewaySettings, ledger: Ledger, guard: Guard | None) -> Blueprint:
    """The views. ``guard``: None where there are no keys."""
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

    @views.post(SIGN_IN)
    @describe_view(SIGN_IN_OPERATION)
    def sign_in() -> Response:
        if guard is None:
            raise NoAuthentication("nobody needs to sign in: this gateway has no API keys")
        body = parse_json_body(SignInRequest, read_body(request, SIGN_IN_LIMIT))
        principal = guard.sign_in(body.key.strip(), current_address())
        assert principal.session is not None
        response = Response(encode_body(describe_session(principal)), mimetype=JSON)
        set_cookie(response, settings, guard.sessions.cookie, guard.sessions.write(principal.session), principal)
        return response

    @views.get(SIGN_IN)
    @json_view()
    def get_session() -> SessionResponse:
        """Who asks, what they may do, and until when."""
        return describe_session(current_principal())

    @views.delete(SIGN_IN)
    @describe_view(Operation("Sign out: the browser forgets its session.", {204: {}}))
    def sign_out() -> Response:
        response = Response(status=204)
        if guard:
            set_cookie(response, settings, guard.sessions.cookie, "", None)
        return response

    return views


def describe_session(principal: Principal) -> SessionResponse:
    session = principal.session
    return SessionResponse.model_construct(
        name=principal.name,
        prefix=principal.prefix,
        role=principal.role,
        models=tuple(sorted(principal.models)),
        permissions=tuple(each.name.lower() for each in Permission if each in principal.permissions),
        expires_at=datetime.fromtimestamp(session.ends_at, UTC) if session else None,
        csrf_token=session.csrf_token if session else None,
    )


def set_cookie(
    response: Response, settings: GatewaySettings, name: str, value: str, principal: Principal | None
) -> None:
    """Sets the cookie, or removes it: no script reads it, and no page of another site makes a browser send it."""
    left_s = max(0, int(principal.session.ends_at - time.time())) if principal and principal.session else 0
    secure = is_encrypted(request.environ, settings.trusted_proxies)
    response.set_cookie(name, value, max_age=left_s, path="/", secure=secure, httponly=True, samesite="Strict")
