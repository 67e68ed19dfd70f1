"""How a version does on each kind of input that people send.

    python -m benchmarks.robustness mnist_cnn --version STORE/mnist_cnn/3 --split validation
    python -m benchmarks.robustness mnist_cnn --url http://127.0.0.1:8080 --kind "black on white" --kind letters
    python -m benchmarks.robustness mnist_cnn --version DIR --version DIR --split test --n 0 --write quick

Choices are made on ``--split validation``; the official test set is for the tables of the documentation.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.robustness import measures, records
from benchmarks.robustness.answers import Ask, ask_gateway, ask_version
from benchmarks.robustness.report import Row, list_lines

Data = Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR", help="Folder of the data sets' files.")]


def main(
    model: Annotated[str, typer.Argument(help="mnist_cnn or sentiment_lstm, or another model of their inputs.")],
    version: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of an exported version, whose graph is called. Of several, the mean is written."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of a gateway; the version that serves is asked.")] = None,
    key: Annotated[str | None, typer.Option(envvar="MODELYARD_API_KEY")] = None,
    split: Annotated[str, typer.Option(help="validation or test")] = "validation",
    n: Annotated[int, typer.Option(help="Inputs of each kind that has a class; all where it is 0.")] = 1000,
    others: Annotated[int, typer.Option(help="Inputs of each kind that has none.")] = 300,
    kind: Annotated[list[str] | None, typer.Option(help="May be repeated; all without it.")] = None,
    seed: int = 0,
    rated: Annotated[
        Path | None, typer.Option(help="Of texts: unpacked source distribution of vaderSentiment, with rated ones.")
    ] = None,
    data_dir: Data = Path(".modelyard/data"),
    write: Annotated[
        str, typer.Option(help="Recipe of the versions: the rows go into the model's card and docs/model-cards.md.")
    ] = "",
) -> None:
    """Measure versions, and print or write what they do."""
    plan = measures.Plan(split, n, others, frozenset(kind or ()), seed, data_dir, rated)
    asked = choose(model, version or [], url, key)
    rows = list(print_each(measures.measure(model, asked, plan)))
    if write:
        many = f"; mean of {len(asked)} trainings" if len(asked) > 1 else ""
        records.keep(model, write, f"inputs of the {split} split, seed {seed}{many}", records.average(rows))


def choose(model: str, versions: Sequence[Path], url: str | None, key: str | None) -> list[Ask]:
    if bool(versions) == bool(url):
        raise typer.BadParameter("expected either --version or --url")
    return [ask_version(version) for version in versions] if versions else [ask_gateway(str(url), model, key)]


def print_each(kinds: Iterator[list[Row]]) -> Iterator[list[Row]]:
    for rows in kinds:
        print(*list_lines(rows), sep="\n", flush=True)
        yield rows


if __name__ == "__main__":
    typer.run(main)
