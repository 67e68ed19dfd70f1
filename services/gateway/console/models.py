"""The list of models, and each model's first page: which version has which role, how it fares, and what to do."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response

from modelyard.models.errors import StorageFailed, UnknownName
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages

SHOWN_CHANGES = 12
SHOWN_JOBS = 5
BUILT_IN = ("stable", "canary", "shadow")
NO_TRAFFIC: Mapping[str, Any] = {
    "requests": 0,
    "errors": 0,
    "p50_s": None,
    "p99_s": None,
    "labelled": 0,
    "accuracy": None,
}


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/models`` and ``/models/<model>``."""
    api = PublicApi()

    @views.get("/models")
    def list_models() -> Response:
        found, traffic = api.get("/api/models"), api.find("/api/traffic")
        hours = {one["model"]: one["hour"] for one in traffic["models"]} if traffic else {}
        models = found["models"]
        rows = [{"model": model, "traffic": add_up(hours.get(model["name"], []))} for model in models]
        names = {model["name"] for model in models}
        untrained = [name for name in found["trainable"] if name not in names]
        broken, counted = found["broken"], traffic is not None
        return pages.render(
            "models.html", current="models", rows=rows, untrained=untrained, broken=broken, counted=counted
        )

    def show_untrained(model: str) -> Response:
        """A model whose file or jobs are known, and that has no version: pages of its jobs lead here.

        Raises:
            UnknownName: nothing is known of it.
        """
        found, (jobs, _) = api.get("/api/models"), api.attempt("/api/jobs", model=model, limit=SHOWN_JOBS)
        known = jobs["jobs"] if jobs else []
        error = {one["name"]: one["error"] for one in found["broken"]}.get(model, "")
        if not (model in found["trainable"] or error or known):
            raise UnknownName(f"model {model[:64]!r} has no version yet")
        return pages.render(
            "untrained.html",
            current="models",
            name=model,
            error=error,
            is_trainable=model in found["trainable"],
            is_under_way=any(job["finished_at"] is None for job in known),
            jobs=known,
        )

    @views.get("/models/<model>")
    def show_model(model: str) -> Response:
        try:
            record = api.get(f"/api/models/{model}")
        except UnknownName:
            return show_untrained(model)
        known = {one["name"]: one for one in api.get("/api/models")["models"]}.get(model, {})
        rollout = api.find(f"/api/models/{model}/rollout")
        traffic = api.find(f"/api/models/{model}/traffic")
        evidence = find_evidence(api, model) if record["rollout"]["canary"] else None
        return pages.render(
            "model.html",
            current="models",
            module="model",
            name=model,
            record=record,
            summary=known.get("summary") or known.get("error", ""),
            roles=list(list_roles(record, known.get("stable"), traffic)),
            versions=list_versions(record, traffic),
            observed=(rollout or {}).get("observed") or {},
            changes=rollout["history"][:SHOWN_CHANGES] if rollout else None,
            evidence=evidence,
            traffic=traffic,
        )


def find_evidence(api: PublicApi, model: str) -> Any:
    """The canary's; None while the ledger is away: roles are shown, and can be changed, without it."""
    try:
        return api.find(f"/api/models/{model}/canary")
    except StorageFailed:
        return None


def list_roles(
    record: Mapping[str, Any], stable: int | None, traffic: Mapping[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """Stable, canary and shadow, each with its share of the requests and its last hour.

    Args:
        stable: as the list of models has it: of one that only the model servers know, the version that answers.
    """
    rollout, hour = record["rollout"], find_versions(traffic, "hour")
    percent = rollout["canary"]["percent"] if rollout["canary"] else 0.0
    shares = {"stable": 100.0 - percent, "canary": percent, "shadow": 0.0}
    versions = {"stable": stable, **{role: (rollout[role] or {}).get("version") for role in ("canary", "shadow")}}
    for role, version in versions.items():
        if version is not None:
            yield {"role": role, "version": version, "percent": shares[role], **hour.get(version, NO_TRAFFIC)}


def list_versions(record: Mapping[str, Any], traffic: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The newest first, each with its roles and its last day."""
    rollout, day = record["rollout"], find_versions(traffic, "day")
    named = {role: (rollout[role] or {}).get("version") for role in ("canary", "shadow")}
    named |= {"stable": rollout["stable"], **rollout["labels"]}
    return [
        {
            **version,
            "roles": [role for role, number in named.items() if number == version["version"]],
            "kept": version["version"] in rollout["keep"],
            "traffic": day.get(version["version"], NO_TRAFFIC),
        }
        for version in reversed(record["versions"])
    ]


def find_versions(traffic: Mapping[str, Any] | None, span: str) -> dict[int, dict[str, Any]]:
    """Traffic by version."""
    return {one["version"]: one for one in traffic[span]} if traffic else {}


def add_up(versions: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all versions together; the slowest version's p99, as percentiles do not add up."""
    labelled, right = (sum(one[name] for one in versions) for name in ("labelled", "right"))
    return {
        "requests": sum(one["requests"] for one in versions),
        "errors": sum(one["errors"] for one in versions),
        "p99_s": max((one["p99_s"] for one in versions if one["p99_s"] is not None), default=None),
        "labelled": labelled,
        "accuracy": right / labelled if labelled else None,
    }
