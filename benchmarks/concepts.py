"""The curves of ``docs/concepts``: models of the zoo, trained by the pipeline's stage, one thing changed at a time.

    MODELYARD_DATA_DIR=... python -m benchmarks.concepts [NAME ...]

Histories go to ``benchmarks/results/concepts.json``, drawings to ``docs/images/concepts/``. Real data where they are,
else the shipped sample, which the result says.
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import keras
import typer

from modelyard import State
from modelyard.models.catalog import resolve_recipe, resolve_spec
from modelyard.models.recipes import Recipe
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.stages.data import load_dataset
from modelyard.pipeline.stages.train import train

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "concepts.json"
IMAGES = ROOT / "docs" / "images" / "concepts"
COLOURS = ("#4338ca", "#b45309", "#047857", "#be185d", "#0369a1")


@dataclass(frozen=True)
class Variant:
    """One line of a chart: a model with something changed."""

    label: str
    model: str
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    build: Callable[[Recipe, State], Any] | None = None
    """In place of the model's own network."""
    loss: str = ""
    """In place of the model's own."""


@dataclass(frozen=True)
class Chart:
    """One drawing."""

    variants: tuple[Variant, ...]
    metric: str
    """Of the histories, such as ``val_loss``."""
    title: str
    logarithmic: bool = False


def hidden(*layers: Callable[[], Any]) -> Callable[[Recipe, State], Any]:
    """``mnist_mlp`` with other layers between its input and its answer."""

    def build(recipe: Recipe, state: State) -> Any:  # noqa: ARG001  # part of the contract
        inside = [layer() for layer in layers]
        ends = (
            (keras.layers.Rescaling(1 / 255), keras.layers.Flatten()),
            (keras.layers.Dense(10, activation="softmax"),),
        )
        return keras.Sequential([keras.Input((28, 28, 1), name="images"), *ends[0], *inside, *ends[1]])

    return build


def dense(units: int, activation: str | None = "relu") -> Callable[[], Any]:
    return lambda: keras.layers.Dense(units, activation=activation)


