"""The principal of a request: the holder of its key, and what the key allows. Without keys everything is allowed."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import g, request

from modelyard.models.catalog import Catalog
from modelyard.services.gateway.auth.permissions import ROLES, Permission
from modelyard.services.gateway.auth.sessions import Session
from modelyard.services.gateway.http.client_address import CLIENT
from modelyard.services.keys import Role
from modelyard.services.ledger import Origin
from modelyard.services.tracing.spans import CURRENT_SPAN, UnrecordedSpan


@dataclass(frozen=True)
class Principal:
    """The holder of an API key, authenticated."""

    name: str
    """Name of the key; empty without keys."""
    prefix: str = ""
    role: Role | None = None
    permissions: frozenset[Permission] = frozenset()
    models: frozenset[str] = frozenset()
    """Models that the key is for; empty for all."""
    is_valid: Callable[[], bool] = lambda: True
    """Whether the key is still valid, and the session, for responses that take long."""
    session: Session | None = None
    """Of a browser that signed in with the key; None if it was sent with the request."""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def can_see(self, model: str) -> bool:
        """Whether the model is one of the key's; others are hidden."""
        return not self.models or model in self.models

    @property
    def visible_models(self) -> frozenset[str] | None:
        """The models that a query may return; None for all of them."""
        return self.models or None

    def may_predict(self, model: str) -> bool:
        """Whether the principal may request predictions of this model."""
        return Permission.PREDICT in self.permissions and self.can_see(model)

    def filter_catalog(self, known: Catalog | None) -> Catalog | None:
        """The catalog without hidden models, so that errors do not name them."""
        if known is None or not self.models:
            return known
        seen = {name: trainable for name, trainable in known.trainable.items() if self.can_see(name)}
        broken = {name: error for name, error in known.broken.items() if self.can_see(name)}
        return known.model_copy(update={"trainable": seen, "broken": broken})

    def scope_key(self, idempotency_key: str | None) -> str | None:
        """The idempotency key, made unique to this principal."""
        return f"{self.name}/{idempotency_key}" if self.name and idempotency_key is not None else idempotency_key


EVERYBODY = Principal("", role=Role.ADMIN, permissions=ROLES[Role.ADMIN])
"""The principal of every request without keys."""
NOBODY = Principal("")
"""The principal of a request without a key, where none is needed."""


def current_principal() -> Principal:
    """The principal of this request."""
    principal: Principal = g.get("principal", EVERYBODY)
    return principal


def current_author() -> str:
    """The author of this request, for records: the key's name, or an address without keys."""
    return current_principal().name or f"http {current_address()}"


def current_origin() -> Origin:
    """Where this request comes from, for the audit trail, and for the trace of a job."""
    principal = current_principal()
    role = principal.role or "" if principal.name else ""
    return Origin(principal.prefix, role, g.get("request_id", ""), current_traceparent())


def current_traceparent() -> str | None:
    """This request's span; None if it is not traced, by our own choice: a trainer then decides anew for a job."""
    span = CURRENT_SPAN.get()
    if span is None or (isinstance(span, UnrecordedSpan) and span.chosen_here):
        return None
    return span.context.traceparent


def current_owner() -> str | None:
    """The author whose jobs and searches the principal may cancel or retry; None for all."""
    return None if current_principal().may(Permission.MANAGE_ALL_JOBS) else current_author()


def current_client() -> str:
    """The client that quotas are counted for: the key's name, or an address without keys."""
    return current_principal().name or current_address()


def current_address() -> str:
    """The client's address, which is not that of a proxy of ours."""
    return request.environ.get(CLIENT) or request.remote_addr or ""
