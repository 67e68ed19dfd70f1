"""Whether explanations name what answers rest on, and what they cost: the removal test on test inputs.

    MODELYARD_DATA_DIR=... python -m benchmarks.explanations [MODEL ...] [--store DIR] [--inputs 200]

Of each input the fifth that weighs most is taken out, and, ten times, a random fifth: the better the explanation, the
more the score falls by the first, and the less by the others (Samek et al. 2017, Hooker et al. 2019). A model of the
zoo is the stable version of a store, its weights exported anew; ``table`` is trained here, on scikit-learn's breast
cancer data: 30 columns of 569 people.
"""

import csv
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from modelyard.models.backend import use_backend
from modelyard.models.catalog import resolve_recipe, resolve_spec
from modelyard.models.data import Inputs, Splits, count_examples, name_arrays, take
from modelyard.models.inputs import TextInput, name_inputs
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.resolve import resolve
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays

TABLE = "table"
SHARE, DRAWS = 0.2, 10
BATCH = 64
Remove = Callable[[Any, Array], Any]
"""One input by name, and places ``[k]`` -> the same without them."""


@dataclass(frozen=True)
class Subject:
    """A model to be measured."""

    spec: ModelSpec
    default: Any
    """``Signature`` of answers, and of explanations."""
    explain: Any
    test: Inputs
    usual: Mapping[str, Array]
    """The background of its explanations."""


@dataclass(frozen=True)
class Outcome:
    """What was found for one input."""

    top: float
    """By how much the score falls without the fifth that weighs most."""
    random: Array
    """The same without each random fifth."""
    explain_ms: float
    answer_ms: float


def main(
    models: Annotated[list[str] | None, typer.Argument(help="mnist_cnn, sentiment_lstm, table, ...")] = None,
    store: Annotated[Path, typer.Option(help="Where versions of models of the zoo are.")] = Path(".modelyard/store"),
    inputs: Annotated[int, typer.Option(help="Test inputs of each model.")] = 200,
) -> None:
    use_backend("tensorflow")
    print("| model | inputs | lower than by 10 random fifths | than by each | top | random | explain | answer |")
    print("|---|---|---|---|---|---|---|---|")
    # The table first: its training sets the number of threads, which TensorFlow takes before its first operation only.
    for name in sorted(models or ["mnist_cnn", "sentiment_lstm", TABLE], key=lambda one: one != TABLE):
        with tempfile.TemporaryDirectory() as folder:
            subject = train_table(Path(folder)) if name == TABLE else load_version(name, store, Path(folder))
            print(describe(name, measure(subject, inputs)), flush=True)


def describe(name: str, found: list[Outcome]) -> str:
    """One line of the table."""
    tops, draws = np.array([one.top for one in found]), np.array([one.random for one in found])
    cells = [
        name,
        f"{len(found)}",
        f"{np.mean(tops > draws.mean(axis=1)):.1%}",
        f"{np.mean(tops[:, None] > draws):.1%}",
        f"{tops.mean():.2f}",
        f"{draws.mean():.2f}",
        f"{np.median([one.explain_ms for one in found]):.1f} ms",
        f"{np.median([one.answer_ms for one in found]):.2f} ms",
    ]
    return f"| {' | '.join(cells)} |"


# --- the removal test -------------------------------------------------------------------------------------------------


def measure(subject: Subject, count: int) -> list[Outcome]:
    """Outcomes for test inputs evenly spaced in the split."""
    total, draw = count_examples(subject.test), np.random.default_rng(0)
    places = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
    measure_one(subject, take(subject.test, places[:1]), draw)  # the first run of a graph takes longer
    return [measure_one(subject, take(subject.test, [place]), draw) for place in places]


def measure_one(subject: Subject, x: Inputs, draw: np.random.Generator) -> Outcome:
    row = name_arrays(subject.spec.input, x)
    explained, explain_ms = clock(lambda: subject.explain(row))
    answered, answer_ms = clock(lambda: subject.default(row))
    weights, remove = find_parts(subject, explained)
    count = max(1, int(SHARE * len(weights)))
    chosen = [np.argsort(-weights, kind="stable")[:count]]
    chosen += [draw.permutation(len(weights))[:count] for _ in range(DRAWS)]
    variants = [remove(row, places) for places in chosen]
    together = {name: np.concatenate([one[name] for one in variants]) for name in row}
    class_id = int(explained["class_id"][0]) if "class_id" in explained else None
    drops = score(answered, class_id) - score(subject.default(together), class_id)
    return Outcome(float(drops[0]), drops[1:], explain_ms, answer_ms)


def find_parts(subject: Subject, explained: Mapping[str, Array]) -> tuple[Array, Remove]:
    """The weights of the parts of an input, and how parts are taken out of it."""
    kinds = name_inputs(subject.spec.input)
    if len(kinds) > 1:
        return explained["weights"][0], lambda given, places: without_columns(given, places, list(kinds), subject.usual)
    ((name, kind),) = kinds.items()
    if isinstance(kind, TextInput):
        return explained["weights"][0], lambda given, places: {name: without_words(given[name], explained, places)}
    if kind.kind == "image":
        return explained["weights"][0].ravel(), lambda given, places: {
            name: without_pixels(given[name], places, subject.usual[name])
        }
    return explained["weights"][0], lambda given, places: {
        name: without_numbers(given[name], places, subject.usual[name])
    }


