"""Who may do what, and who did: signing in, keys, and the audit trail."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from modelyard.models.errors import ModelyardError, UnknownName
from modelyard.services.gateway.auth.browsers import SIGN_IN_PAGE, is_own_path
from modelyard.services.gateway.auth.permissions import ROLES, Permission
from modelyard.services.gateway.auth.principal import NOBODY, current_principal
from modelyard.services.gateway.console.audit_text import describe_entry
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.keys import Role
from modelyard.services.ledger import Kind, Outcome

AUDIT_FIELDS = ("kind", "outcome", "by", "action", "model", "version", "subject", "request_id", "since", "until")
ROLES_MAY: Mapping[str, str] = {role: "; ".join(each for each in Permission if each in ROLES[role]) for role in Role}
ROLES_IN_WORDS: Mapping[str, str] = {
    Role.VIEWER: "reads everything: models, jobs, rollouts, metrics. Changes nothing.",
    Role.PREDICTOR: "requests predictions and sends feedback. For programs that use a model.",
    Role.TRAINER: "a viewer who also starts jobs and searches, and tries models.",
    Role.OPERATOR: "also promotes, rolls back, runs canaries, and ends the jobs of others.",
    Role.ADMIN: "everything, and keys and the audit trail. Never for some models only.",
}
FIRST_KEYS = (
    "mkdir -p -m 700 secrets && openssl rand -hex 32 > secrets/modelyard_key_secret",
    "export MODELYARD_SECRETS_DIR=secrets",
    "export MODELYARD_API_KEY=$(modelyard keys create ann --role admin | tee secrets/modelyard_key)",
    "modelyard up",
)
"""For who runs `modelyard up`: others have keys, as the gateway would not listen for them without."""
PAGE = 50


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/signin``, ``/keys`` and ``/audit``."""
    api = PublicApi()

    @views.get(SIGN_IN_PAGE)
    def show_sign_in() -> Response:
        wanted = request.args.get("next", "/")
        following = wanted if is_own_path(wanted) else "/"
        principal = current_principal()
        if principal is not NOBODY and not principal.name:  # without keys there is nobody to be
            return Response(status=303, headers={"Location": following})
        encoded = following.replace("{", "%7B").replace("}", "%7D")  # the form fills in what stands in braces
        return pages.render("signin.html", current="signin", following=encoded)

    @views.get("/keys")
    def show_keys() -> Response:
        found = api.get("/api/keys")["keys"]
        asked = request.args.get("show", "active")
        shown = [key for key in found if asked == "all" or key["state"] == "active"]
        counts = {"active": sum(key["state"] == "active" for key in found), "all": len(found)}
        session = current_principal()
        return pages.render(
            "keys.html",
            current="keys",
            module="keys",
            keys=shown,
            counts=counts,
            asked="all" if asked == "all" else "active",
            roles=ROLES_MAY,
            roles_in_words=ROLES_IN_WORDS,
            own=session.prefix,
            has_keys=bool(session.name),
            first_keys=FIRST_KEYS,
            models=[model["name"] for model in api.get("/api/models")["models"]],
        )

    @views.get("/audit")
    def show_audit() -> Response:
        asked = {name: request.args[name] for name in (*AUDIT_FIELDS, "before") if request.args.get(name)}
        found, problem, status = find_entries(api, asked)
        following = urlencode(asked | {"before": found["next"]}) if found["next"] else ""
        return pages.render(
            "audit.html",
            current="audit",
            status=status,
            problem=problem,
            asked=asked,
            entries=[describe_entry(entry) for entry in found["entries"]],
            following=following,
            newest=urlencode({name: value for name, value in asked.items() if name != "before"}),
            kinds=list(Kind),
            outcomes=list(Outcome),
        )


def find_entries(api: PublicApi, asked: Mapping[str, str]) -> tuple[dict[str, Any], str, int]:
    """A page of entries; or none, what is wrong with the filters, which stay as they were typed, and its status."""
    try:
        return api.get("/api/audit", limit=PAGE, **asked), "", 200
    except ModelyardError as error:
        if error.status not in (InvalidRequest.status, UnknownName.status):
            raise
        return {"entries": [], "next": None}, str(error), error.status
