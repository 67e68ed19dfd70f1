"""Accuracy, cost and latency of the zoo on the real data: official test sets, several seeds, the pipeline as it ships.

    MODELYARD_DATA_DIR=... python -m benchmarks.accuracy --model mnist_cnn --recipe quick --seed 0 --seed 1 --seed 2

Every run is a whole ``pipeline.run`` in a process of its own. Rows go to ``benchmarks/results/accuracy.jsonl``, a new
one replacing the old one of the same model, recipe and seed; the table in ``docs/models.md`` is written from all rows.
Processor seconds are those of the fitting process from the first read of the training data to the last weight
(vocabulary, word vectors, teacher, compilation, training, validation); imports and reading raw data are not in it.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.page import replace_section
from modelyard.pipeline.job import JobLocations, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer

RESULTS = Path(__file__).parent / "results" / "accuracy.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "models.md"
WORK = Path(".modelyard/work")
"""Baselines are remembered there, so that each is measured once per dataset."""
MODELS = (
    *("mnist_cnn", "sentiment_lstm", "mnist_mlp", "neuron"),
    *("logistic", "translator", "captioner", "cartpole", "product"),
)


def main(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated; all without it.")] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="May be repeated; quick and full without it.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated; 0, 1 and 2 without it.")] = None,
    data_dir: Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR")] = Path(".modelyard/data"),
    keep: Annotated[
        Path | None, typer.Option(help="Folder that the versions stay in, as RECIPE-SEED/MODEL/1; new or empty.")
    ] = None,
    table_only: Annotated[bool, typer.Option("--table-only", help="Write the table from the rows there are.")] = False,
) -> None:
    """Measure, and write the table."""
    wanted = (
        []
        if table_only
        else [(m, r, s) for m in model or MODELS for r in recipe or ("quick", "full") for s in seed or range(3)]
    )
    for name, chosen, number in wanted:
        print(f"{name} {chosen} seed {number} ...", flush=True)
        command = [sys.executable, "-m", "benchmarks.accuracy", "one", name, chosen, str(number), str(data_dir)]
        command += [str(keep / f"{chosen}-{number}")] if keep else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        write_row(row)
        print(f"  {row['metric']} {row['value']:.4f} in {row['cpu_s']:.1f} processor seconds", flush=True)
    replace_section(PAGE, "accuracy", render_table(read_rows()))


def measure(model: str, recipe: str, seed: int, data_dir: Path, store: Path | None) -> dict[str, Any]:
    """One run of the pipeline; into a store that is thrown away where none is given."""
    from modelyard.pipeline.run import run_job

    with tempfile.TemporaryDirectory() as folder, ForkServer() as forks:
        place = JobLocations(store or Path(folder) / "store", data_dir, WORK, ())
        job = TrainingJob(model, recipe, {"seed": seed}, "require-real", "manual", "benchmarks.accuracy")
        outcome = run_job(job, place, forks, ignore)
        if not isinstance(outcome, Published):
            raise SystemExit(f"{model} {recipe} seed {seed}: {outcome}")
        manifest = outcome.manifest
        assert manifest.training  # as recipe and data: it was trained just now
        assert manifest.recipe
        assert manifest.data
        version = place.store / model / str(manifest.version)
        evaluation = json.loads((version / "assets.extra" / "evaluation.json").read_text())
    return {
        "model": model,
        "recipe": recipe,
        "seed": seed,
        "metric": manifest.verdict.metric,
        "value": manifest.verdict.value,
        "metrics": manifest.metrics,
        "baseline": manifest.baseline.model_dump() if manifest.baseline else None,
        "cpu_s": manifest.training.cpu_s,
        "wall_s": manifest.training.wall_s,
        "parameters": manifest.training.parameters,
        "weights_sha256": manifest.training.weights_sha256,
        "threads": manifest.recipe.values["threads"],
        "latency_ms": evaluation["latency_ms"],
        "data": manifest.data.name,
        "tensorflow": manifest.environment.tensorflow,
        "keras": manifest.environment.keras,
        "machine": platform.processor() or platform.machine(),
    }


def ignore(_: object) -> None:
    """Progress is not printed here."""


def read_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def row_key(row: dict[str, Any]) -> tuple[int, str, int]:
    return MODELS.index(row["model"]), row["recipe"] == "full", row["seed"]


def write_row(row: dict[str, Any]) -> None:
    kept = [other for other in read_rows() if row_key(other) != row_key(row)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(each) + "\n" for each in sorted([*kept, row], key=row_key)))


def render_table(all_rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | recipe | parameters | test, mean (each seed) | baseline | CPU s, mean (most) | ms, 1 / 32 |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(all_rows, key=row_key):
        groups.setdefault((row["model"], row["recipe"]), []).append(row)
    baselines = find_baselines(all_rows)
    return "\n".join([*lines, *(render_line(group, baselines) for group in groups.values())])


def find_baselines(all_rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """By dataset and metric: measured for one model, it stands beside all that learn the same."""
    return {(row["data"], row["metric"]): row["baseline"] for row in all_rows if row["baseline"]}


def render_line(group: list[dict[str, Any]], baselines: dict[tuple[str, str], dict[str, Any]]) -> str:
    """One model and recipe over its seeds."""
    first = group[0]
    known = baselines.get((first["data"], first["metric"]))
    values = [row["value"] for row in group]
    each = " ".join(f"{format_metric(first['metric'], value)}" for value in values)
    baseline = f"{format_metric(first['metric'], known['value'])} ({known['method']})" if known else "-"
    cells: Iterable[str] = (
        f"`{first['model']}`",
        first["recipe"],
        f"{first['parameters']:,}",
        f"{first['metric']} **{format_metric(first['metric'], statistics.mean(values))}** ({each})",
        baseline,
        f"{statistics.mean(row['cpu_s'] for row in group):.0f} ({max(row['cpu_s'] for row in group):.0f})",
        " / ".join(f"{statistics.median(row['latency_ms'][size] for row in group):.2f}" for size in ("1", "32")),
    )
    return f"| {' | '.join(cells)} |"


def format_metric(metric: str, value: float) -> str:
    if metric in ("accuracy", "exact"):
        return f"{value:.2%}"
    return f"{value:.1f}" if metric == "mean_return" else f"{value:.4f}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        chosen_model, chosen_recipe, chosen_seed, *folders = sys.argv[2:]
        data, *stores = map(Path, folders)
        print(json.dumps(measure(chosen_model, chosen_recipe, int(chosen_seed), data, stores[0] if stores else None)))
    else:
        typer.run(main)
