"""Keeps what was measured beside a model, for its card, and in the documentation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from benchmarks.page import replace_section
from benchmarks.robustness.report import Row, render
from modelyard.models.registry.cards.model_card import KindRecord, MeasuredFile, MeasuredRecord

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "model-cards.md"
BY = "benchmarks.robustness"
WORDS = ("kind", "summary", "group", "count")
"""Fields of a row that are no measures."""
ORDER = ("quick of 0.2", "quick", "full", "gpu")


def path_of(model: str) -> Path:
    """The file that the model's card names."""
    return ROOT / "models" / "zoo" / f"{model}.measured.json"


def average(kinds: Iterable[Sequence[Row]]) -> list[Row]:
    """One row of each kind, the mean of all versions' measures."""
    return [average_kind(rows) for rows in kinds]


def average_kind(rows: Sequence[Row]) -> Row:
    names = [name for name in rows[0].to_json() if name not in WORDS]
    return replace(rows[0], **{name: mean(getattr(row, name) for row in rows) for name in names})


def keep(model: str, recipe: str, data: str, rows: Iterable[Row]) -> None:
    """Replaces what was measured of a recipe, and writes the tables of the documentation."""
    path = path_of(model)
    known = read(model)
    known[recipe] = MeasuredRecord(recipe=recipe, by=BY, data=data, kinds=tuple(map(to_record, rows)))
    chosen = [known[name] for name in ORDER if name in known]
    path.write_text(json.dumps(MeasuredFile(measured=tuple(chosen)).model_dump(), indent=1) + "\n")
    write_page(model, chosen)


def read(model: str) -> dict[str, MeasuredRecord]:
    path = path_of(model)
    found = MeasuredFile.model_validate_json(path.read_bytes()).measured if path.exists() else ()
    return {each.recipe: each for each in found}


def write_page(model: str, measured: Iterable[MeasuredRecord]) -> None:
    columns: Mapping[str, Sequence[Row]] = {each.recipe: [to_row(kind) for kind in each.kinds] for each in measured}
    replace_section(PAGE, model, render(columns))


def to_record(row: Row) -> KindRecord:
    known = row.to_json()
    measures = {name: round(value, 4) for name, value in known.items() if name not in WORDS}
    return KindRecord(**{name: value for name, value in known.items() if name in WORDS}, measures=measures)


def to_row(record: KindRecord) -> Row:
    return Row(record.kind, record.summary, record.group, record.count, **record.measures)
