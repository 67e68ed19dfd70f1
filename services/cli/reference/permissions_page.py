"""The page of permissions."""

from collections.abc import Iterator

from werkzeug.routing import Map

from modelyard.services.gateway.api.health import choose_method
from modelyard.services.gateway.auth.permissions import PROBES, PUBLIC, ROLES, VIEWS, Permission, roles_with
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from modelyard.services.keys import Role

HEAD = """# Who may do what

Written by `make docs` from the code. How keys are made, and what else keeps a gateway safe: [security](security.md).

## Permissions of roles
"""
ROUTES = """
## Routes

A key for some models finds no others on any of these routes. `HEAD` is as `GET`; a browser's `OPTIONS` needs no key.

| route | roles |
|---|---|"""
NO_KEY = "no key needed"


def page() -> str:
    """The whole page."""
    rules = create_app(GatewaySettings()).url_map
    return "\n".join([HEAD, *permissions(), ROUTES, *routes(rules), ""])


def permissions() -> Iterator[str]:
    yield f"| may | {' | '.join(Role)} |"
    yield f"|---|{'---|' * len(Role)}"
    for permission in Permission:
        marks = ("yes" if permission in ROLES[role] else "" for role in Role)
        yield f"| {permission} | {' | '.join(marks)} |"


def routes(rules: Map) -> Iterator[str]:
    for rule in sorted(rules.iter_rules(), key=lambda rule: (rule.rule, choose_method(rule.methods))):
        roles = NO_KEY if rule.endpoint in PROBES | PUBLIC else ", ".join(roles_with(VIEWS[rule.endpoint]))
        yield f"| `{choose_method(rule.methods) or 'any'} {rule.rule}` | {roles} |"
