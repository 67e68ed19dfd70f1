"""What a version says of its own uncertainty, in words: beside each row's answer, or in its place."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array
from modelyard.services.gateway.http.errors import AtypicalInput
from modelyard.services.gateway.serving.interface import (
    ATYPICALITY,
    INTERVAL,
    PREDICTION_SET,
    TYPICAL,
    Interface,
    is_uncertainty,
)

PERCENTS = (95, 99)
"""Coverages of prediction sets."""
Row = dict[str, Any]


def describe_rows(outputs: Mapping[str, Array], interface: Interface) -> Iterator[Row]:
    """Of each row ``prediction_set`` or ``intervals`` by coverage, and ``typical`` and ``atypicality``.

    Nothing of versions that do not say it; where the model's ``on_atypical`` is ``answer``, nothing of what is typical.
    """
    found: list[Row] = [{} for _ in range(len(next(iter(outputs.values()))))]
    if interface.on_atypical is None:
        yield from found
        return
    if (levels := outputs.get(PREDICTION_SET)) is not None:
        for row, sets in zip(found, name_sets(levels, interface.labels), strict=True):
            row["prediction_set"] = sets
    intervals = {name.removeprefix(INTERVAL): outputs[name] for name in outputs if name.startswith(INTERVAL)}
    if intervals and interface.labels:
        for place, row in enumerate(found):
            row["intervals"] = {
                percent: dict(zip(interface.labels, ends[place], strict=True)) for percent, ends in intervals.items()
            }
    if TYPICAL in outputs and interface.on_atypical != "answer":
        for row, typical, score in zip(found, outputs[TYPICAL], outputs[ATYPICALITY], strict=True):
            row |= {"typical": typical, "atypicality": score}
    yield from found


def name_sets(levels: Array, labels: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """Of ``int32 [n,classes]``, each row's labels by coverage."""
    held = [(str(percent), (levels <= percent).tolist()) for percent in PERCENTS]
    for row in range(len(levels)):
        yield {percent: list(compress(labels, rows[row])) for percent, rows in held}


def split_uncertainty(outputs: Mapping[str, Array], interface: Interface) -> tuple[dict[str, Array], dict[str, Array]]:
    """The answers, and what is said of them; intervals of numbers without names stay with these."""
    if interface.on_atypical is None:
        return dict(outputs), {}
    said = {name: array for name, array in outputs.items() if is_uncertainty(name) and not name.startswith(INTERVAL)}
    return {name: array for name, array in outputs.items() if name not in said}, said


def refuse_atypical(
    rows: Sequence[Row], outputs: Mapping[str, Array], interface: Interface
) -> list[Row | ModelyardError]:
    """The rows, with an error in place of each that is not typical, where the model refuses those."""
    typical = outputs.get(TYPICAL)
    if interface.on_atypical != "refuse" or typical is None:
        return list(rows)
    scores = outputs[ATYPICALITY]
    return [
        row if fine else AtypicalInput(interface.model, float(score))
        for row, fine, score in zip(rows, typical, scores, strict=True)
    ]


def require_typical(outputs: Mapping[str, Array], interface: Interface) -> None:
    """Raises ``AtypicalInput`` for the first row that is not typical, where the model refuses those."""
    typical = outputs.get(TYPICAL)
    if interface.on_atypical != "refuse" or typical is None or typical.all():
        return
    first = int(np.argmin(typical))
    place = f"row {first}: " if len(typical) > 1 else ""
    raise AtypicalInput(interface.model, float(outputs[ATYPICALITY][first]), place)
