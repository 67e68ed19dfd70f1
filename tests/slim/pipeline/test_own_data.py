"""Data of one's own from any function: read from the folder of the model's file, and real."""

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from modelyard.models.data import Dataset, Split, Splits
from modelyard.models.errors import InvalidData
from modelyard.models.resolve import inspect_data
from modelyard.models.spec import ModelSpec
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


def refuse(folder: Path) -> NoReturn:
    """As a reader of ``../data/houses.csv`` and of ``photos`` does."""
    raise InvalidData(f"{folder / '../data/houses.csv'} is not there; {folder / 'photos'}: no pictures")


def test_paths_are_said_as_the_models_file_has_them(tmp_path: Path) -> None:
    """At the first glance and in a job: whoever reads it in the console need not know where this machine keeps it."""
    dataset = Dataset(name="houses", homepage="", read=refuse, own=True, inspect=refuse)
    spec = ModelSpec(dataset=dataset, file=tmp_path / "houses.py")
    for look in (lambda: inspect_data(spec), lambda: load_dataset(dataset, "auto", tmp_path, lambda _: None)):
        with pytest.raises(InvalidData) as raised:
            look()
        assert str(raised.value) == "../data/houses.csv is not there; photos: no pictures"
