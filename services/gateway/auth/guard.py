"""Authentication and authorisation: in the RSGI app before a body is read, and before every view of Flask.

A client without a valid key learns nothing: not what is wrong with its key, nor which routes there are. A browser may
have a session in place of the key; what it changes takes a token, too, that only pages of ours know.
"""

import functools
import hmac
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog
from flask import Flask, Response, g
from flask.globals import request_ctx

from modelyard.models.errors import ModelyardError, UnknownName
from modelyard.services.gateway.auth import permissions
from modelyard.services.gateway.auth.browsers import locate_sign_in, wants_page
from modelyard.services.gateway.auth.denials import Attempt, Denials, describe_attempt
from modelyard.services.gateway.auth.key_cache import InvalidKey, KeyCache, KeysNotRead
from modelyard.services.gateway.auth.oidc.tokens import Tokens, is_token
from modelyard.services.gateway.auth.open_routes import build_route_pattern
from modelyard.services.gateway.auth.permissions import (
    ALL_MODELS_ONLY,
    AUDITED,
    DOCUMENTS,
    PROBES,
    PUBLIC,
    VIEWS,
    Permission,
)
from modelyard.services.gateway.auth.principal import NOBODY, Principal, current_address, current_principal
from modelyard.services.gateway.auth.sessions import TOKEN_HEADER, InvalidSession, Session, Sessions
from modelyard.services.gateway.http.body import BodyLimit
from modelyard.services.gateway.http.errors import ServableNotFound, not_found_text
from modelyard.services.gateway.http.origins import READING
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.metrics import Metrics

log = structlog.get_logger()

BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
"""RFC 6750, section 2.1, and RFC 9110, section 11.1: the scheme's case does not matter."""
LOG_INTERVAL_S = 1.0
SIGN_IN = "/api/session"
SIGN_IN_LIMIT = BodyLimit(4096)
"""Of what is read of a client before it has shown a key."""
PREFLIGHT = "OPTIONS"
"""A browser's request before the request, without a key: Flask answers it, and no view is run."""


class Unauthenticated(ModelyardError):
    """No valid key; the text never says why."""

    status = 401


class Forbidden(ModelyardError):
    """The key's role lacks the permission; the text names the roles that have it."""

    status = 403


class InvalidToken(Forbidden):
    """A session changes something, and the token of its page is missing."""


