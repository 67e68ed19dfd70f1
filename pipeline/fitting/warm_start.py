"""Warm starts: training from a version's weights, with the preprocessing state that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.data import Splits
from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.inputs import State
from modelyard.models.recipes import Recipe
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.spec import ModelSpec, PreparedData
from modelyard.pipeline.arrays import load_arrays
from modelyard.pipeline.fitting.checkpoint import Checkpoints
from modelyard.pipeline.progress import Progress, Report

WEIGHTS, STATE = "assets.extra/model.weights.h5", "assets.extra/state.npz"


@dataclass(frozen=True)
class StartVersion:
    """The version that training starts from."""

    version: int
    folder: Path


def find_start_version(store: Store, model: str, recipe: Recipe, checkpoints: Path) -> StartVersion | None:
    """The version that training starts from; None for random weights.

    A job keeps the version that its first checkpoint started from, whatever has become stable since.

    Raises:
        InvalidRecipe: the recipe starts from the stable version, and there is none.
        UnknownName: the version that a checkpoint started from was deleted.
    """
    if recipe.init == "random":
        return None
    version = Checkpoints(checkpoints).read_newest().started_from or read_rollout(store, model).stable
    if version is None:
        raise InvalidRecipe(f"recipe key 'init': expected a stable version of {model} to start from, received none")
    folder = store.path(model, version)
    if version in store.versions(model) and store.manifest(model, version).imported:
        raise InvalidRecipe(
            f"recipe key 'init': expected a version that was trained here, to start from its weights; version "
            f"{version} of {model} was imported as a SavedModel; use init=random"
        )
    if not (folder / WEIGHTS).exists():
        raise UnknownName(f"version {version} of {model}, which training starts from, is not in the store")
    return StartVersion(version, folder)


def prepare_data(spec: ModelSpec, splits: Splits, recipe: Recipe, start: StartVersion | None) -> PreparedData:
    """Batches and preprocessing state; with a start version, the state that its weights were trained with.

    Raises:
        InvalidRecipe: the model learned another state from this data, and does not accept a given one.
    """
    if start is None:
        return spec.prepare(splits, recipe)
    known = load_arrays(start.folder / STATE)
    if spec.prepare_with_state:
        return spec.prepare_with_state(splits, recipe, known)
    prepared = spec.prepare(splits, recipe)
    if other := find_difference(known, prepared.state):
        raise InvalidRecipe(
            f"recipe key 'init': expected the preprocessing that version {start.version} of {spec.name} was trained "
            f"with, received another {other}, learned from this data; use init=random"
        )
    return prepared


def find_difference(one: State, other: State) -> str:
    """The first name whose values differ between two states; empty if they are equal."""
    for name in sorted({*one, *other}):
        if name not in one or name not in other or not np.array_equal(one[name], other[name]):
            return name
    return ""


def load_start_weights(start: StartVersion, model: Any, work: Path, report: Report) -> None:
    """Loads a version's weights into a new model.

    Raises:
        InvalidRecipe: the layers or their shapes differ.
    """
    built = work / "built.weights.h5"
    model.save_weights(built)
    expected, found = read_weight_shapes(built), read_weight_shapes(start.folder / WEIGHTS)
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise InvalidRecipe(
                f"recipe key 'init': the weights of version {start.version} do not fit this recipe: {name}: expected "
                f"{format_shape(expected.get(name))}, received {format_shape(found.get(name))}; "
                "use its values, or init=random"
            )
    model.load_weights(start.folder / WEIGHTS)
    report(Progress("train", message=f"starting from the weights of version {start.version}"))


def read_weight_shapes(weights: Path) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the weights in a file, by path; the optimiser's variables are left out."""
    import h5py

    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            found[name] = item.shape

    with h5py.File(weights) as file:
        file.visititems(add)
    return found


def format_shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(shape)
