"""What there is: models and versions in the store, and their state in the model server."""

from typing import Any

from flask import Blueprint

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.auth import principal as callers
from modelyard.services.gateway.serving.predictor import Predictor

UNKNOWN = "unknown"
"""State of a version when the model server does not answer."""
NOT_LOADED = "not loaded"
"""State of a version that the model server has never heard of; the others are TensorFlow Serving's."""


def routes(store: Store, predictor: Predictor) -> Blueprint:
    """``/api/models``, which knows where versions came from."""
    views = Blueprint("registry", __name__)

    @views.get("/api/models")
    def all_models() -> dict[str, Any]:
        caller = callers.current()
        known = caller.catalog(read_catalog(store.root))
        seen = [model for model in store.models() if caller.sees(model) and store.versions(model)]
        return {
            "models": [summary(store, predictor, model) for model in seen],
            "trainable": sorted(known.trainable) if known else [],
        }

    @views.get("/api/models/<model>")
    def one_model(model: str) -> dict[str, Any]:
        versions = store.require_versions(model)
        states = states_of(predictor, model, versions)
        rollout = predictor.rollout(model).model_dump(exclude={"history"})
        return {
            "name": model,
            "rollout": rollout,
            "versions": [describe(store, model, number) | {"state": states[number]} for number in versions],
        }

    return views


def states_of(predictor: Predictor, model: str, versions: tuple[int, ...]) -> dict[int, str]:
    """State by version, also when the model server is away."""
    try:
        found = predictor.states(model)
    except ServingFailed:
        return dict.fromkeys(versions, UNKNOWN)
    return {number: found.get(number, NOT_LOADED) for number in versions}


def summary(store: Store, predictor: Predictor, model: str) -> dict[str, Any]:
    """A model by its stable version, or by its newest one where none is stable."""
    stable = predictor.rollout(model).stable
    try:
        shown = store.manifest(model, stable or store.versions(model)[-1])
    except CorruptData as error:
        return {"name": model, "stable": stable, "error": str(error)}
    return {
        "name": model,
        "task": shown.task,
        "summary": shown.summary,
        "stable": stable,
        "metric": headline(shown),
        "data": {"name": shown.data.name, "source": shown.data.source},
        "labels": shown.labels,
    }


def headline(manifest: Manifest) -> dict[str, Any]:
    """The one number that the gate judged by, on the test split."""
    return {"name": manifest.verdict.metric, "value": manifest.verdict.value}


def describe(store: Store, model: str, version: int) -> dict[str, Any]:
    """Where a version came from and how good it is."""
    try:
        found = store.manifest(model, version)
    except CorruptData as error:
        return {"version": version, "error": str(error)}
    return found.model_dump(include={"version", "created_at", "metrics", "data", "recipe", "verdict"})
