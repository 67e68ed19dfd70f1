"""``models.config`` as TensorFlow Serving parses it, and rollouts that it is rendered from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import Rollout, change_rollout
from modelyard.models.registry.serving_config import CONFIG, read_left_out
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import model_server_config_pb2
from tests.support.fakes import publish

MODEL, OTHER = "half_plus", "other"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Versions 1 and 2 of one model, 2 is stable; version 1 of another."""
    store = Store(tmp_path / "store")
    store.prepare()
    for model in (MODEL, MODEL, OTHER):
        publish_loaded(store, model)
    return store


def publish_loaded(store: Store, model: str) -> int:
    """A new version that becomes stable as it usually does: loaded first."""
    version = publish(store, model, stable=False)
    change_rollout(store, model, lambda now: now.preload(version))
    change_rollout(store, model, promote(version))
    return version


def read_config(store: Store) -> dict[str, Any]:
    """The entries as TensorFlow Serving parses them, by model."""
    text = (store.root / CONFIG).read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {entry.name: entry for entry in parsed.model_config_list.config}


def versions(store: Store) -> dict[str, list[int]]:
    return {name: list(entry.model_version_policy.specific.versions) for name, entry in read_config(store).items()}


def labels(store: Store, model: str = MODEL) -> dict[str, int]:
    return dict(read_config(store)[model].version_labels)


def left_out(store: Store) -> dict[tuple[str, int | None], str]:
    return {(each.model, each.version): each.reason for each in read_left_out(store).versions}


def promote(version: int) -> Callable[[Rollout], Rollout]:
    return lambda now: now.promote(version, by="t", reason="r")


def canary(version: int) -> Callable[[Rollout], Rollout]:
    started = Canary.model_validate({"version": version, "percent": 10, "since": "2026-11-01T00:00:00Z"})
    return lambda now: now.start_canary(started, by="t", reason="r")
