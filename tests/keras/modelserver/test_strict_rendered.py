"""``--strict``: the configuration that we render causes none of the faults of TensorFlow Serving's start and reload."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelyard.models.registry import store as registry_store
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import Rollout, change_rollout
from modelyard.models.registry.serving_config import CONFIG
from modelyard.models.registry.serving_set import prepare_config, refresh_config, roll_back
from tests.support.faults import garble, truncate_variables
from tests.support.modelserver import (
    Serve,
    Served,
    X,
    eventually,
    saved,
    serve,
    store,
)
from tests.support.strict import LABELS, strict, version_of
from tests.support.versions import publish_copy

__all__ = ["saved", "serve", "store", "strict"]  # fixtures
MODEL = "half_plus"


@pytest.fixture
def registry(tmp_path: Path, saved: Mapping[int, Path]) -> registry_store.Store:
    """Two models with versions 1 to 3, published with manifests; 1 and then 2 were promoted."""
    registry = registry_store.Store(tmp_path / "registry")
    registry.prepare()
    for model in (MODEL, "other"):
        for version in (1, 2, 3):
            publish_copy(registry, model, saved[version])
        for version in (1, 2):
            promote(registry, model, version)
    return registry


def promote(registry: registry_store.Store, model: str, version: int) -> None:
    change_rollout(registry, model, lambda now: now.preload(version))
    change_rollout(registry, model, lambda now: now.promote(version, by="t", reason="r"))


def start_rendered(strict: Serve, registry: registry_store.Store) -> Served:
    return strict(model_config_file=registry.root / CONFIG, **LABELS)


def labelled(served: Served, model: str = MODEL, **labels: int) -> bool:
    """Whether the labels name these versions."""
    try:
        return all(version_of(served, model, label) == version for label, version in labels.items())
    except grpc.RpcError:
        return False


def test_what_is_rendered_of_damaged_versions_starts_and_serves_the_rest(
    registry: registry_store.Store, strict: Serve
) -> None:
    """The stable version of one model is damaged, every one of the other is: the version before answers."""
    garble(registry.path(MODEL, 2))
    truncate_variables(registry.path("other", 1))
    (registry.path("other", 2) / "saved_model.pb").unlink()
    left_out = prepare_config(registry).versions
    assert {(each.model, each.version) for each in left_out} == {(MODEL, 2), ("other", 1), ("other", 2)}
    served = start_rendered(strict, registry)
    assert version_of(served, MODEL) == 1
    np.testing.assert_array_equal(served.predict(1, MODEL), X / 2 + 1)
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(other\)"):
        version_of(served, "other")


def test_a_damaged_version_that_gets_a_role_stops_no_reload(registry: registry_store.Store, strict: Serve) -> None:
    """It never enters the configuration; when it is whole it does, beside a promotion of another model."""
    served = start_rendered(strict, registry)
    graph = registry.path(MODEL, 3) / "saved_model.pb"
    whole = graph.read_bytes()
    garble(registry.path(MODEL, 3))
    change_rollout(registry, MODEL, lambda now: now.preload(3))
    change_rollout(registry, "other", lambda now: now.preload(3))
    served.await_state(3, "AVAILABLE", "other")
    promote(registry, "other", 3)
    eventually(lambda: labelled(served, "other", stable=3), "promoted")
    assert served.state(3, MODEL) == ""
    graph.write_bytes(whole)
    refresh_config(registry)
    served.await_state(3, "AVAILABLE", MODEL)


def test_unpinned_calls_get_the_stable_version_through_promotions_and_rollbacks(
    registry: registry_store.Store, strict: Serve
) -> None:
    """So do calls by its label; a canary answers by its own, and unpinned ones while it has the highest number."""
    served = start_rendered(strict, registry)
    assert (version_of(served, MODEL), labelled(served, stable=2)) == (2, True)
    roll_back(registry, MODEL, by="t", reason="r")
    eventually(lambda: labelled(served, stable=1) and version_of(served, MODEL) == 1, "rolled back")
    change_rollout(registry, MODEL, lambda now: now.preload(3))
    served.await_state(3, "AVAILABLE", MODEL)
    change_rollout(registry, MODEL, start_canary)
    eventually(lambda: labelled(served, stable=1, canary=3), "a canary")
    assert version_of(served, MODEL) == 3, "the highest that is loaded, as docs/rollouts.md says"
    change_rollout(registry, MODEL, lambda now: now.end_canary(by="t", reason="r"))
    eventually(lambda: version_of(served, MODEL) == 1, "the canary is gone")
    served.await_state(3, "END", MODEL)
    change_rollout(registry, MODEL, lambda now: now.preload(3))
    served.await_state(3, "AVAILABLE", MODEL)
    promote(registry, MODEL, 3)
    eventually(lambda: labelled(served, stable=3) and version_of(served, MODEL) == 3, "promoted")


def start_canary(now: Rollout) -> Rollout:
    canary = Canary.model_validate({"version": 3, "percent": 10, "since": "2026-11-01T00:00:00Z"})
    return now.start_canary(canary, by="t", reason="r")


def test_a_version_removed_from_the_disk_is_left_out_of_the_next_start(
    registry: registry_store.Store, strict: Serve
) -> None:
    """Of one model all are gone: a server that read its entry would wait for ever."""
    for version in (1, 2):
        shutil.rmtree(registry.path("other", version))
    prepare_config(registry)
    served = start_rendered(strict, registry)
    assert version_of(served, MODEL) == 2
