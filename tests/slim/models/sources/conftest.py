"""Folders of model files. Their specs have a dataset that is never read: nothing is computed here."""

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]

HEAD = """
from modelyard import Dataset, ModelSpec

DATA = Dataset(name="none", homepage="", read=lambda folder: None)
"""
SPEC = HEAD + "SPEC = ModelSpec(dataset=DATA)\n"
ENDING = "SPEC = ModelSpec(summary=SUMMARY, dataset=DATA)\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file below the folder ``models``, or another one."""

    def write_file(name: str, text: str = SPEC, folder: str = "models") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file
