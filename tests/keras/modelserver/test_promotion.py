"""Promotion into a model server that has seen the version fail before: the error of then is not that of now."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.store import Store as ModelStore
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.golden import save_golden
from modelyard.pipeline.job import Promotion
from modelyard.pipeline.stages.promote import promote
from tests.support.modelserver import Serve, Served, Store, X, saved, serve, store
from tests.support.versions import ROWS, seal_as

__all__ = ["saved", "serve", "store"]  # fixtures


def publish(store: ModelStore, saved: Path, model: str = "m") -> Manifest:
    """A copy of a saved version with its golden answers."""
    with store.staging(model) as staged:
        shutil.copytree(saved, staged, dirs_exist_ok=True)
        (staged / "assets.extra").mkdir()
        number = int(saved.name)
        golden = {"x": X, "y": X / 2 + number, "version": np.array(number)}
        save_golden(staged, {f"serving_default/{name}": array for name, array in golden.items()})
        return store.publish(staged, seal_as(model, signatures=ROWS))


def make_stable(store: ModelStore, served: Served, manifest: Manifest) -> Promotion:
    return promote(store, manifest, ServingPools.of((served.client.address,)), by="test", report=lambda _: None)


def damage_content(folder: Path) -> None:
    path = folder / "variables" / "variables.index"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def damage_graph(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"")


def lose_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


@pytest.mark.parametrize("damage", [damage_content, damage_graph, lose_variables])
def test_a_version_that_failed_once_is_promoted_when_its_files_are_whole_again(
    store: Store, serve: Serve, damage: Callable[[Path], None]
) -> None:
    """Without a restart, and at the first request; meanwhile the version before answers."""
    models = ModelStore(store.root)
    models.prepare()
    first, second = publish(models, store.saved[1]), publish(models, store.saved[2])
    prepare_config(models)
    served = serve(max_num_load_retries=0, model_config_file_poll_wait_seconds=0.5)
    assert make_stable(models, served, first).promoted
    folder, whole = models.path("m", 2), store.root.parent / "whole"
    shutil.copytree(folder, whole)
    damage(folder)
    refused = make_stable(models, served, second)
    assert (refused.promoted, "is missing, extra or changed" in refused.reason) == (False, True)
    np.testing.assert_array_equal(served.predict(1), X / 2 + 1)
    promote(models, publish(models, store.saved[1], "n"), ServingPools.of(()), by="test", report=lambda _: None)
    served.await_state(1, "AVAILABLE", "n")  # so the server has read that version 2 was rejected
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    assert make_stable(models, served, second).promoted
    assert read_rollout(models, "m").stable == 2
    np.testing.assert_array_equal(served.predict(2), X / 2 + 2)
