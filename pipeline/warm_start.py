"""Beginning with what a version has learned: its weights, and the preprocessing state that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.spec import ModelSpec, PreparedData, Recipe, Splits, State
from modelyard.pipeline import arrays
from modelyard.pipeline.checkpoint import Checkpoints
from modelyard.pipeline.progress import Progress, Report

WEIGHTS, STATE = "assets.extra/model.weights.h5", "assets.extra/state.npz"


@dataclass(frozen=True)
class Start:
    """A version to begin with."""

    version: int
    folder: Path


def start_of(store: Store, model: str, recipe: Recipe, checkpoints: Path) -> Start | None:
    """The version that training is to begin with; None for random weights.

    A job keeps the one that its first checkpoint belongs to, whatever has become stable since.

    Raises:
        InvalidRecipe: the recipe asks for the stable version, and there is none.
        UnknownName: the version that a checkpoint belongs to has been removed.
    """
    if recipe.init == "random":
        return None
    version = Checkpoints(checkpoints).newest().started_from or read_rollout(store, model).stable
    if version is None:
        raise InvalidRecipe(f"recipe key 'init': expected a stable version of {model} to begin with, received none yet")
    folder = store.path(model, version)
    if not (folder / WEIGHTS).exists():
        raise UnknownName(f"version {version} of {model}, which training is to begin with, is not in the store")
    return Start(version, folder)


def prepare(spec: ModelSpec, splits: Splits, recipe: Recipe, start: Start | None) -> PreparedData:
    """Batches and preprocessing state; with a start, the state is the one that its weights were trained with.

    Raises:
        InvalidRecipe: the model learned another state from this data, and cannot be prepared with a given one.
    """
    if start is None:
        return spec.prepare(splits, recipe)
    known = arrays.load(start.folder / STATE)
    if spec.prepare_with_state:
        return spec.prepare_with_state(splits, recipe, known)
    prepared = spec.prepare(splits, recipe)
    if other := difference(known, prepared.state):
        raise InvalidRecipe(
            f"recipe key 'init': expected the preprocessing that version {start.version} of {spec.name} was trained "
            f"with, received another {other}, learned from this data; use init=random"
        )
    return prepared


def difference(one: State, other: State) -> str:
    """The first name under which two states do not hold the same; empty if they are alike."""
    for name in sorted({*one, *other}):
        if name not in one or name not in other or not np.array_equal(one[name], other[name]):
            return name
    return ""


def begin_with(start: Start, model: Any, work: Path, report: Report) -> None:
    """Puts a version's weights into a model that was just built.

    Raises:
        InvalidRecipe: a layer has another shape, or there are others.
    """
    built = work / "built.weights.h5"
    model.save_weights(built)
    expected, found = shapes(built), shapes(start.folder / WEIGHTS)
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise InvalidRecipe(
                f"recipe key 'init': the weights of version {start.version} do not fit this recipe: {name}: expected "
                f"{said(expected.get(name))}, received {said(found.get(name))}; use its values, or init=random"
            )
    model.load_weights(start.folder / WEIGHTS)
    report(Progress("train", message=f"beginning with the weights of version {start.version}"))


def shapes(weights: Path) -> Mapping[str, tuple[int, ...]]:
    """Of every weight in a file, by its path there; the optimiser's variables beside them are not for a new run."""
    import h5py

    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            found[name] = item.shape

    with h5py.File(weights) as file:
        file.visititems(add)
    return found


def said(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(shape)
