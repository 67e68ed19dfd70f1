"""Authentication and authorisation: in the RSGI app before a body is read, and before every view of Flask.

A client without a valid key learns nothing: not what is wrong with its key, nor which routes there are.
"""

import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from flask import Flask, Response, g
from flask.globals import request_ctx
from werkzeug.routing import Map

from modelyard.models.errors import ModelyardError, UnknownName
from modelyard.services.gateway.auth import permissions
from modelyard.services.gateway.auth.denials import Attempt, Denials
from modelyard.services.gateway.auth.key_cache import InvalidKey, KeyCache
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
from modelyard.services.gateway.http.errors import ServableNotFound, not_found_text
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.metrics import Metrics

log = structlog.get_logger()

BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
"""RFC 6750, section 2.1, and RFC 9110, section 11.1: the scheme's case does not matter."""
LOG_INTERVAL_S = 1.0
PREFLIGHT = "OPTIONS"
"""A browser's request before the request, without a key: Flask answers it, and no view is run."""
READING = frozenset({"GET", "HEAD"})


class Unauthenticated(ModelyardError):
    """No valid key; the text never says why."""

    status = 401


class Forbidden(ModelyardError):
    """The key's role lacks the permission; the text names the roles that have it."""

    status = 403


class Guard:
    """Authenticates requests for the RSGI app, and for Flask's views."""

    def __init__(
        self, key_cache: KeyCache, denials: Denials, metrics: Metrics, limits: RateLimits, *, public_docs: bool = False
    ) -> None:
        self.key_cache, self.denials = key_cache, denials
        self._limits = limits
        self._open_views = PROBES | PUBLIC | (DOCUMENTS if public_docs else frozenset())
        """Endpoints that need no key."""
        self._open_paths = re.compile("(?!)")
        """Their paths; none before there is an application."""
        self._metrics = metrics
        self._logged_at: dict[str, float] = {}
        metrics.keys_age.set_function(lambda: self.key_cache.age_s)

    def authenticate(self, method: str, path: str, authorization: Sequence[str], address: str) -> Principal:
        """The principal of a request. A key is checked even where none is needed.

        Args:
            authorization: the request's ``Authorization`` headers.

        Raises:
            Unauthenticated: no valid key.
            RateLimited: too often, from this address; a valid key is not refused for the others.
            KeysNotRead: the keys have not been read yet.
        """
        if not authorization and (method == PREFLIGHT or self._open_paths.fullmatch(path)):
            return NOBODY
        try:
            return self.key_cache.find_principal(read_key(authorization))
        except InvalidKey as bad:
            self._log_failure(str(bad), address)
            self._limits.take_failed_key(address)
            raise Unauthenticated("expected a valid API key: Authorization: Bearer KEY") from None

    def guard(self, app: Flask) -> None:
        """Authenticates every request of an application, and authorises its views."""
        self._open_paths = build_path_pattern(app.url_map, self._open_views)

        @app.before_request
        def authenticate() -> None:
            self.key_cache.start()
            request = request_ctx.request
            header = request.environ.get("HTTP_AUTHORIZATION")
            authorization = [] if header is None else [header]
            g.principal = self.authenticate(request.method, request.path, authorization, current_address())

        app.after_request(self._record)
        for endpoint in VIEWS.keys() - self._open_views:
            app.view_functions[endpoint] = guard_view(app.view_functions[endpoint], VIEWS[endpoint])

    def close(self) -> None:
        """Ends its thread, and writes the denied attempts that are not in the trail yet."""
        self.key_cache.close()
        self.denials.write()

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


def describe_attempt(principal: Principal, status: int) -> Attempt:
    """This request, which is denied. A change of what does not exist, or is not theirs, is denied as 404."""
    named = dict(request_ctx.request.view_args or {})
    model = named.pop("model", None)
    return Attempt(
        action=request_ctx.request.endpoint or "",
        reason=str(status),
        by=principal.name,
        prefix=principal.prefix,
        role=principal.role or "",
        model=model,
        request_id=g.get("request_id", ""),
        subject=" ".join(map(str, named.values())) or None,
    )


def read_key(authorization: Sequence[str]) -> str:
    """The key of a request; raises ``InvalidKey`` if there is none, or more than one."""
    if not authorization:
        raise InvalidKey("none")
    found = BEARER.fullmatch(authorization[0])
    if len(authorization) > 1 or found is None:
        raise InvalidKey("several" if len(authorization) > 1 else "malformed")
    return found[1]


def build_path_pattern(rules: Map, endpoints: frozenset[str]) -> re.Pattern[str]:
    """All paths of some views, with and without a slash at their end; of those with a variable part, what follows."""
    open_rules = [rule for rule in rules.iter_rules() if rule.endpoint in endpoints]
    heads = {(rule.rule.partition("<")[0].rstrip("/"), "/.*" if rule.arguments else "/?") for rule in open_rules}
    return re.compile("|".join(re.escape(head) + rest for head, rest in sorted(heads)))


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
