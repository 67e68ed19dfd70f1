"""Data of one's own from any function: read from the folder of the model's file, and real."""

from pathlib import Path

import numpy as np

from modelyard.models.data import Dataset, Split, Splits
from modelyard.pipeline.stages.data import load_dataset


def read(folder: Path) -> Splits:
    values = np.load(folder / "x.npy")
    parts = (Split(part, np.arange(len(part))) for part in np.split(values, 3))
    return Splits(*parts)


def test_a_function_reads_own_data(tmp_path: Path) -> None:
    """It needs neither files to fetch nor a sample; what it reads is no formula."""
    np.save(tmp_path / "x.npy", np.ones((9, 2), np.float32))
    own = Dataset(name="mine", homepage="", read=read, own=True)
    loaded = load_dataset(own, "require-real", tmp_path, lambda _: None)
    assert (loaded.source, loaded.name) == ("real", "mine")
    assert len(loaded.splits.train) == 3
    formula = Dataset(name="mine", homepage="", read=read)
    assert load_dataset(formula, "auto", tmp_path, lambda _: None).source == "generated"
