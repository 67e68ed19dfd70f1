"""The principal of a request: whose key it came with, and what that is for. Without keys everybody may everything."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import g, request

from modelyard.models.catalog import Catalog
from modelyard.services.gateway.auth.permissions import ROLES, Permission
from modelyard.services.keys import Role


@dataclass(frozen=True)
class Principal:
    """Somebody who was authenticated."""

    name: str
    """Of the key; empty where there are none."""
    prefix: str = ""
    role: Role | None = None
    permissions: frozenset[Permission] = frozenset()
    models: frozenset[str] = frozenset()
    """Those that the key is for; none for all."""
    is_valid: Callable[[], bool] = lambda: True
    """Whether the key still is, for responses that take long."""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def sees(self, model: str) -> bool:
        """What they do not see is not there for them."""
        return not self.models or model in self.models

    @property
    def scope(self) -> frozenset[str] | None:
        """The models that they see, for a query; None for all of them."""
        return self.models or None

    def may_ask(self, model: str) -> bool:
        """Whether this model may be asked for a prediction."""
        return Permission.PREDICT in self.permissions and self.sees(model)

    def catalog(self, known: Catalog | None) -> Catalog | None:
        """Of what can be trained, what they see: an unknown name is answered with those that there are."""
        if known is None or not self.models:
            return known
        seen = {name: trainable for name, trainable in known.trainable.items() if self.sees(name)}
        return known.model_copy(update={"trainable": seen})

    def own(self, idempotency_key: str | None) -> str | None:
        """One that nobody else's can be equal to."""
        return f"{self.name}/{idempotency_key}" if self.name and idempotency_key is not None else idempotency_key


EVERYBODY = Principal("", role=Role.ADMIN, permissions=ROLES[Role.ADMIN])
"""Where there are no keys."""
NOBODY = Principal("")
"""Who shows no key where none is needed."""


def current_principal() -> Principal:
    """Who made this request."""
    principal: Principal = g.get("principal", EVERYBODY)
    return principal


def current_author() -> str:
    """Who asks, for what is written down: the key's name, or an address where there are none."""
    return current_principal().name or f"http {request.remote_addr}"


def current_owner() -> str | None:
    """Whose jobs and searches they may end or retry; None for everybody's."""
    return None if current_principal().may(Permission.OVERRULE) else current_author()


def current_client() -> str:
    """Who has a share of something: the key's name, or an address where there are none."""
    return current_principal().name or request.remote_addr or ""
