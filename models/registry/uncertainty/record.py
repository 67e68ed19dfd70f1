"""A version's uncertainty: what was learned on its calibration examples, and measured on the test split."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

FILE = "assets.extra/uncertainty.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CoverageRecord(_Record):
    """Prediction sets, or intervals, that hold the truth in ``percent`` of 100 cases."""

    percent: int
    threshold: float | None = None
    """Probability from which a label is in the set; 0: the calibration examples were too few, and all labels are. None
    for intervals."""
    margins: tuple[float, ...] = ()
    """Half the width of each number's interval; empty for sets."""
    covered: float | None = None
    """Share of the test split whose truth was in it; of several numbers the smallest share."""
    mean_size: float | None = None
    """Mean number of labels in a set on the test split; None for intervals."""


class TypicalityRecord(_Record):
    """How inputs unlike those of training are found."""

    methods: tuple[str, ...]
    """What a score is made of; empty: there is nothing to judge by, and every input is typical."""
    layer: str = ""
    """The layer whose input are the features; empty if there is none."""
    examples: int = 0
    """Training examples that it was learned from."""
    flagged: float | None = None
    """Share of the test split that is not typical."""


class UncertaintyRecord(_Record):
    """``uncertainty.json``, and the manifest's ``uncertainty``."""

    examples: int
    """Calibration examples: those on which neither weights nor the epoch were chosen."""
    temperature: float = 1.0
    """Probabilities are raised to 1 / temperature, and normalised."""
    ece_before: float | None = None
    """Expected calibration error on the test split without the temperature; with it, it is the metric ``ece``."""
    coverage: tuple[CoverageRecord, ...] = ()
    typicality: TypicalityRecord = TypicalityRecord(methods=())
    notes: tuple[str, ...] = ()
    """What could not be learned, and why."""


def write_uncertainty(version: Path, record: UncertaintyRecord) -> None:
    (version / FILE).write_text(record.model_dump_json(indent=1))


def read_uncertainty(version: Path) -> UncertaintyRecord | None:
    """The record in a version's folder; None of a version that has none."""
    try:
        return UncertaintyRecord.model_validate_json((version / FILE).read_bytes())
    except FileNotFoundError:
        return None
