"""What the data of a version holds: rows, classes, columns, and what stood out. Slim."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from modelyard.models.registry.extra_files import read_extra
from modelyard.models.registry.manifest import FrozenModel

FILE = "assets.extra/data_card.json"


class ColumnCard(FrozenModel):
    """One input, or a number to predict, in the training part."""

    kind: str
    missing: float = 0.0
    """Share of rows without a value."""
    minimum: float | None = None
    """Smallest number; of texts, the fewest characters."""
    maximum: float | None = None
    mean: float | None = None
    different: int | None = None
    """Number of different categories or dates."""
    frequent: dict[str, int] = Field(default_factory=dict)
    """The commonest categories, and how often each comes."""


class DataCard(FrozenModel):
    """``data_card.json``."""

    fingerprint: str
    """SHA-256 over the raw examples of all parts, in order."""
    rows: dict[str, int]
    """By part: ``train``, ``validation``, ``test``."""
    classes: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Rows by label and part; of several labels at once, those that have it."""
    targets: dict[str, ColumnCard] = Field(default_factory=dict)
    """Numbers to predict, by name."""
    columns: dict[str, ColumnCard] = Field(default_factory=dict)
    """Inputs, by the names of their tensors."""
    warnings: tuple[str, ...] = ()
    """What stood out, with the first rows of each: the version was trained all the same."""

    def count_classes(self) -> dict[str, int]:
        """Rows of all parts by label."""
        return {label: sum(parts.values()) for label, parts in self.classes.items()}

    def list_missing(self) -> Mapping[str, float]:
        """Share of missing values by column, where there are any."""
        return {name: column.missing for name, column in self.columns.items() if column.missing}


def read_data_card(version: Path) -> DataCard | None:
    """The data card in a version's folder; None for a version that has none.

    Raises:
        CorruptData: the file cannot be parsed.
    """
    return read_extra(version, FILE, DataCard)
