"""Who is let in, and to what. The front asks before it reads a body; Flask's views are guarded by themselves as well.

Of a caller without a good key nothing is told: not what is wrong with it, nor what there would be behind the door.
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
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.auth.key_cache import BadKey, Keyring
from modelyard.services.gateway.auth.permissions import (
    CHANGES,
    DOCUMENTS,
    PROBES,
    VIEWS,
    WHOLE,
    Permission,
)
from modelyard.services.gateway.auth.principal import NOBODY, Caller
from modelyard.services.gateway.http.errors import ServableNotFound, not_found_text
from modelyard.services.gateway.metrics import Metrics

log = structlog.get_logger()

BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
"""RFC 6750, section 2.1, and RFC 9110, section 11.1: the scheme's case does not matter."""
SAID_EVERY_S = 1.0
PREFLIGHT = "OPTIONS"
"""A browser's question before the request, without a key: Flask answers it, and no view is run."""
READING = frozenset({"GET", "HEAD"})


class NotLetIn(ModelyardError):
    """No key, or none that is good: always in the same words."""

    status = 401


class NotAllowed(ModelyardError):
    """The key is good for other things; names the roles that it would take."""

    status = 403


class Door:
    """One for the front and for Flask."""

    def __init__(self, keyring: Keyring, metrics: Metrics, *, public_docs: bool = False) -> None:
        self.keyring = keyring
        self._open_views = PROBES | (DOCUMENTS if public_docs else frozenset())
        """Those that need no key."""
        self._open_paths = re.compile("(?!)")
        """Their paths; none before there is an application."""
        self._metrics = metrics
        self._said_at: dict[str, float] = {}
        metrics.keys_age.set_function(lambda: self.keyring.age_s)

    def enter(self, method: str, path: str, shown: Sequence[str], address: str) -> Caller:
        """Who calls. Where no key is needed, who shows one is judged by it all the same.

        Args:
            shown: the request's ``Authorization`` headers.

        Raises:
            NotLetIn: no good key.
            KeysUnread: nobody can say yet.
        """
        if not shown and (method == PREFLIGHT or self._open_paths.fullmatch(path)):
            return NOBODY
        try:
            return self.keyring.caller(key_in(shown))
        except BadKey as bad:
            self._note(str(bad), address)
            raise NotLetIn("expected a valid API key: Authorization: Bearer KEY") from None

    def guard(self, app: Flask) -> None:
        """Puts itself before every view of an application, and before what is no view."""
        self._open_paths = paths_of(app.url_map, self._open_views)

        @app.before_request
        def ask() -> None:
            self.keyring.open()
            request = request_ctx.request
            shown = [given] if (given := request.environ.get("HTTP_AUTHORIZATION")) is not None else []
            g.caller = self.enter(request.method, request.path, shown, request.remote_addr or "")

        app.after_request(write_down)
        for endpoint in VIEWS.keys() - self._open_views:
            app.view_functions[endpoint] = guarded(app.view_functions[endpoint], VIEWS[endpoint])

    def _note(self, reason: str, address: str) -> None:
        """Counts it, and writes one line a second for each reason."""
        self._metrics.refused_keys.labels(reason).inc()
        moment = time.monotonic()
        if moment - self._said_at.get(reason, -SAID_EVERY_S) >= SAID_EVERY_S:
            self._said_at[reason] = moment
            log.warning("not let in", reason=reason, address=address)


def key_in(shown: Sequence[str]) -> str:
    """The key of a request; raises ``BadKey`` if there is none, or more than one."""
    if not shown:
        raise BadKey("none")
    found = BEARER.fullmatch(shown[0])
    if len(shown) > 1 or found is None:
        raise BadKey("several" if len(shown) > 1 else "malformed")
    return found[1]


def paths_of(rules: Map, endpoints: frozenset[str]) -> re.Pattern[str]:
    """All paths of some views, with and without a slash at their end; of those with a variable part, what follows."""
    open_rules = [rule for rule in rules.iter_rules() if rule.endpoint in endpoints]
    heads = {(rule.rule.partition("<")[0].rstrip("/"), "/.*" if rule.arguments else "/?") for rule in open_rules}
    return re.compile("|".join(re.escape(head) + rest for head, rest in sorted(heads)))


def guarded(view: Callable[..., Any], needed: Permission) -> Callable[..., Any]:
    """The view, for those who may; it also stands before the view when another one calls it."""

    @functools.wraps(view)
    def guard(**named: Any) -> Any:
        if request_ctx.request.method != PREFLIGHT:
            admit(g.caller, needed, named.get("model"), named.get("version"))
        return view(**named)

    return guard


def admit(caller: Caller, needed: Permission, model: str | None, version: Any = None) -> None:
    """Lets a caller through to a view.

    Raises:
        NotAllowed: the role does not have the permission.
        UnknownName, ServableNotFound: the model is not one of theirs, whether it exists or not.
    """
    if not caller.may(needed):
        roles = " or ".join(permissions.roles_with(needed))
        raise NotAllowed(f"expected a key of role {roles}, which may {needed}; received one of role {caller.role}")
    if caller.models and needed in WHOLE:
        raise NotAllowed(f"expected a key for all models, which may {needed}; received one for some of them")
    if model is not None and not caller.sees(model):
        raise unseen(model, version)


def unseen(model: str, version: Any) -> ModelyardError:
    """In the words that a view would find for a model that does not exist."""
    if request_ctx.request.path.startswith("/api/"):
        return UnknownName(f"model {model[:64]!r} has no version yet")
    return ServableNotFound(not_found_text(model, version))


def write_down(response: Response) -> Response:
    """One line for each change, and for each that was not allowed: who, what, and how it ended."""
    request, caller = request_ctx.request, callers.current()
    changing = VIEWS.get(request.endpoint or "") in CHANGES and request.method not in READING
    if caller.name and (changing or response.status_code == NotAllowed.status):
        said = {"action": request.endpoint, "about": request.view_args, "status": response.status_code}
        log.warning("audit", key=caller.name, prefix=caller.prefix, role=caller.role, **said)
    return response