def without_words(text: Array, explained: Mapping[str, Array], places: Array) -> Array:
    left = text[0]
    for place in sorted(places.tolist(), reverse=True):
        left = left[: explained["starts"][0][place]] + left[explained["ends"][0][place] :]
    return np.array([left], dtype=object)


def without_pixels(image: Array, places: Array, colour: Array) -> Array:
    changed = image.astype(np.float32).reshape(1, -1, image.shape[-1])
    changed[:, places] = colour
    return changed.reshape(image.shape)


def without_numbers(vector: Array, places: Array, usual: Array) -> Array:
    changed = vector.astype(np.float32).copy()
    changed[:, places] = usual.mean(axis=0)[places]
    return changed


def without_columns(
    row: Mapping[str, Array], places: Array, names: list[str], usual: Mapping[str, Array]
) -> dict[str, Array]:
    """The commonest value of a category, the mean of a number."""
    changed = dict(row)
    for name in (names[place] for place in places):
        values = usual[name]
        changed[name] = values[len(values) // 2 :][:1] if values.dtype == object else values.mean(keepdims=True)
    return changed


def score(outputs: Mapping[str, Array], class_id: int | None) -> Array:
    """Log-odds of a class, or the value, ``[N]``."""
    if class_id is None:
        value: Array = outputs["value"].reshape(len(outputs["value"]), -1)[:, 0]
        return value
    probabilities = outputs["probabilities"].astype(np.float64)
    own = probabilities[:, class_id]
    odds: Array = np.log(np.maximum(own, 1e-12)) - np.log(np.maximum(probabilities.sum(axis=1) - own, 1e-12))
    return odds


def clock(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return call(), (time.perf_counter() - started) * 1e3


# --- the models -------------------------------------------------------------------------------------------------------


def load_version(name: str, store: Path, folder: Path) -> Subject:
    """The stable version of a model of the zoo, exported anew with its weights."""
    found = Store(store)
    stable = read_rollout(found, name).stable
    assert stable, f"{name} has no stable version in {store}"
    manifest, spec = found.manifest(name, stable), resolve_spec(name)
    assert manifest.recipe
    recipe = resolve_recipe(spec, manifest.recipe.name, manifest.recipe.values)
    extra = found.path(name, stable) / "assets.extra"
    state = load_arrays(extra / "state.npz")
    model = spec.build(recipe, state)
    model.load_weights(extra / "model.weights.h5")
    data, sample = os.environ.get("MODELYARD_DATA_DIR"), spec.dataset.sample
    if data:
        splits = spec.dataset.read(Path(data))
    else:
        assert sample, f"{name} has no sample: set MODELYARD_DATA_DIR"
        splits = sample()
    return export(spec, model, state, splits, folder)


def train_table(folder: Path) -> Subject:
    """The default network for tables, on the data that scikit-learn ships."""
    from sklearn.datasets import load_breast_cancer

    from modelyard import table
    from modelyard.pipeline.fitting.devices import prepare_devices
    from modelyard.pipeline.stages.train import train

    data = load_breast_cancer()
    with (folder / "cancer.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*data.feature_names, "target"])
        lines.writerows(
            [*row, data.target_names[kind]] for row, kind in zip(data.data.tolist(), data.target, strict=True)
        )
    given = ModelSpec(name=TABLE, dataset=table("cancer.csv", target="target"), file=folder / "table.py")
    splits = given.dataset.read(folder)
    spec = resolve(given, splits.schema)
    recipe = spec.recipes["quick"]
    trained = train(spec, splits, recipe, prepare_devices(recipe), folder, folder / "checkpoints", lambda _: None)
    state = load_arrays(trained.state)
    model = spec.build(recipe, state)
    model.load_weights(trained.weights)
    return export(spec, model, state, splits, folder)


def export(spec: ModelSpec, model: Any, state: Any, splits: Splits, folder: Path) -> Subject:
    import tensorflow as tf

    from modelyard.pipeline.evaluation.exported import Signature
    from modelyard.pipeline.exporting.explaining.background import learn_background
    from modelyard.pipeline.exporting.operations import check_operations
    from modelyard.pipeline.exporting.saved_model import write_saved_model

    usual = learn_background(spec.input, splits.train.x)
    raw = name_arrays(spec.input, take(splits.test.x, slice(4)))
    write_saved_model(spec, model, state, raw, folder / "1", background=usual)
    check_operations(folder / "1" / "saved_model.pb")
    loaded = tf.saved_model.load(str(folder / "1"))
    KEPT.append(loaded)  # functions do not keep what they belong to
    answers, explanations = (Signature(loaded.signatures[name]) for name in ("serving_default", "explain"))
    return Subject(spec, answers, explanations, splits.test.x, usual)


KEPT: list[Any] = []


if __name__ == "__main__":
    typer.run(main)
