"""How a version does on each kind of input that people send.

    python -m benchmarks.robustness mnist_cnn --version STORE/mnist_cnn/3 --split validation
    python -m benchmarks.robustness mnist_cnn --url http://127.0.0.1:8080 --kind "black on white" --kind letters

Choices are made on ``--split validation``; the official test set is for the tables of the documentation.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.robustness import measures
from benchmarks.robustness.answers import Ask, ask_gateway, ask_version
from benchmarks.robustness.report import Row, list_lines

Data = Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR", help="Folder of the data sets' files.")]


def main(
    model: Annotated[str, typer.Argument(help="mnist_cnn or sentiment_lstm, or another model of their inputs.")],
    version: Annotated[Path | None, typer.Option(help="Folder of an exported version; its graph is called.")] = None,
    url: Annotated[str | None, typer.Option(help="Address of a gateway; the version that serves is asked.")] = None,
    key: Annotated[str | None, typer.Option(envvar="MODELYARD_API_KEY")] = None,
    split: Annotated[str, typer.Option(help="validation or test")] = "validation",
    n: Annotated[int, typer.Option(help="Inputs of each kind that has a class; all where it is 0.")] = 1000,
    others: Annotated[int, typer.Option(help="Inputs of each kind that has none.")] = 300,
    kind: Annotated[list[str] | None, typer.Option(help="May be repeated; all without it.")] = None,
    seed: int = 0,
    data_dir: Data = Path(".modelyard/data"),
    write: Annotated[Path | None, typer.Option(help="JSON file to write the rows to.")] = None,
) -> None:
    """Measure one version, and print or write what it does."""
    plan = measures.Plan(split, n, others, frozenset(kind or ()), seed, data_dir)
    rows = list(print_each(measures.measure(model, choose(model, version, url, key), plan)))
    if write:
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(json.dumps({"split": split, "seed": seed, "kinds": [row.to_json() for row in rows]}, indent=1))


def choose(model: str, version: Path | None, url: str | None, key: str | None) -> Ask:
    if (version is None) == (url is None):
        raise typer.BadParameter("expected either --version or --url")
    return ask_version(version) if version else ask_gateway(str(url), model, key)


def print_each(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        print(*list_lines([row]), flush=True)
        yield row


if __name__ == "__main__":
    typer.run(main)
