"""How far an answer depends on the inputs that share its batch: each input alone, and in batches of several sizes.

    python -m benchmarks.robustness.alone mnist_cnn --version STORE/mnist_cnn/3
    python -m benchmarks.robustness.alone sentiment_lstm --version STORE/sentiment_lstm/3

Digits are files of each kind that people send; texts are reviews and short sentences, mixed. What is printed is the
largest difference of each output, over all inputs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.robustness.answers import ask_version
from benchmarks.robustness.digits import DIGITS
from benchmarks.robustness.texts import read_written_suites
from modelyard.models.data import Split
from modelyard.models.types import Array

SIZES = (2, 7, 32, 64)
FILES, REVIEWS, EVERY = 6, 128, 3
"""Pictures of each kind; reviews, and of the written sentences every third."""


def main(
    model: Annotated[str, typer.Argument(help="mnist_cnn or sentiment_lstm.")],
    version: Annotated[Path, typer.Option(help="Folder of an exported version.")],
    data_dir: Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR")] = Path(".modelyard/data"),
) -> None:
    """Print the differences."""
    from modelyard.models.catalog import load_spec

    dataset = load_spec(model).dataset
    test = dataset.read(data_dir).test
    inputs = draw_files(test) if dataset.name == "mnist" else mix_texts(test)
    alone = ask_version(version, 1)(inputs).outputs
    for size in SIZES:
        found = compare(ask_version(version, size)(inputs).outputs, alone)
        differences = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        print(f"{len(inputs)} inputs in batches of {size}: {differences}", flush=True)


def draw_files(test: Split) -> Sequence[bytes]:
    chosen = np.linspace(0, len(test) - 1, FILES).astype(int)
    files = [file for kind in DIGITS for file in kind.make(test.x[chosen], 0)]
    return [files[place] for place in np.random.default_rng(0).permutation(len(files))]


def mix_texts(test: Split) -> Sequence[str]:
    sentences = [*dict.fromkeys(text for suite in read_written_suites() for text in suite.texts)][::EVERY]
    reviews = [test.x[place] for place in np.linspace(0, len(test) - 1, REVIEWS).astype(int)]
    texts = [*sentences, *reviews]
    return [texts[place] for place in np.random.default_rng(1).permutation(len(texts))]


def compare(together: Mapping[str, Array], alone: Mapping[str, Array]) -> dict[str, float]:
    """The largest difference of each output ``[N,...]``."""
    return {
        name: float(np.max(np.abs(together[name].astype(np.float64) - values.astype(np.float64))))
        for name, values in alone.items()
    }


if __name__ == "__main__":
    typer.run(main)