SIMPLE = {"optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0}
CHARTS: Mapping[str, Chart] = {
    "neuron": Chart(
        tuple(
            Variant(f"learning rate {rate:g}", "neuron", SIMPLE | {"learning_rate": rate, "epochs": 12})
            for rate in (0.003, 0.02, 0.2)
        ),
        "val_loss",
        "One neuron finds a line: the step's size decides how fast",
        logarithmic=True,
    ),
    "layers": Chart(
        (
            Variant("no hidden layer", "logistic", {"epochs": 8}),
            Variant("one of 100", "mnist_mlp", {"epochs": 8}),
            Variant("two of 100", "mnist_mlp", {"epochs": 8}, hidden(dense(100), dense(100))),
        ),
        "val_accuracy",
        "Digits: what hidden layers add",
    ),
    "activations": Chart(
        tuple(
            Variant(name or "none", "mnist_mlp", {"epochs": 8}, hidden(dense(100, name), dense(100, name)))
            for name in (None, "sigmoid", "tanh", "relu")
        ),
        "val_accuracy",
        "Digits: two hidden layers with different activations",
    ),
    "optimisers": Chart(
        (
            Variant("SGD, 0.1", "mnist_mlp", SIMPLE | {"learning_rate": 0.1, "epochs": 8}),
            Variant("SGD, 0.01", "mnist_mlp", SIMPLE | {"learning_rate": 0.01, "epochs": 8}),
            Variant("Adam, 0.001", "mnist_mlp", SIMPLE | {"optimizer": "adam", "learning_rate": 0.001, "epochs": 8}),
            Variant("Adam, 0.1", "mnist_mlp", SIMPLE | {"optimizer": "adam", "learning_rate": 0.1, "epochs": 8}),
        ),
        "val_loss",
        "Digits: SGD and Adam, each with two learning rates",
        logarithmic=True,
    ),
    "losses": Chart(
        tuple(
            Variant(label, "neuron", SIMPLE | {"learning_rate": 0.02, "epochs": 12}, loss=loss)
            for label, loss in (
                ("squared error", "mean_squared_error"),
                ("absolute error", "mean_absolute_error"),
                ("Huber", "huber"),
            )
        ),
        "val_r2",
        "One neuron, three losses: the share of the variance that it explains",
    ),
    "overfitting": Chart(
        (
            Variant("training", "mnist_mlp", {"epochs": 15, "weight_decay": 0.0}),
            Variant("validation", "mnist_mlp", {"epochs": 15, "weight_decay": 0.0}),
        ),
        "loss|val_loss",
        "Digits: training goes on getting better when validation does not",
        logarithmic=True,
    ),
    "cnn": Chart(
        (
            Variant("mnist_mlp", "mnist_mlp", {"epochs": 4}),
            Variant("mnist_cnn", "mnist_cnn", {"epochs": 4}),
        ),
        "val_accuracy",
        "Digits: one hidden layer, and a convolutional network",
    ),
    "lstm": Chart(
        (
            Variant("training", "sentiment_lstm", {"epochs": 4}),
            Variant("validation", "sentiment_lstm", {"epochs": 4}),
        ),
        "accuracy|val_accuracy",
        "Film reviews: a network that reads word by word",
    ),
    "reinforcement": Chart(
        tuple(Variant(f"seed {seed}", "cartpole", {"seed": seed}) for seed in range(3)),
        "mean_return",
        "A cart learns to hold a pole: mean steps until it falls",
    ),
    "sequences": Chart(
        (
            Variant("translator", "translator", {"epochs": 4, "examples": 20000}),
            Variant("captioner", "captioner", {"epochs": 4, "examples": 20000}),
        ),
        "val_loss",
        "Sequences, letter by letter: dates rewritten, digits told in words",
        logarithmic=True,
    ),
}


def main(
    name: Annotated[list[str] | None, typer.Argument(help="Charts; all without it.")] = None,
    data_dir: Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR")] = Path(".modelyard/data"),
    draw_only: Annotated[bool, typer.Option("--draw-only", help="Draw the results that there are.")] = False,
) -> None:
    """Train, write the histories, and draw."""
    for chosen in name or CHARTS:
        if not draw_only:
            lines = [measure(variant, data_dir) for variant in distinct(CHARTS[chosen].variants)]
            write_result(chosen, lines)
        draw(chosen)


def distinct(variants: tuple[Variant, ...]) -> list[Variant]:
    """Without those that train the same and differ in their label alone."""
    return [each for at, each in enumerate(variants) if not any(same(each, earlier) for earlier in variants[:at])]


def same(one: Variant, other: Variant) -> bool:
    return dataclasses.replace(one, label="") == dataclasses.replace(other, label="")


def measure(variant: Variant, data_dir: Path) -> dict[str, Any]:
    """Trains one variant; its history, and what it took."""
    keras.backend.clear_session()
    given = resolve_spec(variant.model)
    data = load_dataset(given.dataset, "auto", data_dir, lambda _: None)
    spec = dataclasses.replace(given, build=variant.build or given.build, loss=variant.loss or given.loss)
    recipe = resolve_recipe(spec, "quick", variant.recipe)
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder) / "work", Path(folder) / "checkpoints"
        places[0].mkdir()
        started = time.perf_counter()
        trained = train(spec, data.splits, recipe, prepare_devices(recipe), *places, lambda _: None)
    print(f"{variant.label}: {time.perf_counter() - started:.1f} s, {trained.history[-1]}", flush=True)
    return {
        "label": variant.label,
        "model": variant.model,
        "changed": dict(variant.recipe),
        "data": data.source,
        "parameters": trained.parameters,
        "cpu_s": round(trained.cpu_s, 1),
        "history": [{key: round(value, 6) for key, value in epoch.items()} for epoch in trained.history],
    }


def read_results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def write_result(name: str, lines: list[dict[str, Any]]) -> None:
    found = read_results() | {name: lines}
    RESULTS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


def draw(name: str) -> None:
    """Draws a chart of the histories, as SVG: text stays text."""
    from matplotlib import pyplot as plt  # only in the group `bench`

    chart, lines = CHARTS[name], read_results()[name]
    plt.rcParams |= {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": name}
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    metrics = chart.metric.split("|")
    pairs = [(lines[min(at, len(lines) - 1)], metrics[min(at, len(metrics) - 1)]) for at in range(len(chart.variants))]
    for (line, metric), variant, colour in zip(pairs, chart.variants, COLOURS, strict=False):
        values = [epoch[metric] for epoch in line["history"]]
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, color=colour, label=variant.label)
    axes.set(title=chart.title, xlabel="epoch", ylabel=metrics[-1].removeprefix("val_").replace("_", " "))
    if chart.logarithmic:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
