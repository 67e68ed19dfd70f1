"""Try it: a page made from what a version takes. The label desk: captured answers, one after the other."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response

from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages

ANY = "*"
"""Whichever version answers clients that name none."""
AVAILABLE = "AVAILABLE"
CLASSES = ("binary", "multiclass")


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/models/<model>/try`` and ``/models/<model>/label``."""
    api = PublicApi()

    @views.get("/models/<model>/try")
    def try_model(model: str) -> Response:
        record = api.get(f"/api/models/{model}")
        summary = find_summary(api, model)
        targets = list(list_targets(record))
        return pages.render(
            "try_it.html",
            current="models",
            module="try_it" if record["usage"] and targets else "",
            model=model,
            summary=summary,
            targets=targets,
            usage=record["usage"],
            facts=describe_page(record, summary, targets),
        )

    @views.get("/models/<model>/label")
    def label_answers(model: str) -> Response:
        record = api.get(f"/api/models/{model}")
        summary = find_summary(api, model)
        return pages.render(
            "labelling.html",
            current="models",
            module="labelling" if find_feedback(summary) else "",
            model=model,
            summary=summary,
            capture=record["capture"],
            feedback=find_feedback(summary),
            facts={
                "name": model,
                "labels": summary["labels"],
                "feedback": find_feedback(summary),
                "canary": bool(record["rollout"]["canary"] or record["rollout"]["shadow"]),
            },
        )


def find_summary(api: PublicApi, model: str) -> dict[str, Any]:
    """What the list of models says of this one; empty values where its manifest cannot be read."""
    models: list[dict[str, Any]] = api.get("/api/models")["models"]
    found = next((one for one in models if one["name"] == model), {})
    return {"summary": "", "task": "", "labels": []} | found


def list_targets(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What can be asked, the one that the page begins with first: by a label where a canary would get its share."""
    rollout = record["rollout"]
    roles = [(name, rollout[name]["version"]) for name in ("canary", "shadow") if rollout[name]]
    stable = rollout["stable"]
    if stable is not None:
        anybody = {"value": ANY, "title": f"Default (version {stable})"}
        if rollout["canary"]:
            anybody["title"] = "Default (stable or canary, by share)"
        by_label = {"value": "stable", "title": f"stable (version {stable})"}
        yield from (by_label, anybody) if rollout["canary"] else (anybody, by_label)
    for name, version in (*roles, *sorted(rollout["labels"].items())):
        yield {"value": name, "title": f"{name} (version {version})"}
    for version in reversed(record["versions"]):
        if version["state"] == AVAILABLE:
            yield {"value": str(version["version"]), "title": f"version {version['version']}"}


def describe_page(
    record: Mapping[str, Any], summary: Mapping[str, Any], targets: list[dict[str, str]]
) -> dict[str, Any]:
    """What the page's module knows."""
    principal = current_principal()
    return {
        "name": record["name"],
        "task": summary["task"],
        "summary": summary["summary"],
        "labels": summary["labels"],
        "feedback": find_feedback(summary),
        "capture": record["capture"],
        "usage": record["usage"],
        "targets": targets,
        "keyed": bool(principal.name),
        "may_give_feedback": principal.may(Permission.GIVE_FEEDBACK),
    }


def find_feedback(summary: Mapping[str, Any]) -> str | None:
    """What feedback on the model is: a class, or a number; None if it takes none."""
    if summary["task"] in CLASSES:
        return "class" if summary["labels"] else "number"
    return "number" if summary["task"] == "regression" and len(summary["labels"]) <= 1 else None