class Guard:
    """Authenticates requests for the RSGI app, and for Flask's views."""

    def __init__(
        self,
        key_cache: KeyCache,
        sessions: Sessions,
        denials: Denials,
        metrics: Metrics,
        limits: RateLimits,
        *,
        tokens: Tokens | None = None,
        public_docs: bool = False,
    ) -> None:
        """``tokens``: of an OpenID Connect issuer, which count beside keys."""
        self._tokens = tokens
        self.key_cache, self.sessions, self.denials = key_cache, sessions, denials
        self._limits = limits
        self._open_views = PROBES | PUBLIC | (DOCUMENTS if public_docs else frozenset())
        """Endpoints that need no key."""
        self._open_routes = re.compile("(?!)")
        """Their methods and paths; none before there is an application."""
        self._metrics = metrics
        self._logged_at: dict[str, float] = {}
        metrics.keys_age.set_function(lambda: self.key_cache.age_s)

    def authenticate(
        self, method: str, path: str, authorization: Sequence[str], cookies: str | None, address: str
    ) -> Principal:
        """The principal of a request. A key is checked even where none is needed; a session that is over is not.

        Args:
            authorization: the request's ``Authorization`` headers.
            cookies: its ``Cookie`` header, which only counts where there are none of these.

        Raises:
            Unauthenticated: no valid key, and no session.
            RateLimited: too often, from this address; a valid key is not refused for the others.
            KeysNotRead: the keys have not been read yet.
        """
        if not authorization and (method == PREFLIGHT or self._open_routes.fullmatch(f"{method} {path}")):
            return self._recognise(method, cookies)
        try:
            if cookies and not authorization and (found := self._find_by_cookie(cookies)):
                return found
            key = read_key(authorization)
            of_issuer = self._tokens is not None and is_token(key)
            return (self._tokens if of_issuer and self._tokens else self.key_cache).find_principal(key)
        except (InvalidKey, InvalidSession) as bad:
            self._refuse(str(bad), address)
            raise Unauthenticated("expected a valid API key: Authorization: Bearer KEY") from None

    def check_token(self, method: str, principal: Principal, token: str | None) -> None:
        """Checks what a session changes, where the browser sends its cookie by itself.

        Args:
            token: the request's ``X-CSRF-Token``.

        Raises:
            InvalidToken: the token is not that of the session.
        """
        if principal.session is None or method in READING:
            return
        if not hmac.compare_digest((token or "").encode(), principal.session.csrf_token.encode()):
            raise InvalidToken(
                f"expected the header {TOKEN_HEADER} of this session, which GET /api/session names; received "
                f"{'another one' if token else 'none'}"
            )

    def note_denied(self, method: str, path: str, principal: Principal, reason: str, address: str) -> None:
        """For the audit trail: what was refused before a view was found for it."""
        who = {"by": principal.name, "prefix": principal.prefix, "role": principal.role or ""}
        log.warning("audit", key=principal.name, prefix=principal.prefix, action=f"{method} {path[:128]}", status=403)
        self.denials.add(Attempt(f"{method} {path[:128]}", f"403 {reason}", address=address, **who))

    def sign_in(self, key: str, address: str) -> Principal:
        """The principal of a key, with a new session.

        Raises:
            Unauthenticated: the key is not valid.
            RateLimited, KeysNotRead: as ``authenticate``.
        """
        try:
            principal = self.key_cache.find_principal(key)
            left_s = self.key_cache.find_holder(principal.prefix).left_s
        except InvalidKey as bad:
            self._refuse(str(bad), address)
            raise Unauthenticated("this is no valid API key: it may be mistyped, expired or revoked") from None
        log.info("signed in", key=principal.name, prefix=principal.prefix, role=principal.role, address=address)
        return with_session(principal, self.sessions.open(principal.prefix, left_s))

    def guard(self, app: Flask) -> None:
        """Authenticates every request of an application, and authorises its views."""
        self._open_routes = build_route_pattern(app.url_map, self._open_views)

        @app.before_request
        def authenticate() -> Response | None:
            self.start()
            g.principal = NOBODY
            request = request_ctx.request
            get = request.environ.get
            header = get("HTTP_AUTHORIZATION")
            authorization = [] if header is None else [header]
            address = current_address()
            try:
                g.principal = self.authenticate(
                    request.method, request.path, authorization, get("HTTP_COOKIE"), address
                )
            except Unauthenticated:
                if not wants_page(request.method, get("HTTP_ACCEPT"), get("HTTP_SEC_FETCH_MODE")):
                    raise
                return Response(status=303, headers={"Location": locate_sign_in(request.path, get("QUERY_STRING", ""))})
            self.check_token(request.method, g.principal, get("HTTP_X_CSRF_TOKEN"))
            return None

        app.after_request(self._record)
        for endpoint in VIEWS.keys() - self._open_views:
            app.view_functions[endpoint] = guard_view(app.view_functions[endpoint], VIEWS[endpoint])

    def start(self) -> None:
        """Starts the threads that read keys; returns once each has tried. Idempotent."""
        self.key_cache.start()
        if self._tokens:
            self._tokens.keys.start()

    def close(self) -> None:
        """Ends its threads, and writes the denied attempts that are not in the trail yet."""
        if self._tokens:
            self._tokens.keys.close()
        self.key_cache.close()
        self.denials.write()

    def _recognise(self, method: str, cookies: str | None) -> Principal:
        """Whoever a page that needs no session is shown to; a cookie that is over is none."""
        if not cookies or method not in READING or method == PREFLIGHT:
            return NOBODY
        try:
            return self._find_by_cookie(cookies) or NOBODY
        except (InvalidKey, InvalidSession, KeysNotRead):
            return NOBODY

    def _find_by_cookie(self, cookies: str) -> Principal | None:
        session = self.sessions.read(cookies)
        return with_session(self.key_cache.find_holder(session.prefix).principal, session) if session else None

    def _refuse(self, reason: str, address: str) -> None:
        """Logs a failure; raises ``RateLimited`` for too many of an address."""
        self._log_failure(reason, address)
        self._limits.take_failed_key(address)

    def _log_failure(self, reason: str, address: str) -> None:
        """Counts it, and writes one line a second for each reason."""
        self._metrics.refused_keys.labels(reason).inc()
        self.denials.add(Attempt("authenticate", f"401 {reason}", address=address))
        moment = time.monotonic()
        if moment - self._logged_at.get(reason, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._logged_at[reason] = moment
            log.warning("authentication failed", reason=reason, address=address)

    def _record(self, response: Response) -> Response:
        """Logs each change, permitted or not; what was denied goes into the audit trail."""
        request, principal, status = request_ctx.request, current_principal(), response.status_code
        changing = VIEWS.get(request.endpoint or "") in AUDITED and request.method not in READING
        denied = status == Forbidden.status or "denied" in g or (changing and status == UnknownName.status)
        if principal.name and (changing or status == Forbidden.status):
            action = {"action": request.endpoint, "about": request.view_args, "status": status}
            log.warning("audit", key=principal.name, prefix=principal.prefix, role=principal.role, **action)
        if principal.name and denied:
            self.denials.add(describe_attempt(principal, status))
        return response


def read_key(authorization: Sequence[str]) -> str:
    """The key of a request; raises ``InvalidKey`` if there is none, or more than one."""
    if not authorization:
        raise InvalidKey("none")
    found = BEARER.fullmatch(authorization[0])
    if len(authorization) > 1 or found is None:
        raise InvalidKey("several" if len(authorization) > 1 else "malformed")
    return found[1]


def with_session(principal: Principal, session: Session) -> Principal:
    """The principal while both last: the key and the session."""

    def is_valid() -> bool:
        return not session.is_over and principal.is_valid()

    return replace(principal, session=session, is_valid=is_valid)


def guard_view(view: Callable[..., Any], needed: Permission) -> Callable[..., Any]:
    """Wraps a view with authorisation, also where another view calls it."""

    @functools.wraps(view)
    def guard(**named: Any) -> Any:
        if request_ctx.request.method != PREFLIGHT:
            authorise(g.principal, needed, named.get("model"), named.get("version"))
        return view(**named)

    return guard


def authorise(principal: Principal, needed: Permission, model: str | None, version: Any = None) -> None:
    """Checks that a principal may use a view.

    Raises:
        Forbidden: the role does not have the permission.
        UnknownName, ServableNotFound: the model is not one of theirs, whether it exists or not.
    """
    if not principal.may(needed):
        roles = " or ".join(permissions.roles_with(needed))
        raise Forbidden(f"expected a key of role {roles}, which may {needed}; received one of role {principal.role}")
    if principal.models and needed in ALL_MODELS_ONLY:
        raise Forbidden(f"expected a key for all models, which may {needed}; received one for some of them")
    if model is not None and not principal.can_see(model):
        g.denied = True
        raise not_found(model, version)


def not_found(model: str, version: Any) -> ModelyardError:
    """The error of a view for a model that does not exist, with the same text."""
    if request_ctx.request.path.startswith("/api/"):
        return UnknownName(f"model {model[:64]!r} has no version yet")
    return ServableNotFound(not_found_text(model, version))
